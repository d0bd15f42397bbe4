//! the life of one replica, from its first start to its last end
//!
//!     waiting ─► starting ─► ready ◄─► unready        died by itself: waits (100 ms, doubled up to 30 s), starts again
//!        ▲           │          │
//!        │           └──┬───────┴─► draining ─► stopping ─► gone        not wanted any more
//!        └──────────────┘ died, or never healthy
//!
//! A replica has a number, from 1; it is wanted while its number is not above what is asked for. So the newest go first, and one
//! that is wanted again while it drains simply goes on.

use super::balancer::{Balancer, Member, Standing};
use super::cgroup::{Group, Place};
use super::guard::Guard;
use super::placeholder::fill;
use super::ports::{Lease, Ports};
use super::process::Config;
use super::spawner::Spawner;
use super::voice::{Speaker, Voice};
use super::{Ground, Phase, Replica, ReplicaStatus, health};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::sleep;

/// Time for draining, and between a replica's being told to end and its being killed, while tidemill itself is stopping.
const LAST_END_MAX: Duration = Duration::from_secs(3);
/// Time for one that was killed to be gone.
const REAPED_MAX: Duration = Duration::from_secs(5);
/// A replica that ran so long without dying is given its first, short wait again.
const STEADY: Duration = Duration::from_secs(60);
/// Checks that may fail in a row before a replica is unready.
const MISSES_MAX: u32 = 3;
/// Time between two checks of a replica that is starting.
const START_CHECK_EVERY: Duration = Duration::from_millis(50);

/// What is asked of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// replicas
    pub replicas: u32,
    /// tidemill is stopping: none, and soon
    pub stopping: bool,
}

/// What all replicas of a workload share.
pub struct Plan {
    /// as written
    pub config: Config,
    /// the workload's name, the time, who is told
    pub ground: Ground,
    /// who has which port
    pub ports: Ports,
    /// the address in front
    pub balancer: Option<Balancer>,
    /// starts processes
    pub spawner: Spawner,
    /// sees to what replicas start
    pub guard: Guard,
    /// where cgroups can be made, if a share of the processor is asked for
    pub cpu: Option<Place>,
    /// what there is
    pub board: Board,
}

