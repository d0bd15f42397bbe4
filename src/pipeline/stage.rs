//! one plugin in the way of events: what it reads goes in, what it made comes out, the events at fault are found and left out
//!
//!     batch ─ columns it reads ─► call ─ ok ─► batch with its columns
//!                                  │
//!                                fault ─► halves ─► … ─► the event at fault: given up, with the reason
//!
//! A batch that needed too much time is halved once with the full time for each half before anybody is suspected; from then on the
//! time shrinks with the halves, so that a search ends. The last suspect is tried alone with everything it may use, for the reason.
//!
//! A batch is handed over in as many calls as the plugin's pace asks for (`pace.rs`): usually one.
//! After a change, the version on trial is given a share of the batches beside the one that runs (`canary.rs` says what follows).
//!
//! **Always:** rows come out in the order they went in; a search takes [`SEARCH_MAX`] of processor time at most.

use super::breaker::{Breaker, Went};
use super::canary::{self, Pair};
use super::capture::{self, Got};
use super::config::{Manner, OnError};
use super::made;
use super::pace::Pace;
use super::slot::{Slot, Trial, Version};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::Batch;
use crate::plugin::instance::{Context, RowError, cpu_time};
use crate::plugin::{Account, Fault, FaultKind, Instance, World};
use arrow::array::RecordBatch;
use std::sync::Arc;
use std::time::Duration;

/// Processor time that looking for the events at fault of one batch may take.
pub const SEARCH_MAX: Duration = Duration::from_secs(1);
/// The least time a part of a batch gets while a fault is looked for.
const PART_TIME_MIN: Duration = Duration::from_millis(10);

/// A plugin in its place.
pub struct Stage {
    /// its name in the pipeline file
    pub name: Arc<str>,
    /// what all lanes share of it
    slot: Arc<Slot>,
    generation: u64,
    /// the source whose lane it is in
    source: Arc<str>,
    seat: Seat,
    clock: Clock,
    /// the time of the batch that is run, ns UTC
    now: i64,
    breaker: Breaker,
    pace: Pace,
    open_because: String,
    /// it was told that batches fail whose parts do not
    told_of_whims: bool,
    state: Option<Vec<u8>>,
    /// there was a state, and nobody reads it any more
    forget: bool,
    /// the version on trial
    trial: Option<OnTrial>,
    /// the version before, until the new one has shown that it can read its state
    before: Option<Seat>,
    /// the state with which the version before was left, and its number
    left: Option<(u64, Option<Vec<u8>>)>,
}

/// What a stage remembered at one moment.
pub struct Remembered {
    state: Option<Vec<u8>>,
    forget: bool,
}

/// An instance of a version.
struct Seat {
    instance: Instance,
    version: Arc<Version>,
}

/// A version on trial, in this lane.
struct OnTrial {
    seat: Seat,
    trial: Arc<Trial>,
    /// batches since it began
    turn: u64,
    /// batches that both were given
    pairs: u64,
}

/// An event that the stage could not handle: as it came, and why.
#[derive(Clone, Debug)]
pub struct Casualty {
    /// the one row it came as
    pub row: RecordBatch,
    /// in words
    pub reason: String,
    /// where the plugin was when it trapped
    pub backtrace: Option<Arc<str>>,
}

/// What came of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// in order; more than one when a fault was cut out
    pub batches: Vec<Batch>,
    /// events given up
    pub casualties: Vec<Casualty>,
    /// the hash of the plugin that answered
    pub sha256: Arc<str>,
    /// the stage is paused: nothing was tried
    pub paused: bool,
}

/// A search for the events at fault, under way.
struct Search {
    began: Option<Duration>,
    given_up: bool,
    lost: usize,
}

/// What a part of a batch became.
struct Part {
    batch: Batch,
    errors: Vec<RowError>,
}

impl Stage {
    /// A configured plugin in a place of its own, with the state its last batch left.
    pub fn new(name: &str, manner: Manner, instance: Instance, clock: Clock, state: Option<Vec<u8>>) -> Self {
        let (configured, contract) = (instance.configured().clone(), instance.contract().clone());
        let version = Version::new(configured, contract, manner);
        Stage::within(Arc::new(Slot::new(name, version, Arc::new(|_| ()))), "", instance, clock, state)
    }

    /// A stage in the lane of a source, with an instance of the version that runs.
    pub fn within(slot: Arc<Slot>, source: &str, instance: Instance, clock: Clock, state: Option<Vec<u8>>) -> Self {
        slot.enter();
        let view = slot.view();
        Stage {
            name: slot.stage().clone(),
            generation: view.generation,
            slot,
            source: source.into(),
            seat: Seat { instance, version: view.current },
            now: clock.now(),
            clock,
            breaker: Breaker::default(),
            pace: Pace::default(),
            open_because: String::new(),
            told_of_whims: false,
            state,
            forget: false,
            trial: None,
            before: None,
            left: None,
        }
    }

