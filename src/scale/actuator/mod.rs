//! what makes a decision true: starts and stops replicas of a workload
//!
//! **Always:** an actuator converges to the number last asked for, by itself, also when replicas die; `apply` only asks and waits.
//! One whose workload is [shared](Actuator::shared) leaves that to who keeps the replicas, and says what it found.

pub mod process;
pub mod webhook;
pub mod exec;
pub mod none;
pub mod kubernetes;
mod balancer;
mod cgroup;
mod guard;
mod health;
mod placeholder;
mod ports;
mod remote;
mod replica;
mod spawner;
mod tail;
mod voice;

pub use balancer::Connections;
pub use ports::PortRange;

use crate::clock::Clock;
use crate::error::{Fault, Result, did_you_mean};
use futures::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A workload whose replicas can be counted and changed.
pub trait Actuator: Send + Sync {
    /// Asks for so many replicas and waits until they are there, until a later `apply` asks for another number, or until it has
    /// taken too long. Dropping the future changes nothing of what was asked.
    fn apply(&self, replicas: u32) -> BoxFuture<'_, Result<Outcome>>;
    /// The same for a decision that was made from this number: where others may have changed it since, nothing is overwritten.
    fn change(&self, from: u32, to: u32) -> BoxFuture<'_, Result<Outcome>> {
        let _ = from;
        self.apply(to)
    }
    /// The same, for an actuator that tells others why: it is given the decision, which is the same however often it is applied.
    fn carry_out<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Outcome>> {
        self.change(change.from, change.to)
    }
    /// How long an application may take before it counts as hanging; then it is given up, and asked for again.
    fn patience(&self) -> Duration {
        Duration::from_secs(3600)
    }
    /// Whether it lives without us: its replicas are there before we start and stay when we stop, and others change them too.
    fn shared(&self) -> bool {
        false
    }
    /// What is asked for, what there is.
    fn status(&self) -> Status;
    /// Addresses of the replicas that are ready, for a scrape source to follow.
    fn targets(&self) -> Vec<String>;
    /// Whether nothing is really started.
    fn dry_run(&self) -> bool;
    /// Ends every replica, or lets go of what is shared, within ten seconds.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// A decision to be made true, with why. It is on disk before anybody is told, and after a restart it is the same again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// its name: scaler and tick, `web/1764024000000000000`
    pub decision: String,
    /// the scaler
    pub scaler: String,
    /// when it was decided, ns UTC
    pub at: i64,
    /// replicas before
    pub from: u32,
    /// replicas from now on
    pub to: u32,
    /// why, in sentences
    pub reason: String,
}

/// What became of a number that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// whether it is as asked
    pub reached: bool,
    /// in words: `started 2 replicas in 0.8 s`
    pub words: String,
}

/// A workload at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// replicas asked for
    pub asked: u32,
    /// of a shared workload, the number that it was last found to be asked for; nothing before the first look
    pub found: Option<u32>,
    /// why nothing can be changed now (another controller leads, its API does not answer), as a sentence without its full stop;
    /// empty where it can
    pub standby: String,
    /// replicas that have a process
    pub running: u32,
    /// replicas that answer
    pub ready: u32,
    /// why nobody knows how many there are; empty where it is known
    pub unknown: String,
    /// each replica there is
    pub replicas: Vec<ReplicaStatus>,
    /// how a share of the processor is held, or why it is not; empty where none is asked for
    pub cpu: String,
    /// the balancer's figures, where there is one
    pub connections: Option<Connections>,
}

/// One replica at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicaStatus {
    /// its number, from 1
    pub number: u32,
    /// what others call it, such as a pod's name; empty where it has its number alone
    pub name: String,
    /// where it is in its life
    pub phase: Phase,
    /// its process
    pub pid: Option<u32>,
    /// where it listens; empty while it has no port
    pub address: String,
    /// since when it is in this phase, ns UTC
    pub since: i64,
    /// when its process was started, ns UTC; 0 while it has none
    pub started_at: i64,
    /// how often it was started again after it had ended by itself
    pub restarts: u64,
    /// connections of the balancer that are open to it
    pub open: usize,
    /// connections that it did not take
    pub failures: u64,
    /// whether its share of the processor is enforced
    pub cpu_enforced: bool,
    /// what went wrong last; empty while all is well
    pub message: String,
}

