//! one object and its scale: looked at again and again, and written with the version that was read
//!
//!     look ─► spec.replicas, status.replicas, readyReplicas, pods ─► what the next tick goes on from
//!     write ─► do we lead? ─► read ─► still what was decided from? ─► PUT with that resourceVersion ─► 409: somebody was faster
//!
//! **Always:** one write at a time, begun and given up within the time for which the lease was confirmed.
//! **Never:** a number is overwritten that the decision was not made from.

use super::client::{Call, Client};
use super::leader::Leader;
use super::place::{KNOWN, Place};
use super::pods;
use super::refusal::{Deed, Refusal, Why};
use crate::scale::actuator::ReplicaStatus;
use crate::scale::policy::replicas as count;
use crate::units::Span;
use hyper::Method;
use k8s_openapi::api::autoscaling::v1::{Scale, ScaleSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

/// An object whose replicas are looked at and changed.
pub struct Object {
    /// the workload's name, for the log
    pub workload: String,
    /// the API server
    pub client: Arc<Client>,
    /// who may write
    pub leader: Arc<Leader>,
    /// kind and API
    pub kind: (String, String),
    /// where it is
    pub namespace: String,
    /// its name
    pub name: String,
    /// the longest that a request may take
    pub timeout: Duration,
    /// whether its pods are looked at
    with_pods: bool,
    place: OnceCell<Place>,
    view: Mutex<View>,
    looks: watch::Sender<u64>,
    writing: tokio::sync::Mutex<()>,
}

/// What is known of it.
#[derive(Default)]
struct View {
    seen: Option<Seen>,
    pods: Vec<ReplicaStatus>,
    /// why it could not be seen last; empty if it could
    trouble: String,
    /// when the last write was over: what was looked at before says nothing
    written: Option<Instant>,
    /// a write whose end nobody knows may still be done until then
    loose_until: Option<Instant>,
    /// whether it was said that ready replicas cannot be told from others
    told: bool,
    /// whether it was said that pods cannot be told apart
    pods_told: bool,
}

/// Its replicas, as they were seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `spec.replicas`
    pub asked: u32,
    /// `status.replicas`
    pub running: u32,
    /// `status.readyReplicas`
    pub ready: u32,
}

/// What came of a write.
pub enum Written {
    /// it is asked for now; how long that took
    Done(Duration),
    /// it was asked for already
    Already,
    /// nothing was written, for this reason
    Not(String),
}

impl Object {
    /// Nothing seen yet.
    pub fn new(
        workload: &str,
        (client, leader): (Arc<Client>, Arc<Leader>),
        (kind, api_version): (&str, &str),
        (namespace, name): (&str, &str),
        timeout: Duration,
    ) -> Object {
        Object {
            workload: workload.to_owned(),
            client,
            leader,
            kind: (kind.to_owned(), api_version.to_owned()),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            timeout,
            with_pods: false,
            place: OnceCell::new(),
            view: Mutex::default(),
            looks: watch::Sender::new(0),
            writing: tokio::sync::Mutex::new(()),
        }
    }

    /// The same, and its pods are looked at.
    pub fn with_pods(self) -> Object {
        Object { with_pods: true, ..self }
    }

    /// Its pods, as they were seen last; none where they are not looked at, or cannot be told apart.
    pub fn pods(&self) -> Vec<ReplicaStatus> {
        self.lock().pods.clone()
    }

    /// What was seen last, and why not later; the second is empty while all is well.
    pub fn seen(&self) -> (Option<Seen>, String) {
        let view = self.lock();
        (view.seen, view.trouble.clone())
    }

    /// Is told of each look.
    pub fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// Looks at it once; whoever waits for a look is told.
    pub async fn look(&self) {
        let begun = Instant::now();
        let looked = self.try_to_look(begun + self.timeout).await;
        let mut view = self.lock();
        match looked {
            // What was asked before a write was over may have been answered from before it.
            Ok(_) if view.written.is_some_and(|written| begun < written) => return,
            Ok((seen, pods)) => {
                if !view.trouble.is_empty() {
                    tracing::info!(workload = self.workload, "it can be seen again");
                }
                (view.seen, view.pods, view.trouble) = (Some(seen), pods, String::new());
            }
            Err(refusal) => {
                let trouble = refusal.error.to_string();
                if view.trouble.is_empty() {
                    tracing::warn!(workload = self.workload, error = trouble, "it cannot be seen");
                }
                view.trouble = trouble;
            }
        }
        drop(view);
        self.looks.send_modify(|looks| *looks = looks.wrapping_add(1));
    }

