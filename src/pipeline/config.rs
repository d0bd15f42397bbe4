//! what a pipeline file says of stages and tables

use crate::plugin::{Limits, World};
use serde::Deserialize;
use std::collections::BTreeMap;

/// `[stages.<name>]`: a plugin between sources and tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// `parser`, `filter` or `enricher`.
    pub r#type: StageType,
    /// The sources and stages whose events come in.
    pub inputs: Vec<String>,
    /// A bundled plugin's name, or the path of a .wasm file, relative to the pipeline file.
    pub plugin: String,
    /// The plugin's hash; another file of the same name is refused.
    pub sha256: Option<String>,
    /// Handed to the plugin, which checks them.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// What a call may use.
    #[serde(default)]
    pub limits: Limits,
    /// What becomes of an event that the stage could not handle.
    #[serde(default)]
    pub on_error: OnError,
    /// Lookup tables the plugin may ask: a name and a CSV file, relative to the pipeline file.
    #[serde(default)]
    pub tables: BTreeMap<String, String>,
    /// Whether the plugin is told the time.
    #[serde(default)]
    pub clock: bool,
}

/// What a stage does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageType {
    /// makes columns or events
    Parser,
    /// says which events go on
    Filter,
    /// adds columns
    Enricher,
}

/// What becomes of an event that a stage could not handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It goes to `tidemill.dead_letters`, with the reason and its original bytes.
    #[default]
    DeadLetter,
    /// It goes on as it came.
    Pass,
    /// It is dropped and counted.
    Drop,
    /// The source stops, before the event is acknowledged.
    Stop,
}

/// `[tables.<name>]`: where events stay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// The sources and stages whose events land here.
    pub inputs: Vec<String>,
    /// Whether the line as it came is kept beside its columns.
    #[serde(default = "yes")]
    pub body: bool,
}

fn yes() -> bool {
    true
}

impl StageType {
    /// The world its plugin must be of.
    pub fn world(self) -> World {
        match self {
            StageType::Parser => World::Parser,
            StageType::Filter => World::Filter,
            StageType::Enricher => World::Enricher,
        }
    }
}
