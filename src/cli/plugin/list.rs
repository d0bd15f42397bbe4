//! `tidemill plugin list`

use crate::cli::query::print;
use crate::error::Result;
use std::path::Path;
use std::process::ExitCode;

/// Lists the bundled plugins: name, world, what each does.
#[derive(clap::Args)]
pub struct List {}

impl List {
    pub(super) fn run(self) -> Result<ExitCode> {
        let library = crate::cli::library()?;
        let mut rows = Vec::new();
        for name in library.names() {
            let plugin = library.open(name, Path::new(""))?;
            let (_, _, about) = library.describe(&plugin)?;
            rows.push((name, plugin.world().word(), about));
        }
        let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        for (name, world, about) in rows {
            print(&format!("{name:width$}  {world:<10}  {about}\n"));
        }
        Ok(ExitCode::SUCCESS)
    }
}