    async fn try_to_look(&self, until: Instant) -> Result<(Seen, Vec<ReplicaStatus>), Refusal> {
        let place = self.place(until).await?;
        let scale = self.read(place, until).await?;
        let seen = Seen { asked: asked(&scale), running: running(&scale), ready: running(&scale) };
        let ready = self.ready(place, until).await?;
        let pods = if self.with_pods { self.list_pods(&scale, until).await? } else { Vec::new() };
        Ok((Seen { ready: ready.unwrap_or(seen.ready), ..seen }, pods))
    }

    /// The pods that the scale selects; none where they may not be listed, or are too many.
    async fn list_pods(&self, scale: &Scale, until: Instant) -> Result<Vec<ReplicaStatus>, Refusal> {
        let selector = scale.status.as_ref().and_then(|status| status.selector.clone()).unwrap_or_default();
        let (namespace, resource) = (self.namespace.clone(), "pods".to_owned());
        let deed = Deed { verb: "list", group: String::new(), resource, name: selector.clone(), namespace };
        let path = pods::path(&self.namespace, &selector);
        let call = Call { deed: &deed, method: Method::GET, path, body: Vec::new(), until, may: &|| true };
        let why = match selector.is_empty() {
            true => "its scale has no selector".to_owned(),
            false => match self.client.send(&call).await {
                Ok(body) => match pods::replicas(&body).map_err(|error| Refusal::unanswered(&deed, error))? {
                    Some(pods) => return Ok(pods),
                    None => format!("it has more than {}", pods::PODS_MAX),
                },
                Err(refusal) if matches!(refusal.why, Why::Forbidden | Why::Missing) => refusal.error.to_string(),
                Err(refusal) => return Err(refusal),
            },
        };
        if !std::mem::replace(&mut self.lock().pods_told, true) {
            tracing::warn!(workload = self.workload, why, "its pods are not told apart");
        }
        Ok(Vec::new())
    }

    /// `readyReplicas` of the object itself; nothing where it has none, or may not be read.
    async fn ready(&self, place: &Place, until: Instant) -> Result<Option<u32>, Refusal> {
        let deed = place.deed("get", "");
        let call =
            Call { deed: &deed, method: Method::GET, path: place.path(""), body: Vec::new(), until, may: &|| true };
        let body = match self.client.send(&call).await {
            Ok(body) => body,
            Err(refusal) if matches!(refusal.why, Why::Forbidden | Why::Missing) => {
                if !std::mem::replace(&mut self.lock().told, true) {
                    let (workload, error) = (&self.workload, refusal.error);
                    tracing::warn!(workload, %error, "replicas that run count as ready: which are, cannot be read");
                }
                return Ok(None);
            }
            Err(refusal) => return Err(refusal),
        };
        let object: serde_json::Value =
            serde_json::from_slice(&body).map_err(|error| Refusal::unanswered(&deed, error))?;
        let ready = object.pointer("/status/readyReplicas").and_then(serde_json::Value::as_u64);
        // The kinds of Kubernetes leave it out where it is 0.
        let absent = KNOWN.iter().any(|known| known.0 == self.kind.0).then_some(0);
        Ok(ready.map(|ready| u32::try_from(ready).unwrap_or(u32::MAX)).or(absent))
    }

