//! `tidemill plugin test [DIR|FILE.wasm]`

use super::found;
use crate::case::{self, Case, Failure};
use crate::cli::cases::{self, Suite, Went};
use crate::error::Result;
use std::path::PathBuf;
use std::process::ExitCode;

const ABOUT: &str = "\
A case is a TOML file: settings, rows that go in, and what has to come of each. With --update, or UPDATE=1 in the environment, what
came out becomes what is expected: look at the difference before you keep it.";

/// Runs a plugin's cases through it, and shows what differs. A folder is built first.
#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub struct Test {
    /// The plugin's folder, a .wasm file, or the name of a bundled plugin.
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    from: PathBuf,
    /// The folder with the cases; `cases` in the plugin's folder if not given.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
    /// Write what came out into the cases that fail.
    #[arg(long)]
    update: bool,
}

impl Test {
    pub(super) fn run(self) -> Result<ExitCode> {
        let suite = Suite {
            files: found::cases(&self.from, self.cases.as_deref())?,
            update: cases::is_update(self.update),
            noun: |_| "cases",
            sure: "what came",
            can_be_rewritten: Failure::can_be_rewritten,
        };
        let library = crate::cli::library()?;
        let plugin = found::open(&library, &self.from)?;
        Ok(suite.tell(|file| match Case::open(file) {
            Ok((text, case)) => {
                let ran = case.run(library.engine(), &plugin);
                (case.about.clone(), cases::went(&suite, file, ran, |failures| case::rewritten(&text, failures)))
            }
            Err(error) => (String::new(), Went::Broken(error)),
        }))
    }
}
