//! `tidemill replay table FROM --stage S`

use super::When;
use crate::cli::query::print;
use crate::cli::runtime;
use crate::cli::server::Server;
use crate::error::{Error, Result};
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
    #[command(flatten)]
    when: When,
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
        let mut answered = None;
        loop {
            let report = server.replay_table(&self.parameters(answered)).await?;
            if self.dry_run {
                print(&format!(
                    "would take {} rows (already done: {}; whose source does not lead to the stage: {})\n",
                    report.taken, report.already_done, report.unreachable
                ));
                return Ok(ExitCode::SUCCESS);
            }
            print(&format!("taken {}: {} rows made, {} failed\n", report.taken, report.rows, report.failed));
            if answered.is_none() && report.already_done + report.unreachable > 0 {
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
            answered = Some((Some(report.from), report.to));
        }
    }

    fn parameters(&self, answered: Option<(Option<i64>, i64)>) -> Vec<(&'static str, String)> {
        let mut all = vec![("table", self.table.clone()), ("stage", self.stage.clone())];
        all.extend(self.into.clone().map(|into| ("into", into)));
        all.extend(self.when.parameters(answered));
        all.extend((self.again && answered.is_none()).then(|| ("again", "true".to_owned())));
        all.extend(self.dry_run.then(|| ("dry_run", "true".to_owned())));
        all
    }
}
