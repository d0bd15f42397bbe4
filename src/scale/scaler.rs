//! one scaler's loop: ask, decide, record, act, and record what became of it
//!
//!     tick ─► answers ─► plugin ─► policy ─► row durable ─► actuator … outcome row
//!                                               └─ not recorded: nothing is done, the next tick tries again
//!
//! Acting takes its time (a replica starts, another drains) and does not stop the ticks: a later decision simply asks for another
//! number, and the earlier one's outcome says so. Ticks that come late are left out, never bunched.
//!
//! A workload that is shared (its replicas are others' too) is never taken to be what was last decided: a tick goes on from what was
//! found, and a row `found` tells of every number that is not ours. It is started with whatever runs.
//!
//! **Always:** the plugin's state and the number that was decided are stored together with the row that tells of them.
//! **Never:** an actuator is called for a decision that is not on disk.

use super::actuator::{Actuator, Change, Outcome, Phase, ReplicaStatus, Status};
use super::config::Config;
use super::deciders::{Asked, Decider, Deciders, SHADOW};
use super::decision::{Decided, Followed, Who, decision_row, found_row, lost_row, note_row, outcome_row, waiting_row};
use super::desk::{Command, Desk, Handed};
use super::evidence::{Answer, Ask, Fresh, Question, gather};
use super::losses::Losses;
use super::memory::{Memory, Recent, State};
use super::policy::{Decision, History, Policy, replicas};
use super::record::Record;
use super::standing::Standing;
use crate::clock::{Clock, nanos};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Position, TableName};
use crate::plugin::autoscaler::Member;
use crate::plugin::{Advice, Freshness, Request};
use crate::units::Span;
use arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// The longest that a signal's query may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The longest that an absence is heeded after it.
const ABSENCE_MAX: Duration = Duration::from_secs(5 * 60);
/// The longest that a row may take to become durable.
const RECORD_MAX: Duration = Duration::from_secs(10);
/// Earlier decisions that a plugin is shown.
const RECENT_MAX: usize = 16;
/// Characters of an earlier decision's reason that it is shown.
const RECENT_CHARS_MAX: usize = 200;
/// Outcomes that wait for a disk that is full; beyond it the oldest is dropped.
const UNWRITTEN_MAX: usize = 32;
/// What is under way for so long is told in every row.
const UNDER_WAY_TOLD: Duration = Duration::from_secs(2);
/// Applications of decisions that may be under way; each is ended by the next, so that more means that one hangs.
const DOING_MAX: usize = 16;
/// The table `tidemill.decisions`.
pub trait Ledger: Send + Sync {
    /// Appends rows together with what the scaler remembers; both are on disk when it returns, or an error says they are not.
    fn record(&self, rows: RecordBatch, memory: Option<Position>) -> BoxFuture<'_, Result<()>>;
}

/// What a scaler is given to work with.
pub struct Parts {
    /// answers its queries
    pub ask: Arc<dyn Ask>,
    /// knows how far the sources are
    pub fresh: Arc<dyn Fresh>,
    /// the plugins
    pub deciders: Deciders,
    /// the table of decisions
    pub record: Arc<dyn Ledger>,
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
    /// whether nothing was remembered at all
    first: bool,
    /// the last tick's number; ticks only grow, whatever the clock does
    tick: i64,
    orders: mpsc::Receiver<Handed>,
    /// for those who follow
    standing: watch::Sender<Standing>,
    doing: JoinSet<Done>,
    /// decisions under way without an outcome yet, by tick
    open: BTreeMap<i64, u32>,
    /// the last decision whose outcome was not as decided: its tick and number
    unmet: Option<(i64, u32)>,
    /// replicas that ended or fell silent by themselves
    losses: Losses,
    unwritten: VecDeque<RecordBatch>,
}

/// What a finished application of a decision says.
struct Done {
    tick: i64,
    decided: u32,
    now: i64,
    seconds: f64,
    /// of a hanging application, that it was given up
    outcome: Result<Outcome>,
}

