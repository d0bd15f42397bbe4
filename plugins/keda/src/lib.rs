//! thresholds that wake a workload up and let it sleep, and schedules in a time zone, as KEDA has them
//!
//!     triggers   value > activation ─► active │ ⌈value / threshold⌉ ─┐
//!     schedules  start ≤ now < end  ─► active │ desired_replicas ────┴─► the largest; none active for `cooldown` ─► idle_replicas
//!
//! While one is active all triggers count, also those below their own activation: that only wakes the workload up. So does it for a
//! workload that has no idle number and of which the scaler's `min` is above 0; there all triggers count always.
//!
//! Source: keda.sh, "Scaling Deployments", "Activating and Scaling thresholds" and "Cron scaler"; the words are theirs. The counting and
//! its tolerance are the Horizontal Pod Autoscaler's, whom KEDA has count.
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
    idle_replicas: Option<u32>,
    min_replicas: Option<u32>,
    #[serde(default = "a_tenth")]
    tolerance: f64,
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

fn a_tenth() -> f64 {
    0.1
}

/// 1.1 − 1 is a hair above 0.1 in floating point.
const ROUNDING: f64 = 1e-9;

/// A configured decider.
pub struct Keda {
    triggers: BTreeMap<String, Trigger>,
    schedules: Vec<Schedule>,
    /// nanoseconds
    cooldown: i64,
    /// how many it has while nothing is active; nothing if that was not said
    idle_replicas: Option<u32>,
    /// the least while something is active
    min_replicas: u32,
    tolerance: f64,
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
        if !(0.0..1.0).contains(&written.tolerance) {
            return Err(format!("`tolerance` is {}; it is a share from 0 to below 1, like 0.1", written.tolerance));
        }
        let Written { triggers, idle_replicas, min_replicas, tolerance, .. } = written;
        let idle = idle_replicas.unwrap_or_default();
        let min_replicas = min_replicas.unwrap_or(idle).max(1);
        if idle > min_replicas {
            return Err(format!(
                "`idle_replicas` is {idle}, and `min_replicas` {min_replicas}: idle, it has no more than active"
            ));
        }
        let keda = Keda { triggers, schedules, cooldown, idle_replicas, min_replicas, tolerance };
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
        let seen = self.look(request);
        if seen.is_active || memory.active_at.is_none() {
            memory.active_at = Some(request.now);
        }
        let quiet = request.now.saturating_sub(memory.active_at.unwrap_or(request.now));
        // Who may not sleep is served by all triggers, whatever wakes others up.
        let sleeps = self.idle_replicas.is_some() || request.workload.min == 0;
        let cools_down = quiet < self.cooldown;
        // Who still runs may grow until it falls asleep.
        let counts = seen.is_active || (cools_down && now > 0 && seen.wanted > now);
        let (replicas, reason) = match counts {
            true => (seen.wanted, format!("{}; was {now}", seen.counts.join("; "))),
            false if cools_down => {
                let left = time::format_duration((self.cooldown - quiet) / 1_000_000_000 * 1_000_000_000);
                (now, format!("nothing is active ({}); idle in {left}", seen.idle_words()))
            }
            false => {
                let idle = if sleeps { self.idle_replicas.unwrap_or_default() } else { seen.wanted };
                let words = seen.idle_words();
                (idle, format!("nothing is active ({words}) → {}; was {now}", in_replicas(idle)))
            }
        };
        let is_held = replicas < now || (replicas == now && !seen.is_active);
        let (replicas, reason) = match seen.is_doubtful && is_held {
            true => {
                let words = if seen.is_active { seen.counts.join("; ") } else { seen.idle_words() };
                (now, format!("held at {now}: {words}; no fewer replicas while a signal is not fresh"))
            }
            false => (replicas, reason),
        };
        let state = serde_json::to_vec(&memory).map_err(|error| error.to_string())?;
        Ok(Proposal { replicas, reason, state })
    }
}

/// What triggers and schedules say.
struct Seen {
    /// whether one of them wakes the workload up
    is_active: bool,
    /// the most that one of them asks for: every trigger counts while another one is active
    wanted: u32,
    /// whether a trigger's signal is not fresh
    is_doubtful: bool,
    /// what each asks for, in words
    counts: Vec<String>,
    /// why each does not wake it up, in words
    asleep: Vec<String>,
}

impl Seen {
    fn idle_words(&self) -> String {
        match self.asleep.is_empty() {
            true => "no schedule's time".to_owned(),
            false => self.asleep.join("; "),
        }
    }
}

impl Keda {
    fn look(&self, request: &Request) -> Seen {
        let now = request.workload.replicas;
        let mut seen = Seen {
            is_active: false,
            wanted: self.min_replicas,
            is_doubtful: false,
            counts: Vec::new(),
            asleep: Vec::new(),
        };
        for (name, trigger) in &self.triggers {
            let value = match request.amount(name) {
                Ok(value) => value,
                Err(why) => {
                    seen.is_doubtful = true;
                    seen.counts.push(why.clone());
                    seen.asleep.push(why);
                    continue;
                }
            };
            seen.is_doubtful |= request.signal(name).is_some_and(|signal| signal.freshness != Freshness::Fresh);
            let count = self.count(value / trigger.threshold, now);
            seen.wanted = seen.wanted.max(count);
            seen.counts.push(format!("{name} {value} / {} → {}", trigger.threshold, in_replicas(count)));
            match value > trigger.activation {
                true => seen.is_active = true,
                false => seen.asleep.push(format!("{name} {value} is not above {}", trigger.activation)),
            }
        }
        for schedule in self.schedules.iter().filter(|schedule| schedule.is_active(request.now)) {
            seen.is_active = true;
            seen.wanted = seen.wanted.max(schedule.replicas);
            seen.counts.push(format!("{} → {}", schedule.words, in_replicas(schedule.replicas)));
        }
        seen
    }

    /// Replicas for so many times the threshold; as many as now where that is within the tolerance.
    fn count(&self, thresholds: f64, now: u32) -> u32 {
        let ratio = thresholds / f64::from(now);
        match now > 0 && (ratio - 1.0).abs() <= self.tolerance + ROUNDING {
            true => now,
            false => whole_replicas(thresholds).max(self.min_replicas),
        }
    }
}

tidemill_plugin::export_autoscaler!(Keda);
