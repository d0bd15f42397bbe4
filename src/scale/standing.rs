//! where a scaler stands, for those who follow its decisions elsewhere
//!
//! Whoever follows must be able to tell a number that was decided from evidence from one that is only held. So a standing says
//! either how many and since when, or why it is not to be believed.
//!
//! **Never:** a number without evidence is told as if it were one.

use super::decision::Decided;
use super::evidence::Answer;
use crate::clock::Clock;
use crate::plugin::Freshness;
use crate::units::Span;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A decision is old after three ticks, but not before this.
const OLD_MIN: Duration = Duration::from_secs(10);

/// A scaler at its last tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// the workload's name
    pub workload: String,
    /// the tick, ns UTC; 0 before the first
    pub tick: i64,
    /// time between two ticks
    pub every: Duration,
    /// how many replicas were decided
    pub decided: u32,
    /// why that number is only held; empty where it rests on evidence or on an operator's order
    pub doubt: String,
    /// the signals that it was decided from
    pub signals: Vec<Shown>,
}

/// A signal at a tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// its name
    pub name: String,
    /// its figure, or why there is none that can be believed
    pub value: Result<f64, String>,
}

/// Where every scaler stands, by name. Cloning shares it.
#[derive(Clone)]
pub struct Board {
    scalers: Arc<BTreeMap<String, watch::Receiver<Standing>>>,
    clock: Clock,
}

impl Board {
    /// Of these scalers.
    pub fn new(scalers: BTreeMap<String, watch::Receiver<Standing>>, clock: Clock) -> Board {
        Board { scalers: Arc::new(scalers), clock }
    }

    /// The scalers' names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.scalers.keys().map(String::as_str)
    }

    /// Every scaler as it stands at this moment.
    pub fn all(&self) -> impl Iterator<Item = (&str, Standing)> {
        self.scalers.iter().map(|(name, standing)| (name.as_str(), standing.borrow().clone()))
    }

    /// One scaler, to be followed tick by tick.
    pub fn follow(&self, name: &str) -> Option<watch::Receiver<Standing>> {
        self.scalers.get(name).cloned()
    }

    /// The time, ns UTC.
    pub fn now(&self) -> i64 {
        self.clock.now()
    }
}

impl Standing {
    /// A scaler that has decided nothing yet.
    pub fn waiting(workload: &str, every: Duration, why: &str) -> Standing {
        Standing { workload: workload.to_owned(), every, doubt: why.to_owned(), ..Standing::default() }
    }

    /// A scaler after a tick.
    pub fn of(workload: &str, every: Duration, decided: &Decided<'_>) -> Standing {
        let signals = decided.answers.iter().map(|answer| {
            let (signal, word) = (&answer.signal, answer.signal.freshness.word());
            let value = match (signal.freshness, answer.value) {
                (Freshness::Fresh, Some(value)) => Ok(value),
                (Freshness::Fresh, None) => Err("it has no single figure".to_owned()),
                _ => Err(format!("it is {word}: {}", signal.message)),
            };
            Shown { name: signal.name.clone(), value }
        });
        Standing {
            workload: workload.to_owned(),
            tick: decided.tick,
            every,
            decided: decided.decision.replicas,
            doubt: doubt(decided),
            signals: signals.collect(),
        }
    }

    /// How many replicas were decided, or why nobody should follow that now.
    pub fn replicas(&self, now: i64) -> Result<u32, String> {
        self.recent(now)?;
        match self.doubt.is_empty() {
            true => Ok(self.decided),
            false => Err(self.doubt.clone()),
        }
    }

    /// A signal's figure; nothing if there is no such signal.
    pub fn signal(&self, name: &str, now: i64) -> Option<Result<f64, String>> {
        let shown = self.signals.iter().find(|shown| shown.name == name)?;
        Some(self.recent(now).and_then(|()| shown.value.clone()))
    }

    fn recent(&self, now: i64) -> Result<(), String> {
        if self.tick == 0 {
            return Err(self.doubt.clone());
        }
        let age = Duration::from_nanos(u64::try_from(now.saturating_sub(self.tick)).unwrap_or(0));
        match age > OLD_MIN.max(self.every.saturating_mul(3)) {
            true => {
                let every = Span(self.every);
                Err(format!("the last decision is {:.0} s old, and one is due every {every}", age.as_secs_f64()))
            }
            false => Ok(()),
        }
    }
}

/// Whether an answer says anything: a figure that can be an amount, or a table of several.
fn is_evidence(answer: &Answer) -> bool {
    let signal = &answer.signal;
    let numbers = signal.table.columns().iter().filter(|column| column.data_type().is_numeric()).count();
    let says = answer.value.map_or(numbers > 1, |value| value >= 0.0);
    says && matches!(signal.freshness, Freshness::Fresh | Freshness::Stale)
}

