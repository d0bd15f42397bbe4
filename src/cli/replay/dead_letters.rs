//! `tidemill replay dead-letters --stage S`

use super::When;
use crate::cli::query::print;
use crate::cli::runtime;
use crate::cli::server::Server;
use crate::error::{Error, Result};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  tidemill replay dead-letters --stage nginx --last 1d --dry-run
  tidemill replay dead-letters --stage nginx --from 2026-07-01T00:00:00Z --to 2026-07-02T00:00:00Z
  tidemill query 'SELECT outcome, count(*) FROM tidemill.replays GROUP BY outcome'";

/// What is said where nothing is there to be taken.
const NONE: &str = "no dead letter is like that; what there is: \
    tidemill query 'SELECT stage, source, count(*) AS letters FROM tidemill.dead_letters GROUP BY stage, source'\n";

/// Hands dead letters to their stage again, in the Tidemill that runs, and on to its tables: each once.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DeadLetters {
    /// The stage that gave them up.
    #[arg(long)]
    stage: String,
    #[command(flatten)]
    when: When,
    /// Only those of this source.
    #[arg(long)]
    source: Option<String>,
    /// At most so many, the oldest first.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Say how many there are, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Where Tidemill listens.
    #[arg(long, env = "TIDEMILL_URL", default_value = "http://127.0.0.1:7070")]
    url: String,
}

impl DeadLetters {
    pub(super) fn run(self) -> Result<ExitCode> {
        let server = Server::new(&self.url)?;
        runtime()?.block_on(self.all(&server))
    }

    /// Asks until there are no more.
    async fn all(&self, server: &Server) -> Result<ExitCode> {
        let (mut answered, mut rest) = (None, self.limit);
        loop {
            let report = server.replay(&self.parameters(answered, rest)).await?;
            if self.dry_run {
                print(&format!(
                    "would take {} dead letters (already done: {}; whose source is gone: {})\n",
                    self.limit.unwrap_or(u64::MAX).min(report.taken),
                    report.already_done,
                    report.unreachable
                ));
                return Ok(ExitCode::SUCCESS);
            }
            let first = answered.is_none();
            if first && report.taken + report.already_done + report.unreachable == 0 {
                print(NONE);
                return Ok(ExitCode::SUCCESS);
            }
            print(&format!(
                "taken {}: landed {}, dropped {}, failed again {}\n",
                report.taken, report.landed, report.dropped, report.failed_again
            ));
            if first && report.already_done + report.unreachable > 0 {
                print(&format!(
                    "left alone: {} already done, {} whose source does not lead to the stage\n",
                    report.already_done, report.unreachable
                ));
            }
            if let Some(why) = report.stopped {
                return Err(Error::invalid(format!("stopped: {why}")));
            }
            rest = rest.map(|rest| rest.saturating_sub(report.taken));
            if !report.more || report.taken == 0 || rest == Some(0) {
                return Ok(ExitCode::SUCCESS);
            }
            answered = Some((report.from, report.to));
        }
    }

    fn parameters(&self, answered: Option<(Option<i64>, i64)>, limit: Option<u64>) -> Vec<(&'static str, String)> {
        let mut all = vec![("stage", self.stage.clone())];
        all.extend(self.when.parameters(answered));
        all.extend(self.source.clone().map(|source| ("source", source)));
        all.extend(limit.map(|limit| ("limit", limit.to_string())));
        all.extend(self.dry_run.then(|| ("dry_run", "true".to_owned())));
        all
    }
}
