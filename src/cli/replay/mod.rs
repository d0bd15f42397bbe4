//! `tidemill replay …`: a stage takes again what it gave up, or old rows of a table

mod dead_letters;
mod table;

use crate::error::Result;
use chrono::DateTime;
use clap::Subcommand;
use std::process::ExitCode;

/// Has a stage of the Tidemill that runs take events again, each once.
#[derive(clap::Args)]
pub struct Replay {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Dead letters, by the stage that gave them up, once it can handle them.
    DeadLetters(dead_letters::DeadLetters),
    /// Rows of a table, by a stage that should have had them: old lines through a new parser.
    Table(table::Table),
}

impl Replay {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.what {
            What::DeadLetters(letters) => letters.run(),
            What::Table(table) => table.run(),
        }
    }
}

/// A time as RFC 3339 writes it, in ns UTC.
fn time(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is not a time; write it like `2026-07-01T00:00:00Z`");
    DateTime::parse_from_rfc3339(text).ok().and_then(|time| time.timestamp_nanos_opt()).ok_or_else(wrong)
}
