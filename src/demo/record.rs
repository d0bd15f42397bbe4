//! what has happened so far: by phase for the summary, by second for the sparklines
//!
//! **Always:** a request counts in the phase in which it was due; the last seconds count by when requests ended.

use super::latency::Latencies;
use super::load::{Sample, Tally};
use super::plan::Step;
use std::collections::VecDeque;
use std::time::Duration;

/// How many seconds the figures of "now" look back.
const RECENT: usize = 5;
/// How many seconds of history are kept.
const HISTORY_MAX: usize = 120;
/// How many phases are kept; of a longer demo the latest.
const PHASES_MAX: usize = 12;

/// How many replicas there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// that should run
    pub asked: u32,
    /// that take requests
    pub ready: u32,
}

/// One step of the plan, as it went.
#[derive(Clone, Debug)]
pub struct Phase {
    /// which step, counted over repetitions
    pub step: usize,
    /// its name
    pub name: &'static str,
    /// its rate
    pub per_second: f64,
    /// its requests
    pub tally: Tally,
    /// ready replicas at its first sample
    pub from: u32,
    /// ready replicas at its last sample
    pub to: u32,
}

/// One second of history.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// requests that were due in it
    pub offered: f64,
    /// p95 of the last seconds, in seconds; nothing if none ended
    pub p95: Option<f64>,
    /// ready replicas
    pub ready: f64,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Record {
    steps: Vec<Step>,
    phases: VecDeque<Phase>,
    recent: VecDeque<(u64, Tally)>,
    history: VecDeque<Point>,
    second: u64,
    outstanding: usize,
}

/// The figures of the last seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Now {
    /// requests a second that were due
    pub offered: f64,
    /// requests a second that were completed
    pub completed: f64,
    /// requests that failed or timed out, in all phases that are kept
    pub failed: u64,
    /// requests that are open
    pub outstanding: usize,
    /// half of the requests took at most this, since they were due
    pub p50: Option<Duration>,
    /// 95 of 100 took at most this
    pub p95: Option<Duration>,
}

impl Record {
    /// Nothing yet, of these steps.
    pub fn new(steps: &[Step]) -> Record {
        Record { steps: steps.to_vec(), ..Record::default() }
    }

    /// Takes in a sample and how many replicas there were at its end.
    pub fn take(&mut self, sample: &Sample, replicas: Replicas) {
        let seconds = sample.second.saturating_sub(self.second).max(1);
        self.second = sample.second;
        self.outstanding = sample.outstanding;
        self.enter(sample.step, replicas.ready);
        for (step, tally) in &sample.tallies {
            if let Some(phase) = self.phases.iter_mut().find(|phase| phase.step == *step) {
                phase.tally.merge(tally);
            }
        }
        if let Some(phase) = self.phases.back_mut() {
            phase.to = replicas.ready;
        }
        let total = sample.total();
        let offered = total.offered as f64 / seconds as f64;
        self.recent.push_back((seconds, total));
        while self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        let p95 = self.latencies().quantile(0.95).map(|latency| latency.as_secs_f64());
        self.history.push_back(Point { offered, p95, ready: f64::from(replicas.ready) });
        while self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }

    /// The figures of now.
    pub fn now(&self) -> Now {
        let sum = |figure: fn(&Tally) -> u64| self.recent.iter().map(|(_, tally)| figure(tally)).sum::<u64>() as f64;
        let seconds = self.recent.iter().map(|(seconds, _)| *seconds).sum::<u64>().max(1) as f64;
        let latencies = self.latencies();
        Now {
            offered: self.history.back().map_or(0.0, |point| point.offered),
            completed: sum(|tally| tally.completed) / seconds,
            failed: self.phases.iter().map(|phase| phase.tally.failed + phase.tally.timed_out).sum(),
            outstanding: self.outstanding,
            p50: latencies.quantile(0.5),
            p95: latencies.quantile(0.95),
        }
    }

    /// The phases that are kept, oldest first.
    pub fn phases(&self) -> impl Iterator<Item = &Phase> {
        self.phases.iter()
    }

    /// The seconds that are kept, oldest first.
    pub fn history(&self) -> &VecDeque<Point> {
        &self.history
    }