impl ReplicaStatus {
    /// Its name, or else its number.
    pub fn called(&self) -> String {
        if self.name.is_empty() { self.number.to_string() } else { self.name.clone() }
    }
}

/// Where a replica is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// has no process: waits before it is started again
    #[default]
    Waiting,
    /// runs, and has not answered yet
    Starting,
    /// answers
    Ready,
    /// did answer, and does not any more
    Unready,
    /// finishes its connections
    Draining,
    /// was told to end
    Stopping,
}

impl Phase {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Starting => "starting",
            Phase::Ready => "ready",
            Phase::Unready => "unready",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }
}

/// A process of a workload, for the metrics of processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// the workload's name
    pub workload: String,
    /// the replica's number
    pub replica: String,
    /// its process
    pub pid: u32,
    /// where it listens
    pub address: String,
}

/// Is told all running replicas of a workload whenever they change.
pub type Publish = Arc<dyn Fn(Vec<Replica>) + Send + Sync>;

/// What an actuator is given to work with.
#[derive(Clone)]
pub struct Ground {
    /// the workload's name
    pub workload: String,
    /// the time
    pub clock: Clock,
    /// is told of running replicas
    pub publish: Publish,
}

/// A kind of actuator, as a pipeline file names it.
pub struct Kind {
    /// the word after `type =`
    pub name: &'static str,
    /// one line about it
    pub about: &'static str,
    /// a table that works
    pub example: &'static str,
}

/// Every kind of actuator.
pub const ACTUATORS: &[Kind] = &[process::KIND, kubernetes::KIND, webhook::KIND, exec::KIND, none::KIND];

/// `[workloads.<name>]` of a pipeline file, once its `type` is known.
#[derive(Clone, Debug)]
pub enum Config {
    /// `type = "process"`
    Process(Box<process::Config>),
    /// `type = "webhook"`
    Webhook(Box<webhook::Config>),
    /// `type = "exec"`
    Exec(Box<exec::Config>),
    /// `type = "none"`
    None(none::Config),
    /// `type = "kubernetes"`
    Kubernetes(Box<kubernetes::Config>),
}

impl Config {
    /// What of a cluster it scales, if it does: no two workloads can be the same.
    pub fn object(&self) -> Option<String> {
        match self {
            Config::Kubernetes(config) => Some(config.object()),
            Config::Process(_) | Config::Webhook(_) | Config::Exec(_) | Config::None(_) => None,
        }
    }

    /// Reads the rest of a workload's table; `kind` is the word after `type =`.
    pub fn read<'de, D: Deserializer<'de>>(kind: &str, table: D) -> std::result::Result<Config, D::Error> {
        match kind {
            "process" => Ok(Config::Process(Box::deserialize(table)?)),
            "webhook" => Ok(Config::Webhook(Box::deserialize(table)?)),
            "exec" => Ok(Config::Exec(Box::deserialize(table)?)),
            "none" => Ok(Config::None(none::Config::deserialize(table)?)),
            "kubernetes" => Ok(Config::Kubernetes(Box::deserialize(table)?)),
            other => {
                let known: Vec<&str> = ACTUATORS.iter().map(|kind| kind.name).collect();
                Err(serde::de::Error::custom(format!(
                    "unknown workload type `{other}`; known are {}{}",
                    known.join(", "),
                    did_you_mean(other, known.iter().copied())
                )))
            }
        }
    }

    /// Whether anybody can tell how many replicas run: else there are as many as it was told last.
    pub fn can_look(&self) -> bool {
        match self {
            Config::Webhook(config) => config.observe.is_some(),
            Config::Exec(config) => !config.observe.is_empty(),
            Config::Process(_) | Config::Kubernetes(_) | Config::None(_) => true,
        }
    }

