//! `tidemill query SQL`

use super::runtime;
use super::server::Server;
use crate::error::{Error, Result};
use clap::ValueEnum;
use std::io::{Read, Write};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  tidemill query 'SELECT status, count(*) AS n FROM access GROUP BY status ORDER BY n DESC'
  tidemill query --format csv \"SELECT * FROM access WHERE timestamp > now() - INTERVAL '5 minutes'\"
  tidemill query 'SELECT * FROM tidemill.tables'
  echo 'SHOW TABLES' | tidemill query -";

/// Sends SQL to a running Tidemill and prints the answer.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Query {
    /// The question; `-` reads it from standard input.
    sql: String,
    /// Where Tidemill listens.
    #[arg(long, env = "TIDEMILL_URL", default_value = "http://127.0.0.1:7070")]
    url: String,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// How long the answer may take, such as `10s`.
    #[arg(long)]
    timeout: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// aligned columns
    Table,
    /// an array of objects
    Json,
    /// an object a line
    Ndjson,
    /// comma-separated values with a header
    Csv,
}

impl Query {
    pub(super) fn run(self) -> Result<ExitCode> {
        let sql = match self.sql.as_str() {
            "-" => {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map_err(|error| Error::io("cannot read standard input", error))?;
                text
            }
            sql => sql.to_owned(),
        };
        let server = Server::new(&self.url)?;
        runtime()?.block_on(async {
            match self.format {
                Format::Table => print(&server.table(&sql, self.timeout.as_deref()).await?),
                Format::Json => server.copy(&sql, "application/json", self.timeout.as_deref()).await?,
                Format::Ndjson => server.copy(&sql, "application/x-ndjson", self.timeout.as_deref()).await?,
                Format::Csv => server.copy(&sql, "text/csv", self.timeout.as_deref()).await?,
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Prints text; a reader that has gone away (`| head`) is no failure.
pub(super) fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