    /// Seconds since the load started.
    pub fn second(&self) -> u64 {
        self.second
    }

    /// The latest two phases with one rate: before and after scaling up.
    pub fn compared(&self) -> Option<(&Phase, &Phase)> {
        let mut pairs = self.phases.iter().zip(self.phases.iter().skip(1)).rev();
        pairs.find(|(before, after)| before.per_second == after.per_second && after.tally.completed > 0)
    }

    /// Begins every phase up to this step that has not begun.
    fn enter(&mut self, step: usize, ready: u32) {
        let first = self.phases.back().map_or(0, |phase| phase.step + 1);
        // A plan longer than what is kept is entered at its end.
        for step in first.max(step.saturating_sub(PHASES_MAX))..=step {
            let Some(plan) = step.checked_rem(self.steps.len()).and_then(|at| self.steps.get(at)) else { return };
            let (name, per_second) = (plan.name, plan.per_second);
            self.phases.push_back(Phase { step, name, per_second, tally: Tally::default(), from: ready, to: ready });
        }
        while self.phases.len() > PHASES_MAX {
            self.phases.pop_front();
        }
    }

    fn latencies(&self) -> Latencies {
        self.recent.iter().fold(Latencies::default(), |mut all, (_, tally)| {
            all.merge(&tally.latencies);
            all
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn tally(offered: u64, completed: u64, ms: u64) -> Tally {
        let mut tally = Tally { offered, completed, ..Tally::default() };
        (0..completed).for_each(|_| tally.latencies.record(Duration::from_millis(ms)));
        tally
    }

    /// A minute of the usual plan: slow while scaling up, fast after.
    pub fn minute() -> Record {
        let plan = crate::demo::plan::Plan::new(Some(Duration::from_secs(60)));
        let mut record = Record::new(&plan.steps);
        for second in 1..=60u64 {
            let (step, ready) = match second {
                1..=6 => (0, 1),
                7..=21 => (1, 1 + (second as u32 - 6).min(12) / 4),
                22..=36 => (2, 4),
                _ => (3, if second < 50 { 4 } else { 1 }),
            };
            let (offered, ms) = match step {
                0 | 3 => (3, 150),
                1 => (18, 5000),
                _ => (18, 300),
            };
            let tallies = vec![(step, tally(offered, offered, ms))];
            record.take(&Sample { second, step, outstanding: 2, tallies }, Replicas { asked: ready, ready });
        }
        record
    }

    #[test]
    fn a_minute_falls_into_its_phases() {
        let record = minute();
        let phases: Vec<_> =
            record.phases().map(|phase| (phase.name, phase.tally.offered, phase.from, phase.to)).collect();
        assert_eq!(
            phases,
            [("low", 18, 1, 1), ("high, scaling up", 270, 1, 4), ("high, scaled", 270, 4, 4), ("low again", 72, 4, 1)]
        );
        let (before, after) = record.compared().unwrap();
        assert_eq!((before.name, after.name), ("high, scaling up", "high, scaled"));
        let now = record.now();
        assert_eq!((now.offered, now.completed, now.failed, now.outstanding), (3.0, 3.0, 0, 2));
        assert!(now.p95.unwrap() < Duration::from_millis(160));
    }

    #[test]
    fn an_answer_counts_where_it_was_due_and_a_late_sample_counts_its_seconds() {
        let mut record = minute();
        let tallies = vec![(1, tally(0, 1, 9000)), (4, tally(6, 6, 100))];
        record.take(&Sample { second: 62, step: 4, outstanding: 0, tallies }, Replicas { asked: 1, ready: 1 });
        assert_eq!(record.phases().nth(1).unwrap().tally.completed, 271);
        assert_eq!(record.phases().last().unwrap().name, "low");
        assert_eq!(record.now().offered, 3.0);
    }

    #[test]
    fn it_does_not_grow() {
        let mut record = minute();
        for second in 61..5000 {
            let step = second as usize;
            let tallies = vec![(step, tally(1, 1, 1))];
            record.take(&Sample { second, step, outstanding: 0, tallies }, Replicas::default());
        }
        assert_eq!(record.phases().count(), PHASES_MAX);
        assert_eq!(record.history().len(), HISTORY_MAX);
    }
}