/// Why a decision rests on no evidence. An operator's order needs none; who asks for more than there is has seen a reason.
fn doubt(decided: &Decided<'_>) -> String {
    let clamp = |name: &str| decided.decision.clamps.iter().find(|clamp| clamp.name == name);
    let is_fresh = |answer: &Answer| answer.signal.freshness == Freshness::Fresh;
    let asks_for_more = decided.decision.desired.is_some_and(|desired| desired > decided.replicas);
    let held = !asks_for_more && !decided.answers.iter().all(is_fresh);
    let without = !decided.answers.is_empty() && (held || !decided.answers.iter().any(is_evidence));
    if clamp("order").is_some() {
        return String::new();
    }
    match clamp("plugin_failed").or_else(|| clamp("evidence")).or_else(|| clamp("standby")) {
        Some(clamp) => clamp.why.clone(),
        None if decided.record.is_empty() => "it has just started, and looked at nothing yet".to_owned(),
        None if without => {
            let told =
                decided.answers.iter().filter(|answer| !is_fresh(answer) || !is_evidence(answer)).map(|answer| {
                    let signal = &answer.signal;
                    let why = if signal.message.is_empty() { "it shows no amount" } else { &signal.message };
                    format!("signal `{}` is {} ({why})", signal.name, signal.freshness.word())
                });
            format!("held without evidence: {}", told.collect::<Vec<_>>().join(", "))
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::Signal;
    use crate::scale::evidence::Answer;
    use crate::scale::policy::{Clamp, Decision};
    use arrow::record_batch::RecordBatch;

    /// Of a tick with one replica before it.
    fn standing(freshness: Freshness, desired: u32, clamps: &[&'static str], record: &[u8]) -> Standing {
        let clamp = |name: &&'static str| Clamp { name, from: 1, to: 3, why: format!("by {name}") };
        let decision = Decision {
            replicas: 3,
            desired: Some(desired),
            believed: 3,
            clamps: clamps.iter().map(clamp).collect(),
            reason: String::new(),
        };
        let table = RecordBatch::new_empty(std::sync::Arc::new(arrow::datatypes::Schema::empty()));
        let signal = Signal { name: "rps".into(), freshness, table, message: "why".into(), caught_up_at: None };
        let answers = [Answer { signal, sql: String::new(), value: Some(2.5), rows: 1 }];
        let decided = Decided {
            tick: 1_000_000_000,
            replicas: 1,
            ready: 1,
            range: (1, 5),
            answers: &answers,
            decision: &decision,
            advice: &[],
            seconds: (0.0, 0.0),
            under_way: String::new(),
            record: record.to_vec(),
        };
        Standing::of("web", Duration::from_secs(5), &decided)
    }

    #[test]
    fn only_evidence_and_orders_are_followed() {
        let now = 2_000_000_000;
        for (freshness, desired, clamps, record, expected) in [
            (Freshness::Fresh, 1, &[][..], &b"r"[..], Ok(3)),
            (Freshness::Fresh, 9, &["max"], b"r", Ok(3)),
            (Freshness::Stale, 3, &[], b"r", Ok(3)),
            (Freshness::Stale, 1, &[], b"r", Err("held without evidence: signal `rps` is stale (why)")),
            (Freshness::Stale, 0, &["evidence"], b"r", Err("by evidence")),
            (Freshness::Missing, 1, &[], b"r", Err("held without evidence: signal `rps` is missing (why)")),
            (Freshness::Missing, 3, &[], b"r", Err("held without evidence: signal `rps` is missing (why)")),
            (Freshness::Fresh, 1, &["plugin_failed"], b"r", Err("by plugin_failed")),
            (Freshness::Missing, 1, &["evidence", "order"], b"r", Ok(3)),
            (Freshness::Fresh, 1, &[], b"", Err("it has just started, and looked at nothing yet")),
        ] {
            let told = standing(freshness, desired, clamps, record).replicas(now);
            assert_eq!(told, expected.map_err(str::to_owned), "{freshness:?} {desired} {clamps:?}");
        }
    }

    #[test]
    fn what_is_old_or_not_there_is_not_followed() {
        let fresh = standing(Freshness::Fresh, 1, &[], b"r");
        assert_eq!(fresh.replicas(16_000_000_000), Ok(3));
        let old = Err("the last decision is 16 s old, and one is due every 5s".to_owned());
        assert_eq!((fresh.replicas(17_000_000_000), fresh.signal("rps", 0)), (old, Some(Ok(2.5))));
        assert!(fresh.signal("rps", 17_000_000_000).is_some_and(|told| told.is_err()));
        assert_eq!(fresh.signal("rpm", 0), None);
        let stale = standing(Freshness::Stale, 1, &[], b"r").signal("rps", 0);
        assert_eq!(stale, Some(Err("it is stale: why".to_owned())));
        let waiting = Standing::waiting("web", Duration::from_secs(5), "not yet");
        assert_eq!(waiting.replicas(i64::MAX), Err("not yet".to_owned()));
    }
}