    /// Asks for so many, if it is still what the decision was made from and we lead.
    pub async fn write(&self, from: u32, to: u32, wanted: impl Fn() -> bool) -> Result<Written, Refusal> {
        let _one_writes = self.writing.lock().await;
        if !wanted() {
            return Ok(Written::Not("a later decision took its place before it was written".to_owned()));
        }
        let begun = Instant::now();
        let Some(leads_until) = self.leader.until() else { return Ok(Written::Not(self.standby())) };
        let until = leads_until.min(begun + self.timeout);
        let place = self.place(until).await?;
        let scale = self.read(place, until).await?;
        let found = asked(&scale);
        if found == to {
            return Ok(Written::Already);
        }
        if found != from {
            self.look().await;
            return Ok(Written::Not(format!(
                "not written: {} asked for now, and the decision was made from {from}; decided again at the next tick",
                count(found)
            )));
        }
        let deed = place.deed("update", "scale");
        let (name, namespace) = (Some(self.name.clone()), Some(self.namespace.clone()));
        let resource_version = scale.metadata.resource_version.clone();
        let wanted = Scale {
            metadata: ObjectMeta { name, namespace, resource_version, ..ObjectMeta::default() },
            spec: Some(ScaleSpec { replicas: Some(i32::try_from(to).unwrap_or(i32::MAX)) }),
            status: None,
        };
        let body = serde_json::to_vec(&wanted).map_err(|error| Refusal::other(&deed, Why::Other, error))?;
        let leads = || self.leader.until().is_some();
        let call = Call { deed: &deed, method: Method::PUT, path: place.path("scale"), body, until, may: &leads };
        match self.client.send(&call).await {
            Ok(_) => {
                let mut view = self.lock();
                view.written = Some(Instant::now());
                view.seen =
                    Some(Seen { asked: to, ..view.seen.unwrap_or(Seen { asked: to, running: from, ready: 0 }) });
                Ok(Written::Done(begun.elapsed()))
            }
            Err(refusal) if refusal.why == Why::Conflict => {
                self.look().await;
                let (seen, trouble) = self.seen();
                let now = match seen.filter(|_| trouble.is_empty()) {
                    Some(seen) => format!("{} asked for now", count(seen.asked)),
                    None => trouble,
                };
                Ok(Written::Not(format!(
                    "conflict: somebody changed the object between reading and writing (409). Read again: {now}; decided again at the \
                     next tick"
                )))
            }
            Err(refusal) if refusal.why == Why::NotAllowed => Ok(Written::Not(self.standby())),
            Err(refusal) => {
                if refusal.why == Why::Unanswered {
                    self.lock().loose_until = Some(Instant::now() + self.timeout.max(Duration::from_secs(15)));
                }
                Err(refusal)
            }
        }
    }

    /// Waits until as many are ready as were asked for; in words what came of it, and whether it is so.
    pub async fn settle(&self, to: u32, longest: Duration) -> (bool, String) {
        let begun = Instant::now();
        let mut looks = self.looks();
        loop {
            // The sender is our own.
            if tokio::time::timeout_at(begun + longest, looks.changed()).await.is_err() {
                let ready = self.seen().0.map_or(0, |seen| seen.ready);
                return (false, format!("{ready} of {to} ready after {}", Span(longest)));
            }
            let (Some(seen), trouble) = self.seen() else { continue };
            if !trouble.is_empty() {
                continue;
            }
            if seen.asked != to {
                return (false, format!("then somebody else asked for {}", seen.asked));
            }
            if seen.ready == to && seen.running == to {
                return (true, format!("{to} ready after {:.1} s", begun.elapsed().as_secs_f64()));
            }
        }
    }

    /// Waits for a write that is under way and gives the lease back, unless a write may still be on its way.
    pub async fn let_go(&self, until: Instant) {
        let _nobody_writes = tokio::time::timeout_at(until, self.writing.lock()).await;
        let loose = self.lock().loose_until.is_some_and(|loose| Instant::now() < loose);
        match loose || _nobody_writes.is_err() {
            true => self.leader.let_run_out(),
            false => self.leader.release(until).await,
        }
    }

    fn standby(&self) -> String {
        format!(
            "nothing was written: {}",
            self.leader.standby().unwrap_or_else(|| "leadership was lost meanwhile".to_owned())
        )
    }

    async fn place(&self, until: Instant) -> Result<&Place, Refusal> {
        let kind = (self.kind.0.as_str(), self.kind.1.as_str());
        self.place.get_or_try_init(|| Place::find(&self.client, kind, &self.namespace, &self.name, until)).await
    }

    async fn read(&self, place: &Place, until: Instant) -> Result<Scale, Refusal> {
        let deed = place.deed("get", "scale");
        let path = place.path("scale");
        let body = self
            .client
            .send(&Call { deed: &deed, method: Method::GET, path, body: Vec::new(), until, may: &|| true })
            .await?;
        serde_json::from_slice(&body)
            .map_err(|error| Refusal::other(&deed, Why::Other, format!("the answer is no Scale: {error}")))
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `spec.replicas`, which is left out where it is 0.
fn asked(scale: &Scale) -> u32 {
    let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
    u32::try_from(replicas).unwrap_or(0)
}

fn running(scale: &Scale) -> u32 {
    scale.status.as_ref().map_or(0, |status| u32::try_from(status.replicas).unwrap_or(0))
}
