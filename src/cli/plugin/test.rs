//! `tidemill plugin test [DIR|FILE.wasm]`

use super::found;
use crate::case::{self, Case, Failure};
use crate::cli::query::print;
use crate::error::{Error, Result};
use crate::plugin::{Library, Plugin};
use std::path::{Path, PathBuf};
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

/// What became of a file.
enum Went {
    Well,
    /// brought up to date
    Updated(Vec<Failure>),
    Wrong(Vec<Failure>),
    /// it could not be run
    Broken(Error),
}

impl Test {
    pub(super) fn run(self) -> Result<ExitCode> {
        let files = found::cases(&self.from, self.cases.as_deref())?;
        let library = crate::cli::library()?;
        let plugin = found::open(&library, &self.from)?;
        let update = self.update || std::env::var_os("UPDATE").is_some_and(|value| value == "1");
        let (mut passed, mut updated, mut failed, mut can_be_updated) = (0, 0, 0, false);
        for file in &files {
            let (about, went) = run(&library, &plugin, file, update);
            let word = match &went {
                Went::Well => "ok",
                Went::Updated(_) => "new",
                Went::Wrong(_) | Went::Broken(_) => "FAILED",
            };
            print(&format!("{word:<7} {}{about}\n", file.display()));
            match went {
                Went::Well => passed += 1,
                Went::Updated(failures) => {
                    updated += 1;
                    show(&failures);
                }
                Went::Wrong(failures) => {
                    failed += 1;
                    can_be_updated |= failures.iter().any(Failure::can_be_rewritten);
                    show(&failures);
                }
                Went::Broken(error) => {
                    failed += 1;
                    print(&format!("  {error}\n"));
                }
            }
        }
        let told = if updated > 0 { format!(", {updated} brought up to date") } else { String::new() };
        print(&format!("{} cases: {passed} passed{told}, {failed} failed\n", files.len()));
        if can_be_updated && !update {
            print("if what came is right, `--update` writes it into the cases\n");
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// What a case says of itself, and what became of it.
fn run(library: &Library, plugin: &Plugin, file: &Path, update: bool) -> (String, Went) {
    let (text, case) = match Case::open(file) {
        Ok(opened) => opened,
        Err(error) => return (String::new(), Went::Broken(error)),
    };
    let about = if case.about.is_empty() { String::new() } else { format!(": {}", case.about) };
    let went = match case.run(library.engine(), plugin) {
        Err(error) => Went::Broken(error),
        Ok(failures) if failures.is_empty() => Went::Well,
        Ok(failures) if update && failures.iter().all(Failure::can_be_rewritten) => {
            match case::rewritten(&text, &failures).and_then(|text| replace(file, &text)) {
                Ok(()) => Went::Updated(failures),
                Err(error) => Went::Broken(error),
            }
        }
        Ok(failures) => Went::Wrong(failures),
    };
    (about, went)
}

fn replace(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(|error| Error::io(format!("cannot write {}", file.display()), error))
}

fn show(failures: &[Failure]) {
    for failure in failures {
        for line in failure.to_string().lines() {
            print(&format!("  {line}\n"));
        }
    }
}
