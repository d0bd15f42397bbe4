//! keeps a share of the events
//!
//! ```text
//! meets a condition of `always`? ── yes ─► kept, not counted
//!    no ─► has a key? ── yes ─► kept where its hash falls into the share: all events of a trace, or none
//!             no ─► kept as the count goes: the first, and then one whenever the share has added up to another one
//! ```
//!
//! **Always:** whoever has the same key is treated the same, in every batch, on every machine, after every restart.

use serde::Deserialize;
use tidemill_conditions::Where;
use tidemill_keys::{Fields, tag};
use tidemill_plugin::state::{Reader, Writer};
use tidemill_plugin::{Batch, Context, Contract, Filter, Kept, Plugin};

/// A configured filter.
pub struct Sample {
    share: Share,
    key: Vec<String>,
    seed: u64,
    always: Vec<Where>,
    tag: u64,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Keep one event of so many.
    one_in: Option<u64>,
    /// Or this share of them: above 0, at most 1.
    ratio: Option<f64>,
    /// The fields that decide together; without them events are counted.
    key: Vec<String>,
    /// Another one makes another choice among the keys.
    seed: u64,
    /// Events that meet one of these are kept in any case.
    always: Vec<tidemill_conditions::Settings>,
}

/// Which part of all is kept: `step` of 2^64 parts. All of them is `u64::MAX`, and a case of its own.
#[derive(Clone, Copy, Debug)]
struct Share {
    step: u64,
}

impl Plugin for Sample {
    type Settings = Settings;
    const NAME: &'static str = "sample";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Sample, Contract), String> {
        let tag = tag(&settings);
        let share = Share::new(settings.one_in, settings.ratio)?;
        if settings.key.iter().any(String::is_empty) {
            return Err("`key` has an empty name in it; name the fields that decide".to_owned());
        }
        let always = settings.always.into_iter().map(Where::new).collect::<Result<Vec<_>, _>>();
        let always = always.map_err(|error| format!("`always`: {error}"))?;
        let read = settings.key.iter().map(String::as_str).chain(always.iter().map(Where::field));
        let contract = read.fold(Contract::new(), Contract::reads).keeps_state();
        Ok((Sample { share, key: settings.key, seed: settings.seed, always, tag }, contract))
    }
}

impl Filter for Sample {
    fn keep(&mut self, input: &Batch, context: &Context, output: &mut Kept) -> Result<(), String> {
        let fields = Fields::of(input, &self.key);
        let mut counted = Reader::new(context.state.as_deref(), self.tag).and_then(|mut state| state.fixed());
        let mask = output.mask();
        mask.fill(0);
        let mut met = vec![0; input.rows()];
        for conditions in &self.always {
            conditions.mark(input, &mut met);
            mask.iter_mut().zip(&met).for_each(|(keep, met)| *keep |= met);
        }
        for (row, keep) in mask.iter_mut().enumerate().filter(|(_, keep)| **keep == 0) {
            *keep = u8::from(match fields.hash(row, self.seed) {
                Some(hash) => self.share.holds(hash),
                None => self.share.is_next(&mut counted),
            });
        }
        if let Some(counted) = counted {
            let mut state = Writer::new(self.tag);
            state.fixed(counted);
            output.state(state.finish());
        }
        Ok(())
    }
}

impl Share {
    fn new(one_in: Option<u64>, ratio: Option<f64>) -> Result<Share, String> {
        match (one_in, ratio) {
            (Some(0), None) => Err("`one_in` is 0; 1 keeps every event, 10 one of ten".to_owned()),
            (Some(one_in), None) => {
                let step = (1u128 << 64).div_ceil(u128::from(one_in));
                Ok(Share { step: u64::try_from(step).unwrap_or(u64::MAX) })
            }
            (None, Some(ratio)) if ratio > 0.0 && ratio <= 1.0 => {
                // A float of 1 is 2^64 here, which `as` takes to `u64::MAX`.
                Ok(Share { step: (ratio * 2f64.powi(64)) as u64 })
            }
            (None, Some(ratio)) => {
                Err(format!("`ratio` is {ratio}; write a number above 0 and at most 1, such as 0.1"))
            }
            (None, None) => Err("say how many to keep: `one_in = 10`, or `ratio = 0.1`".to_owned()),
            (Some(_), Some(_)) => Err("`ratio` and `one_in` say the same thing; leave one of them out".to_owned()),
        }
    }

    /// Whether a hash, which is anywhere in 2^64, falls into the share.
    fn holds(self, hash: u64) -> bool {
        hash < self.step || self.step == u64::MAX
    }

    /// Adds a share; whether that makes another whole one. The first event does.
    fn is_next(self, counted: &mut Option<u64>) -> bool {
        let (sum, over) = counted.map_or((0, true), |counted| counted.overflowing_add(self.step));
        *counted = Some(sum);
        over || self.step == u64::MAX
    }
}

tidemill_plugin::export_filter!(Sample);
