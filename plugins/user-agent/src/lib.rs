//! browser, system and device out of a user agent, as the uap project's rules tell them
//!
//! ```text
//! agent ─► seen before? ─► uap: browser, system, device ─► kind: desktop, mobile, bot …
//! ```
//!
//! **Always:** what is null is what the rules say nothing about; uap calls that `Other`.
//! **Never:** an agent is looked at twice while it is remembered: logs repeat a few hundred of them.

mod kind;
mod uap;

use std::collections::HashMap;

use serde::Deserialize;
use tidemill_plugin::{Batch, Context, Contract, DataType, Enriched, Enricher, Ints, Plugin, Words};

use uap::{Fields, Rules, Section};

/// A configured enricher.
pub struct UserAgent {
    field: String,
    wanted: Vec<Column>,
    rules: Rules,
    seen: HashMap<Box<[u8]>, Agent>,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The column that holds the user agent.
    field: String,
    /// Which columns to write.
    columns: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            field: "user_agent".to_owned(),
            columns: Column::ALL.map(|column| column.name().to_owned()).to_vec(),
        }
    }
}

/// A column that can be written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Column {
    Family,
    Major,
    Version,
    Os,
    OsVersion,
    Device,
    Brand,
    Model,
    Kind,
}

/// What a user agent says of itself. Everything is absent where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
struct Agent {
    family: Option<String>,
    major: Option<i64>,
    version: Option<String>,
    os: Option<String>,
    os_version: Option<String>,
    device: Option<String>,
    brand: Option<String>,
    model: Option<String>,
    kind: Option<&'static str>,
}

/// Agents that are remembered; the next one makes room by forgetting all.
const AGENTS_MAX: usize = 8_192;

/// More of an agent is not looked at: no browser's is half as long.
const AGENT_BYTES_MAX: usize = 2_048;

impl Plugin for UserAgent {
    type Settings = Settings;
    const NAME: &'static str = "user-agent";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(UserAgent, Contract), String> {
        let Settings { field, columns } = settings;
        if field.is_empty() {
            return Err("`field` is empty; name the column that holds the user agent".to_owned());
        }
        let wanted = columns.iter().map(|name| Column::named(name)).collect::<Result<Vec<_>, _>>()?;
        if wanted.is_empty() {
            return Err(format!("`columns` is empty; there are {}", Column::names()));
        }
        let contract = wanted.iter().fold(Contract::new().reads(&field), |contract, column| {
            let data_type = if *column == Column::Major { DataType::Int64 } else { DataType::Utf8 };
            contract.writes(column.name(), data_type)
        });
        Ok((UserAgent { field, wanted, rules: Rules::load()?, seen: HashMap::new() }, contract))
    }
}

impl Enricher for UserAgent {
    fn enrich(&mut self, input: &Batch, _: &Context, output: &mut Enriched) -> Result<(), String> {
        let agents = input.bytes(&self.field)?;
        // Rows of one agent share a place in this list.
        let mut distinct: Vec<Agent> = vec![Agent::default()];
        let mut place_of: HashMap<&[u8], usize> = HashMap::new();
        let places: Vec<usize> = agents
            .iter()
            .map(|agent| match agent {
                Some(text) if !text.is_empty() && text != b"-" => *place_of.entry(text).or_insert_with(|| {
                    distinct.push(self.agent(text).clone());
                    distinct.len() - 1
                }),
                Some(_) | None => 0,
            })
            .collect();
        for column in &self.wanted {
            let rows = places.iter().map(|place| &distinct[*place]);
            match column {
                Column::Major => {
                    let mut values = Ints::with_rows(input.rows());
                    rows.for_each(|agent| values.push_option(agent.major));
                    output.column(column.name(), values);
                }
                text => {
                    let mut values = Words::with_rows(input.rows());
                    rows.for_each(|agent| values.push_option(text.of(agent)));
                    output.column(column.name(), values);
                }
            }
        }
        Ok(())
    }
}

impl UserAgent {
    fn agent(&mut self, text: &[u8]) -> &Agent {
        if !self.seen.contains_key(text) {
            if self.seen.len() >= AGENTS_MAX {
                self.seen.clear();
            }
            let agent = self.recognise(&String::from_utf8_lossy(&text[..text.len().min(AGENT_BYTES_MAX)]));
            self.seen.insert(text.into(), agent);
        }
        &self.seen[text]
    }

    fn recognise(&self, text: &str) -> Agent {
        let wants = |columns: &[Column]| self.wanted.iter().any(|column| columns.contains(column));
        let candidates = self.rules.candidates(text);
        let section = |section, columns: &[Column]| match wants(columns) {
            true => candidates.first(section, text),
            false => Fields::default(),
        };
        let [family, major, minor, patch, patch_minor] =
            section(Section::Browser, &[Column::Family, Column::Major, Column::Version]);
        let version = version([&major, &minor, &patch, &patch_minor]);
        let [os, os_major, os_minor, os_patch, os_patch_minor] =
            section(Section::System, &[Column::Os, Column::OsVersion, Column::Kind]);
        let [device, brand, model, ..] =
            section(Section::Device, &[Column::Device, Column::Brand, Column::Model, Column::Kind]);
        Agent {
            family: known(family),
            major: major.and_then(|major| major.parse().ok()),
            version,
            kind: Some(kind::kind(text, os.as_deref(), device.as_deref())),
            os: known(os),
            os_version: self::version([&os_major, &os_minor, &os_patch, &os_patch_minor]),
            device: known(device),
            brand,
            model,
        }
    }
}

/// Some rules say `Other` themselves.
fn known(family: Option<String>) -> Option<String> {
    family.filter(|family| family != "Other")
}

/// The parts that are there, with dots: `120.0.6099`.
fn version(parts: [&Option<String>; 4]) -> Option<String> {
    let there: Vec<&str> = parts.into_iter().map_while(|part| part.as_deref()).collect();
    (!there.is_empty()).then(|| there.join("."))
}

impl Column {
    const ALL: [Column; 9] = [
        Column::Family,
        Column::Major,
        Column::Version,
        Column::Os,
        Column::OsVersion,
        Column::Device,
        Column::Brand,
        Column::Model,
        Column::Kind,
    ];

    fn name(self) -> &'static str {
        match self {
            Column::Family => "ua_family",
            Column::Major => "ua_major",
            Column::Version => "ua_version",
            Column::Os => "os_family",
            Column::OsVersion => "os_version",
            Column::Device => "device_family",
            Column::Brand => "device_brand",
            Column::Model => "device_model",
            Column::Kind => "device_kind",
        }
    }

    fn named(name: &str) -> Result<Column, String> {
        let found = Column::ALL.into_iter().find(|column| column.name() == name);
        found.ok_or_else(|| format!("`columns`: there is no `{name}`; there are {}", Column::names()))
    }

    fn names() -> String {
        Column::ALL.map(|column| format!("`{}`", column.name())).join(", ")
    }

    /// The text of a column; `ua_major` is a number and has none.
    fn of(self, agent: &Agent) -> Option<&str> {
        match self {
            Column::Family => agent.family.as_deref(),
            Column::Major => None,
            Column::Version => agent.version.as_deref(),
            Column::Os => agent.os.as_deref(),
            Column::OsVersion => agent.os_version.as_deref(),
            Column::Device => agent.device.as_deref(),
            Column::Brand => agent.brand.as_deref(),
            Column::Model => agent.model.as_deref(),
            Column::Kind => agent.kind,
        }
    }
}

tidemill_plugin::export_enricher!(UserAgent);
