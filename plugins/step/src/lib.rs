//! replicas by steps of a signal
//!
//!     at_least   0 ─► 1      100 ─► 3      500 ─► 8
//!
//! A step is left downwards only when the signal is below it by the margin, so that a value at an edge does not flap.
//!
//! **Always:** while the signal is not fresh, no fewer replicas than now are proposed.

use serde::Deserialize;
use tidemill_plugin::in_replicas;
use tidemill_plugin::{Autoscaler, Contract, Freshness, Plugin, Proposal, Request};

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    signal: Option<String>,
    steps: Vec<Edge>,
    #[serde(default = "a_tenth")]
    margin: f64,
}

/// From this amount on, so many.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    at_least: f64,
    replicas: u32,
}

fn a_tenth() -> f64 {
    0.1
}

/// A configured decider.
pub struct Step {
    settings: Settings,
}

impl Plugin for Step {
    type Settings = Settings;
    const NAME: &'static str = "step";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(mut settings: Settings) -> Result<(Step, Contract), String> {
        if settings.steps.is_empty() {
            return Err(
                "`steps` is empty; write some, like [{ at_least = 0, replicas = 1 }, { at_least = 100, replicas = 3 }]"
                    .to_owned(),
            );
        }
        if !settings.steps.iter().all(|step| step.at_least.is_finite()) {
            return Err("`steps` has an at_least that is no number".to_owned());
        }
        if !(0.0..1.0).contains(&settings.margin) {
            return Err(format!("`margin` is {}; it is a share from 0 to below 1, like 0.1", settings.margin));
        }
        settings.steps.sort_by(|a, b| a.at_least.total_cmp(&b.at_least));
        if let Some([twice, _]) = settings.steps.windows(2).find(|pair| pair[0].at_least == pair[1].at_least) {
            return Err(format!(
                "`steps` has two with at_least = {}; one number of replicas goes with it",
                twice.at_least
            ));
        }
        let contract = settings.signal.iter().fold(Contract::new(), Contract::reads);
        Ok((Step { settings }, contract))
    }
}

impl Autoscaler for Step {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let name = match (&self.settings.signal, request.signals.as_slice()) {
            (Some(name), _) => name.clone(),
            (None, [only]) => only.name.clone(),
            (None, _) => return Err("the scaler has not one signal; name the one to follow: `signal`".to_owned()),
        };
        let value = match request.amount(&name) {
            Ok(value) => value,
            Err(why) => return Ok(request.hold(&why)),
        };
        let now = request.workload.replicas;
        let up = self.reached(|step| value >= step.at_least);
        let down = self.reached(|step| value >= step.at_least * (1.0 - self.settings.margin));
        let wanted = if up.replicas >= now { up } else { down };
        let replicas = if up.replicas < now && down.replicas > now { now } else { wanted.replicas };
        let stale = request.signal(&name).is_some_and(|signal| signal.freshness == Freshness::Stale);
        if stale && replicas < now {
            return Ok(request.hold(&format!("{name} is stale")));
        }
        let (least, margin) = (wanted.at_least, self.settings.margin);
        let is = match (value >= least, value >= least * (1.0 - margin)) {
            (true, _) => format!("is at least {least}"),
            (false, true) => format!("is below {least} by no more than {:.0} %", margin * 100.0),
            (false, false) => format!("is below {least}, the lowest step"),
        };
        let reason = format!("{name} {value} {is} → {}; was {now}", in_replicas(replicas));
        Ok(Proposal { replicas, reason, state: Vec::new() })
    }
}

impl Step {
    /// The highest step that is reached; below all of them the lowest.
    fn reached(&self, is: impl Fn(&Edge) -> bool) -> Edge {
        let steps = &self.settings.steps;
        *steps.iter().rev().find(|step| is(step)).unwrap_or(&steps[0])
    }
}

tidemill_plugin::export_autoscaler!(Step);
