//! a controller that holds a signal at a set point
//!
//!     error = (signal − set point) / set point
//!     replicas = replicas × (1 + kp × error) + ki × ∫ error dt + kd × d error / dt
//!
//! For a level that falls as replicas are added: a latency, a utilization, the age of a queue. The integral stands still while the
//! number is at one of its bounds, so that it does not wind up.
//!
//! **Always:** while the signal is not fresh, no fewer replicas than now are proposed.

use serde::{Deserialize, Serialize};
use tidemill_plugin::in_replicas;
use tidemill_plugin::{Autoscaler, Contract, Freshness, Plugin, Proposal, Request};

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    signal: Option<String>,
    set_point: f64,
    #[serde(default = "half")]
    kp: f64,
    #[serde(default)]
    ki: f64,
    #[serde(default)]
    kd: f64,
    /// errors smaller than this are none
    #[serde(default = "a_tenth")]
    dead_band: f64,
}

fn half() -> f64 {
    0.5
}

fn a_tenth() -> f64 {
    0.1
}

/// A configured decider.
pub struct Pid {
    settings: Settings,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Memory {
    at: Option<i64>,
    error: f64,
    integral: f64,
    /// the number before it was rounded, so that small steps add up
    exact: f64,
}

impl Plugin for Pid {
    type Settings = Settings;
    const NAME: &'static str = "pid";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Pid, Contract), String> {
        if !(settings.set_point.is_finite() && settings.set_point > 0.0) {
            return Err(format!("`set_point` is {}; it must be more than 0", settings.set_point));
        }
        for (key, value) in [("kp", settings.kp), ("ki", settings.ki), ("kd", settings.kd)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(format!("`{key}` is {value}; it must not be negative"));
            }
        }
        if settings.kp == 0.0 && settings.ki == 0.0 {
            return Err("`kp` and `ki` are both 0: nothing would ever change".to_owned());
        }
        if !(0.0..1.0).contains(&settings.dead_band) {
            return Err(format!("`dead_band` is {}; it is a share from 0 to below 1, like 0.1", settings.dead_band));
        }
        let contract = settings.signal.iter().fold(Contract::new().keeps_state(), Contract::reads);
        Ok((Pid { settings }, contract))
    }
}

impl Autoscaler for Pid {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let name = match (&self.settings.signal, request.signals.as_slice()) {
            (Some(name), _) => name.clone(),
            (None, [only]) => only.name.clone(),
            (None, _) => return Err("the scaler has not one signal; name the one to hold: `signal`".to_owned()),
        };
        let value = match request.amount(&name) {
            Ok(value) => value,
            Err(why) => return Ok(request.hold(&why)),
        };
        let Settings { set_point, kp, ki, kd, dead_band, .. } = self.settings;
        let mut memory: Memory = serde_json::from_slice(&request.state).unwrap_or_default();
        let workload = &request.workload;
        let now = workload.replicas;
        let seconds = memory.at.map_or(0.0, |at| (request.now.saturating_sub(at)).max(0) as f64 / 1e9);
        let raw = (value - set_point) / set_point;
        let error = if raw.abs() <= dead_band { 0.0 } else { raw };
        let slope = if seconds > 0.0 { (error - memory.error) / seconds } else { 0.0 };
        let integral = memory.integral + error * seconds;
        // Rounded away parts of a replica are not forgotten while the number is what they were rounded to.
        let base = if memory.exact.round() as u32 == now { memory.exact } else { f64::from(now) };
        let exact = base.max(1.0) * (1.0 + kp * error) + ki * integral + kd * slope - (base.max(1.0) - base);
        let bounded = exact.clamp(f64::from(workload.min), f64::from(workload.max.max(workload.min)));
        if exact == bounded {
            memory.integral = integral;
        }
        let replicas = bounded.round() as u32;
        let stale = request.signal(&name).is_some_and(|signal| signal.freshness == Freshness::Stale);
        if stale && replicas < now {
            return Ok(request.hold(&format!("{name} is stale")));
        }
        memory = Memory { at: Some(request.now), error, exact: bounded, ..memory };
        let reason = format!(
            "{name} {value} against {set_point} is off by {:+.0} %, integral {:+.1}, slope {slope:+.3} → {}; was {now}",
            raw * 100.0,
            memory.integral,
            in_replicas(replicas)
        );
        let state = serde_json::to_vec(&memory).map_err(|error| error.to_string())?;
        Ok(Proposal { replicas, reason, state })
    }
}

tidemill_plugin::export_autoscaler!(Pid);
