//! drops events whose level is below the least wanted
//!
//! ```text
//! level ─► keep or drop
//! ```
//!
//! A plugin is handed a batch of rows as columns and answers for each row. It sees nothing else: no files, no network, no clock.

use tidemill_plugin::{Batch, Context, Contract, Filter, Kept, Plugin};

/// From the least to the most important.
const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The least level that is kept.
    least: String,
}

pub struct Least {
    rank: usize,
}

impl Plugin for Least {
    type Settings = Settings;
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    /// Checks the settings, and says what is read. Only columns named in `reads` are handed over.
    fn configure(settings: Settings) -> Result<(Least, Contract), String> {
        match rank(&settings.least) {
            Some(rank) => Ok((Least { rank }, Contract::new().reads("level"))),
            None => Err(format!(
                "`least` is `{}`; write one of {}",
                settings.least,
                LEVELS.join(", ")
            )),
        }
    }
}

impl Filter for Least {
    fn keep(&mut self, input: &Batch, _: &Context, output: &mut Kept) -> Result<(), String> {
        for (row, level) in input.text("level")?.iter().enumerate() {
            // An event without a level, or with another word as its level, is kept: dropping is for what is known.
            if level
                .and_then(|level| rank(&level))
                .is_some_and(|rank| rank < self.rank)
            {
                output.drop_row(row);
            }
        }
        Ok(())
    }
}

fn rank(level: &str) -> Option<usize> {
    LEVELS
        .iter()
        .position(|known| known.eq_ignore_ascii_case(level))
}

tidemill_plugin::export_filter!(Least);