    /// What becomes of the events it gave up, and the key that says so.
    pub fn fate(&self, outcome: &Outcome) -> (OnError, &'static str) {
        match outcome.paused {
            true => (self.seat.version.manner.on_open, "on_open"),
            false => (self.seat.version.manner.on_error, "on_error"),
        }
    }

    /// Where its use is counted.
    pub fn account(&self) -> &Arc<Account> {
        &self.seat.instance.configured().account
    }

    /// The state that its last batch left.
    pub fn state(&self) -> Option<&[u8]> {
        self.state.as_deref()
    }

    /// What it remembers, to be given back where a delivery comes to nothing.
    pub fn remembered(&self) -> Remembered {
        Remembered { state: self.state.clone(), forget: self.forget }
    }

    /// As if what came since had never been.
    pub fn recall(&mut self, remembered: Remembered) {
        (self.state, self.forget) = (remembered.state, remembered.forget);
    }

    /// Whether its answers depend on what came before.
    pub fn keeps_state(&self) -> bool {
        self.seat.instance.contract().keeps_state || self.forget
    }

    /// The state to commit with the batch, if the plugin keeps any; empty once where the one before did and this one does not.
    pub fn commit(&mut self) -> Option<Vec<u8>> {
        match std::mem::take(&mut self.forget) {
            true => Some(Vec::new()),
            false => self.state.clone(),
        }
    }

    /// Takes over what changed; between two deliveries.
    pub fn renew(&mut self) {
        if self.slot.generation() == self.generation {
            return;
        }
        let view = self.slot.view();
        self.generation = view.generation;
        if view.current.number() != self.seat.version.number() {
            self.take_over(&view.current);
        }
        let ours = self.trial.as_ref().map(|ours| ours.seat.version.number());
        match view.trial {
            Some(trial) if ours == Some(trial.version.number()) => (),
            Some(trial) => self.try_out(trial),
            None => self.trial = None,
        }
    }

    fn take_over(&mut self, version: &Arc<Version>) {
        let tried = self.trial.take_if(|trial| trial.seat.version.number() == version.number());
        let seat = match tried {
            Some(tried) => tried.seat,
            None => match version.instance(&self.seat.instance) {
                Ok(instance) => Seat { instance, version: version.clone() },
                Err(error) => {
                    let reason = format!("it did not start in the lane of `{}`: {error}", self.source);
                    return self.slot.give_up(version.number(), reason, self.clock.now());
                }
            },
        };
        let old = std::mem::replace(&mut self.seat, seat);
        self.breaker = Breaker::default();
        self.pace = Pace::default();
        self.slot.stand(&self.source, self.breaker.standing(""));
        // Back to a version whose state we still have: what came after may not be readable to it.
        if let Some((_, state)) = self.left.take_if(|(number, _)| *number == version.number()) {
            (self.state, self.before, self.forget) = (state, None, false);
            return;
        }
        self.left = Some((old.version.number(), self.state.clone()));
        if self.state.is_some() {
            match self.seat.instance.contract().keeps_state {
                true => self.before = Some(old),
                false => (self.state, self.forget) = (None, true),
            }
        }
    }

    fn try_out(&mut self, trial: Arc<Trial>) {
        match trial.version.instance(&self.seat.instance) {
            Ok(instance) => {
                let seat = Seat { instance, version: trial.version.clone() };
                self.trial = Some(OnTrial { seat, trial, turn: 0, pairs: 0 });
            }
            Err(error) => {
                let reason = format!("it did not start in the lane of `{}`: {error}", self.source);
                self.slot.give_up(trial.version.number(), reason, self.clock.now());
            }
        }
    }

    /// Runs a batch through the plugin.
    pub fn run(&mut self, batch: &Batch) -> Result<Outcome> {
        if batch.columns.num_rows() == 0 {
            return Ok(Outcome::default());
        }
        let mut outcome = match self.slot.capture.wanted() {
            0 => self.passed(batch)?,
            wanted => self.watched(batch, wanted)?,
        };
        if self.fate(&outcome).0 == OnError::Pass {
            let passed = outcome.casualties.drain(..).map(|casualty| Batch { kind: batch.kind, columns: casualty.row });
            outcome.batches.extend(passed);
        }
        Ok(outcome)
    }

