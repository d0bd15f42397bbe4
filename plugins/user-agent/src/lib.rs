//! browser, operating system and kind of device out of a user agent
//!
//!     user_agent ─► seen before? ─► columns
//!                       └ no ─► rules, in order: bot, tool, browser ─► remembered
//!
//! A few hundred user agents make up nearly all lines of a log, so each is worked out once.
//!
//! **Never:** more than `MEMORY_MAX` of them are remembered; beyond that the memory starts afresh.

mod rules;

use std::collections::HashMap;

use serde::Deserialize;
use tidemill_plugin::{Batch, Context, Contract, DataType, Enriched, Enricher, Ints, Plugin, Words};

pub use rules::{Agent, recognise};

/// A configured enricher.
pub struct UserAgent {
    field: String,
    seen: HashMap<Box<[u8]>, Agent>,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The column that holds the user agent.
    field: String,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { field: "user_agent".to_owned() }
    }
}

const MEMORY_MAX: usize = 8_192;

impl Plugin for UserAgent {
    type Settings = Settings;
    const NAME: &'static str = "user-agent";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(UserAgent, Contract), String> {
        if settings.field.is_empty() {
            return Err("`field` is empty; name the column that holds the user agent".to_owned());
        }
        let contract = Contract::new()
            .reads(&settings.field)
            .writes("ua_family", DataType::Utf8)
            .writes("ua_major", DataType::Int64)
            .writes("os_family", DataType::Utf8)
            .writes("device_kind", DataType::Utf8);
        Ok((UserAgent { field: settings.field, seen: HashMap::new() }, contract))
    }
}

impl Enricher for UserAgent {
    fn enrich(&mut self, input: &Batch, _: &Context, output: &mut Enriched) -> Result<(), String> {
        let agents = input.bytes(&self.field)?;
        let mut columns = Columns::with_rows(input.rows());
        for agent in agents.iter() {
            match agent {
                Some(text) if !text.is_empty() && text != b"-" => columns.push(self.agent(text)),
                _ => columns.push(&Agent::default()),
            }
        }
        output.column("ua_family", columns.family);
        output.column("ua_major", columns.major);
        output.column("os_family", columns.os);
        output.column("device_kind", columns.device);
        Ok(())
    }
}

impl UserAgent {
    fn agent(&mut self, text: &[u8]) -> &Agent {
        if !self.seen.contains_key(text) {
            if self.seen.len() >= MEMORY_MAX {
                self.seen.clear();
            }
            self.seen.insert(text.into(), recognise(&String::from_utf8_lossy(text)));
        }
        &self.seen[text]
    }
}

struct Columns {
    family: Words,
    major: Ints,
    os: Words,
    device: Words,
}

impl Columns {
    fn with_rows(rows: usize) -> Columns {
        Columns {
            family: Words::with_rows(rows),
            major: Ints::with_rows(rows),
            os: Words::with_rows(rows),
            device: Words::with_rows(rows),
        }
    }

    fn push(&mut self, agent: &Agent) {
        self.family.push_option(agent.family.as_deref());
        self.major.push_option(agent.major);
        self.os.push_option(agent.os);
        self.device.push_option(agent.device);
    }
}

tidemill_plugin::export_enricher!(UserAgent);
