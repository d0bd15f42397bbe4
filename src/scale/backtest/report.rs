//! what a run cost, who waited too long, and how restless it was

use super::Setup;
use super::plant::Step;
use crate::error::Error;
use serde::Serialize;

/// A turn of the direction within this time of the change before it is a flap: 10 minutes, in ns.
const FLAP: i64 = 600_000_000_000;
/// Points of the curve that is kept for pictures.
const POINTS_MAX: i64 = 1200;
/// Changes that are kept with their reasons; counted are all.
const MOVES_MAX: usize = 100_000;

/// The outcome of one run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// replicas × hours, from the start of each to its stop
    pub replica_hours: f64,
    /// seconds in which a request that came took longer than the objective
    pub seconds_over: f64,
    /// the share of all requests that came in those seconds
    pub share_over: f64,
    /// the longest time to an answer, in seconds; it ends at the timeout
    pub latency_worst: f64,
    /// how often the number of replicas changed
    pub changes: u32,
    /// how often the direction turned within ten minutes of the change before
    pub flaps: u32,
    /// requests that came
    pub requests: f64,
    /// requests that went away without an answer
    pub gone: f64,
    /// seconds of the run
    pub seconds: f64,
    /// seconds in which the trace has a gap
    pub gap_seconds: f64,
    /// the most replicas at one time
    pub replicas_most: u32,
    /// ticks at which a plugin failed
    pub failures: u32,
    /// how it failed first
    pub first_failure: Option<String>,
    /// the run in pieces of equal length
    #[serde(skip)]
    pub curve: Vec<Point>,
    /// the changes, oldest first
    #[serde(skip)]
    pub moves: Vec<Move>,
    #[serde(skip)]
    over: f64,
    /// when the number changed last, and whether it grew
    #[serde(skip)]
    turned: Option<(i64, bool)>,
    #[serde(skip)]
    from: i64,
    #[serde(skip)]
    piece: i64,
    #[serde(skip)]
    objective: f64,
}

/// A piece of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// the highest load, requests a second; nothing in a gap
    pub rate: Option<f64>,
    /// the most replicas that served
    pub ready: u32,
    /// the longest time to an answer, in seconds
    pub latency: f64,
}

/// A change of the number of replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// ns UTC
    pub at: i64,
    /// before
    pub from: u32,
    /// after
    pub to: u32,
    /// why, in sentences
    pub reason: String,
}

impl Report {
    pub(super) fn new(setup: &Setup) -> Report {
        Report {
            replica_hours: 0.0,
            seconds_over: 0.0,
            share_over: 0.0,
            latency_worst: 0.0,
            changes: 0,
            flaps: 0,
            requests: 0.0,
            gone: 0.0,
            seconds: 0.0,
            gap_seconds: 0.0,
            replicas_most: 0,
            failures: 0,
            first_failure: None,
            curve: Vec::new(),
            moves: Vec::new(),
            over: 0.0,
            turned: None,
            from: setup.from,
            piece: ((setup.until - setup.from) / POINTS_MAX).max(1),
            objective: setup.model.objective,
        }
    }

    pub(super) fn note(&mut self, now: i64, seconds: f64, rate: Option<f64>, replicas: u32, ready: u32, step: &Step) {
        if now < self.from {
            return;
        }
        self.seconds += seconds;
        self.replica_hours += f64::from(replicas) * seconds / 3600.0;
        self.replicas_most = self.replicas_most.max(replicas);
        self.requests += step.arrived;
        self.gone += step.gone;
        if rate.is_none() {
            self.gap_seconds += seconds;
        }
        if step.latency > self.objective {
            self.seconds_over += seconds;
            self.over += step.arrived;
        }
        if self.requests > 0.0 {
            self.share_over = self.over / self.requests;
        }
        self.latency_worst = self.latency_worst.max(step.latency);
        let index = usize::try_from((now - self.from) / self.piece).unwrap_or_default();
        if self.curve.len() <= index {
            // Pieces shorter than a tick are as the one before them.
            self.curve.resize(index, self.curve.last().copied().unwrap_or_default());
            self.curve.push(Point::default());
        }
        if let Some(point) = self.curve.get_mut(index) {
            point.rate = match (point.rate, rate) {
                (Some(before), Some(rate)) => Some(before.max(rate)),
                (before, rate) => before.or(rate),
            };
            point.ready = point.ready.max(ready);
            point.latency = point.latency.max(step.latency);
        }
    }

    pub(super) fn moved(&mut self, now: i64, from: u32, to: u32, reason: &str) {
        let before = self.turned.replace((now, to > from));
        if now < self.from {
            return;
        }
        self.changes += 1;
        if before.is_some_and(|(at, grew)| grew != (to > from) && now - at <= FLAP) {
            self.flaps += 1;
        }
        if self.moves.len() >= MOVES_MAX {
            self.moves.remove(0);
        }
        self.moves.push(Move { at: now, from, to, reason: reason.to_owned() });
    }

    pub(super) fn failed(&mut self, now: i64, error: &Error) {
        if now < self.from {
            return;
        }
        self.failures += 1;
        if self.first_failure.is_none() {
            let at = chrono::DateTime::from_timestamp_nanos(now).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            self.first_failure = Some(format!("{at}: {error}"));
        }
    }
}

/// Which of them no other one beats: none is at most as dear and as slow, and less of one of both. Each is replica-hours and the share of
/// requests over the objective.
pub fn pareto(outcomes: &[(f64, f64)]) -> Vec<bool> {
    let beats = |one: &(f64, f64), other: &(f64, f64)| one.0 <= other.0 && one.1 <= other.1 && one != other;
    outcomes.iter().map(|one| !outcomes.iter().any(|other| beats(other, one))).collect()
}
