//! deciders on a load as it was, with a workload made of numbers, on a clock made of numbers
//!
//!     trace ─► plant ─► signals ─► advisers ─► plugin ─► policy ─► plant …       a tick; the plant steps a second at a time
//!                └────► what it cost, and who waited too long ─► report
//!
//! The rules are the ones of the live loop, by the same function; only what they are told is made up. Nothing waits: a week takes seconds.
//!
//! **Always:** the same trace, settings and deciders give the same report, to the bit.
//! **Never:** a decider sees what has not happened yet; in a gap of the trace its signals are missing.

pub mod plant;
pub mod report;
pub mod signals;
pub mod trace;

pub use plant::Model;
pub use report::{Report, pareto};
pub use signals::Variable;
pub use trace::{Form, Trace};

use super::policy::{Belief, Case, History, Policy};
use crate::error::{Error, Result};
use crate::plugin::autoscaler::Decided;
use crate::plugin::{Advice, Proposal, Request};
use plant::Plant;
use signals::Signals;
use std::collections::BTreeMap;

/// A step of the plant, in ns, unless ticks are shorter.
const STEP: i64 = 1_000_000_000;
/// Earlier decisions that a plugin is shown, as in the live loop.
const RECENT_MAX: usize = 16;
/// Characters of an earlier decision's reason that it is shown.
const RECENT_CHARS_MAX: usize = 200;
/// Requests a second that nobody serves.
const CAPACITY_MAX: f64 = 1e12;
/// The most ticks of one run.
const TICKS_MAX: i64 = 50_000_000;

/// Somebody who proposes numbers of replicas: a plugin, or what a test puts in its place.
pub trait Propose {
    /// How many, or why it cannot say.
    fn propose(&mut self, request: &Request) -> Result<Proposal>;

    /// Whether it goes by the time of day too, as a schedule does.
    fn reads_time(&self) -> bool {
        false
    }
}

impl<F: FnMut(&Request) -> Result<Proposal>> Propose for F {
    fn propose(&mut self, request: &Request) -> Result<Proposal> {
        self(request)
    }
}

/// Who decides, and who advises them.
pub struct Panel {
    /// the one that decides
    pub live: Box<dyn Propose>,
    /// those that advise it, by name
    pub advisers: BTreeMap<String, Box<dyn Propose>>,
}

/// What is tried. Times in ns UTC, spans in ns.
#[derive(Clone, Debug)]
pub struct Setup {
    /// the workload's name, as the plugins are told it
    pub workload: String,
    /// the rules
    pub policy: Policy,
    /// time between two decisions
    pub every: i64,
    /// the first moment that counts
    pub from: i64,
    /// so long before it the run begins, as far as the trace goes back: nobody's service starts with the first thing that is counted
    pub warm_up: i64,
    /// the first moment after it
    pub until: i64,
    /// replicas at first; enough for the load at first if not given
    pub initial: Option<u32>,
    /// the workload
    pub model: Model,
    /// what each signal shows, by its name
    pub signals: BTreeMap<String, Variable>,
    /// the while over which signals are means
    pub window: i64,
    /// length of a bucket of the signal that shows the past
    pub bucket: i64,
    /// how far that signal goes back
    pub memory: i64,
}

impl Setup {
    /// What nobody could try.
    fn check(&self) -> Result<()> {
        let wrong = |message: &str| Err(Error::invalid(message));
        let model = &self.model;
        if [model.capacity, model.service_time, model.objective, model.timeout]
            .iter()
            .any(|it| !(it.is_finite() && *it > 0.0))
        {
            return wrong("capacity, service time, objective and timeout must be more than 0");
        }
        if model.service_time >= model.objective {
            return wrong("the objective is not above the service time: no number of replicas would keep it");
        }
        if model.capacity > CAPACITY_MAX {
            return wrong("no replica serves more than 1e12 requests a second");
        }
        if self.every <= 0 || self.bucket <= 0 {
            return wrong("the time between decisions and the length of a bucket must be more than 0");
        }
        if self.until <= self.from {
            return wrong("there is no time to try: the end is not after the begin");
        }
        if (self.until - self.from).saturating_add(self.warm_up) / self.every.min(STEP) > TICKS_MAX {
            return wrong(
                "that is too long to be tried tick by tick; choose less with --from and --to, or a longer --every",
            );
        }
        Ok(())
    }
}

