//! as many replicas as the signal needs, at so much a replica
//!
//! ```text
//! signal ─► value / per_replica, rounded up ─► replicas, and why
//! ```
//!
//! The pipeline file's policy has the last word: it keeps the proposal between `min` and `max`, and lets nothing move too fast.

use tidemill_plugin::{Autoscaler, Contract, Freshness, Plugin, Proposal, Request};

/// The scaler's `settings`, as a pipeline file has them. A key that is not here is refused by name.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How much one replica can take.
    per_replica: f64,
    /// The signal that says how much there is: the name of one of the scaler's queries.
    signal: String,
}

pub struct PerReplica {
    settings: Settings,
}

impl Plugin for PerReplica {
    type Settings = Settings;
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    /// Checks the settings.
    fn configure(settings: Settings) -> Result<(PerReplica, Contract), String> {
        match settings.per_replica {
            amount if amount > 0.0 && amount.is_finite() => {
                Ok((PerReplica { settings }, Contract::new()))
            }
            other => Err(format!(
                "`per_replica` is {other}; write how much one replica can take, more than 0"
            )),
        }
    }
}

impl Autoscaler for PerReplica {
    /// One tick. The reason stands in `tidemill.decisions`: say it with the figures.
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let Settings {
            per_replica,
            signal: name,
        } = &self.settings;
        let now = request.workload.replicas;
        let signal = request
            .signal(name)
            .ok_or_else(|| format!("the scaler has no query `{name}`"))?;
        // The answer is a table. Its first row's `value` counts, and only while every source behind it is caught up.
        let value = match signal.freshness {
            Freshness::Fresh => signal.table.floats("value")?.get(0),
            Freshness::Stale | Freshness::Missing | Freshness::Failed => None,
        };
        Ok(match value {
            Some(value) => {
                let replicas = (value / per_replica).ceil().max(0.0) as u32;
                let reason =
                    format!("{name} {value} / {per_replica} a replica → {replicas}; was {now}");
                Proposal {
                    replicas,
                    reason,
                    state: Vec::new(),
                }
            }
            None => Proposal {
                replicas: now,
                reason: format!("{name} is not fresh; stays at {now}"),
                state: Vec::new(),
            },
        })
    }
}

tidemill_plugin::export_autoscaler!(PerReplica);
