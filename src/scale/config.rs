//! `[scalers.<name>]` of a pipeline file, and what no single key can tell is wrong with it

use super::deciders::SHADOW;
use super::policy::{Freeze, Policy};
use crate::error::Fault;
use crate::plugin::Limits;
use crate::units::{DAY, Rate, Span, within};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The most signals of one scaler.
const SIGNALS_MAX: usize = 32;

/// `[scalers.<name>]` of a pipeline file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Time between two decisions.
    #[serde(default = "every", deserialize_with = "within::<100, DAY, _, _>")]
    pub every: Span,
    /// The autoscaler plugin: a bundled one's name, or a path to a `.wasm`.
    pub plugin: String,
    /// The plugin's hash; another file of the same name is refused.
    pub sha256: Option<String>,
    /// What a call of the plugin may use.
    #[serde(default)]
    pub limits: Limits,
    /// Settings handed to the plugin.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The workload that is scaled.
    pub workload: String,
    /// Least replicas.
    #[serde(default = "one")]
    pub min: u32,
    /// Most replicas.
    #[serde(deserialize_with = "within::<1, 100_000, _, _>")]
    pub max: u32,
    /// Replicas at the very first start; later starts go on with the last decided number. `min` if not given.
    pub initial: Option<u32>,
    /// Most replicas to start in one tick; no limit if not given.
    #[serde(default, deserialize_with = "within::<1, 100_000, _, _>")]
    pub up_max: Option<u32>,
    /// Most replicas to stop in one tick; no limit if not given.
    #[serde(default, deserialize_with = "within::<1, 100_000, _, _>")]
    pub down_max: Option<u32>,
    /// How long after a change nothing is stopped; not at all if not given.
    #[serde(default, deserialize_with = "within::<0, { 30 * DAY }, _, _>")]
    pub cooldown: Option<Span>,
    /// A change smaller than this share of the present number is none.
    #[serde(default)]
    pub tolerance: f64,
    /// More replicas only when every proposal of this while asked for more.
    #[serde(default, deserialize_with = "within::<0, { 7 * DAY }, _, _>")]
    pub stabilize_up: Option<Span>,
    /// Fewer replicas only when every proposal of this while asked for fewer.
    #[serde(default, deserialize_with = "within::<0, { 7 * DAY }, _, _>")]
    pub stabilize_down: Option<Span>,
    /// Most replicas to start in a while, `4/1m`; no limit if not given.
    pub up_rate: Option<Rate>,
    /// Most replicas to stop in a while; no limit if not given.
    pub down_rate: Option<Rate>,
    /// How often the direction may turn in a while, `4/30m`; the last turn is kept for scaling up.
    pub flap_budget: Option<Rate>,
    /// Times in which the number stays as it is.
    #[serde(default)]
    pub freeze: Vec<Freeze>,
    /// Other autoscaler plugins, by name, whose proposals the plugin is shown.
    #[serde(default)]
    pub advisers: BTreeMap<String, Adviser>,
    /// Another autoscaler plugin that is asked beside this one and changes nothing: what it would do is recorded.
    pub shadow: Option<Adviser>,
    /// Queries by name: their answers are what the plugin decides from.
    #[serde(default)]
    pub signals: BTreeMap<String, String>,
}

/// `[scalers.<name>.advisers.<name>]` or `[scalers.<name>.shadow]`: a plugin that is asked the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adviser {
    /// The autoscaler plugin: a bundled one's name, or a path to a `.wasm`.
    pub plugin: String,
    /// The plugin's hash; another file of the same name is refused.
    pub sha256: Option<String>,
    /// What a call of the plugin may use.
    #[serde(default)]
    pub limits: Limits,
    /// Settings handed to the plugin.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

fn every() -> Span {
    Span(Duration::from_secs(5))
}

fn one() -> u32 {
    1
}

impl Config {
    /// What the decisions must keep to.
    pub fn policy(&self) -> Policy {
        Policy {
            min: self.min,
            max: self.max,
            tolerance: self.tolerance,
            stabilize_up: self.stabilize_up.unwrap_or(Span(Duration::ZERO)),
            stabilize_down: self.stabilize_down.unwrap_or(Span(Duration::ZERO)),
            up_max: self.up_max,
            down_max: self.down_max,
            up_rate: self.up_rate,
            down_rate: self.down_rate,
            cooldown: self.cooldown,
            flap_budget: self.flap_budget,
            freeze: self.freeze.clone(),
        }
    }

    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        let (min, max, mut faults) = (self.min, self.max, Vec::new());
        if min > max {
            faults.push(Fault::new("min", format!("min is {min} and max is {max}; min cannot be above max")));
        }
        if let Some(initial) = self.initial.filter(|initial| min <= max && self.policy().within(*initial) != *initial) {
            let message = format!("initial = {initial} is outside of min = {min} and max = {max}");
            faults.push(Fault::new("initial", message));
        }
        if !(0.0..1.0).contains(&self.tolerance) {
            let message = format!("tolerance = {} is no share; write one from 0 to below 1, like 0.1", self.tolerance);
            faults.push(Fault::new("tolerance", message));
        }
        if let Some(budget) = self.flap_budget.filter(|budget| budget.count < 2) {
            let message = format!(
                "flap_budget = \"{budget}\" lets nothing be scaled down after it was scaled up; write at least 2"
            );
            faults.push(Fault::new("flap_budget", message));
        }
        for (key, rate) in [("up_rate", self.up_rate), ("down_rate", self.down_rate)] {
            if let Some(rate) = rate.filter(|rate| rate.count == 0) {
                faults.push(Fault::new(key, format!("{key} = \"{rate}\" lets nothing happen; write at least 1")));
            }
        }
        for (at, fault) in self.freeze.iter().enumerate().filter_map(|(at, freeze)| Some((at, freeze.fault()?))) {
            faults.push(Fault::new("freeze", format!("freeze {}: {fault}", at + 1)));
        }
        if self.advisers.contains_key(SHADOW) {
            faults
                .push(Fault::new("advisers.shadow", "an adviser cannot be named `shadow`; that name is the shadow's"));
        }
        if self.signals.len() > SIGNALS_MAX {
            faults.push(Fault::new("signals", format!("{} signals; at most {SIGNALS_MAX}", self.signals.len())));
        }
        faults
    }
}
