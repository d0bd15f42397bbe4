//! keeps at most so many events in a time
//!
//! ```text
//! event ─► the bucket of its key: is there a token? ── yes ─► taken, kept
//!                                                     no ─► dropped
//! ```
//!
//! A bucket holds `burst` tokens and gets `rate` new ones in each `per`. What is remembered of one is a single time:
//! when it will be full again (the generic cell rate algorithm), so one that is full need not be remembered at all.
//!
//! **Always:** memory has an end: of more than `keys_max` keys, those that came last share one bucket.

mod buckets;

use serde::Deserialize;
use tidemill_conditions::Where;
use tidemill_keys::{Fields, Time, tag};
use tidemill_plugin::state::{Reader, Writer};
use tidemill_plugin::{Batch, Context, Contract, Filter, Kept, Plugin, time};

use buckets::{Buckets, Rate};

/// A configured filter.
pub struct RateLimit {
    rate: Rate,
    key: Vec<String>,
    time: Time,
    always: Vec<Where>,
    tag: u64,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How many events go through in each `per`.
    rate: u64,
    #[serde(default = "a_second")]
    per: String,
    /// How many may come at once; as many as `rate` without it.
    burst: Option<u64>,
    /// The fields whose values have a bucket each; without them there is one bucket.
    #[serde(default)]
    key: Vec<String>,
    #[serde(default = "some_thousand")]
    keys_max: u64,
    #[serde(default)]
    time: Time,
    /// Events that meet one of these go through and take no token.
    #[serde(default)]
    always: Vec<tidemill_conditions::Settings>,
}

fn a_second() -> String {
    "1s".to_owned()
}

fn some_thousand() -> u64 {
    5_000
}

/// The state goes to disk with every batch: this is a megabyte.
const KEYS_MAX: u64 = 100_000;

impl Plugin for RateLimit {
    type Settings = Settings;
    const NAME: &'static str = "rate-limit";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(RateLimit, Contract), String> {
        let tag = tag(&settings);
        let Settings { rate, per, burst, key, keys_max, time, always } = settings;
        if key.iter().any(String::is_empty) {
            return Err("`key` has an empty name in it; name the fields that have a bucket each".to_owned());
        }
        if keys_max == 0 || keys_max > KEYS_MAX {
            return Err(format!("`keys_max` is {keys_max}; write 1 to {KEYS_MAX}"));
        }
        let per = time::parse_duration(&per).map_err(|error| format!("`per`: {error}"))?;
        let rate = Rate::new(rate, per, burst.unwrap_or(rate), keys_max as usize)?;
        let always = always.into_iter().map(Where::new).collect::<Result<Vec<_>, _>>();
        let always = always.map_err(|error| format!("`always`: {error}"))?;
        let read = key.iter().map(String::as_str).chain(always.iter().map(Where::field));
        let contract = read.fold(Contract::new(), Contract::reads).keeps_state();
        let contract = contract.reads(if time == Time::Event { "timestamp" } else { "context.now" });
        Ok((RateLimit { rate, key, time, always, tag }, contract))
    }
}

impl Filter for RateLimit {
    fn keep(&mut self, input: &Batch, context: &Context, output: &mut Kept) -> Result<(), String> {
        let fields = Fields::of(input, &self.key);
        let times = if self.time == Time::Event { Some(input.timestamps("timestamp")?) } else { None };
        let state = Reader::new(context.state.as_deref(), self.tag);
        let mut buckets = state.and_then(Buckets::read).unwrap_or_default();
        let mut now = match (self.time, context.now) {
            (Time::Clock, None) => return Err("`time` is \"clock\": set `clock = true` on the stage".to_owned()),
            (Time::Clock, now) => now.unwrap_or_default(),
            (Time::Event, _) => buckets.latest(),
        };
        let mut free = vec![0; input.rows()];
        let mut met = vec![0; input.rows()];
        for conditions in &self.always {
            conditions.mark(input, &mut met);
            free.iter_mut().zip(&met).for_each(|(free, met)| *free |= met);
        }
        for (row, free) in free.into_iter().enumerate() {
            // An event without a time is as old as the one before.
            now = times.and_then(|times| times.get(row)).unwrap_or(now);
            // Events without any of the fields have a bucket together.
            let key = fields.hash(row, 0).unwrap_or(0);
            if free == 0 && !buckets.take(key, now, &self.rate) {
                output.drop_row(row);
            }
        }
        let mut state = Writer::new(self.tag);
        buckets.write(now, &mut state);
        output.state(state.finish());
        Ok(())
    }
}

tidemill_plugin::export_filter!(RateLimit);