impl Scaler {
    /// A scaler that has not started yet, and where operators reach it. `tables` names the tables that each signal reads; `last` is
    /// what was remembered.
    pub fn new(
        name: &str,
        config: &Config,
        tables: &BTreeMap<String, Vec<TableName>>,
        last: Option<Memory>,
        mut parts: Parts,
    ) -> (Scaler, Desk) {
        let questions = config.signals.iter().map(|(signal, sql)| Question {
            name: signal.clone(),
            sql: sql.clone(),
            tables: tables.get(signal).cloned().unwrap_or_default(),
        });
        let policy = config.policy();
        let remembered = last.as_ref().is_some_and(|last| policy.within(last.decided) == last.decided);
        let first = last.is_none();
        let memory = last.unwrap_or_else(|| {
            let decided = config.initial.unwrap_or(config.min);
            Memory { decided, ..Memory::default() }
        });
        if memory.promoted.is_some() && memory.promoted == parts.deciders.shadow.as_ref().map(Decider::identity) {
            parts.deciders.promote();
        }
        let (standing, seen) =
            watch::channel(Standing::waiting(&config.workload, config.every.0, "nothing is decided yet"));
        let (desk, orders) = Desk::new(seen);
        let mut scaler = Scaler {
            who: Who {
                scaler: name.to_owned(),
                workload: config.workload.clone(),
                dry_run: parts.actuator.dry_run(),
                ..Who::default()
            },
            policy,
            every: config.every.0,
            questions: questions.collect(),
            memory,
            started: false,
            remembered,
            first,
            tick: 0,
            orders,
            standing,
            doing: JoinSet::new(),
            open: BTreeMap::new(),
            unmet: None,
            losses: Losses::default(),
            unwritten: VecDeque::new(),
            parts,
        };
        scaler.name_plugin();
        (scaler, desk)
    }

    /// Decisions are told with the plugin that is live.
    fn name_plugin(&mut self) {
        let live = &self.parts.deciders.live;
        self.who.plugin_name = live.plugin.clone();
        self.who.plugin = live.decide.plugin_hash().to_owned();
        self.who.settings = live.settings.clone();
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
                Some((command, answer)) = self.orders.recv() => {
                    let done = self.obey(command).await;
                    let _ = answer.send(done);
                }
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
        self.adopt().await?;
        let limit = self.every.min(ANSWER_MAX);
        let mut answers = gather(&self.questions, &*self.parts.ask, &*self.parts.fresh, now, limit).await;
        self.doubt_after_absence(&mut answers);
        let signals_seconds = seconds(now, self.parts.clock.now());
        let status = self.parts.actuator.status();
        self.tell_losses(&status).await;
        self.tell_after_all(&status).await;
        let mut request = self.request(&status, &answers);
        let states = self.memory.states.iter().map(|(name, state)| (name.clone(), state.0.clone())).collect();
        let mut asked = self.parts.deciders.advise(&request, &states, &self.parts.clock).await;
        request.advice = asked.iter().map(|(name, asked)| asked.advice(name)).collect();
        let live = self.parts.deciders.live.ask(request.clone(), &self.parts.clock).await;
        if let Some(shadow) = &mut self.parts.deciders.shadow {
            let state = states.get(SHADOW).cloned().unwrap_or_default();
            asked.insert(SHADOW.to_owned(), shadow.ask(Request { state, ..request.clone() }, &self.parts.clock).await);
        }
        let order = self.memory.order.as_ref().filter(|order| self.tick < order.until);
        let history = &self.memory.history;
        let (by_time, answer) = (self.parts.deciders.by_time(&live, &asked), live.answer.clone());
        let record = Record::new(&request, &self.policy, history, order, &status.unknown, by_time, answer).ok()?;
        let record = record.standing_by(&status.standby);
        let decision = record.decide(&live.answer).ok()?;
        let memory = self.next_memory(&decision, &live, &asked, &states);
        let advice: Vec<(Advice, f64)> =
            asked.iter().map(|(name, asked)| (asked.advice(name), asked.seconds)).collect();
        let written = Decided {
            tick: self.tick,
            replicas: self.memory.decided,
            ready: status.ready,
            range: (self.policy.min, self.policy.max),
            answers: &answers,
            decision: &decision,
            advice: &advice,
            seconds: (signals_seconds, live.seconds),
            under_way: self.under_way(),
            record: record.pack().unwrap_or_default(),
        };
        if let Err(error) = self.record(&written, &memory).await {
            tracing::warn!(scaler = self.who.scaler, %error, "decision not recorded, so nothing is done");
            return None;
        }
        self.standing.send_replace(Standing::of(&self.who.workload, self.every, &written));
        self.take(memory);
        let under_way = self.open.values().next_back() == Some(&decision.replicas);
        // That somebody else just did the same is for the actuator to say: each change has an outcome.
        let changes = self.parts.actuator.shared() && decision.replicas != written.replicas;
        if !under_way && (changes || self.parts.actuator.status().asked != decision.replicas) {
            self.act(written.replicas, decision.replicas);
        }
        Some(decision)
    }

