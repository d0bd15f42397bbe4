//! copies a label of a metric under another name, and sets labels to fixed values
//!
//! Shows how labels cross: each is a text column `labels.<name>`.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_plugin::{Batch, Context, Contract, DataType, Enriched, Enricher, Plugin, Words};

pub struct MetricRelabel {
    settings: Settings,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The new label, and the one it is copied from.
    copy: BTreeMap<String, String>,
    /// Labels with the same value everywhere.
    set: BTreeMap<String, String>,
}

impl Plugin for MetricRelabel {
    type Settings = Settings;
    const NAME: &'static str = "metric-relabel";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(MetricRelabel, Contract), String> {
        if let Some(both) = settings.copy.keys().find(|label| settings.set.contains_key(*label)) {
            return Err(format!("label `{both}` stands in `copy` and in `set`; leave it in one of them"));
        }
        let mut contract = Contract::new();
        for (label, from) in &settings.copy {
            contract = contract.reads(format!("labels.{from}")).writes(format!("labels.{label}"), DataType::Utf8);
        }
        for label in settings.set.keys() {
            contract = contract.writes(format!("labels.{label}"), DataType::Utf8);
        }
        Ok((MetricRelabel { settings }, contract))
    }
}

impl Enricher for MetricRelabel {
    fn enrich(&mut self, input: &Batch, _: &Context, output: &mut Enriched) -> Result<(), String> {
        for (label, from) in &self.settings.copy {
            let mut values = Words::with_rows(input.rows());
            for value in input.bytes(&format!("labels.{from}"))?.iter() {
                values.push_option(value);
            }
            output.column(format!("labels.{label}"), values);
        }
        for (label, value) in &self.settings.set {
            let mut values = Words::with_rows(input.rows());
            (0..input.rows()).for_each(|_| values.push(value));
            output.column(format!("labels.{label}"), values);
        }
        Ok(())
    }
}

tidemill_plugin::export_enricher!(MetricRelabel);
