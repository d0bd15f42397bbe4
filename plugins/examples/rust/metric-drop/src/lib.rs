//! drops metrics that have a label with one of some values
//!
//! Shows a filter over `labels.*`: it is handed every label there is, and decides by what it finds.

use serde::Deserialize;
use tidemill_plugin::{Batch, Context, Contract, Filter, Kept, Plugin};

pub struct MetricDrop {
    values: Vec<String>,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A metric goes if any of its labels has one of these values.
    any_label_is: Vec<String>,
}

impl Plugin for MetricDrop {
    type Settings = Settings;
    const NAME: &'static str = "metric-drop";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(MetricDrop, Contract), String> {
        Ok((MetricDrop { values: settings.any_label_is }, Contract::new().reads("labels.*")))
    }
}

impl Filter for MetricDrop {
    fn keep(&mut self, input: &Batch, _: &Context, output: &mut Kept) -> Result<(), String> {
        for label in input.columns().filter_map(|column| column.bytes()) {
            for (row, value) in label.iter().enumerate() {
                if value.is_some_and(|value| self.values.iter().any(|dropped| dropped.as_bytes() == value)) {
                    output.drop_row(row);
                }
            }
        }
        Ok(())
    }
}

tidemill_plugin::export_filter!(MetricDrop);
