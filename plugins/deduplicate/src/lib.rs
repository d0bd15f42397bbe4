//! drops events that were there a moment ago
//!
//! ```text
//! fields ─► hash ─► remembered, and not too long ago? ── yes ─► dropped
//!                      no ─► kept and remembered; who is remembered longest makes room
//! ```
//!
//! **Always:** memory has an end: `keys_max` hashes of 8 bytes and their times.
//! **Never:** an event that has none of the fields is dropped: it is known by nothing.

mod memory;

use serde::Deserialize;
use tidemill_keys::{Fields, Time, tag};
use tidemill_plugin::state::{Reader, Writer};
use tidemill_plugin::{Batch, Context, Contract, Filter, Kept, Plugin, time};

use memory::Memory;

/// A configured filter.
pub struct Deduplicate {
    fields: Vec<String>,
    /// In nanoseconds; without it only the number of keys limits how long one is remembered.
    window: Option<i64>,
    keys_max: usize,
    refresh: bool,
    time: Time,
    tag: u64,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Events with the same values of these are the same.
    fields: Vec<String>,
    /// How long one is remembered, such as `60s`.
    window: Option<String>,
    /// How many are remembered.
    keys_max: u64,
    /// A repeat begins the window anew.
    refresh: bool,
    /// Which clock the window goes by.
    time: Time,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { fields: vec!["body".to_owned()], window: None, keys_max: 5_000, refresh: false, time: Time::Event }
    }
}

/// The state goes to disk with every batch: this is a megabyte.
const KEYS_MAX: u64 = 100_000;

impl Plugin for Deduplicate {
    type Settings = Settings;
    const NAME: &'static str = "deduplicate";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Deduplicate, Contract), String> {
        let tag = tag(&settings);
        let Settings { fields, window, keys_max, refresh, time } = settings;
        if fields.is_empty() || fields.iter().any(String::is_empty) {
            return Err(
                "`fields` names no field; events are the same where these fields are, such as [\"body\"]".to_owned()
            );
        }
        if keys_max == 0 || keys_max > KEYS_MAX {
            return Err(format!("`keys_max` is {keys_max}; write 1 to {KEYS_MAX}"));
        }
        let window = match window {
            Some(text) => match time::parse_duration(&text).map_err(|error| format!("`window`: {error}"))? {
                0 => return Err("`window` is 0: nothing would be dropped; write a time, such as \"60s\"".to_owned()),
                window => Some(window),
            },
            None => None,
        };
        let contract = fields.iter().fold(Contract::new(), Contract::reads).keeps_state();
        let contract = contract.reads(if time == Time::Event { "timestamp" } else { "context.now" });
        Ok((Deduplicate { fields, window, keys_max: keys_max as usize, refresh, time, tag }, contract))
    }
}

impl Filter for Deduplicate {
    fn keep(&mut self, input: &Batch, context: &Context, output: &mut Kept) -> Result<(), String> {
        let fields = Fields::of(input, &self.fields);
        let times = if self.time == Time::Event { Some(input.timestamps("timestamp")?) } else { None };
        let mut now = match (self.time, context.now) {
            (Time::Clock, None) => return Err("`time` is \"clock\": set `clock = true` on the stage".to_owned()),
            (Time::Clock, now) => now.unwrap_or_default(),
            (Time::Event, _) => 0,
        };
        let state = Reader::new(context.state.as_deref(), self.tag);
        let mut memory = state.and_then(Memory::read).unwrap_or_default();
        if self.time == Time::Event {
            now = memory.latest();
        }
        for row in 0..input.rows() {
            let Some(hash) = fields.hash(row, 0) else { continue };
            // An event without a time is as old as the one before.
            now = times.and_then(|times| times.get(row)).unwrap_or(now);
            let seen =
                memory.time_of(hash).filter(|seen| self.window.is_none_or(|window| now.saturating_sub(*seen) < window));
            match seen {
                Some(_) => {
                    output.drop_row(row);
                    if self.refresh {
                        memory.put(hash, now, self.keys_max);
                    }
                }
                None => memory.put(hash, now, self.keys_max),
            }
        }
        let mut state = Writer::new(self.tag);
        memory.write(now, &mut state);
        output.state(state.finish());
        Ok(())
    }
}

tidemill_plugin::export_filter!(Deduplicate);
