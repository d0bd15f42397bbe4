//! what a pipeline file says of stages and tables

use crate::plugin::{Limits, World};
use crate::units::{DAY, Share, Span, within};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

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
    /// Of a parser: the column it parses, in place of `body`.
    pub field: Option<String>,
    /// Handed to the plugin, which checks them.
    #[serde(default)]
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// What a call may use.
    #[serde(default)]
    pub limits: Limits,
    /// What becomes of an event that the stage could not handle.
    #[serde(default)]
    pub on_error: OnError,
    /// What becomes of events while the stage is paused because it failed again and again.
    #[serde(default)]
    pub on_open: OnError,
    /// How a changed plugin is tried beside the one that runs: a share of batches, or a table.
    #[serde(default)]
    pub canary: Option<Canary>,
    /// Lookup tables the plugin may ask: a name and a CSV file, relative to the pipeline file.
    #[serde(default)]
    pub tables: BTreeMap<String, String>,
    /// Whether the plugin is told the time.
    #[serde(default)]
    pub clock: bool,
}

/// How a stage uses its plugin: the keys beside those that say which plugin it is, with which settings and limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manner {
    /// the column that is handed over as `body`
    pub field: Option<String>,
    /// what becomes of events it cannot handle
    pub on_error: OnError,
    /// what becomes of events while the stage is paused
    pub on_open: OnError,
    /// whether it is told the time
    pub clock: bool,
    /// how a change is tried before it runs
    pub canary: Option<Canary>,
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

/// `canary = "10%"`, or `canary = { … }`: how a changed plugin is tried beside the one that runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Canary {
    /// The share of batches that go to both.
    pub share: Share,
    /// How long it is tried at least.
    pub r#for: Span,
    /// Events that both must have seen before time is compared, or the new one takes over.
    pub events_min: u64,
    /// How many times as long as the old one it may take for an event.
    pub slower_max: f64,
    /// Rows and dead letters may be others than the old one's.
    pub rows_may_differ: bool,
}

/// The table of [`Canary`], as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CanaryTable {
    share: Share,
    #[serde(deserialize_with = "within::<0, { 30 * DAY }, _, _>")]
    r#for: Span,
    #[serde(deserialize_with = "within::<1, 1_000_000_000, _, _>")]
    events_min: u64,
    slower_max: f64,
    rows_may_differ: bool,
}

impl Default for Canary {
    fn default() -> Self {
        Canary {
            share: Share::TENTH,
            r#for: Span(Duration::from_secs(60)),
            events_min: 1000,
            slower_max: 2.0,
            rows_may_differ: false,
        }
    }
}

impl Default for CanaryTable {
    fn default() -> Self {
        let Canary { share, r#for, events_min, slower_max, rows_may_differ } = Canary::default();
        CanaryTable { share, r#for, events_min, slower_max, rows_may_differ }
    }
}

impl<'de> Deserialize<'de> for Canary {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Canary;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a share of batches such as `\"10%\"`, or a table such as `{ share = \"10%\", for = \"1m\" }`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Canary, E> {
                let share = Share::parse(text).map_err(E::custom)?;
                Ok(Canary { share, ..Canary::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Canary, A::Error> {
                let table = CanaryTable::deserialize(de::value::MapAccessDeserializer::new(map))?;
                let CanaryTable { share, r#for, events_min, slower_max, rows_may_differ } = table;
                if !(1.0..=1000.0).contains(&slower_max) {
                    let message = format!("slower_max = {slower_max} cannot be kept to; write 1.0 to 1000.0");
                    return Err(de::Error::custom(message));
                }
                Ok(Canary { share, r#for, events_min, slower_max, rows_may_differ })
            }
        }
        reader.deserialize_any(Either)
    }
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

impl StageConfig {
    /// How it uses its plugin.
    pub fn manner(&self) -> Manner {
        let StageConfig { field, on_error, on_open, clock, canary, .. } = self;
        Manner { field: field.clone(), on_error: *on_error, on_open: *on_open, clock: *clock, canary: *canary }
    }
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
