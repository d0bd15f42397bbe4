//! one scaler's loop: ask, decide, record, act, and record what became of it
//!
//!     tick ─► answers ─► plugin ─► policy ─► row durable ─► actuator … outcome row
//!                                               └─ not recorded: nothing is done, the next tick tries again
//!
//! Acting takes its time (a replica starts, another drains) and does not stop the ticks: a later decision simply asks for another
//! number, and the earlier one's outcome says so. Ticks that come late are left out, never bunched.
//!
//! **Always:** the plugin's state and the number that was decided are stored together with the row that tells of them.
//! **Never:** an actuator is called for a decision that is not on disk.

use super::actuator::{Actuator, Outcome};
use super::decision::{Decided, Followed, Memory, Who, decision_row, outcome_row};
use super::evidence::{Answer, Ask, Fresh, Question, gather};
use super::policy::{Belief, Case, Decision, Policy};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::event::{Position, TableName};
use crate::plugin::{Limits, Proposal, Request};
use crate::units::{DAY, Span, within};
use arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use serde::Deserialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// The longest that a signal's query or the plugin may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest that a row may take to become durable.
const RECORD_MAX: Duration = Duration::from_secs(10);
/// The most state a plugin may keep between ticks.
const STATE_BYTES_MAX: usize = 1 << 20;
/// Outcomes that wait for a disk that is full; beyond it the oldest is dropped.
const UNWRITTEN_MAX: usize = 32;
/// Applications of decisions that may be under way; each is ended by the next, so that more means that one hangs.
const DOING_MAX: usize = 16;
/// The most signals of one scaler.
const SIGNALS_MAX: usize = 32;

/// `[scalers.<name>]` of a pipeline file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Time between two decisions.
    #[serde(default = "every", deserialize_with = "within::<100, DAY, _, _>")]
    pub every: Span,
    /// The autoscaler plugin: a bundled one's name, or a path to a `.wasm`.
    pub plugin: String,
    /// The plugin's hash; another file of the same name is refused.
    pub sha256: Option<String>,
    /// What a call of the plugin may use.
    #[serde(default)]
    pub limits: Limits,
    /// Settings handed to the plugin.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The workload that is scaled.
    pub workload: String,
    /// Least replicas.
    #[serde(default = "one")]
    pub min: u32,
    /// Most replicas.
    #[serde(deserialize_with = "within::<1, 100_000, _, _>")]
    pub max: u32,
    /// Replicas at the very first start; later starts go on with the last decided number. `min` if not given.
    pub initial: Option<u32>,
    /// Most replicas to start in one tick; no limit if not given.
    #[serde(default, deserialize_with = "within::<1, 100_000, _, _>")]
    pub up_max: Option<u32>,
    /// Most replicas to stop in one tick; no limit if not given.
    #[serde(default, deserialize_with = "within::<1, 100_000, _, _>")]
    pub down_max: Option<u32>,
    /// How long after a change nothing is stopped; not at all if not given.
    #[serde(default, deserialize_with = "within::<0, { 30 * DAY }, _, _>")]
    pub cooldown: Option<Span>,
    /// Queries by name: their answers are what the plugin decides from.
    #[serde(default)]
    pub signals: BTreeMap<String, String>,
}

fn every() -> Span {
    Span(Duration::from_secs(5))
}

fn one() -> u32 {
    1
}

impl Config {
    /// What the decisions must keep to.
    pub fn policy(&self) -> Policy {
        Policy {
            min: self.min,
            max: self.max,
            up_max: self.up_max,
            down_max: self.down_max,
            cooldown: self.cooldown.map(|span| span.0),
        }
    }

    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        let (min, max, mut faults) = (self.min, self.max, Vec::new());
        if min > max {
            faults.push(Fault::new("min", format!("min is {min} and max is {max}; min cannot be above max")));
        }
        if let Some(initial) = self.initial.filter(|initial| min <= max && self.policy().within(*initial) != *initial) {
            let message = format!("initial = {initial} is outside of min = {min} and max = {max}");
            faults.push(Fault::new("initial", message));
        }
        if self.signals.len() > SIGNALS_MAX {
            faults.push(Fault::new("signals", format!("{} signals; at most {SIGNALS_MAX}", self.signals.len())));
        }
        faults
    }
}