    /// While nobody was here nothing was collected, and a query may reach back to that: for twice as long nothing is taken away for
    /// what it shows.
    fn doubt_after_absence(&mut self, answers: &mut [Answer]) {
        let Some((left, back)) = self.memory.away else { return };
        if self.tick >= heeded_until((left, back)) {
            self.memory.away = None;
            return;
        }
        let span = humantime::format_duration(Duration::from_secs_f64(seconds(left, back).max(0.1).round()));
        for answer in answers.iter_mut().filter(|answer| answer.signal.freshness == Freshness::Fresh) {
            answer.signal.freshness = Freshness::Stale;
            answer.signal.message =
                format!("nothing was collected for {span} before this start, and it may reach back to that");
        }
    }

    /// Goes on from what a shared workload was found to be, unless a change of ours is still under way.
    async fn adopt(&mut self) -> Option<()> {
        let found = self.parts.actuator.status().found.filter(|_| self.parts.actuator.shared());
        let decided = self.memory.decided;
        let Some(found) = found.filter(|found| *found != decided && self.open.is_empty()) else { return Some(()) };
        let words = format!(
            "Found {}, {decided} decided last: changed by others, or the change did not get there. Decisions go on from {found}.",
            replicas(found)
        );
        let mut memory = self.memory.clone();
        memory.history.take_back(found, decided);
        memory.decided = found;
        self.tell_found(found, &words, Some(memory)).await
    }

    /// Records what was found; nothing where it does not get to the disk.
    async fn tell_found(&mut self, found: u32, words: &str, memory: Option<Memory>) -> Option<()> {
        let position = memory.as_ref().map(|memory| memory.position(&self.who.scaler)).transpose().ok()?;
        let row = found_row(&self.who, self.tick, found, words).ok()?;
        if let Err(error) = self.append(row, position).await {
            tracing::warn!(scaler = self.who.scaler, %error, "what was found is not recorded, so nothing is done");
            return None;
        }
        self.memory = memory.unwrap_or_else(|| self.memory.clone());
        Some(())
    }

    /// Records which replicas were ready a tick ago and have ended or fallen silent since, though nobody stopped them.
    async fn tell_losses(&mut self, status: &Status) {
        let told = self.losses.look(&status.replicas, self.open.is_empty());
        if !told.is_empty() {
            self.write_late(lost_row(&self.who, self.tick, self.memory.decided, &told.join(" "))).await;
        }
    }

    /// Records that a decision came true after its outcome said that it had not.
    async fn tell_after_all(&mut self, status: &Status) {
        let Some((tick, decided)) = self.unmet.filter(|_| self.open.is_empty()) else { return };
        if decided != self.memory.decided {
            self.unmet = None;
        } else if is_so(status, decided) {
            self.unmet = None;
            let seconds = seconds(tick, self.tick);
            let words = format!("after all, {} ready {seconds:.0} s after the decision", replicas_are(status.ready));
            let outcome = Outcome { reached: true, words };
            let (now, ready) = (self.tick, status.ready);
            let followed = Followed { tick, now, decided, ready, outcome: Ok(&outcome), seconds };
            self.write_late(outcome_row(&self.who, &followed)).await;
        }
    }

    /// What the plugins are asked.
    fn request(&self, status: &Status, answers: &[Answer]) -> Request {
        Request {
            now: self.tick,
            workload: self.who.workload.clone(),
            replicas: self.memory.decided,
            ready: status.ready,
            min: self.policy.min,
            max: self.policy.max,
            members: status.replicas.iter().filter_map(member).collect(),
            signals: answers.iter().map(|answer| answer.signal.clone()).collect(),
            decisions: self.memory.recent.iter().map(Recent::shown).collect(),
            advice: Vec::new(),
            state: self.memory.state.clone(),
        }
    }

