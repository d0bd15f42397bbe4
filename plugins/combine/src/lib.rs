//! one number out of what several deciders propose: the scaler's advisers
//!
//!     adviser ─┐
//!     adviser ─┼─► largest, smallest or middle ─► proposal
//!     adviser ─┘
//!
//! **Always:** while one of them has no answer, no fewer replicas than now are proposed.

use serde::Deserialize;
use tidemill_plugin::in_replicas;
use tidemill_plugin::{Autoscaler, Contract, Plugin, Proposal, Request};

/// As written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    mode: Mode,
}

/// Which of the proposals counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    #[default]
    Max,
    Min,
    Median,
}

/// A configured decider.
pub struct Combine {
    mode: Mode,
}

impl Plugin for Combine {
    type Settings = Settings;
    const NAME: &'static str = "combine";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Combine, Contract), String> {
        Ok((Combine { mode: settings.mode }, Contract::new().reads("advisers.*")))
    }
}

impl Autoscaler for Combine {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        if request.advice.is_empty() {
            return Err("there are no advisers; give the scaler some: [scalers.<name>.advisers.<name>]".to_owned());
        }
        let mut proposed: Vec<u32> = request.advice.iter().filter_map(|advice| advice.replicas).collect();
        proposed.sort_unstable();
        let told: Vec<String> = request
            .advice
            .iter()
            .map(|advice| match advice.replicas {
                Some(count) => format!("{} {count} ({})", advice.name, advice.reason),
                None => format!("{} failed ({})", advice.name, advice.reason),
            })
            .collect();
        let told = told.join("; ");
        let now = request.workload.replicas;
        let chosen = match self.mode {
            Mode::Max => proposed.last(),
            Mode::Min => proposed.first(),
            Mode::Median => proposed.get(proposed.len() / 2),
        };
        let (replicas, reason) = match chosen {
            None => (now, format!("held at {now}: {told}")),
            Some(count) if *count < now && proposed.len() < request.advice.len() => {
                (now, format!("held at {now}: {told}; no fewer replicas while an adviser has no answer"))
            }
            Some(count) => (*count, format!("{told} → {}; was {now}", in_replicas(*count))),
        };
        Ok(Proposal { replicas, reason, state: Vec::new() })
    }
}

tidemill_plugin::export_autoscaler!(Combine);
