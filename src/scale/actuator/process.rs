//! replicas as processes of this machine, on ports of a range, behind one address
//!
//! Each replica is a task of its own (see `replica.rs`) that compares its number with what is asked for; so asking is
//! setting one number, and being asked twice for the same changes nothing.
//!
//! **Never:** a replica outlives tidemill, however tidemill ends.

use super::balancer::Balancer;
use super::cgroup::Place;
use super::guard::Guard;
use super::ports::{PortRange, Ports};
use super::replica::{Asked, Board, Life, Plan};
use super::spawner::Spawner;
use super::{Actuator, Ground, Kind, Outcome, Phase, ReplicaStatus, Status};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::scale::policy::replicas as count;
use crate::units::{Cores, DAY, HOUR, Span, within};
use futures::future::BoxFuture;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// `type = "process"`
pub const KIND: Kind = Kind {
    name: "process",
    about: "processes of this machine on ports of a range, behind one address",
    example: r#"type = "process"
command = ["python3", "server.py", "--port", "{port}"]
ports = "9100-9109"
listen = "127.0.0.1:9000"
health = "/healthz"
cpu = "200m"
"#,
};

/// The longest that all replicas may take to end when tidemill stops.
const STOP_MAX: Duration = Duration::from_secs(9);
/// What an application may take beyond the time that its parts may take.
const SLACK: Duration = Duration::from_secs(11);

/// A workload of processes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program and its arguments; `{port}` and `{replica}` are filled in.
    pub command: Vec<String>,
    /// Ports for the replicas, `9100-9109`: as many replicas as ports, at most.
    pub ports: PortRange,
    /// Address of the balancer in front of the replicas; none if not given.
    pub listen: Option<String>,
    /// Listen beyond this machine: whoever reaches the address reaches the replicas.
    #[serde(default)]
    pub insecure: bool,
    /// Path that a healthy replica answers with a status from 200 to 399; if not given, one that takes connections is healthy.
    pub health: Option<String>,
    /// Time between two checks of a replica.
    #[serde(default = "health_every", deserialize_with = "within::<10, HOUR, _, _>")]
    pub health_every: Span,
    /// Time for a replica to become healthy; then it is killed and started again.
    #[serde(default = "start_timeout", deserialize_with = "within::<10, DAY, _, _>")]
    pub start_timeout: Span,
    /// A replica that was healthy and is not for so long is killed and started again.
    #[serde(default = "unhealthy_timeout", deserialize_with = "within::<10, DAY, _, _>")]
    pub unhealthy_timeout: Span,
    /// Time for a replica that is stopped to finish the connections that the balancer sent it.
    #[serde(default = "drain", deserialize_with = "within::<0, HOUR, _, _>")]
    pub drain: Span,
    /// Time between a replica's being told to end (SIGTERM) and its being killed; 3 s while tidemill itself stops.
    #[serde(default = "stop_timeout", deserialize_with = "within::<10, DAY, _, _>")]
    pub stop_timeout: Span,
    /// Variables added to the environment of each replica; `{port}` and `{replica}` are filled in.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The directory that replicas start in; tidemill's own if not given.
    pub directory: Option<PathBuf>,
    /// The share of a processor core that each replica is held to, `200m` or `1.5`; not held if not given.
    pub cpu: Option<Cores>,
    /// File to which replicas' output is appended, `{port}` and `{replica}` filled in; if not given it goes into tidemill's own log.
    pub log: Option<String>,
    /// Connections that the balancer has open at once; more wait to be accepted.
    #[serde(default = "connections_max", deserialize_with = "within::<1, 65_536, _, _>")]
    pub connections_max: usize,
}

fn health_every() -> Span {
    Span(Duration::from_secs(1))
}

fn start_timeout() -> Span {
    Span(Duration::from_secs(30))
}

fn unhealthy_timeout() -> Span {
    Span(Duration::from_secs(60))
}

fn drain() -> Span {
    Span(Duration::from_secs(10))
}

fn stop_timeout() -> Span {
    Span(Duration::from_secs(10))
}

fn connections_max() -> usize {
    1024
}

