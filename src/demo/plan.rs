//! what the load will be: low, high, high again, low, within the time that there is
//!
//!      18/s        ┌──────┬────────┐         the middle is one rate in two phases: while replicas are
//!                  │ rise │ settled│         being added, and after, so that the two can be compared
//!       3/s ───────┘      │        └───────
//!
//! One replica is made to manage 7 to 8 requests a second ([`super::cost`]) and the scaler gives it 5, so 18 need 4 replicas.

use crate::units::Cores;
use std::time::Duration;

/// What a replica of the demo may use of a core; `pipelines/scrypt.toml` says the same.
pub const SHARE: Cores = Cores { millis: 200 };
/// What a replica would manage at that share if it did nothing but hash; with HTTP and held by a cgroup it is about 7.
pub const REPLICA_PER_SECOND: f64 = 8.0;
/// Few requests, for one replica.
const LOW_PER_SECOND: f64 = 3.0;
/// Many requests, for four: ceil(18 / 5).
const HIGH_PER_SECOND: f64 = 18.0;
/// How long one low, high and low takes where there is time.
const CYCLE: Duration = Duration::from_secs(60);
/// Under this nothing can be seen.
const SPAN_MIN: Duration = Duration::from_secs(10);
/// Coming down takes a window of 5 s, a stabilisation of 8 s and some ticks.
const DOWN_MIN: Duration = Duration::from_secs(18);

/// A constant rate for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// what it is called in the summary
    pub name: &'static str,
    /// offered requests a second
    pub per_second: f64,
    /// how long
    pub span: Duration,
}

/// The load of a demo.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// one after the other
    pub steps: Vec<Step>,
    /// start again after the last one, until somebody stops it
    pub forever: bool,
    /// what the visitor should know about it
    pub notes: Vec<String>,
}

impl Plan {
    /// The plan for this long, or for as long as nobody stops it.
    pub fn new(span: Option<Duration>) -> Plan {
        let Some(asked) = span else {
            return Plan { steps: cycle(CYCLE).into(), forever: true, notes: Vec::new() };
        };
        let span = asked.clamp(SPAN_MIN, Duration::from_secs(24 * 3600));
        let mut notes = Vec::new();
        if span != asked {
            notes.push(format!("the demo runs for {} s, not {} s", span.as_secs(), asked.as_secs()));
        }
        let cycles = (span.as_secs_f64() / CYCLE.as_secs_f64()).floor().max(1.0) as u32;
        let steps: Vec<Step> = (0..cycles).flat_map(|_| cycle(span / cycles)).collect();
        if steps.last().is_some_and(|last| last.span < DOWN_MIN) {
            notes.push("this is too short to see the replicas come down again; 60s shows it".to_owned());
        }
        Plan { steps, forever: false, notes }
    }

    /// How long it takes, unless it goes on forever.
    pub fn span(&self) -> Option<Duration> {
        (!self.forever).then(|| self.steps.iter().map(|step| step.span).sum())
    }
}

/// Low, high, high, low in this much time.
fn cycle(span: Duration) -> [Step; 4] {
    let step = |name, per_second, share: f64| Step { name, per_second, span: span.mul_f64(share) };
    [
        step("low", LOW_PER_SECOND, 0.1),
        step("high, scaling up", HIGH_PER_SECOND, 0.28),
        step("high, scaled", HIGH_PER_SECOND, 0.24),
        step("low again", LOW_PER_SECOND, 0.38),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_takes_as_long_as_it_was_given() {
        for (seconds, steps) in [(10, 4), (45, 4), (60, 4), (100, 4), (120, 8), (600, 40)] {
            let plan = Plan::new(Some(Duration::from_secs(seconds)));
            assert_eq!(plan.steps.len(), steps, "{seconds}");
            let span = plan.span().unwrap().as_secs_f64();
            assert!((span - seconds as f64).abs() < 0.001, "{seconds}: {span}");
        }
        assert_eq!(Plan::new(None).span(), None);
    }

    #[test]
    fn a_minute_goes_up_within_30_s_and_has_time_to_come_down() {
        let plan = Plan::new(Some(Duration::from_secs(60)));
        assert!(plan.notes.is_empty());
        let starts = plan.steps.first().unwrap().span;
        assert!(starts < Duration::from_secs(10));
        assert!(plan.steps.last().unwrap().span > DOWN_MIN);
    }

    #[test]
    fn what_is_too_short_says_so() {
        assert_eq!(Plan::new(Some(Duration::from_secs(30))).notes.len(), 1);
        assert_eq!(Plan::new(Some(Duration::from_secs(1))).notes.len(), 2);
    }

    #[test]
    fn high_needs_four_replicas_and_about_a_core_at_most() {
        let replicas = (HIGH_PER_SECOND / 5.0).ceil();
        assert_eq!(replicas, 4.0);
        assert!(replicas * f64::from(SHARE.millis) <= 1000.0);
        assert!(HIGH_PER_SECOND < replicas * REPLICA_PER_SECOND * 0.7, "four replicas have air");
        const { assert!(HIGH_PER_SECOND > 2.0 * REPLICA_PER_SECOND, "one replica is drowned") };
    }
}
