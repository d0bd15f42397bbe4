//! a workload made of numbers: what so many replicas make of so much load
//!
//!     utilization = arrivals ÷ capacity of the ready replicas       backlog grows by what is above it, and drains below
//!     latency = service time ÷ (1 − utilization) + backlog ÷ capacity
//!
//! A replica that is started serves after `start`, and is paid from the first second; one that is stopped is gone at once, the ones that do
//! not serve yet first. Who has waited for `timeout` goes away without an answer.
//!
//! **Always:** requests that arrived = served + gone away + still waiting.

use std::collections::VecDeque;

/// Above it, latency grows by the backlog alone: the formula has no end at 1.
const UTILIZATION_MAX: f64 = 0.95;

/// What is known of the workload. Times in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Model {
    /// requests that one replica serves a second
    pub capacity: f64,
    /// how long one takes when nobody else is there
    pub service_time: f64,
    /// from the start of a replica until it serves
    pub start: f64,
    /// how long a request may take
    pub objective: f64,
    /// how long one waits before it goes away
    pub timeout: f64,
}

/// The workload at work. Times in nanoseconds.
#[derive(Clone, Debug)]
pub struct Plant {
    model: Model,
    ready: u32,
    /// when they serve, and how many: the earliest first
    starting: VecDeque<(i64, u32)>,
    /// requests that wait
    backlog: f64,
}

/// What happened in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// requests that came
    pub arrived: f64,
    /// requests that were answered
    pub served: f64,
    /// requests that went away
    pub gone: f64,
    /// requests that wait at its end
    pub backlog: f64,
    /// the share of the ready replicas' capacity that was used
    pub utilization: f64,
    /// how long a request takes that comes at its end, in seconds
    pub latency: f64,
}

impl Plant {
    /// With so many replicas that serve already.
    pub fn new(model: Model, ready: u32) -> Plant {
        Plant { model, ready, starting: VecDeque::new(), backlog: 0.0 }
    }

    /// Replicas that serve.
    pub fn ready(&self) -> u32 {
        self.ready
    }

    /// Replicas that are paid.
    pub fn replicas(&self) -> u32 {
        self.ready + self.starting.iter().map(|(_, count)| count).sum::<u32>()
    }

    /// Requests that wait.
    pub fn backlog(&self) -> f64 {
        self.backlog
    }

    /// How long a replica that is started from now on takes until it serves, in seconds.
    pub fn start_takes(&mut self, seconds: f64) {
        self.model.start = seconds;
    }

    /// From now on so many.
    pub fn scale(&mut self, replicas: u32, now: i64) {
        let present = self.replicas();
        if replicas > present {
            let at = now.saturating_add((self.model.start * 1e9) as i64);
            self.starting.push_back((at, replicas - present));
        }
        let mut surplus = present.saturating_sub(replicas);
        while surplus > 0
            && let Some((at, count)) = self.starting.pop_back()
        {
            let stopped = count.min(surplus);
            surplus -= stopped;
            if count > stopped {
                self.starting.push_back((at, count - stopped));
            }
        }
        self.ready -= surplus.min(self.ready);
    }

    /// Lets `seconds` go by from `now` on, in which `rate` requests a second arrive.
    pub fn step(&mut self, now: i64, rate: f64, seconds: f64) -> Step {
        // Not always the oldest first: how long a start takes may have changed.
        self.starting.retain(|(at, count)| {
            let serves = *at <= now;
            self.ready += if serves { *count } else { 0 };
            !serves
        });
        let capacity = f64::from(self.ready) * self.model.capacity;
        let arrived = rate * seconds;
        let waiting = self.backlog + arrived;
        let served = waiting.min(capacity * seconds);
        let kept = (waiting - served).min(capacity.max(self.model.capacity) * self.model.timeout);
        let gone = waiting - served - kept;
        self.backlog = kept;
        let (utilization, latency) = match self.ready {
            0 => (0.0, if waiting > 0.0 { self.model.timeout } else { 0.0 }),
            _ => {
                let utilization = served / (capacity * seconds);
                let queued = self.model.service_time / (1.0 - utilization.min(UTILIZATION_MAX));
                (utilization, (queued + kept / capacity).min(self.model.timeout))
            }
        };
        Step { arrived, served, gone, backlog: kept, utilization, latency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: Model = Model { capacity: 10.0, service_time: 0.1, start: 30.0, objective: 0.5, timeout: 20.0 };
    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn latency_is_the_queues() {
        let mut plant = Plant::new(MODEL, 2);
        let step = plant.step(0, 10.0, 1.0);
        assert_eq!((step.utilization, step.latency, step.backlog), (0.5, 0.2, 0.0));
        // 5 more than 20 a second wait, and a quarter of a second is added.
        let step = plant.step(SECOND, 25.0, 1.0);
        assert_eq!((step.served, step.backlog, step.utilization), (20.0, 5.0, 1.0));
        assert!((step.latency - (0.1 / 0.05 + 0.25)).abs() < 1e-9, "{}", step.latency);
        // They go when there is room.
        let step = plant.step(2 * SECOND, 10.0, 1.0);
        assert_eq!((step.served, step.backlog, step.utilization), (15.0, 0.0, 0.75));
    }

    #[test]
    fn replicas_serve_after_their_start_and_go_at_once() {
        let mut plant = Plant::new(MODEL, 1);
        plant.scale(4, 0);
        plant.step(29 * SECOND, 0.0, 1.0);
        assert_eq!((plant.ready(), plant.replicas()), (1, 4));
        plant.scale(3, 29 * SECOND);
        plant.step(30 * SECOND, 0.0, 1.0);
        assert_eq!((plant.ready(), plant.replicas()), (3, 3));
        plant.scale(5, 31 * SECOND);
        plant.scale(2, 32 * SECOND);
        assert_eq!((plant.ready(), plant.replicas()), (2, 2));
        plant.scale(0, 33 * SECOND);
        assert_eq!(plant.replicas(), 0);
    }

    #[test]
    fn every_request_is_served_or_gone_or_waits() {
        let mut plant = Plant::new(MODEL, 1);
        let (mut arrived, mut out) = (0.0, 0.0);
        for second in 0..600 {
            plant.scale(second as u32 / 40 % 5, second * SECOND);
            let step = plant.step(second * SECOND, (second % 97) as f64, 1.0);
            arrived += step.arrived;
            out += step.served + step.gone;
            assert!(step.latency <= MODEL.timeout);
        }
        assert!((arrived - out - plant.backlog()).abs() < 1e-6 * arrived, "{arrived} {out} {}", plant.backlog());
        assert!(out > 0.0);
    }
}
