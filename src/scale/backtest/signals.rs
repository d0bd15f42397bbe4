//! what a workload made of numbers shows of itself, as the signals that a plugin knows
//!
//! Loads, utilization and latency are means of the last while, as a query would give them; the backlog is the one of now; the past is the
//! trace in buckets, of which only whole ones are shown.

use super::Setup;
use super::plant::{Plant, Step};
use super::trace::Trace;
use crate::error::Result;
use crate::plugin::{Freshness, Signal};
use arrow::array::{ArrayRef, Float64Array, TimestampNanosecondArray};
use arrow::record_batch::RecordBatch;
use std::collections::VecDeque;
use std::sync::Arc;

/// The short window, in ns: Knative's.
const BURST: i64 = 6_000_000_000;

/// Something that the workload shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable {
    /// requests a second, mean of the window
    Arrivals,
    /// requests a second, mean of six seconds
    Burst,
    /// requests that wait
    Backlog,
    /// percent of the ready replicas' capacity, mean of the window
    Utilization,
    /// seconds from request to answer, mean of the window
    Latency,
    /// seconds that one request takes by itself
    ServiceTime,
    /// the trace before now: `timestamp`, `value` in requests a second
    History,
}

/// Names by which signals are known.
const NAMES: &[(&str, Variable)] = &[
    ("arrivals", Variable::Arrivals),
    ("rps", Variable::Arrivals),
    ("load", Variable::Arrivals),
    ("rate", Variable::Arrivals),
    ("requests", Variable::Arrivals),
    ("stable", Variable::Arrivals),
    ("burst", Variable::Burst),
    ("backlog", Variable::Backlog),
    ("queue", Variable::Backlog),
    ("utilization", Variable::Utilization),
    ("cpu", Variable::Utilization),
    ("latency", Variable::Latency),
    ("service_time", Variable::ServiceTime),
    ("history", Variable::History),
];

impl Variable {
    /// What has this name.
    pub fn of(name: &str) -> Option<Variable> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable)
    }

    /// Every name there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

/// The signals of a run.
pub(in crate::scale) struct Signals {
    wanted: Vec<(String, Variable)>,
    service_time: f64,
    /// the last steps, their lengths in seconds, the newest last
    recent: VecDeque<(Step, f64)>,
    window_steps: usize,
    burst_steps: usize,
    buckets: Vec<(i64, f64)>,
    bucket: i64,
    memory: i64,
    /// buckets that are whole by now, and the table of them
    shown: Option<(usize, RecordBatch)>,
}

impl Signals {
    pub(in crate::scale) fn new(setup: &Setup, trace: &Trace, step: i64) -> Signals {
        let steps = |span: i64| usize::try_from(span / step).unwrap_or(1).max(1);
        let bucket = setup.bucket.max(trace.step());
        Signals {
            wanted: setup.signals.iter().map(|(name, variable)| (name.clone(), *variable)).collect(),
            service_time: setup.model.service_time,
            recent: VecDeque::new(),
            window_steps: steps(setup.window),
            burst_steps: steps(BURST),
            buckets: trace.buckets(bucket),
            bucket,
            memory: setup.memory,
            shown: None,
        }
    }

    /// Whether nobody asks for any.
    pub(in crate::scale) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Takes note of a step; what lies before a gap is not the mean of what comes after it.
    pub(in crate::scale) fn note(&mut self, step: &Step, seconds: f64, known: bool) {
        if !known {
            self.recent.clear();
            return;
        }
        if self.recent.len() >= self.window_steps.max(self.burst_steps) {
            self.recent.pop_front();
        }
        self.recent.push_back((*step, seconds));
    }

    /// What they show now; `rate` is the load of now, nothing in a gap.
    pub(in crate::scale) fn at(&mut self, now: i64, rate: Option<f64>, plant: &Plant) -> Result<Vec<Signal>> {
        let mut signals = Vec::with_capacity(self.wanted.len());
        for (name, variable) in self.wanted.clone() {
            signals.push(match (variable, rate) {
                (Variable::History, _) => self.past(name, now)?,
                (_, None) => Signal {
                    name,
                    freshness: Freshness::Missing,
                    table: table(Vec::new())?,
                    message: "the trace has a gap here".to_owned(),
                    caught_up_at: None,
                },
                (variable, Some(rate)) => {
                    let value = self.value(variable, rate, plant);
                    fresh(name, table(vec![value])?, now)
                }
            });
        }
        Ok(signals)
    }

    fn value(&self, variable: Variable, rate: f64, plant: &Plant) -> f64 {
        match variable {
            Variable::Arrivals => self.mean(self.window_steps, |step, seconds| step.arrived / seconds).unwrap_or(rate),
            Variable::Burst => self.mean(self.burst_steps, |step, seconds| step.arrived / seconds).unwrap_or(rate),
            Variable::Backlog => plant.backlog(),
            Variable::Utilization => {
                100.0 * self.mean(self.window_steps, |step, _| step.utilization).unwrap_or_default()
            }
            Variable::Latency => self.mean(self.window_steps, |step, _| step.latency).unwrap_or(self.service_time),
            Variable::ServiceTime | Variable::History => self.service_time,
        }
    }

    /// A mean of the last steps; nothing before the first.
    fn mean(&self, steps: usize, of: impl Fn(&Step, f64) -> f64) -> Option<f64> {
        let last = self.recent.iter().rev().take(steps);
        let (sum, time) =
            last.fold((0.0, 0.0), |(sum, time), (step, seconds)| (sum + of(step, *seconds) * seconds, time + seconds));
        (time > 0.0).then(|| sum / time)
    }

    /// Whole buckets before now.
    fn past(&mut self, name: String, now: i64) -> Result<Signal> {
        let whole = self.buckets.partition_point(|(begin, _)| begin.saturating_add(self.bucket) <= now);
        let held = self.shown.take().filter(|(count, _)| *count == whole);
        let (_, table) = match held {
            Some(held) => self.shown.insert(held),
            None => {
                let oldest = self.buckets.partition_point(|(begin, _)| *begin < now.saturating_sub(self.memory));
                let rows = self.buckets.get(oldest..whole).unwrap_or_default();
                let times =
                    TimestampNanosecondArray::from_iter_values(rows.iter().map(|(at, _)| *at)).with_timezone("UTC");
                let values = Float64Array::from_iter_values(rows.iter().map(|(_, rate)| *rate));
                let columns: [(&str, ArrayRef); 2] = [("timestamp", Arc::new(times)), ("value", Arc::new(values))];
                self.shown.insert((whole, RecordBatch::try_from_iter(columns)?))
            }
        };
        let table = table.clone();
        Ok(match table.num_rows() {
            0 => Signal {
                name,
                freshness: Freshness::Missing,
                table,
                message: "the trace has just begun".to_owned(),
                caught_up_at: Some(now),
            },
            _ => fresh(name, table, now),
        })
    }
}

fn fresh(name: String, table: RecordBatch, now: i64) -> Signal {
    Signal { name, freshness: Freshness::Fresh, table, message: String::new(), caught_up_at: Some(now) }
}

fn table(values: Vec<f64>) -> Result<RecordBatch> {
    let column: ArrayRef = Arc::new(Float64Array::from(values));
    Ok(RecordBatch::try_from_iter([("value", column)])?)
}
