//! `tidemill check FILE…`

use crate::app;
use crate::config::{self, Config, Mistake};
use crate::error::Result;
use std::path::PathBuf;
use std::process::ExitCode;

/// Reads the files together, as `run` would, loads every plugin and plans every query.
#[derive(clap::Args)]
pub struct Check {
    /// Pipeline files; several are read as one.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> Result<ExitCode> {
        let library = super::library()?;
        let system = app::system_schemas()?;
        let read = config::read(&self.files, &environment);
        let summary = summary(&read.0);
        match app::check(read, &library, &system) {
            Ok(_) => {
                say!("ok: {summary}");
                Ok(ExitCode::SUCCESS)
            }
            Err(mistakes) => Ok(tell(&mistakes)),
        }
    }
}

/// The process's environment, for `${NAME}`; `TIDEMILL_EXE` is this program unless it is set.
pub(super) fn environment(name: &str) -> Option<String> {
    let ourselves = || std::env::current_exe().ok()?.to_str().map(str::to_owned).filter(|_| name == "TIDEMILL_EXE");
    std::env::var(name).ok().or_else(ourselves)
}

/// Prints mistakes, each with its place.
pub(super) fn tell(mistakes: &[Mistake]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("{mistake}");
    }
    let s = if mistakes.len() == 1 { "" } else { "s" };
    eprintln!("{} mistake{s}; nothing was started", mistakes.len());
    ExitCode::FAILURE
}

fn summary(config: &Config) -> String {
    let counts = [
        (config.sources.len(), "source"),
        (config.stages.len(), "stage"),
        (config.tables.len(), "table"),
        (config.scalers.len(), "scaler"),
        (config.workloads.len(), "workload"),
    ];
    let words = counts.iter().filter(|(count, _)| *count > 0).map(|(count, word)| {
        let s = if *count == 1 { "" } else { "s" };
        format!("{count} {word}{s}")
    });
    words.collect::<Vec<_>>().join(", ")
}
