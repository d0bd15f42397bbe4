//! `tidemill capture STAGE --as-case DIR`

use super::query::print;
use super::runtime;
use super::server::Server;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::server::capture::{Captured, WAIT_MAX};
use crate::units::Span;
use chrono::{DateTime, SecondsFormat};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  tidemill capture parsed --rows 50 --as-case cases
  tidemill plugin test access-log --cases cases";

/// Writes what a stage of the Tidemill that runs gets and makes as a case of its plugin.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Capture {
    /// The stage.
    stage: String,
    /// At most so many events, the next ones that come.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rows: u32,
    /// The folder that the case is written into; it is made if it is not there.
    #[arg(long, value_name = "DIR")]
    as_case: PathBuf,
    /// How long to wait for the events; what has come by then is written.
    #[arg(long, default_value = "30s", value_parser = Span::parse)]
    wait: Span,
    /// Where Tidemill listens.
    #[arg(long, env = "TIDEMILL_URL", default_value = "http://127.0.0.1:7070")]
    url: String,
}

impl Capture {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.wait.0 > WAIT_MAX || self.wait.0 < Duration::from_millis(1) {
            return Err(Error::invalid(format!("--wait is from 1ms to {}s", WAIT_MAX.as_secs())));
        }
        // A folder that cannot be written is told before anybody waits.
        std::fs::create_dir_all(&self.as_case)
            .map_err(|error| Error::io(format!("cannot make {}", self.as_case.display()), error))?;
        let server = Server::new(&self.url)?;
        let parameters = [
            ("stage", self.stage.clone()),
            ("rows", self.rows.to_string()),
            ("wait", format!("{}ms", self.wait.0.as_millis())),
        ];
        let captured = runtime()?.block_on(server.capture(&parameters))?;
        let file = keep(&self.as_case, &self.stage, &captured)?;
        print(&format!("{} rows of {} are in {}\n", captured.rows, captured.plugin, file.display()));
        for note in &captured.notes {
            print(&format!("note: {note}\n"));
        }
        print(&format!("try: tidemill plugin test {} --cases {}\n", captured.plugin, self.as_case.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes the case under a name that no file has.
fn keep(folder: &Path, stage: &str, captured: &Captured) -> Result<PathBuf> {
    let now = DateTime::from_timestamp_nanos(Clock::system().now())
        .to_rfc3339_opts(SecondsFormat::Secs, true)
        .replace(':', "-");
    let mut copy = 1;
    loop {
        let name = if copy == 1 { format!("{stage}-{now}.toml") } else { format!("{stage}-{now}-{copy}.toml") };
        let path = folder.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
        match file {
            Ok(mut file) => {
                let written = std::io::Write::write_all(&mut file, captured.case.as_bytes());
                return written
                    .map(|()| path.clone())
                    .map_err(|error| Error::io(format!("cannot write {}", path.display()), error));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => copy += 1,
            Err(error) => return Err(Error::io(format!("cannot write {}", path.display()), error)),
        }
    }
}