    /// What was decided earlier and takes its time, in words.
    fn under_way(&self) -> String {
        let Some((since, decided)) = self.open.first_key_value() else { return String::new() };
        let seconds = seconds(*since, self.tick);
        match seconds >= UNDER_WAY_TOLD.as_secs_f64() {
            true => format!("the change to {} has been under way for {seconds:.0} s", replicas(*decided)),
            false => String::new(),
        }
    }

    /// The decision as those are told it who make it true.
    fn change(&self, from: u32, decision: &Decision) -> Change {
        Change {
            decision: format!("{}/{}", self.who.scaler, self.tick),
            scaler: self.who.scaler.clone(),
            at: self.tick,
            from,
            to: decision.replicas,
            reason: decision.reason.clone(),
        }
    }

    /// What is remembered once this decision is on disk.
    fn next_memory(
        &self,
        decision: &Decision,
        live: &Asked,
        asked: &BTreeMap<String, Asked>,
        states: &BTreeMap<String, Vec<u8>>,
    ) -> Memory {
        let mut memory = self.memory.clone();
        memory.history.note(&self.policy, self.tick, decision.believed, memory.decided, decision.replicas);
        if decision.clamps.iter().any(|clamp| clamp.name == "order") {
            memory.history.was_ordered(self.tick);
        }
        memory.recent.push(Recent {
            at: self.tick,
            replicas: memory.decided,
            proposed: decision.desired,
            decided: decision.replicas,
            reason: decision.reason.chars().take(RECENT_CHARS_MAX).collect(),
        });
        let over = memory.recent.len().saturating_sub(RECENT_MAX);
        memory.recent.drain(..over);
        memory.order = memory.order.filter(|order| self.tick < order.until);
        let changed = memory.decided != decision.replicas;
        if changed || memory.change.as_ref().is_none_or(|change| change.to != decision.replicas) {
            memory.change = Some(self.change(memory.decided, decision));
        }
        memory.decided = decision.replicas;
        memory.state = live.state(Some(&memory.state));
        let state = |(name, asked): (&String, &Asked)| (name.clone(), State(asked.state(states.get(name))));
        memory.states = asked.iter().map(state).collect();
        memory
    }

    /// Waits for what is under way, and records its outcomes.
    pub(super) async fn settle(&mut self) {
        while let Some(done) = self.doing.join_next().await {
            self.follow(done).await;
        }
    }

    /// Does what an operator says: it is on disk before this returns, and the next tick heeds it.
    pub(super) async fn obey(&mut self, command: Command) -> Result<String> {
        let mut memory = self.memory.clone();
        let told = match command {
            Command::Order(order) => {
                let within = self.policy.within(order.replicas);
                let mut told = format!("{} from the next tick on", replicas(within));
                if within != order.replicas {
                    let (min, max) = (self.policy.min, self.policy.max);
                    told.push_str(&format!(" ({} asked for; min is {min} and max is {max})", order.replicas));
                }
                memory.order = Some(order);
                told
            }
            Command::Release => match memory.order.take() {
                Some(_) => "the plugin decides again from the next tick on".to_owned(),
                None => return Ok("there was no order".to_owned()),
            },
            Command::Promote => {
                let Some(shadow) = &self.parts.deciders.shadow else {
                    let message = format!("the scaler `{}` has no shadow to promote", self.who.scaler);
                    return Err(Error::new(ErrorKind::Missing, message));
                };
                let told = format!(
                    "`{}` decides from the next tick on, `{}` is the shadow",
                    shadow.plugin, self.who.plugin_name
                );
                memory.promoted = match memory.promoted {
                    Some(_) => None,
                    None => Some(shadow.identity()),
                };
                let state = memory.states.remove(SHADOW).unwrap_or_default();
                memory.states.insert(SHADOW.to_owned(), State(std::mem::replace(&mut memory.state, state.0)));
                told
            }
        };
        let now = self.parts.clock.now().max(self.tick.saturating_add(1));
        let row = note_row(&self.who, now, self.memory.decided, &format!("By command: {told}."))?;
        self.append(row, Some(memory.position(&self.who.scaler)?)).await?;
        if memory.promoted != self.memory.promoted && self.parts.deciders.promote() {
            self.name_plugin();
        }
        self.tick = now;
        self.memory = memory;
        Ok(told)
    }