impl Config {
    /// Until the last replica that starts is healthy, or the last one that stops is gone.
    fn longest_change(&self) -> Duration {
        self.start_timeout.0.max(self.drain.0 + self.stop_timeout.0)
    }

    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.command.first().is_none_or(String::is_empty) {
            faults.push(Fault::new("command", "command is empty; write the program and its arguments"));
        } else if !self.command.iter().chain(self.env.values()).any(|text| text.contains("{port}")) {
            let message = "nothing tells a replica its port; write `{port}` in `command` or in a value of `env`";
            faults.push(Fault::new("command", message));
        }
        if let Some(health) = &self.health
            && (!health.starts_with('/') || health.parse::<hyper::Uri>().is_err())
        {
            let message = format!("health = \"{health}\" is not a path; write it like `/healthz`");
            faults.push(Fault::new("health", message));
        }
        if let Some(directory) = self.directory.as_ref().filter(|directory| !directory.is_dir()) {
            let message = format!("`{}` is no directory; make it, or name another", directory.display());
            faults.push(Fault::new("directory", message));
        }
        let listen = self.listen.as_ref().and_then(|listen| self.check_listen(listen).err());
        faults.extend(listen.map(|error| Fault { key: "listen".to_owned(), error }));
        faults
    }

    fn check_listen(&self, listen: &str) -> Result<()> {
        let address: SocketAddr = listen.parse().map_err(|_| {
            Error::invalid(format!("listen = \"{listen}\" is not an address; write it like `127.0.0.1:9000`"))
        })?;
        if !address.ip().is_loopback() && !self.insecure {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!(
                    "listen = \"{listen}\" can be reached from other machines; write `insecure = true` if you mean it"
                ),
            ));
        }
        if self.ports.contains(address.port()) {
            return Err(Error::invalid(format!(
                "the port of listen = \"{listen}\" is within ports = \"{}\"; take one outside",
                self.ports
            )));
        }
        Ok(())
    }

    /// Checks in a row that may fail before a replica is started anew.
    pub(super) fn misses_max(&self) -> u32 {
        let checks = self.unhealthy_timeout.0.as_millis() / self.health_every.0.as_millis().max(1);
        u32::try_from(checks).unwrap_or(u32::MAX).max(4)
    }
}

/// A workload of processes at work.
pub struct Process {
    plan: Arc<Plan>,
    /// how a share of the processor is held, or why it is not
    cpu: String,
    asked: watch::Sender<Asked>,
    lives: Mutex<Lives>,
}

#[derive(Default)]
struct Lives {
    tasks: JoinSet<()>,
    /// replicas up to this number have a task
    known: u32,
}

impl Process {
    /// Opens the workload: its balancer listens, no replica runs yet.
    pub async fn open(config: Config, ground: Ground) -> Result<Process> {
        let balancer = match &config.listen {
            Some(address) => Some(Balancer::listen(address, config.connections_max).await?),
            None => None,
        };
        let place = match config.cpu {
            None => None,
            Some(_) => Some(find_place(ground.workload.clone()).await),
        };
        let (place, cpu) = match place {
            None => (None, String::new()),
            Some(Ok(place)) => {
                let told = place.tell();
                (Some(place), told)
            }
            Some(Err(why)) => {
                tracing::warn!(workload = ground.workload, why, "cpu is not enforced");
                (None, format!("not enforced ({why}); each replica is told its share in TIDEMILL_CPU_MILLIS"))
            }
        };
        let plan = Plan {
            ports: Ports::new(config.ports),
            balancer,
            spawner: Spawner::start()?,
            guard: Guard::start(&ground.workload),
            cpu: place,
            board: Board::new(ground.clone()),
            config,
            ground,
        };
        Ok(Process { plan: Arc::new(plan), cpu, asked: watch::Sender::new(Asked::default()), lives: Mutex::default() })
    }

    async fn reach(&self, replicas: u32) -> Result<Outcome> {
        let room = self.plan.config.ports.count();
        if replicas > room {
            let ports = self.plan.config.ports;
            let words = format!("ports {ports} have room for {room}, {replicas} were asked for; widen the range");
            return Err(Error::new(ErrorKind::Limit, words));
        }
        let clock = &self.plan.ground.clock;
        let (began, mut changes, mut asked) = (clock.now(), self.plan.board.changes(), self.asked.subscribe());
        let before = self.ask(replicas)?;
        let config = &self.plan.config;
        let limit = tokio::time::sleep(config.longest_change() + SLACK);
        tokio::pin!(limit);
        loop {
            let list = self.plan.board.list();
            let seconds = clock.now().saturating_sub(began).max(0) as f64 / 1e9;
            if settled(&list, replicas) {
                return Ok(Outcome { reached: true, words: tell(before, replicas, seconds) });
            }
            tokio::select! {
                // Both senders live as long as we do.
                _ = changes.changed() => {}
                _ = asked.changed() => {
                    let now = *asked.borrow_and_update();
                    if now.stopping || now.replicas != replicas {
                        let why = if now.stopping { "tidemill stopped".to_owned() } else { format!("{} asked for", count(now.replicas)) };
                        return Ok(Outcome { reached: false, words: format!("given up after {seconds:.1} s: {why} meanwhile") });
                    }
                }
                () = &mut limit => return Ok(Outcome { reached: false, words: missing(&list, replicas, seconds) }),
            }
        }
    }