    /// The same, while somebody wants to see so many rows of it. What runs on trial is not shown: it may be gone in a minute.
    fn watched(&mut self, batch: &Batch, wanted: u32) -> Result<Outcome> {
        if self.trial.is_some() || self.before.is_some() {
            return self.passed(batch);
        }
        let all = batch.columns.num_rows();
        // What is counted over a batch would come out otherwise of a part of it.
        let whole = self.seat.version.contract.keeps_state && all <= capture::ROWS_MAX as usize;
        let rows = if whole { all } else { all.min(wanted as usize) };
        let input = Batch { kind: batch.kind, columns: batch.columns.slice(0, rows) };
        let reads = self.reads(&input)?;
        let (version, state) = (self.seat.version.clone(), self.state.clone());
        let mut outcome = self.passed(&capture::numbered(batch, rows)?)?;
        let made = capture::taken(&mut outcome)?;
        if !outcome.paused {
            let (source, now) = (self.source.clone(), version.manner.clock.then_some(self.now));
            let got = Got { source, version, now, state, input: input.columns, reads, outcome: made };
            self.slot.capture.take(got);
        }
        Ok(outcome)
    }

    fn passed(&mut self, batch: &Batch) -> Result<Outcome> {
        self.now = self.clock.now();
        let before = self.before.take();
        let tried = self.trial.take_if(|_| true);
        let mut outcome = if !self.breaker.closed(self.now) {
            self.trial = tried;
            self.paused(batch)
        } else if let Some(before) = before {
            self.trial = tried;
            self.first_with_state(batch, before)?
        } else if let Some(mut tried) = tried {
            let shared = canary::is_shared(tried.turn, tried.trial.rules.share.as_f64());
            tried.turn += 1;
            let outcome = match shared {
                true => self.both(batch, &mut tried),
                false => self.searched(batch).map(|(outcome, _)| outcome),
            };
            self.trial = Some(tried);
            outcome?
        } else {
            self.searched(batch)?.0
        };
        if outcome.sha256.is_empty() {
            outcome.sha256 = self.seat.instance.configured().plugin.sha256().into();
        }
        let account = self.account();
        account.passed(outcome.batches.iter().map(|batch| batch.columns.num_rows()).sum());
        account.gave_up(outcome.casualties.len());
        Ok(outcome)
    }

    fn paused(&self, batch: &Batch) -> Outcome {
        let mut outcome = Outcome { paused: true, ..Outcome::default() };
        let reason = format!("the stage is paused after failing again and again: {}", self.open_because);
        give_up(batch, 0, batch.columns.num_rows(), &reason, None, &mut outcome);
        outcome
    }

    /// Runs a batch, and looks for the events at fault if there are any; answers with the fault, too.
    fn searched(&mut self, batch: &Batch) -> Result<(Outcome, Option<String>)> {
        let (mut outcome, rows) = (Outcome::default(), batch.columns.num_rows());
        let mut search = Search { began: None, given_up: false, lost: 0 };
        let reads = self.reads(batch)?;
        let full = self.seat.instance.configured().limits.time.0;
        let mut from = 0;
        while from < rows {
            let count = self.pace.rows(rows - from, full);
            self.part(batch, &reads, from, count, full, 0, &mut search, &mut outcome)?;
            from += count;
        }
        self.judge(&search, rows, self.now);
        if search.began.is_some() && search.lost == 0 && !std::mem::replace(&mut self.told_of_whims, true) {
            let (stage, reason) = (&*self.name, &*self.open_because);
            tracing::warn!(
                stage,
                reason,
                "a batch failed and its halves did not; no event is lost, and this is told once"
            );
        }
        let fault = search.began.map(|_| self.open_because.clone());
        Ok((outcome, fault))
    }

    /// The first batch of a version with the state of the one before: where it fails and that one does not, we go back.
    fn first_with_state(&mut self, batch: &Batch, before: Seat) -> Result<Outcome> {
        let state = self.state.clone();
        let fault = match self.whole(batch) {
            Ok(part) => return Ok(settled(batch, part)),
            Err(fault) => fault,
        };
        let new = std::mem::replace(&mut self.seat, before);
        self.state.clone_from(&state);
        match self.whole(batch) {
            Ok(part) => {
                let reason = format!("it failed on the state of the version before: {}", fault.message);
                self.slot.give_up(new.version.number(), reason, self.now);
                self.left = None;
                Ok(settled(batch, part))
            }
            // The batch is at fault, not the state.
            Err(_) => {
                (self.seat, self.state) = (new, state);
                Ok(self.searched(batch)?.0)
            }
        }
    }

