//! `tidemill replay …`: a stage takes again what it gave up, or old rows of a table

mod dead_letters;
mod table;

use crate::error::Result;
use crate::units::Span;
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

/// Which time it is about.
#[derive(clap::Args)]
struct When {
    /// Only those of this time until now, such as `1d`. A dead letter's time is when it was given up.
    #[arg(long, conflicts_with = "from", value_parser = Span::parse)]
    last: Option<Span>,
    /// Only those of that time or later: `2026-07-01T00:00:00Z`.
    #[arg(long, value_parser = time)]
    from: Option<i64>,
    /// Only those of that time or earlier; until now if it is not said.
    #[arg(long, value_parser = time)]
    to: Option<i64>,
}

impl When {
    /// The span as it is asked for; later questions bring what the first answer said of it.
    fn parameters(&self, answered: Option<(Option<i64>, i64)>) -> Vec<(&'static str, String)> {
        let (from, to) = answered.map_or((self.from, self.to), |(from, to)| (from, Some(to)));
        let mut all = Vec::new();
        all.extend(self.last.filter(|_| from.is_none()).map(|last| ("last", last.to_string())));
        all.extend(from.map(|from| ("from", from.to_string())));
        all.extend(to.map(|to| ("to", to.to_string())));
        all
    }
}

/// A time as RFC 3339 writes it, in ns UTC.
fn time(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is not a time; write it like `2026-07-01T00:00:00Z`");
    DateTime::parse_from_rfc3339(text).ok().and_then(|time| time.timestamp_nanos_opt()).ok_or_else(wrong)
}
