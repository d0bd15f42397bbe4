//! The SDK for Tidemill plugins in Rust: columns come in, columns go out.
//!
//! ```text
//!   settings ─► configure ─► Contract { reads, writes }            once
//!   Batch, Context ─► parse | keep | enrich ─► Parsed | Kept | Enriched    for every batch
//!   Request ─► decide ─► Proposal                                  for every tick of a scaler
//! ```
//!
//! Implement [`Plugin`] and one of [`Parser`], [`Filter`], [`Enricher`], [`Autoscaler`], then name the type in
//! [`export_parser!`], [`export_filter!`], [`export_enricher!`] or [`export_autoscaler!`]. The same crate builds
//! natively, where [`configure`] stands in for the host; `cases` runs a plugin's test cases there.
//!
//! **Always:** a plugin is a function of its settings, its rows and its context.
//! **Never:** a value of its own allocation on the way in or out: columns are whole blocks of memory.

#![warn(missing_docs)]

mod autoscaler;
mod batch;
mod builders;
#[cfg(all(feature = "cases", not(target_arch = "wasm32")))]
pub mod cases;
mod contract;
#[doc(hidden)]
pub mod export;
#[cfg(feature = "fields")]
pub mod fields;
#[cfg(all(feature = "cases", not(target_arch = "wasm32")))]
pub mod fuzz;
pub mod lines;
pub mod log;
mod open;
mod output;
mod slices;
#[cfg(all(feature = "cases", not(target_arch = "wasm32")))]
pub mod split;
pub mod state;
pub mod tables;
pub mod time;
#[cfg(feature = "fields")]
pub mod time_format;

pub use autoscaler::{
    Advice, Decision, Freshness, Proposal, Replica, Request, Signal, Workload, in_replicas, whole_replicas,
};
pub use batch::{Batch, BytesColumn, Column, FloatColumn, NumberColumn, TextColumn};
pub use builders::{Binaries, Booleans, Build, Floats, Ints, Texts, Timestamps, Words};
pub use contract::Contract;
pub use open::{OpenColumns, Value};
pub use output::{Enriched, Kept, Parsed};
pub use slices::{Slices, cut_out};

pub use tidemill_world_shared::types as wire;
pub use wire::DataType;

/// The four worlds as wit-bindgen makes them, for a plugin that wants the bare wire: implement their `Guest` traits
/// and call their `export!`.
pub mod worlds {
    pub use tidemill_world_autoscaler as autoscaler;
    pub use tidemill_world_enricher as enricher;
    pub use tidemill_world_filter as filter;
    pub use tidemill_world_parser as parser;
}

use serde::de::DeserializeOwned;

/// Who a plugin is and how it is set up. Every plugin implements this and one of the four roles.
pub trait Plugin: Sized {
    /// The stage's `settings` table. Derive `Deserialize` with `#[serde(deny_unknown_fields)]`: its message is what
    /// the person who wrote the settings reads.
    type Settings: DeserializeOwned;

    /// The word after `plugin =`.
    const NAME: &'static str;

    /// One line for lists of plugins.
    const ABOUT: &'static str;

    /// Checks the settings and says what the plugin reads and writes under them.
    ///
    /// An error says which setting, what is wrong with it and what to write instead.
    fn configure(settings: Self::Settings) -> Result<(Self, Contract), String>;
}

/// Makes new columns, and possibly fewer, more or other events, out of what it reads.
pub trait Parser: Plugin {
    /// Fills `output`. A row that cannot be handled is [`Parsed::error`]; an `Err` is for a batch that cannot.
    fn parse(&mut self, input: &Batch, context: &Context, output: &mut Parsed) -> Result<(), String>;
}

/// Says which events go on.
pub trait Filter: Plugin {
    /// Marks in `output` the rows to drop; it starts with every row kept.
    fn keep(&mut self, input: &Batch, context: &Context, output: &mut Kept) -> Result<(), String>;
}

/// Adds or replaces columns, row by row.
pub trait Enricher: Plugin {
    /// Adds columns to `output`, each as long as the input.
    fn enrich(&mut self, input: &Batch, context: &Context, output: &mut Enriched) -> Result<(), String>;
}

/// Proposes how many replicas a workload should run.
pub trait Autoscaler: Plugin {
    /// One tick. The host's policy (min, max, one change a tick) has the last word.
    fn decide(&mut self, request: &Request) -> Result<Proposal, String>;
}

/// What a call is handed beside its rows.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The host's clock in nanoseconds since 1970, where the pipeline grants it.
    pub now: Option<i64>,
    /// What the call before handed back, where the contract says `keeps_state`. Empty the first time.
    pub state: Option<Vec<u8>>,
}

/// For a plugin without settings: refuses every key.
#[derive(Clone, Copy, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Sets a plugin up from its settings as JSON text, as the host does.
pub fn configure<P: Plugin>(settings: &str) -> Result<(P, Contract), String> {
    let settings = if settings.trim().is_empty() { "{}" } else { settings };
    match serde_json::from_str(settings) {
        Ok(settings) => P::configure(settings),
        Err(error) => Err(named::<P::Settings>(settings, without_position(&error.to_string()))),
    }
}

/// The message with the key it is about, which serde does not tell: without that key there is another mistake, or none.
fn named<T: serde::de::DeserializeOwned>(settings: &str, message: String) -> String {
    type Table = serde_json::Map<String, serde_json::Value>;
    let mistake = |table: Table| serde_json::from_value::<T>(table.into()).err().map(|error| error.to_string());
    let Ok(table) = serde_json::from_str::<Table>(settings) else { return message };
    let whole = mistake(table.clone());
    let at_fault = table.keys().find(|key| {
        let mut others = table.clone();
        others.remove(*key);
        mistake(others) != whole
    });
    match at_fault {
        Some(key) if !message.contains(&format!("`{key}`")) => format!("`{key}`: {message}"),
        Some(_) | None => message,
    }
}

/// The settings were TOML when their author saw them, so a position in the JSON text would mislead.
fn without_position(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}