/// Runs it.
pub fn run(setup: &Setup, trace: &Trace, panel: &mut Panel) -> Result<Report> {
    setup.check()?;
    let begin = setup.from.saturating_sub(setup.warm_up).max(trace.begin()).min(setup.from);
    let at_first = setup.initial.unwrap_or_else(|| enough(setup, trace.rate(begin).unwrap_or_default()));
    let replicas = setup.policy.within(at_first);
    let step = setup.every.min(STEP);
    let mut trial = Trial {
        setup,
        panel,
        plant: Plant::new(setup.model, replicas),
        signals: Signals::new(setup, trace, step),
        history: History::begin(begin, replicas),
        request: Request {
            now: begin,
            workload: setup.workload.clone(),
            replicas,
            ready: replicas,
            min: setup.policy.min,
            max: setup.policy.max,
            members: Vec::new(),
            signals: Vec::new(),
            decisions: Vec::new(),
            advice: Vec::new(),
            state: Vec::new(),
        },
        states: BTreeMap::new(),
        report: Report::new(setup),
    };
    let (mut now, mut tick) = (begin, begin);
    while now < setup.until {
        let rate = trace.rate(now);
        if now >= tick {
            trial.tick(now, rate)?;
            tick += setup.every;
        }
        let edge = if now < setup.from { setup.from } else { setup.until };
        let length = step.min(edge - now).min(tick - now);
        let seconds = length as f64 / 1e9;
        let done = trial.plant.step(now, rate.unwrap_or_default(), seconds);
        trial.signals.note(&done, seconds, rate.is_some());
        trial.report.note(now, seconds, rate, trial.plant.replicas(), trial.plant.ready(), &done);
        now += length;
    }
    Ok(trial.report)
}

/// Replicas for a load, none of them busier than the objective allows.
fn enough(setup: &Setup, rate: f64) -> u32 {
    let busy = 1.0 - setup.model.service_time / setup.model.objective;
    (rate / (setup.model.capacity * busy)).ceil() as u32
}

struct Trial<'a> {
    setup: &'a Setup,
    panel: &'a mut Panel,
    plant: Plant,
    signals: Signals,
    history: History,
    /// the request, changed from tick to tick
    request: Request,
    /// what each adviser handed back
    states: BTreeMap<String, Vec<u8>>,
    report: Report,
}

impl Trial<'_> {
    fn tick(&mut self, now: i64, rate: Option<f64>) -> Result<()> {
        self.request.now = now;
        self.request.ready = self.plant.ready();
        self.request.signals = self.signals.at(now, rate, &self.plant)?;
        self.request.advice = Vec::new();
        let state = std::mem::take(&mut self.request.state);
        let mut advice = Vec::new();
        for (name, adviser) in &mut self.panel.advisers {
            self.request.state = self.states.remove(name).unwrap_or_default();
            let answer = adviser.propose(&self.request);
            let held = std::mem::take(&mut self.request.state);
            let (replicas, reason, state) = match answer {
                Ok(proposal) => (Some(proposal.replicas), proposal.reason, proposal.state),
                Err(error) => {
                    let reason = error.to_string();
                    self.report.failed(now, &error.within(format!("adviser `{name}`")));
                    (None, reason, held)
                }
            };
            self.states.insert(name.clone(), state);
            advice.push(Advice { name: name.clone(), replicas, reason });
        }
        self.request.advice = advice;
        self.request.state = state;
        let answer = self.panel.live.propose(&self.request);
        let goes_by_time = |name: &String| self.panel.advisers.get(name).is_some_and(|adviser| adviser.reads_time());
        let by_time = self.request.advice.iter().filter(|advice| goes_by_time(&advice.name));
        let by_time = by_time.filter_map(|advice| advice.replicas);
        let own = answer.as_ref().ok().filter(|_| self.panel.live.reads_time()).map(|proposal| proposal.replicas);
        let beliefs: Vec<Belief> = self.request.signals.iter().map(Belief::of).collect();
        let current = self.request.replicas;
        let decision = self.setup.policy.decide(Case {
            now,
            current,
            proposal: answer.as_ref(),
            beliefs: &beliefs,
            by_time: by_time.chain(own).max(),
            history: &self.history,
            order: None,
        });
        self.history.note(&self.setup.policy, now, decision.believed, current, decision.replicas);
        match answer {
            Ok(proposal) => self.request.state = proposal.state,
            Err(error) => self.report.failed(now, &error),
        }
        if decision.replicas != current {
            self.plant.scale(decision.replicas, now);
            self.report.moved(now, current, decision.replicas, &decision.reason);
        }
        self.request.replicas = decision.replicas;
        if self.request.decisions.len() >= RECENT_MAX {
            self.request.decisions.remove(0);
        }
        self.request.decisions.push(Decided {
            at: now,
            replicas: current,
            proposed: decision.desired,
            decided: decision.replicas,
            reason: decision.reason.chars().take(RECENT_CHARS_MAX).collect(),
        });
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
