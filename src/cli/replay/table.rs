//! `tidemill replay table FROM --stage S`

use super::time;
use crate::cli::query::print;
use crate::cli::runtime;
use crate::cli::server::Server;
use crate::error::{Error, Result};
use crate::units::Span;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  tidemill replay table raw --stage parsed --into access_again --dry-run
  tidemill replay table raw --stage parsed --to 2026-07-01T00:00:00Z

What a row is taken for once is remembered by its table, stage, source, time and --into: the same command goes on where it was
interrupted. Look first with SQL: SELECT * FROM plugin_rows('stage:parsed', raw, last => '10m') LIMIT 20";

/// Hands rows of a table to a stage, in the Tidemill that runs, and on to its tables: each once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Table {
    /// The table that has the rows.
    #[arg(value_name = "FROM")]
    table: String,
    /// The stage that takes them.
    #[arg(long)]
    stage: String,
    /// The one table that all goes into which the stage makes, new or not; else it goes on as the pipeline says.
    #[arg(long, value_name = "TABLE")]
    into: Option<String>,
    /// Only rows of this time until now, such as `1d`.
    #[arg(long, conflicts_with = "from", value_parser = Span::parse)]
    last: Option<Span>,
    /// Only rows of that time or later: `2026-07-01T00:00:00Z`.
    #[arg(long, value_parser = time)]
    from: Option<i64>,
    /// Only rows of that time or earlier; until now if it is not said.
    #[arg(long, value_parser = time)]
    to: Option<i64>,
    /// Also rows that were taken before.
    #[arg(long)]
    again: bool,
    /// Say how many there are, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where Tidemill listens.
    #[arg(long, env = "TIDEMILL_URL", default_value = "http://127.0.0.1:7070")]
    url: String,
}

impl Table {
    pub(super) fn run(self) -> Result<ExitCode> {
        let server = Server::new(&self.url)?;
        runtime()?.block_on(self.all(&server))
    }

    /// Asks until there are no more.
    async fn all(&self, server: &Server) -> Result<ExitCode> {
        let (mut span, mut first) = ((self.from, self.to), true);
        loop {
            let report = server.replay_table(&self.parameters(span, first)).await?;
            if self.dry_run {
                print(&format!(
                    "would take {} rows (already done: {}; whose source does not lead to the stage: {})\n",
                    report.taken, report.already_done, report.unreachable
                ));
                return Ok(ExitCode::SUCCESS);
            }
            print(&format!("taken {}: {} rows made, {} failed\n", report.taken, report.rows, report.failed));
            if first && report.already_done + report.unreachable > 0 {
                print(&format!(
                    "left alone: {} already done, {} whose source does not lead to the stage\n",
                    report.already_done, report.unreachable
                ));
            }
            if let Some(why) = report.stopped {
                return Err(Error::invalid(format!("stopped: {why}")));
            }
            if !report.more {
                return Ok(ExitCode::SUCCESS);
            }
            (span, first) = ((Some(report.from), Some(report.to)), false);
        }
    }

    fn parameters(&self, (from, to): (Option<i64>, Option<i64>), first: bool) -> Vec<(&'static str, String)> {
        let mut all = vec![("table", self.table.clone()), ("stage", self.stage.clone())];
        all.extend(self.into.clone().map(|into| ("into", into)));
        // The first answer says when the last day began.
        all.extend(self.last.filter(|_| from.is_none()).map(|last| ("last", last.to_string())));
        all.extend(from.map(|from| ("from", from.to_string())));
        all.extend(to.map(|to| ("to", to.to_string())));
        all.extend((self.again && first).then(|| ("again", "true".to_owned())));
        all.extend(self.dry_run.then(|| ("dry_run", "true".to_owned())));
        all
    }
}
