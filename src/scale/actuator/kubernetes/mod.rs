//! replicas of a Deployment, or of anything in a Kubernetes cluster that has a scale
//!
//!     Object: looks, writes ─┐
//!                            ├─ Client ─► API server
//!     Leader: keeps a Lease ─┘
//!
//! The cluster keeps the replicas; we ask for a number, as the HorizontalPodAutoscaler does, through the scale subresource. Of several
//! Tidemills that scale one object, the one that holds its lease acts. The others tick and record, and say who leads.
//!
//! **Always:** what others make of the number is found out and decided from; when Tidemill stops, the object stays as it is.
//! **Never:** a write without a lease that was confirmed a moment ago, or over a number that the decision did not know.

mod client;
mod election;
mod leader;
mod object;
mod place;
mod pods;
mod refusal;

pub use place::KNOWN;

use super::{Actuator, Ground, Kind, Outcome, Status};
use crate::error::{Error, Fault, Result, did_you_mean};
use crate::units::{DAY, Span, within};
use client::{Access, Client};
use futures::future::BoxFuture;
use leader::{Leader, Terms};
use object::{Object, Written};
use serde::Deserialize;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// `type = "kubernetes"`
pub const KIND: super::Kind = Kind {
    name: "kubernetes",
    about: "replicas of a Deployment, StatefulSet or anything else in a Kubernetes cluster that has a scale",
    example: r#"type = "kubernetes"
namespace = "shop"
kind = "Deployment"
name = "web"
"#,
};

/// The longest that letting go may take when Tidemill stops.
const STOP_MAX: Duration = Duration::from_secs(8);

/// An object of a cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The object's name.
    pub name: String,
    /// Its kind: `Deployment`, `StatefulSet`, `ReplicaSet`, or any other that has a scale subresource.
    #[serde(default = "deployment")]
    pub kind: String,
    /// Its API with version; needed for kinds that Kubernetes itself does not have.
    pub api_version: Option<String>,
    /// Its namespace; that of the kubeconfig's context, or of the pod, if not given.
    pub namespace: Option<String>,
    /// The kubeconfig; `$KUBECONFIG`, `~/.kube/config` or the pod's service account if not given.
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; its current one if not given.
    pub context: Option<String>,
    /// The longest that a request to the API server may take.
    #[serde(default = "timeout", deserialize_with = "within::<100, 60_000, _, _>")]
    pub timeout: Span,
    /// Time between two looks at the object.
    #[serde(default = "look_every", deserialize_with = "within::<100, 60_000, _, _>")]
    pub look_every: Span,
    /// Time for replicas to become ready, after which the outcome says that they did not.
    #[serde(default = "ready_timeout", deserialize_with = "within::<1_000, DAY, _, _>")]
    pub ready_timeout: Span,
    /// Its pods are looked at, too: which are ready, which start, which end.
    #[serde(default)]
    pub pods: bool,
    /// The Lease of whoever acts, in the object's namespace; `tidemill-deployment-web` if not given.
    pub lease: Option<String>,
    /// How long it holds without being renewed.
    #[serde(default = "lease_duration", deserialize_with = "within::<3_000, 600_000, _, _>")]
    pub lease_duration: Span,
    /// Who we are in it, differently for each Tidemill; the host's name and a random number if not given.
    pub identity: Option<String>,
}

fn deployment() -> String {
    "Deployment".to_owned()
}

fn timeout() -> Span {
    Span(Duration::from_secs(5))
}

fn look_every() -> Span {
    Span(Duration::from_secs(2))
}

fn ready_timeout() -> Span {
    Span(Duration::from_secs(300))
}

fn lease_duration() -> Span {
    Span(Duration::from_secs(15))
}

impl Config {
    /// Which object it is, in words.
    pub fn object(&self) -> String {
        let namespace = self.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        let context = self.context.as_deref().map(|context| format!(" of the context {context}")).unwrap_or_default();
        format!("{} {namespace}{}{context}", self.kind, self.name)
    }

    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let named = |key: &str, value: Option<&String>, dots: bool| {
            let value = value.filter(|value| !is_name(value, dots))?;
            let message = format!("{key}: `{value}` is no name of Kubernetes; write a-z, 0-9 and -, no - at the ends");
            Some(Fault::new(key, message))
        };
        faults.extend(named("name", Some(&self.name), true));
        faults.extend(named("namespace", self.namespace.as_ref(), false));
        faults.extend(named("lease", self.lease.as_ref(), true));
        let known = KNOWN.iter().map(|known| known.0);
        let is_kind = |kind: &str| kind.chars().all(|c| c.is_ascii_alphanumeric()) && !kind.is_empty();
        if !is_kind(&self.kind) {
            faults.push(Fault::new(
                "kind",
                format!("kind = \"{}\" is no kind; write one such as `Deployment`", self.kind),
            ));
        } else if self.api().is_none() {
            let hint = did_you_mean(&self.kind, known);
            let message = format!(
                "kind = \"{}\" is not one that Kubernetes itself scales{hint}; write its `api_version` beside it, such as \
                 `argoproj.io/v1alpha1`",
                self.kind
            );
            faults.push(Fault::new("kind", message));
        }
        if let Some(api) = self.api_version.as_ref().filter(|api| !is_api(api)) {
            faults.push(Fault::new(
                "api_version",
                format!("api_version = \"{api}\" is none; write one such as `apps/v1`"),
            ));
        }
        faults
    }

    fn api(&self) -> Option<&str> {
        let known = || KNOWN.iter().find(|known| known.0 == self.kind).map(|known| known.1);
        self.api_version.as_deref().or_else(known)
    }
}