/// What each replica is doing, for whoever looks.
pub struct Board {
    ground: Ground,
    replicas: Mutex<BTreeMap<u32, ReplicaStatus>>,
    /// held while news are told, so that they are told in order
    telling: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl Board {
    /// An empty one.
    pub fn new(ground: Ground) -> Self {
        Board { ground, replicas: Mutex::default(), telling: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Every replica there is.
    pub fn list(&self) -> Vec<ReplicaStatus> {
        lock(&self.replicas).values().cloned().collect()
    }

    /// Counts changes, to wait for the next.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn change(&self, number: u32, phase: Phase, change: impl FnOnce(&mut ReplicaStatus)) {
        let now = self.ground.clock.now();
        {
            let mut replicas = lock(&self.replicas);
            let replica = replicas.entry(number).or_insert_with(|| ReplicaStatus {
                number,
                phase,
                since: now,
                ..ReplicaStatus::default()
            });
            if replica.phase != phase {
                (replica.phase, replica.since) = (phase, now);
            }
            change(replica);
        }
        self.tell();
    }

    fn forget(&self, number: u32) {
        if lock(&self.replicas).remove(&number).is_some() {
            self.tell();
        }
    }

    fn tell(&self) {
        let _in_order = lock(&self.telling);
        let running = self.list().into_iter().filter_map(|replica| {
            let workload = self.ground.workload.clone();
            Some(Replica { workload, replica: replica.number.to_string(), pid: replica.pid?, address: replica.address })
        });
        (self.ground.publish)(running.collect());
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

/// How one run of a replica ended.
enum End {
    Unwanted,
    Died(String),
}

/// A replica's process and all that goes with it.
struct Running {
    child: Child,
    group: Option<Pid>,
    voice: Voice,
    cgroup: Option<Group>,
    lease: Lease,
}

/// How draining ended.
enum Drained {
    Done,
    WantedAgain,
}

/// One replica, by its number.
pub struct Life {
    number: u32,
    plan: Arc<Plan>,
    asked: watch::Receiver<Asked>,
    /// the port where it failed to start last
    avoid: Option<u16>,
}

impl Life {
    /// One that is not started yet.
    pub fn new(number: u32, plan: Arc<Plan>, asked: watch::Receiver<Asked>) -> Self {
        Life { number, plan, asked, avoid: None }
    }

    /// Starts, tends and ends it, again and again, until tidemill stops.
    pub async fn live(mut self) {
        let mut waits = Waits::new();
        loop {
            while !self.wanted() {
                if self.asked.borrow().stopping || self.asked.changed().await.is_err() {
                    return;
                }
            }
            match self.run(&mut waits).await {
                End::Unwanted => {
                    self.plan.board.forget(self.number);
                    waits.reset();
                    self.avoid = None;
                }
                End::Died(why) => self.wait(waits.next(), why).await,
            }
        }
    }

    fn wanted(&self) -> bool {
        let asked = *self.asked.borrow();
        !asked.stopping && self.number <= asked.replicas
    }

    /// Waits before the next start; not wanting it any more ends the wait.
    async fn wait(&mut self, wait: Duration, why: String) {
        let workload = &self.plan.ground.workload;
        tracing::warn!(workload, replica = self.number, why, wait_ms = wait.as_millis(), "replica ended");
        self.plan.board.change(self.number, Phase::Waiting, |replica| {
            replica.restarts += 1;
            replica.message = why;
        });
        let over = sleep(wait);
        tokio::pin!(over);
        while self.wanted() {
            tokio::select! {
                () = &mut over => return,
                changed = self.asked.changed() => if changed.is_err() { break },
            }
        }
        self.plan.board.forget(self.number);
    }

    /// One run: from start to end.
    async fn run(&mut self, waits: &mut Waits) -> End {
        let mut running = match self.start().await {
            Ok(running) => running,
            Err(why) => return End::Died(why),
        };
        let end = match self.starting(&mut running).await {
            None => self.serving(&mut running, waits).await,
            Some(end) => {
                self.avoid = Some(running.lease.address().port());
                end
            }
        };
        self.finish(running).await;
        end
    }

    /// Starts the process; an error says why not.
    async fn start(&mut self) -> Result<Running, String> {
        let lent = self.plan.ports.lend(self.avoid)?;
        let address = lent.lease.address();
        let mut message = String::new();
        if !lent.skipped.is_empty() {
            message = format!("somebody else listens on {:?}; skipped", lent.skipped);
            let workload = &self.plan.ground.workload;
            tracing::warn!(workload, replica = self.number, skipped = ?lent.skipped, "ports in use");
        }
        let (mut child, cgroup) = self.spawn(address).await?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            self.plan.guard.watch(group).await;
        }
        let Ground { workload, clock, .. } = self.plan.ground.clone();
        let started_at = clock.now();
        let voice = Voice::listen(&mut child, &Speaker { workload, replica: self.number, clock });
        self.plan.board.change(self.number, Phase::Starting, |replica| {
            replica.pid = child.id();
            replica.started_at = started_at;
            replica.address = address.to_string();
            replica.cpu_enforced = cgroup.is_some();
            if !message.is_empty() {
                replica.message = message;
            }
        });
        Ok(Running { child, group, voice, cgroup, lease: lent.lease })
    }

    /// Into a cgroup if there is one for it, else without.
    async fn spawn(&self, address: SocketAddr) -> Result<(Child, Option<Group>), String> {
        let place = self.plan.config.cpu.zip(self.plan.cpu.as_ref());
        if let Some((group, enter)) = place.and_then(|(cpu, place)| place.group(&self.number.to_string(), cpu).ok()) {
            match self.plan.spawner.spawn(self.command(address, true)?, Some(enter)).await {
                Ok(child) => return Ok((child, Some(group))),
                Err(_) => group.close().await,
            }
        }
        let spawned = self.plan.spawner.spawn(self.command(address, false)?, None).await;
        let program = self.plan.config.command.first().map_or("", String::as_str);
        Ok((spawned.map_err(|error| format!("`{program}` cannot be started: {error}"))?, None))
    }

    fn command(&self, address: SocketAddr, enforced: bool) -> Result<Command, String> {
        let config = &self.plan.config;
        let mut words = config.command.iter().map(|word| fill(word, address, self.number));
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        command.env("TIDEMILL_WORKLOAD", &self.plan.ground.workload);
        command.env("TIDEMILL_REPLICA", self.number.to_string());
        command.env("TIDEMILL_PORT", address.port().to_string());
        if let Some(cpu) = config.cpu {
            command.env("TIDEMILL_CPU_MILLIS", cpu.millis.to_string());
            command.env("TIDEMILL_CPU_ENFORCED", if enforced { "1" } else { "0" });
        }
        for (name, value) in &config.env {
            command.env(name, fill(value, address, self.number));
        }
        if let Some(directory) = &config.directory {
            command.current_dir(directory);
        }
        match &config.log {
            None => {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
            Some(path) => {
                let path = fill(path, address, self.number);
                let told = |error| format!("log `{path}` cannot be written: {error}");
                let log = OpenOptions::new().create(true).append(true).open(&path).map_err(told)?;
                command.stdout(log.try_clone().map_err(told)?).stderr(log);
            }
        }
        Ok(command)
    }

    /// Until it is healthy; otherwise how it ended.
    async fn starting(&mut self, running: &mut Running) -> Option<End> {
        let (path, address) = (self.plan.config.health.clone(), running.lease.address());
        let limit = sleep(self.plan.config.start_timeout.0);
        tokio::pin!(limit);
        let mut last = "it was not asked yet".to_owned();
        let mut first = true;
        loop {
            let check = async {
                if !first {
                    sleep(START_CHECK_EVERY).await;
                }
                health::check(address, path.as_deref()).await
            };
            tokio::select! {
                biased;
                status = running.child.wait() => return Some(End::Died(died(status, &mut running.voice).await)),
                changed = self.asked.changed() => if changed.is_err() || !self.wanted() { return Some(End::Unwanted) },
                () = &mut limit => {
                    let limit = self.plan.config.start_timeout;
                    return Some(End::Died(format!("not healthy within {limit}: {last}")));
                }
                checked = check => match checked {
                    Ok(()) => return None,
                    Err(why) => (last, first) = (why, false),
                },
            }
        }
    }

    /// While it is healthy and wanted; says how that ended.
    async fn serving(&mut self, running: &mut Running, waits: &mut Waits) -> End {
        let plan = self.plan.clone();
        let (path, address) = (plan.config.health.as_deref(), running.lease.address());
        let member = plan.balancer.as_ref().map(|balancer| balancer.join(self.number, address));
        let steady = sleep(STEADY);
        tokio::pin!(steady);
        let (mut is_steady, mut misses) = (false, 0);
        self.avoid = None;
        plan.board.change(self.number, Phase::Ready, |replica| replica.message.clear());
        loop {
            let check = async {
                tokio::select! {
                    () = sleep(plan.config.health_every.0) => {}
                    () = suspected(&member) => {}
                }
                health::check(address, path).await
            };
            tokio::select! {
                biased;
                status = running.child.wait() => return End::Died(died(status, &mut running.voice).await),
                changed = self.asked.changed() => if changed.is_err() || !self.wanted() {
                    match self.drain(running, &member).await {
                        Drained::Done => return End::Unwanted,
                        Drained::WantedAgain => self.stand(&member, Phase::Ready, ""),
                    }
                },
                () = &mut steady, if !is_steady => {
                    is_steady = true;
                    waits.reset();
                }
                checked = check => match checked {
                    Ok(()) => {
                        misses = 0;
                        self.stand(&member, Phase::Ready, "");
                    }
                    Err(why) => {
                        misses += 1;
                        if misses >= MISSES_MAX {
                            self.stand(&member, Phase::Unready, &why);
                        }
                        if misses >= plan.config.misses_max() {
                            return End::Died(format!("not healthy for {}: {why}", plan.config.unhealthy_timeout));
                        }
                    }
                },
            }
        }
    }

    /// Says how it stands to the balancer and on the board.
    fn stand(&self, member: &Option<Member>, phase: Phase, message: &str) {
        if let Some(member) = member {
            member.stand(match phase {
                Phase::Ready => Standing::Ready,
                Phase::Unready => Standing::Doubtful,
                Phase::Waiting | Phase::Starting | Phase::Draining | Phase::Stopping => Standing::Draining,
            });
        }
        let same = |replica: &ReplicaStatus| replica.phase == phase && replica.message == message;
        if !lock(&self.plan.board.replicas).get(&self.number).is_some_and(same) {
            self.plan.board.change(self.number, phase, |replica| message.clone_into(&mut replica.message));
        }
    }

    /// Gets no new connection, and time to finish those it has.
    async fn drain(&mut self, running: &mut Running, member: &Option<Member>) -> Drained {
        self.stand(member, Phase::Draining, "");
        let drain = self.plan.config.drain.0;
        let time = |asked: Asked| if asked.stopping { drain.min(LAST_END_MAX) } else { drain };
        let mut limit = Box::pin(sleep(time(*self.asked.borrow())));
        let mut stopping = self.asked.borrow().stopping;
        loop {
            tokio::select! {
                biased;
                _ = running.child.wait() => return Drained::Done,
                () = idle(member) => return Drained::Done,
                () = &mut limit => return Drained::Done,
                changed = self.asked.changed() => {
                    let asked = *self.asked.borrow();
                    if changed.is_err() {
                        return Drained::Done;
                    }
                    if self.wanted() {
                        return Drained::WantedAgain;
                    }
                    if asked.stopping && !stopping {
                        stopping = true;
                        limit.set(sleep(time(asked)));
                    }
                }
            }
        }
    }

    /// Ends the process if it has not ended, and whatever it started; gives back what it held.
    async fn finish(&mut self, mut running: Running) {
        self.plan.board.change(self.number, Phase::Stopping, |_| {});
        if matches!(running.child.try_wait(), Ok(None)) {
            signal(running.group, Signal::TERM);
            let end = self.plan.config.stop_timeout.0;
            let end = if self.asked.borrow().stopping { end.min(LAST_END_MAX) } else { end };
            let ended = tokio::select! {
                _ = running.child.wait() => true,
                () = sleep(end) => false,
                // Tidemill stops meanwhile: what is left of its time is shorter.
                () = async { self.until_stopping().await; sleep(LAST_END_MAX).await } => false,
            };
            if !ended {
                let workload = &self.plan.ground.workload;
                tracing::warn!(workload, replica = self.number, "replica killed: it did not end when told");
            }
        }
        // Its children may live on in its process group. The group's number cannot be another's yet: numbers are handed out in
        // turn, and the leader ended only now.
        signal(running.group, Signal::KILL);
        let _ = tokio::time::timeout(REAPED_MAX, running.child.wait()).await;
        if let Some(cgroup) = running.cgroup.take() {
            cgroup.close().await;
        }
        if let Some(group) = running.group {
            self.plan.guard.forget(group).await;
        }
        drop(running);
        self.plan.board.change(self.number, Phase::Stopping, |replica| {
            replica.pid = None;
            replica.address.clear();
        });
    }

    async fn until_stopping(&self) {
        let _ = self.asked.clone().wait_for(|asked| asked.stopping).await;
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    // An error means that nobody is left in it.
    let _ = group.map(|group| kill_process_group(group, signal));
}

async fn suspected(member: &Option<Member>) {
    match member {
        Some(member) => member.suspected().await,
        None => std::future::pending().await,
    }
}

async fn idle(member: &Option<Member>) {
    if let Some(member) = member {
        member.idle().await;
    }
}

/// How a process ended, with its last words.
async fn died(status: std::io::Result<ExitStatus>, voice: &mut Voice) -> String {
    let ended = match status {
        Ok(status) => format!("it ended by itself ({status})"),
        Err(error) => format!("it cannot be waited for: {error}"),
    };
    let words = voice.last_words().await;
    if words.is_empty() { ended } else { format!("{ended}, last saying `{words}`") }
}

/// How long to wait before the next start.
struct Waits {
    next: Duration,
}

impl Waits {
    const FIRST: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(30);

    fn new() -> Self {
        Waits { next: Waits::FIRST }
    }

    fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(Waits::MAX);
        wait
    }

    fn reset(&mut self) {
        self.next = Waits::FIRST;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_thirty_seconds() {
        let mut waits = Waits::new();
        let millis: Vec<u128> = (0..11).map(|_| waits.next().as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000]);
        waits.reset();
        assert_eq!(waits.next(), Waits::FIRST);
    }
}