    /// What is wrong that no single key can tell. `max` is the most that its scaler may ask for.
    pub fn faults(&self, max: Option<u32>) -> Vec<Fault> {
        let config = match self {
            Config::Process(config) => config,
            Config::Kubernetes(config) => return config.faults(),
            Config::Webhook(config) => return config.faults(),
            Config::Exec(config) => return config.faults(),
            Config::None(none::Config {}) => return Vec::new(),
        };
        let mut faults = config.faults();
        let capacity = config.ports.count();
        if let Some(max) = max.filter(|max| *max > capacity) {
            let (ports, room) = (config.ports, super::policy::replicas(capacity));
            let message = format!(
                "ports = \"{ports}\" has room for {room}, the scaler may ask for {max}; widen the range or lower `max`"
            );
            faults.push(Fault::new("ports", message));
        }
        faults
    }

    /// Opens the workload with no replica yet; its balancer listens already.
    pub async fn open(self, ground: Ground) -> Result<Arc<dyn Actuator>> {
        match self {
            Config::Process(config) => Ok(Arc::new(process::Process::open(*config, ground).await?)),
            Config::Webhook(config) => Ok(Arc::new(webhook::open(*config, ground).await?)),
            Config::Exec(config) => Ok(Arc::new(exec::open(*config, ground).await?)),
            Config::None(none::Config {}) => Ok(Arc::new(none::Nothing::new(&ground.workload))),
            Config::Kubernetes(config) => Ok(Arc::new(kubernetes::Kubernetes::open(*config, ground).await?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, max: Option<u32>) -> Result<Config, String> {
        let mut table: toml::Table = toml::from_str(text).unwrap();
        let kind = table.remove("type").unwrap();
        let config = Config::read(kind.as_str().unwrap(), table).map_err(|error| error.to_string())?;
        match config.faults(max).first() {
            Some(fault) => Err(format!("{}: {}", fault.key, fault.error)),
            None => Ok(config),
        }
    }

    #[test]
    fn examples_work() {
        for kind in ACTUATORS {
            read(kind.example, Some(5)).unwrap();
        }
    }

    #[test]
    fn mistakes_are_named() {
        let process = "type = \"process\"\ncommand = [\"x\", \"{port}\"]\nports = \"9100-9103\"\n";
        for (text, max, named) in [
            ("type = \"proces\"", None, "did you mean `process`"),
            ("type = \"none\"\nports = \"1\"", None, "unknown field `ports`"),
            (
                &format!("{process}directory = \"/nowhere/at/all\""),
                None,
                "directory: `/nowhere/at/all` is no directory",
            ),
            (process, Some(9), "room for 4 replicas"),
            (&process.replace("{port}", "x"), None, "{port}"),
            (&process.replace("\"x\", \"{port}\"", ""), None, "command"),
            (&format!("{process}health = \"healthz\""), None, "/healthz"),
            (&format!("{process}listen = \"9000\""), None, "127.0.0.1:9000"),
            (&format!("{process}listen = \"0.0.0.0:9000\""), None, "insecure = true"),
            (&format!("{process}listen = \"127.0.0.1:9101\""), None, "within ports"),
            ("type = \"kubernetes\"", None, "missing field `name`"),
            ("type = \"kubernetes\"\nname = \"Web\"", None, "name: `Web`"),
            ("type = \"kubernetes\"\nname = \"web\"\nnamespace = \"a/b\"", None, "namespace: `a/b`"),
            ("type = \"kubernetes\"\nname = \"web\"\nkind = \"Deploiment\"", None, "did you mean `Deployment`?"),
            ("type = \"kubernetes\"\nname = \"web\"\nkind = \"Rollout\"", None, "api_version"),
            ("type = \"kubernetes\"\nname = \"web\"\napi_version = \"apps/v1/x\"", None, "api_version"),
            ("type = \"kubernetes\"\nname = \"web\"\nlease_duration = \"1s\"", None, "at least `3s`"),
        ] {
            let error = read(text, max).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
