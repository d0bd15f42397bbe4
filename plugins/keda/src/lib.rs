//! thresholds that wake a workload up and let it sleep, and schedules in a time zone, as KEDA has them
//!
//!     triggers   value > activation ─► active, ⌈value / threshold⌉ ─┐
//!     schedules  start ≤ now < end  ─► active, desired_replicas ────┴─► the largest; none active for `cooldown` ─► idle_replicas
//!
//! Source: keda.sh, "Scaling Deployments" and "Cron scaler"; the words are theirs.
//!
//! **Always:** while a trigger's signal is not fresh, no fewer replicas than now are proposed.

mod schedule;

use std::collections::BTreeMap;

use schedule::Schedule;
use serde::{Deserialize, Serialize};
use tidemill_plugin::{Autoscaler, Contract, Freshness, Plugin, Proposal, Request, in_replicas, time, whole_replicas};

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    #[serde(default)]
    triggers: BTreeMap<String, Trigger>,
    #[serde(default)]
    schedules: Vec<schedule::Written>,
    #[serde(default = "five_minutes")]
    cooldown: String,
    #[serde(default)]
    idle_replicas: u32,
}

/// What one signal asks for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// so much of it a replica
    threshold: f64,
    /// more than this wakes the workload up
    #[serde(default)]
    activation: f64,
}

fn five_minutes() -> String {
    "5m".to_owned()
}

/// A configured decider.
pub struct Keda {
    triggers: BTreeMap<String, Trigger>,
    schedules: Vec<Schedule>,
    /// nanoseconds
    cooldown: i64,
    idle_replicas: u32,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Memory {
    active_at: Option<i64>,
}

impl Plugin for Keda {
    type Settings = Written;
    const NAME: &'static str = "keda";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(written: Written) -> Result<(Keda, Contract), String> {
        if written.triggers.is_empty() && written.schedules.is_empty() {
            return Err(
                "`triggers` and `schedules` are both empty; write one, like triggers.queue = { threshold = 50 }"
                    .to_owned(),
            );
        }
        for (name, trigger) in &written.triggers {
            if !(trigger.threshold.is_finite() && trigger.threshold > 0.0) {
                return Err(format!("`triggers.{name}.threshold` is {}; it must be more than 0", trigger.threshold));
            }
            if !(trigger.activation.is_finite() && trigger.activation >= 0.0) {
                return Err(format!("`triggers.{name}.activation` is {}; it must not be negative", trigger.activation));
            }
        }
        let schedules =
            written.schedules.iter().enumerate().map(|(at, written)| {
                Schedule::read(written).map_err(|error| format!("`schedules` {}: {error}", at + 1))
            });
        let schedules = schedules.collect::<Result<_, _>>()?;
        let cooldown = time::parse_duration(&written.cooldown).map_err(|error| format!("`cooldown`: {error}"))?;
        let keda = Keda { triggers: written.triggers, schedules, cooldown, idle_replicas: written.idle_replicas };
        let mut contract = keda.triggers.keys().fold(Contract::new().keeps_state(), Contract::reads);
        if !keda.schedules.is_empty() {
            contract = contract.reads("request.now");
        }
        Ok((keda, contract))
    }
}

impl Autoscaler for Keda {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let mut memory: Memory = serde_json::from_slice(&request.state).unwrap_or_default();
        let now = request.workload.replicas;
        let (mut wanted, mut words, mut doubtful) = (None, Vec::new(), false);
        let mut ask = |count: u32| wanted = wanted.max(Some(count));
        for (name, trigger) in &self.triggers {
            match request.amount(name) {
                Ok(value) => {
                    doubtful |= request.signal(name).is_some_and(|signal| signal.freshness != Freshness::Fresh);
                    if value > trigger.activation {
                        let count = whole_replicas(value / trigger.threshold).max(1);
                        ask(count);
                        words.push(format!("{name} {value} / {} → {}", trigger.threshold, in_replicas(count)));
                    } else {
                        words.push(format!("{name} {value} is not above {}", trigger.activation));
                    }
                }
                Err(why) => {
                    doubtful = true;
                    words.push(why);
                }
            }
        }
        for schedule in &self.schedules {
            if schedule.is_active(request.now) {
                ask(schedule.replicas);
                words.push(format!("{} → {}", schedule.words, in_replicas(schedule.replicas)));
            }
        }
        let words = words.join("; ");
        if wanted.is_some() || memory.active_at.is_none() {
            memory.active_at = Some(request.now);
        }
        let quiet = request.now.saturating_sub(memory.active_at.unwrap_or(request.now));
        let (replicas, reason) = match wanted {
            Some(count) => (count, format!("{words}; was {now}")),
            None if quiet < self.cooldown => {
                let left = time::format_duration((self.cooldown - quiet) / 1_000_000_000 * 1_000_000_000);
                (now, format!("nothing is active ({words}); idle in {left}"))
            }
            None => (
                self.idle_replicas,
                format!("nothing is active ({words}) → {}; was {now}", in_replicas(self.idle_replicas)),
            ),
        };
        let (replicas, reason) = match doubtful && replicas < now {
            true => (now, format!("held at {now}: {words}; no fewer replicas while a signal is not fresh")),
            false => (replicas, reason),
        };
        let state = serde_json::to_vec(&memory).map_err(|error| error.to_string())?;
        Ok(Proposal { replicas, reason, state })
    }
}

tidemill_plugin::export_autoscaler!(Keda);
