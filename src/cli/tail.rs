//! `tidemill tail TABLE`

use super::query::print;
use super::server::Server;
use super::{runtime, stop};
use crate::error::Result;
use std::process::ExitCode;
use std::time::Duration;

/// How often new rows are asked for.
const POLL: Duration = Duration::from_millis(250);
/// The most new rows that are asked for at once.
const ROWS_MAX: u64 = 1000;

/// Prints the last rows of a table, then each row as it is stored, a JSON object a line; Ctrl-C ends it.
#[derive(clap::Args)]
pub struct Tail {
    /// The table: `access`, `tidemill.logs`.
    table: String,
    /// Rows to begin with.
    #[arg(short = 'n', long, default_value_t = 10, value_name = "ROWS")]
    lines: u64,
    /// Print the rows to begin with, and end.
    #[arg(long)]
    once: bool,
    /// Where Tidemill listens.
    #[arg(long, env = "TIDEMILL_URL", default_value = "http://127.0.0.1:7070")]
    url: String,
}

impl Tail {
    pub(super) fn run(self) -> Result<ExitCode> {
        let server = Server::new(&self.url)?;
        runtime()?.block_on(async {
            let stop = stop::on_signals()?;
            let first = server.rows(&self.table, None, self.lines).await?;
            let mut since = first.next;
            if (first.rows.len() as u64) < self.lines.min(since) {
                // Rows are in segments already, which do not know who came when: the last ones by their time. At the seam a row may
                // be shown twice, but none is left out.
                server.last_rows(&self.table, self.lines).await?;
            } else {
                first.rows.iter().for_each(|row| print(&format!("{row}\n")));
            }
            if self.once {
                return Ok(ExitCode::SUCCESS);
            }
            loop {
                let rows = server.rows(&self.table, Some(since), ROWS_MAX).await?;
                if rows.skipped > 0 {
                    eprintln!("({} rows went by too fast)", rows.skipped);
                }
                for row in &rows.rows {
                    print(&format!("{row}\n"));
                }
                since = rows.next;
                tokio::select! {
                    () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
                    () = tokio::time::sleep(POLL) => (),
                }
            }
        })
    }
}