fn is_name(name: &str, dots: bool) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (dots && c == '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let longest = if dots { 253 } else { 63 };
    name.len() <= longest && name.chars().all(inside) && edge(name.chars().next()) && edge(name.chars().last())
}

fn is_api(api: &str) -> bool {
    let version = |version: &str| is_name(version, false);
    match api.split_once('/') {
        Some((group, rest)) => is_name(group, true) && version(rest),
        None => version(api),
    }
}

/// A workload that the cluster keeps.
pub struct Kubernetes {
    object: Arc<Object>,
    ready_timeout: Duration,
    /// how often a number was asked for: an earlier one is waited for no longer
    asked: watch::Sender<u64>,
    stop: CancellationToken,
}

impl Kubernetes {
    /// Reads the credentials, looks once, and keeps looking; a server that cannot be reached yet is no error.
    pub async fn open(config: Config, ground: Ground) -> Result<Kubernetes> {
        let Ground { workload, clock, .. } = ground;
        let api = config.api().unwrap_or_default().to_owned();
        let access = Access { kubeconfig: config.kubeconfig.clone(), context: config.context.clone() };
        let client = Client::open(access).await?;
        let namespace = config.namespace.clone().unwrap_or_else(|| client.namespace.clone());
        let usual = || format!("tidemill-{}-{}", config.kind.to_lowercase(), config.name);
        let client = Arc::new(client);
        let terms = Terms {
            namespace: namespace.clone(),
            name: config.lease.clone().unwrap_or_else(usual),
            identity: config.identity.clone().unwrap_or_else(identity),
            duration: config.lease_duration.0,
            timeout: config.timeout.0,
        };
        let leader = Arc::new(Leader::new(client.clone(), terms, clock));
        let parts = (client, leader.clone());
        let kind = (config.kind.as_str(), api.as_str());
        let object = Object::new(&workload, parts, kind, (&namespace, &config.name), config.timeout.0);
        let object = if config.pods { object.with_pods() } else { object };
        let (object, stop) = (Arc::new(object), CancellationToken::new());
        object.look().await;
        let (looked, every, stopped) = (object.clone(), config.look_every.0, stop.clone());
        tokio::spawn(async move {
            let looking = async {
                loop {
                    tokio::time::sleep(every).await;
                    looked.look().await;
                }
            };
            stopped.run_until_cancelled(looking).await
        });
        let stopped = stop.clone();
        tokio::spawn(async move { leader.run(stopped).await });
        Ok(Kubernetes { object, ready_timeout: config.ready_timeout.0, asked: watch::Sender::new(0), stop })
    }

    async fn ask(&self, from: u32, to: u32) -> Result<Outcome> {
        let mut turn = 0;
        self.asked.send_modify(|asked| {
            *asked = asked.wrapping_add(1);
            turn = *asked;
        });
        let mut asked = self.asked.subscribe();
        let (object, still) = (self.object.clone(), self.asked.subscribe());
        // A write is never left half done, whoever stops waiting for it.
        let writing = tokio::spawn(async move { object.write(from, to, || *still.borrow() == turn).await });
        let written = writing.await.map_err(|error| Error::internal(format!("a write ended early: {error}")))?;
        let told = match written.map_err(|refusal| refusal.error)? {
            Written::Done(took) => format!("asked for {to} instead of {from} in {:.3} s", took.as_secs_f64()),
            Written::Already => format!("{to} asked for already"),
            Written::Not(why) => return Ok(Outcome { reached: false, words: why }),
        };
        tokio::select! {
            biased;
            _ = asked.wait_for(|asked| *asked != turn) => {
                Ok(Outcome { reached: false, words: format!("{told}; a later decision took its place") })
            }
            (reached, words) = self.object.settle(to, self.ready_timeout) => {
                Ok(Outcome { reached, words: format!("{told}; {words}") })
            }
        }
    }
}

impl Actuator for Kubernetes {
    fn apply(&self, replicas: u32) -> BoxFuture<'_, Result<Outcome>> {
        let from = self.object.seen().0.map_or(replicas, |seen| seen.asked);
        Box::pin(self.ask(from, replicas))
    }

    fn change(&self, from: u32, to: u32) -> BoxFuture<'_, Result<Outcome>> {
        Box::pin(self.ask(from, to))
    }

    fn shared(&self) -> bool {
        true
    }

    fn status(&self) -> Status {
        let (seen, trouble) = self.object.seen();
        let standby = match trouble.is_empty() {
            true => self.object.leader.standby().unwrap_or_default(),
            false => trouble,
        };
        Status {
            asked: seen.map_or(0, |seen| seen.asked),
            found: seen.map(|seen| seen.asked),
            running: seen.map_or(0, |seen| seen.running),
            ready: seen.map_or(0, |seen| seen.ready),
            standby,
            replicas: self.object.pods(),
            ..Status::default()
        }
    }

    fn targets(&self) -> Vec<String> {
        Vec::new()
    }

    fn dry_run(&self) -> bool {
        false
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            self.object.let_go(Instant::now() + STOP_MAX).await;
        })
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A name that no other Tidemill has.
fn identity() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}_{:016x}", RandomState::new().hash_one(std::process::id()))
}