/// The plugin, asked once a tick.
pub trait Decide: Send {
    /// What it proposes. Runs elsewhere than on the caller's thread, and ends by itself in bounded time.
    fn decide(&mut self, request: Request) -> BoxFuture<'_, Result<Proposal>>;
    /// The hash of its code.
    fn plugin_hash(&self) -> &str;
}

/// The table `tidemill.decisions`.
pub trait Record: Send + Sync {
    /// Appends rows together with what the scaler remembers; both are on disk when it returns, or an error says they are not.
    fn record(&self, rows: RecordBatch, memory: Option<Position>) -> BoxFuture<'_, Result<()>>;
}

/// What a scaler is given to work with.
pub struct Parts {
    /// answers its queries
    pub ask: Arc<dyn Ask>,
    /// knows how far the sources are
    pub fresh: Arc<dyn Fresh>,
    /// the plugin
    pub decide: Box<dyn Decide>,
    /// the table of decisions
    pub record: Arc<dyn Record>,
    /// the workload
    pub actuator: Arc<dyn Actuator>,
    /// the time
    pub clock: Clock,
}

/// A scaler at work.
pub struct Scaler {
    who: Who,
    policy: Policy,
    every: Duration,
    questions: Vec<Question>,
    parts: Parts,
    /// where it stands: what was last decided and recorded, and the plugin's state
    memory: Memory,
    /// whether the first number of this life was decided
    started: bool,
    /// whether that number is on disk since before
    remembered: bool,
    /// the last tick's number; ticks only grow, whatever the clock does
    tick: i64,
    changed_at: i64,
    doing: JoinSet<Done>,
    /// decisions under way without an outcome yet, by tick
    open: BTreeMap<i64, u32>,
    unwritten: VecDeque<RecordBatch>,
}

/// What a finished application of a decision says.
struct Done {
    tick: i64,
    decided: u32,
    now: i64,
    seconds: f64,
    outcome: Result<Outcome>,
}

impl Scaler {
    /// A scaler that has not started yet. `tables` names the tables that each signal reads; `last` is what was remembered.
    pub fn new(
        name: &str,
        config: &Config,
        tables: &BTreeMap<String, Vec<TableName>>,
        last: Option<Memory>,
        parts: Parts,
    ) -> Scaler {
        let questions = config.signals.iter().map(|(signal, sql)| Question {
            name: signal.clone(),
            sql: sql.clone(),
            tables: tables.get(signal).cloned().unwrap_or_default(),
        });
        let policy = config.policy();
        let remembered = last.as_ref().is_some_and(|last| policy.within(last.decided) == last.decided);
        let memory = last.unwrap_or(Memory { decided: config.initial.unwrap_or(config.min), state: Vec::new() });
        Scaler {
            who: Who {
                scaler: name.to_owned(),
                workload: config.workload.clone(),
                plugin_name: config.plugin.clone(),
                plugin: parts.decide.plugin_hash().to_owned(),
                dry_run: parts.actuator.dry_run(),
            },
            policy,
            every: config.every.0,
            questions: questions.collect(),
            memory,
            started: false,
            remembered,
            tick: 0,
            changed_at: parts.clock.now(),
            doing: JoinSet::new(),
            open: BTreeMap::new(),
            unwritten: VecDeque::new(),
            parts,
        }
    }