    /// Runs a batch through both versions. The new one's answer is used where it is sound; where there is state it only looks on,
    /// because the next batch is the old one's.
    fn both(&mut self, batch: &Batch, tried: &mut OnTrial) -> Result<Outcome> {
        let state = self.state.clone();
        // Whoever comes second finds the columns in the cache.
        let new_first = tried.pairs % 2 == 1;
        let early = new_first.then(|| self.aside(batch, &mut tried.seat, &state));
        let before = self.seat.instance.spent();
        let (outcome, fault) = self.searched(batch)?;
        let old_nanos = self.seat.instance.spent().saturating_sub(before);
        let (new, new_nanos) = early.unwrap_or_else(|| self.aside(batch, &mut tried.seat, &state));
        let went = |rows: usize, dead: usize, time: Duration| canary::Went::Answer {
            rows: rows as u64,
            dead: dead as u64,
            nanos: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        };
        let rows = outcome.batches.iter().map(|batch| batch.columns.num_rows()).sum();
        let pair = Pair {
            events: batch.columns.num_rows() as u64,
            old: match fault {
                Some(fault) => canary::Went::Fault(fault),
                None => went(rows, outcome.casualties.len(), old_nanos),
            },
            new: match &new {
                Ok(part) => went(part.batch.columns.num_rows(), part.errors.len(), new_nanos),
                Err(fault) => canary::Went::Fault(fault.message.clone()),
            },
            warm: tried.pairs > 0,
        };
        tried.pairs += 1;
        let keeps = |seat: &Seat| seat.instance.contract().keeps_state;
        let used = pair.is_sound(&tried.trial.rules) && !keeps(&self.seat) && !keeps(&tried.seat);
        self.slot.note(&tried.trial, &pair, self.now);
        match new {
            Ok(part) if used => {
                let sha256 = tried.seat.instance.configured().plugin.sha256().into();
                Ok(Outcome { sha256, ..settled(batch, part) })
            }
            _ => Ok(outcome),
        }
    }

    /// A whole batch through another seat, with this state; nothing here is changed by it. Whatever goes wrong is that seat's fault.
    fn aside(
        &mut self,
        batch: &Batch,
        seat: &mut Seat,
        state: &Option<Vec<u8>>,
    ) -> (std::result::Result<Part, Fault>, Duration) {
        std::mem::swap(&mut self.seat, seat);
        let kept = std::mem::replace(&mut self.state, state.clone());
        let (before, pace) = (self.seat.instance.spent(), self.pace.clone());
        let answer = self.whole(batch);
        let took = self.seat.instance.spent().saturating_sub(before);
        (self.state, self.pace) = (kept, pace);
        std::mem::swap(&mut self.seat, seat);
        (answer, took)
    }

    /// One call with a whole batch, in the time of the calls that it would be handed over in.
    fn whole(&mut self, batch: &Batch) -> std::result::Result<Part, Fault> {
        let (rows, full) = (batch.columns.num_rows(), self.seat.instance.configured().limits.time.0);
        let calls = u32::try_from(rows.div_ceil(self.pace.rows(rows, full))).unwrap_or(u32::MAX);
        let reads = self.reads(batch).map_err(Fault::malformed)?;
        self.attempt(batch, &reads, full.saturating_mul(calls)).map_err(Fault::malformed)?
    }

    /// Runs rows `from..from + count`; where that fails, its halves.
    #[allow(clippy::too_many_arguments, reason = "a recursion over one batch; the arguments are its position")]
    fn part(
        &mut self,
        batch: &Batch,
        reads: &RecordBatch,
        from: usize,
        count: usize,
        time_max: Duration,
        depth: u32,
        search: &mut Search,
        outcome: &mut Outcome,
    ) -> Result<()> {
        if search.is_over() {
            search.given_up = true;
            search.lost += count;
            let reason = format!("given up: finding the events at fault took more than {}s", SEARCH_MAX.as_secs());
            give_up(batch, from, count, &reason, None, outcome);
            return Ok(());
        }
        let full = self.seat.instance.configured().limits.time.0;
        // Alone, a suspect gets all the time there is: what it is given up for must be true.
        // Several get as long as so many take when nothing is wrong: a slow plugin is no suspect.
        let time_max = if count == 1 { full } else { time_max.max(self.pace.time(count)).min(full) };
        let input = Batch { kind: batch.kind, columns: batch.columns.slice(from, count) };
        match self.attempt(&input, &reads.slice(from, count), time_max)? {
            Ok(part) => {
                let made = settled(&input, part);
                outcome.batches.extend(made.batches);
                outcome.casualties.extend(made.casualties);
                Ok(())
            }
            Err(fault) => {
                search.began.get_or_insert_with(cpu_time);
                self.open_because.clone_from(&fault.message);
                if count == 1 {
                    search.lost += 1;
                    give_up(batch, from, 1, &fault.message, fault.backtrace, outcome);
                    return Ok(());
                }
                let half_time = match (fault.kind, depth) {
                    (FaultKind::Time | FaultKind::HostCalls | FaultKind::Output, 0) => full,
                    _ => (time_max / 2).max(PART_TIME_MIN),
                };
                let half = count / 2;
                self.part(batch, reads, from, half, half_time, depth + 1, search, outcome)?;
                self.part(batch, reads, from + half, count - half, half_time, depth + 1, search, outcome)
            }
        }
    }

