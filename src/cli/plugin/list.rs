//! `tidemill plugin list`

use crate::cli::query::print;
use crate::error::Result;
use std::process::ExitCode;

/// Lists the bundled plugins: name, world, what each does.
#[derive(clap::Args)]
pub struct List {}

impl List {
    pub(super) fn run(self) -> Result<ExitCode> {
        let library = crate::cli::library()?;
        let width = library.names().map(str::len).max().unwrap_or(0);
        for (name, world, about) in library.bundled() {
            print(&format!("{name:width$}  {:<10}  {about}\n", world.word()));
        }
        Ok(ExitCode::SUCCESS)
    }
}
