//! a controller that holds a signal at a set point
//!
//!     error    = (signal − set point) / set point
//!     change   = kp × (error − error before) + ki × error × seconds + kd × (slope − slope before)
//!     replicas = replicas × e^change
//!
//! For a level that falls as replicas are added: a latency, a utilization, the age of a queue. This is the velocity form of the
//! controller, on the logarithm of the number: the integral is the number itself. So nothing winds up while the number is held or was
//! ordered, nothing is summed up at a bound, and the gains mean the same for two replicas as for two hundred.
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
    #[serde(default = "a_hundredth")]
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

/// What is off by 10 % is worked off by 6 % a minute: slower than replicas start.
fn a_hundredth() -> f64 {
    0.01
}

fn a_tenth() -> f64 {
    0.1
}

/// An error beyond it counts as this one: a latency of minutes says no more than that far too few are there.
const ERROR_MAX: f64 = 3.0;

/// A configured decider.
pub struct Pid {
    settings: Settings,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Memory {
    /// when the signal was last known; nothing after a while without it, over which nothing is summed up
    at: Option<i64>,
    error: f64,
    slope: f64,
    /// the number before it was bounded and rounded, so that small steps add up and what a bound cut off is not taken back twice
    exact: Option<f64>,
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
        if settings.ki == 0.0 {
            return Err("`ki` is 0: an error that stays would never be worked off; write more, like 0.01".to_owned());
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
        let memory: Memory = serde_json::from_slice(&request.state).unwrap_or_default();
        let value = match request.amount(&name) {
            Ok(value) => value,
            Err(why) => return Ok(Proposal { state: Memory { at: None, ..memory }.write()?, ..request.hold(&why) }),
        };
        let Settings { set_point, kp, ki, kd, dead_band, .. } = self.settings;
        let workload = &request.workload;
        let now = workload.replicas;
        let seconds = memory.at.map_or(0.0, |at| (request.now.saturating_sub(at)).max(0) as f64 / 1e9);
        let raw = (value - set_point) / set_point;
        let error = if raw.abs() <= dead_band { 0.0 } else { raw.min(ERROR_MAX) };
        let slope = if seconds > 0.0 { (error - memory.error) / seconds } else { memory.slope };
        let bounded = |exact: f64| exact.clamp(f64::from(workload.min), f64::from(workload.max.max(workload.min)));
        // What was rounded away or cut off is not forgotten while the number is what came of it.
        let base = memory.exact.filter(|exact| bounded(*exact).round() as u32 == now).unwrap_or(f64::from(now));
        let outward = (base - bounded(base)) * error > 0.0;
        let summed = if outward { 0.0 } else { ki * error * seconds };
        let change = kp * (error - memory.error) + summed + kd * (slope - memory.slope);
        // From none it grows as from one.
        let exact = base + base.max(1.0) * change.exp_m1();
        let replicas = bounded(exact).round() as u32;
        let stale = request.signal(&name).is_some_and(|signal| signal.freshness == Freshness::Stale);
        if stale && replicas < now {
            let held = request.hold(&format!("{name} is stale"));
            return Ok(Proposal { state: Memory { at: None, ..memory }.write()?, ..held });
        }
        let state = Memory { at: Some(request.now), error, slope, exact: Some(exact) }.write()?;
        let reason = format!(
            "{name} {value} against {set_point} is off by {:+.0} %: {:+.1} % → {}; was {now}",
            raw * 100.0,
            change.exp_m1() * 100.0,
            in_replicas(replicas)
        );
        Ok(Proposal { replicas, reason, state })
    }
}

impl Memory {
    fn write(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }
}

tidemill_plugin::export_autoscaler!(Pid);