    /// The first decision of a life: the number that was last decided, or the initial one.
    async fn start(&mut self) -> Option<Decision> {
        let away = self.memory.recent.last().map(|last| (last.at, self.tick));
        // The one before may have been the longer one.
        self.memory.away = self.memory.away.into_iter().chain(away).max_by_key(|away| heeded_until(*away));
        if self.parts.actuator.shared() {
            return self.start_shared().await;
        }
        let status = self.parts.actuator.status();
        if self.first {
            if !status.unknown.is_empty() {
                let words = format!(
                    "Nothing is decided yet: how many replicas {} has is not known ({}), and a first start takes none away.",
                    self.who.workload, status.unknown
                );
                self.wait(words).await;
                return None;
            }
            // What runs already (others may have started it) is not taken away by a first start.
            self.memory.decided = self.memory.decided.max(status.asked);
        }
        let replicas = self.policy.within(self.memory.decided);
        let before = if self.first { status.asked } else { self.memory.decided };
        let reason = match (self.first, self.remembered) {
            (true, _) => "Started for the first time.".to_owned(),
            (false, true) => "Started again with the number last decided.".to_owned(),
            (false, false) => {
                let (min, max) = (self.policy.min, self.policy.max);
                format!("Started again: {before} decided last is not within {min} to {max} any more.")
            }
        };
        let decision = Decision { replicas, desired: None, believed: replicas, clamps: Vec::new(), reason };
        let mut memory = self.memory.clone();
        if self.first {
            memory.history = History::begin(self.tick, replicas);
        }
        // A number that the policy does not allow any more was one; a first start comes from nothing and is no move.
        let from = if self.first { replicas } else { before };
        memory.history.note(&self.policy, self.tick, replicas, from, replicas);
        memory.history.was_ordered(self.tick);
        memory.decided = replicas;
        if memory.change.as_ref().is_none_or(|change| change.to != replicas) {
            memory.change = Some(self.change(status.asked, &decision));
        }
        let written = Decided {
            tick: self.tick,
            replicas: before,
            ready: status.ready,
            range: (self.policy.min, self.policy.max),
            answers: &[],
            decision: &decision,
            advice: &[],
            seconds: (0.0, 0.0),
            under_way: String::new(),
            record: Vec::new(),
        };
        match self.record(&written, &memory).await {
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
        self.standing.send_replace(Standing::of(&self.who.workload, self.every, &written));
        self.take(memory);
        if !(self.remembered && is_so(&status, replicas)) {
            self.act(before, replicas);
        }
        Some(decision)
    }

    /// Says that nothing is decided before it is known how many replicas there are.
    async fn wait(&mut self, words: String) {
        self.standing.send_replace(Standing::waiting(&self.who.workload, self.every, &words));
        let recorded = match waiting_row(&self.who, self.tick, &words) {
            Ok(row) => self.append(row, None).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::warn!(scaler = self.who.scaler, %error, "waiting not recorded");
        }
    }

    /// The first tick of a life whose workload runs already: whatever it was found to be is where decisions go on from.
    async fn start_shared(&mut self) -> Option<Decision> {
        let status = self.parts.actuator.status();
        let Some(found) = status.found else {
            self.wait(format!("Not started yet: {}.", status.standby)).await;
            return None;
        };
        let words = format!("Started: {} found, and decisions go on from there.", replicas(found));
        let mut memory = self.memory.clone();
        // An empty history would let the first tick take away.
        memory.history.note(&self.policy, self.tick, found, found, found);
        memory.decided = found;
        self.tell_found(found, &words, Some(memory)).await?;
        self.started = true;
        Some(Decision { replicas: found, desired: None, believed: found, clamps: Vec::new(), reason: words })
    }

    /// Puts the decision on disk, with what is remembered.
    async fn record(&mut self, decided: &Decided<'_>, memory: &Memory) -> Result<()> {
        let row = decision_row(&self.who, decided)?;
        self.append(row, Some(memory.position(&self.who.scaler)?)).await
    }

    async fn append(&mut self, row: RecordBatch, memory: Option<Position>) -> Result<()> {
        tokio::time::timeout(RECORD_MAX, self.parts.record.record(row, memory)).await.map_err(|_| {
            Error::new(ErrorKind::Unavailable, format!("the row was not on disk within {}", Span(RECORD_MAX)))
        })?
    }

    /// What is recorded is where we stand.
    fn take(&mut self, memory: Memory) {
        if memory.decided != self.memory.decided {
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
    fn act(&mut self, from: u32, replicas: u32) {
        if self.doing.len() >= DOING_MAX {
            self.give_up(&format!("given up: {DOING_MAX} decisions were under way and none of them ended"));
        }
        let (tick, clock, actuator) = (self.tick, self.parts.clock.clone(), self.parts.actuator.clone());
        self.open.insert(tick, replicas);
        // What a life before decided is told as it was, so that who has heard it already knows that it is the same.
        let mut change = self.memory.change.clone().unwrap_or_default();
        if actuator.shared() {
            change.from = from;
        }
        self.doing.spawn(async move {
            let began = clock.now();
            let patience = actuator.patience();
            let outcome = match tokio::time::timeout(patience, actuator.carry_out(&change)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::new(
                    ErrorKind::Limit,
                    format!("given up: the actuator said nothing for {}; the next tick asks again", Span(patience)),
                )),
            };
            let now = clock.now();
            Done { tick, decided: replicas, now, seconds: seconds(began, now), outcome }
        });
    }

    /// Records an outcome; where the disk is full it waits for a later tick.
    async fn follow(&mut self, done: std::result::Result<Done, tokio::task::JoinError>) {
        let done = match done {
            Ok(done) => done,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(scaler = self.who.scaler, %error, "applying a decision ended without an outcome");
                self.give_up(&format!("applying it ended without an outcome: {error}"));
                return;
            }
        };
        if self.open.remove(&done.tick).is_none() {
            // It was given up, and its row says so.
            return;
        }
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
        let reached = done.outcome.as_ref().is_ok_and(|outcome| outcome.reached);
        self.unmet = (!reached).then_some((done.tick, done.decided));
        self.write_late(outcome_row(&self.who, &followed)).await;
    }

    /// Records a row now, or once the disk takes it.
    async fn write_late(&mut self, row: Result<RecordBatch>) {
        match row {
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
        self.give_up("tidemill stopped before it was done");
        // A second is much for an append; a disk that needs longer must not hold up the shutdown.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.write_late_outcomes()).await;
    }

    /// Waits no longer for what is under way; each has its outcome, which says why.
    fn give_up(&mut self, why: &str) {
        self.doing.abort_all();
        let (now, ready) = (self.parts.clock.now(), self.parts.actuator.status().ready);
        let error = Error::new(ErrorKind::Unavailable, why);
        for (tick, decided) in std::mem::take(&mut self.open) {
            let seconds = seconds(tick, now);
            let followed = Followed { tick, now, decided, ready, outcome: Err(&error), seconds };
            if let Ok(row) = outcome_row(&self.who, &followed) {
                self.unwritten.push_back(row);
            }
        }
    }
}

/// Until when an absence is heeded: for twice as long, within a limit.
fn heeded_until((left, back): (i64, i64)) -> i64 {
    let gone = back.saturating_sub(left).max(0);
    back.saturating_add(gone.saturating_mul(2).min(nanos(ABSENCE_MAX)))
}

/// A replica as the plugins are shown it; none if it is on its way out, whose share the others take over.
fn member(replica: &ReplicaStatus) -> Option<Member> {
    let member = Member {
        name: replica.called(),
        ready: replica.phase == Phase::Ready,
        started_at: replica.started_at,
        changed_at: replica.since,
    };
    (!matches!(replica.phase, Phase::Draining | Phase::Stopping)).then_some(member)
}

/// Whether there are so many replicas, all ready and no other, as far as somebody looked.
fn is_so(status: &Status, decided: u32) -> bool {
    let looked = !status.replicas.is_empty() || status.found == Some(decided);
    let listed = status.replicas.is_empty() || status.replicas.len() == decided as usize;
    let known = status.unknown.is_empty() && status.standby.is_empty();
    looked && listed && known && [status.asked, status.running, status.ready] == [decided; 3]
}

fn replicas_are(count: u32) -> String {
    let are = if count == 1 { "is" } else { "are" };
    format!("{} {are}", replicas(count))
}

fn seconds(from: i64, to: i64) -> f64 {
    to.saturating_sub(from).max(0) as f64 / 1e9
}

#[cfg(test)]
#[path = "scaler_tests.rs"]
mod tests;