    /// Turns until it is told to stop. The workload is left as it is: stopping it is its owner's.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.doing.join_next() => self.follow(done).await,
                _ = ticks.tick() => {
                    // A decision that is given up here was not acted on; if its row got to disk, the next life goes on with it.
                    tokio::select! {
                        () = stop.cancelled() => break,
                        _ = self.tick() => {}
                    }
                }
            }
        }
        self.close().await;
    }

    /// One turn; the first starts the workload. Says what was decided and recorded, nothing if it could not be recorded.
    pub async fn tick(&mut self) -> Option<Decision> {
        let now = self.parts.clock.now();
        self.tick = now.max(self.tick.saturating_add(1));
        self.write_late_outcomes().await;
        if !self.started {
            return self.start().await;
        }
        let limit = self.every.min(ANSWER_MAX);
        let answers = gather(&self.questions, &*self.parts.ask, &*self.parts.fresh, now, limit).await;
        let status = self.parts.actuator.status();
        let proposal = self.propose(now, status.ready, &answers).await;
        let beliefs: Vec<Belief> = answers.iter().map(belief).collect();
        let decision = self.policy.decide(Case {
            current: self.memory.decided,
            proposal: proposal.as_ref(),
            beliefs: &beliefs,
            unchanged: Some(Duration::from_nanos(u64::try_from(now.saturating_sub(self.changed_at)).unwrap_or(0))),
        });
        let state = proposal.map_or_else(|_| self.memory.state.clone(), |proposal| proposal.state);
        let memory = Memory { decided: decision.replicas, state };
        if let Err(error) = self.record(&decision, self.memory.decided, status.ready, &answers, &memory).await {
            tracing::warn!(scaler = self.who.scaler, %error, "decision not recorded, so nothing is done");
            return None;
        }
        self.take(now, memory);
        let under_way = self.open.values().next_back() == Some(&decision.replicas);
        if !under_way && self.parts.actuator.status().asked != decision.replicas {
            self.act(decision.replicas);
        }
        Some(decision)
    }

    /// The first decision of a life: the number that was last decided, or the initial one.
    async fn start(&mut self) -> Option<Decision> {
        let replicas = self.policy.within(self.memory.decided);
        let reason = match self.remembered {
            true => "Started again with the number last decided.",
            false => "Started for the first time, or with a number that the policy did not allow before.",
        };
        let decision = Decision { replicas, desired: None, clamps: Vec::new(), reason: reason.to_owned() };
        let memory = Memory { decided: replicas, state: self.memory.state.clone() };
        match self.record(&decision, 0, 0, &[], &memory).await {
            Ok(()) => {}
            Err(error) if self.remembered => {
                // This number is on disk since the life before: it is no new decision, and the workload should run.
                tracing::warn!(scaler = self.who.scaler, %error, "start not recorded");
            }
            Err(error) => {
                tracing::warn!(scaler = self.who.scaler, %error, "decision not recorded, so nothing is done");
                return None;
            }
        }
        self.started = true;
        self.take(self.parts.clock.now(), memory);
        self.changed_at = self.parts.clock.now();
        self.act(replicas);
        Some(decision)
    }

    /// What the plugin says to all this.
    async fn propose(&mut self, now: i64, ready: u32, answers: &[Answer]) -> Result<Proposal> {
        let request = Request {
            now,
            workload: self.who.workload.clone(),
            replicas: self.memory.decided,
            ready,
            min: self.policy.min,
            max: self.policy.max,
            members: Vec::new(),
            signals: answers.iter().map(|answer| answer.signal.clone()).collect(),
            decisions: Vec::new(),
            advice: Vec::new(),
            state: self.memory.state.clone(),
        };
        let proposal = tokio::time::timeout(ANSWER_MAX, self.parts.decide.decide(request))
            .await
            .map_err(|_| Error::new(ErrorKind::Limit, format!("no proposal within {}", Span(ANSWER_MAX))))??;
        if proposal.state.len() > STATE_BYTES_MAX {
            let bytes = proposal.state.len();
            return Err(Error::new(
                ErrorKind::Limit,
                format!("it handed back {bytes} bytes of state; at most {STATE_BYTES_MAX}"),
            ));
        }
        Ok(proposal)
    }

    /// Puts the decision on disk, with what is remembered.
    async fn record(
        &mut self,
        decision: &Decision,
        replicas: u32,
        ready: u32,
        answers: &[Answer],
        memory: &Memory,
    ) -> Result<()> {
        let range = (self.policy.min, self.policy.max);
        let row = decision_row(&self.who, &Decided { tick: self.tick, replicas, ready, range, answers, decision })?;
        self.append(row, Some(memory.position(&self.who.scaler)?)).await
    }

    async fn append(&mut self, row: RecordBatch, memory: Option<Position>) -> Result<()> {
        tokio::time::timeout(RECORD_MAX, self.parts.record.record(row, memory)).await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, format!("the row was not on disk within {}", Span(RECORD_MAX)))
        })?
    }

    /// What is recorded is where we stand.
    fn take(&mut self, now: i64, memory: Memory) {
        if memory.decided != self.memory.decided {
            self.changed_at = now;
            tracing::info!(
                scaler = self.who.scaler,
                workload = self.who.workload,
                from = self.memory.decided,
                to = memory.decided,
                "replicas changed"
            );
        }
        self.memory = memory;
    }

    /// Makes it so, without waiting for it.
    fn act(&mut self, replicas: u32) {
        if self.doing.len() >= DOING_MAX {
            self.doing.abort_all();
        }
        let (tick, clock, actuator) = (self.tick, self.parts.clock.clone(), self.parts.actuator.clone());
        self.open.insert(tick, replicas);
        self.doing.spawn(async move {
            let began = clock.now();
            let outcome = actuator.apply(replicas).await;
            let now = clock.now();
            Done { tick, decided: replicas, now, seconds: seconds(began, now), outcome }
        });
    }

    /// Records an outcome; where the disk is full it waits for a later tick.
    async fn follow(&mut self, done: std::result::Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(scaler = self.who.scaler, %error, "applying a decision ended without an outcome");
                return;
            }
        };
        self.open.remove(&done.tick);
        if let Err(error) = &done.outcome {
            tracing::warn!(scaler = self.who.scaler, replicas = done.decided, %error, "decision not applied");
        }
        let followed = Followed {
            tick: done.tick,
            now: done.now,
            decided: done.decided,
            ready: self.parts.actuator.status().ready,
            outcome: done.outcome.as_ref(),
            seconds: done.seconds,
        };
        match outcome_row(&self.who, &followed) {
            Ok(row) => self.unwritten.push_back(row),
            Err(error) => tracing::error!(scaler = self.who.scaler, %error, "outcome not recorded"),
        }
        self.write_late_outcomes().await;
    }

    async fn write_late_outcomes(&mut self) {
        while let Some(row) = self.unwritten.front().cloned() {
            if let Err(error) = self.append(row, None).await {
                tracing::warn!(scaler = self.who.scaler, %error, "outcome not recorded yet");
                break;
            }
            self.unwritten.pop_front();
        }
        while self.unwritten.len() > UNWRITTEN_MAX {
            self.unwritten.pop_front();
            tracing::warn!(scaler = self.who.scaler, "outcome dropped: too many wait for the disk");
        }
    }

    /// Says of every decision under way that nobody waited for its end.
    async fn close(mut self) {
        while let Some(done) = self.doing.try_join_next() {
            self.follow(done).await;
        }
        self.doing.abort_all();
        let (now, ready) = (self.parts.clock.now(), self.parts.actuator.status().ready);
        let error = Error::new(ErrorKind::Unavailable, "tidemill stopped before it was done");
        for (tick, decided) in std::mem::take(&mut self.open) {
            let seconds = seconds(tick, now);
            let followed = Followed { tick, now, decided, ready, outcome: Err(&error), seconds };
            if let Ok(row) = outcome_row(&self.who, &followed) {
                self.unwritten.push_back(row);
            }
        }
        // A second is much for an append; a disk that needs longer must not hold up the shutdown.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.write_late_outcomes()).await;
    }
}

fn belief(answer: &Answer) -> Belief {
    let signal = &answer.signal;
    Belief { name: signal.name.clone(), freshness: signal.freshness, message: signal.message.clone() }
}

fn seconds(from: i64, to: i64) -> f64 {
    to.saturating_sub(from).max(0) as f64 / 1e9
}

#[cfg(test)]
#[path = "scaler_tests.rs"]
mod tests;