    /// One call; what it made is put where it belongs.
    fn attempt(&mut self, input: &Batch, reads: &RecordBatch, time_max: Duration) -> Result<Result<Part, Fault>> {
        let state = self.state.take();
        let context = Context { now: self.seat.version.manner.clock.then_some(self.now), state: state.as_deref() };
        let keeps_state = self.seat.instance.contract().keeps_state;
        let began = cpu_time();
        let answer = match self.seat.instance.configured().plugin.world() {
            World::Parser => self.seat.instance.parse(reads, context, time_max).and_then(|mut parsed| {
                let produces = self.seat.instance.contract().produces;
                let output_max = self.seat.instance.configured().limits.output;
                let (mut errors, state) = (std::mem::take(&mut parsed.errors), parsed.state.take());
                let field = self.seat.version.manner.field.as_deref();
                if let Some(field) = field {
                    made::say_what_is_absent(&mut errors, input, field);
                }
                Ok((made::parsed(input, parsed, &errors, produces, output_max, field)?, errors, state))
            }),
            World::Filter => self
                .seat
                .instance
                .keep(reads, context, time_max)
                .map(|kept| (made::kept(input, &kept.keep, &kept.errors), kept.errors, kept.state)),
            World::Enricher => self.seat.instance.enrich(reads, context, time_max).map(|enriched| {
                (made::enriched(input, enriched.columns, &enriched.errors), enriched.errors, enriched.state)
            }),
            World::Autoscaler => return Err(Error::internal("an autoscaler cannot be a stage")),
        };
        match answer {
            Ok((batch, errors, next)) => {
                self.pace.learn(input.columns.num_rows(), cpu_time().saturating_sub(began));
                self.state = if keeps_state { next.or(state) } else { None };
                Ok(Ok(Part { batch: batch?, errors }))
            }
            Err(fault) => {
                self.state = state;
                Ok(Err(fault))
            }
        }
    }

    fn judge(&mut self, search: &Search, rows: usize, now: i64) {
        let went = match (search.given_up, search.lost) {
            (true, _) => Went::GivenUp,
            (false, lost) if lost == rows => Went::Lost,
            (false, _) => Went::Through,
        };
        let (was, opened) = (self.breaker.clone(), self.breaker.note(went, now));
        if self.breaker != was {
            self.slot.stand(&self.source, self.breaker.standing(&self.open_because));
        }
        if let Some(pause) = opened {
            let (stage, reason) = (&*self.name, &*self.open_because);
            tracing::warn!(stage, reason, pause_ms = pause.as_millis() as u64, "a stage keeps failing and is paused");
        }
    }

    /// The columns the plugin reads, as they cross.
    pub fn reads(&self, batch: &Batch) -> Result<RecordBatch> {
        made::handed(batch, &self.seat.instance.contract().reads, self.seat.version.manner.field.as_deref())
    }
}

/// What a part became, as the outcome of its rows.
fn settled(input: &Batch, part: Part) -> Outcome {
    let casualty =
        |error: RowError| Casualty { row: input.columns.slice(error.row, 1), reason: error.message, backtrace: None };
    let casualties = part.errors.into_iter().map(casualty).collect();
    let batches = Some(part.batch).filter(|batch| batch.columns.num_rows() > 0).into_iter().collect();
    Outcome { batches, casualties, ..Outcome::default() }
}

impl Search {
    fn is_over(&self) -> bool {
        self.began.is_some_and(|began| cpu_time().saturating_sub(began) > SEARCH_MAX)
    }
}

fn give_up(batch: &Batch, from: usize, count: usize, reason: &str, backtrace: Option<Arc<str>>, outcome: &mut Outcome) {
    let rows = (from..from + count).map(|row| batch.columns.slice(row, 1));
    outcome.casualties.extend(rows.map(|row| Casualty {
        row,
        reason: reason.to_owned(),
        backtrace: backtrace.clone(),
    }));
}
