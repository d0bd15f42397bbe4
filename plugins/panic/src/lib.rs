//! Knative's two windows: a long one for calm, a short one for bursts
//!
//!     signal stable (a minute) ─► ⌈stable / target⌉ ──────────────────────────────┐
//!     signal burst (6 s)       ─► ⌈burst / target⌉ ≥ 2 × ready? ─► panic: the larger of both, never fewer
//!
//! Panic ends when the burst was below the threshold for `calm`. Source: knative.dev, "Autoscaling: KPA"; the words are theirs.
//!
//! **Always:** in panic, and while a signal is not fresh, no fewer replicas than now are proposed.

use serde::{Deserialize, Serialize};
use tidemill_plugin::{Autoscaler, Contract, Freshness, Plugin, Proposal, Request, time};
use tidemill_plugin::{in_replicas, whole_replicas};

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    target: f64,
    #[serde(default = "double")]
    panic_threshold: f64,
    #[serde(default = "a_minute")]
    calm: String,
    #[serde(default = "thousandfold")]
    max_scale_up_rate: f64,
    #[serde(default = "double")]
    max_scale_down_rate: f64,
}

fn double() -> f64 {
    2.0
}

fn a_minute() -> String {
    "60s".to_owned()
}

fn thousandfold() -> f64 {
    1000.0
}

/// A configured decider.
pub struct Panic {
    settings: Written,
    /// nanoseconds
    calm: i64,
}

/// What it remembers: when the burst was last above the threshold, if it is in panic.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Memory {
    panicked_at: Option<i64>,
}

impl Plugin for Panic {
    type Settings = Written;
    const NAME: &'static str = "panic";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Written) -> Result<(Panic, Contract), String> {
        if !(settings.target.is_finite() && settings.target > 0.0) {
            return Err(format!("`target` is {}; it must be more than 0", settings.target));
        }
        for (key, value) in [
            ("panic_threshold", settings.panic_threshold),
            ("max_scale_up_rate", settings.max_scale_up_rate),
            ("max_scale_down_rate", settings.max_scale_down_rate),
        ] {
            if !(value.is_finite() && value > 1.0) {
                return Err(format!("`{key}` is {value}; it must be more than 1"));
            }
        }
        let calm = time::parse_duration(&settings.calm).map_err(|error| format!("`calm`: {error}"))?;
        Ok((Panic { settings, calm }, Contract::new().reads("stable").reads("burst").keeps_state()))
    }
}

impl Autoscaler for Panic {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        // Where one window is missing the other stands for it: more may be asked for, fewer are not.
        let (stable, burst, unknown) = match (request.amount("stable"), request.amount("burst")) {
            (Ok(stable), Ok(burst)) => (stable, burst, String::new()),
            (Ok(known), Err(why)) | (Err(why), Ok(known)) => (known, known, why),
            (Err(why), Err(_)) => return Ok(request.hold(&why)),
        };
        let mut memory: Memory = serde_json::from_slice(&request.state).unwrap_or_default();
        let now = request.workload.replicas;
        let ready = request.workload.ready.max(1);
        let bound = |value: f64| {
            let wanted = whole_replicas(value / self.settings.target);
            let most = (f64::from(ready) * self.settings.max_scale_up_rate).ceil() as u32;
            let least = (f64::from(ready) / self.settings.max_scale_down_rate).floor() as u32;
            wanted.clamp(least.min(most), most)
        };
        let (for_stable, for_burst) = (bound(stable), bound(burst));
        let over =
            f64::from(whole_replicas(burst / self.settings.target)) / f64::from(ready) >= self.settings.panic_threshold;
        memory.panicked_at = match (over, memory.panicked_at) {
            (true, _) => Some(request.now),
            (false, Some(at)) if request.now.saturating_sub(at) < self.calm => Some(at),
            (false, _) => None,
        };
        let sum = format!(
            "stable {stable} → {for_stable}, burst {burst} → {for_burst} of {} a replica",
            self.settings.target
        );
        let (replicas, mode) = match memory.panicked_at {
            Some(at) => {
                let since = time::format_duration((request.now - at) / 1_000_000_000 * 1_000_000_000);
                (for_stable.max(for_burst).max(now), format!("panic, last {since} ago"))
            }
            None => (for_stable, "calm".to_owned()),
        };
        let doubtful = request.signals.iter().any(|signal| signal.freshness != Freshness::Fresh);
        if doubtful && replicas < now {
            return Ok(request.hold(if unknown.is_empty() { "a signal is not fresh" } else { &unknown }));
        }
        let unknown = if unknown.is_empty() { unknown } else { format!("; {unknown}") };
        let reason = format!("{mode}: {sum}{unknown}; {}; was {now}", in_replicas(replicas));
        let state = serde_json::to_vec(&memory).map_err(|error| error.to_string())?;
        Ok(Proposal { replicas, reason, state })
    }
}

tidemill_plugin::export_autoscaler!(Panic);