    /// Sets the number and sees to it that every replica up to it has a task. Says what was asked for before.
    fn ask(&self, replicas: u32) -> Result<u32> {
        let mut lives = lock(&self.lives);
        let before = *self.asked.borrow();
        if before.stopping {
            return Err(Error::new(ErrorKind::Unavailable, "the workload is stopping; nothing is started any more"));
        }
        self.asked.send_if_modified(|asked| {
            let changed = asked.replicas != replicas;
            asked.replicas = replicas;
            changed
        });
        while lives.known < replicas {
            lives.known += 1;
            let life = Life::new(lives.known, self.plan.clone(), self.asked.subscribe());
            lives.tasks.spawn(life.live());
        }
        Ok(before.replicas)
    }

    async fn end(&self) {
        let mut tasks = {
            let mut lives = lock(&self.lives);
            self.asked.send_modify(|asked| *asked = Asked { replicas: 0, stopping: true });
            std::mem::take(&mut lives.tasks)
        };
        if let Some(balancer) = &self.plan.balancer {
            balancer.close();
        }
        let all = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, all).await.is_err() {
            // Dropping a task drops its child, which kills it.
            tracing::warn!(workload = self.plan.ground.workload, "replicas did not end in time");
            tasks.shutdown().await;
        }
        self.plan.guard.close().await;
        (self.plan.ground.publish)(Vec::new());
    }
}

impl Actuator for Process {
    fn apply(&self, replicas: u32) -> BoxFuture<'_, Result<Outcome>> {
        Box::pin(self.reach(replicas))
    }

    fn patience(&self) -> Duration {
        let config = &self.plan.config;
        config.longest_change() + SLACK + SLACK
    }

    fn status(&self) -> Status {
        let mut replicas = self.plan.board.list();
        if let Some(balancer) = &self.plan.balancer {
            for replica in &mut replicas {
                (replica.open, replica.failures) = balancer.of(replica.number);
            }
        }
        let total = |what: fn(&ReplicaStatus) -> bool| {
            u32::try_from(replicas.iter().filter(|replica| what(replica)).count()).unwrap_or(u32::MAX)
        };
        Status {
            asked: self.asked.borrow().replicas,
            running: total(|replica| replica.pid.is_some()),
            ready: total(|replica| replica.phase == Phase::Ready),
            unknown: String::new(),
            cpu: self.cpu.clone(),
            connections: self.plan.balancer.as_ref().map(Balancer::connections),
            replicas,
            ..Status::default()
        }
    }

    fn targets(&self) -> Vec<String> {
        let ready = self.plan.board.list().into_iter().filter(|replica| replica.phase == Phase::Ready);
        ready.map(|replica| replica.address).collect()
    }

    fn dry_run(&self) -> bool {
        false
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}

/// Looks for a place for cgroups, where waiting for the disk holds nobody up.
async fn find_place(workload: String) -> std::result::Result<Place, String> {
    let found = tokio::task::spawn_blocking(move || Place::find(&workload)).await;
    found.unwrap_or_else(|error| Err(format!("cgroups cannot be looked at: {error}")))
}

/// Whether exactly the replicas that are wanted are there, and ready.
fn settled(list: &[ReplicaStatus], replicas: u32) -> bool {
    u32::try_from(list.len()) == Ok(replicas)
        && list.iter().all(|replica| replica.number <= replicas && replica.phase == Phase::Ready)
}

fn tell(before: u32, after: u32, seconds: f64) -> String {
    match after.abs_diff(before) {
        0 => format!("{} ready, nothing to do", count(after)),
        change if after > before => format!("started {} in {seconds:.1} s", count(change)),
        change => format!("stopped {} in {seconds:.1} s", count(change)),
    }
}

/// What is not as it should be, in words.
fn missing(list: &[ReplicaStatus], replicas: u32, seconds: f64) -> String {
    let ready = list.iter().filter(|replica| replica.number <= replicas && replica.phase == Phase::Ready).count();
    let mut words = format!("{ready} of {} ready after {seconds:.1} s", count(replicas));
    for replica in list.iter().filter(|replica| replica.number > replicas || replica.phase != Phase::Ready) {
        words.push_str(&format!("; replica {} is {}", replica.number, replica.phase.word()));
        if !replica.message.is_empty() {
            words.push_str(&format!(" ({})", replica.message));
        }
    }
    words
}

fn lock(lives: &Mutex<Lives>) -> MutexGuard<'_, Lives> {
    lives.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
