//! case files run one after the other: what is said of each, and of all together

use super::query::print;
use crate::error::{Error, Result};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What became of a file.
pub(super) enum Went<F> {
    Well,
    /// brought up to date
    Updated(Vec<F>),
    Wrong(Vec<F>),
    /// it could not be run
    Broken(Error),
}

/// Case files, and how they are spoken of.
pub(super) struct Suite<F> {
    pub files: Vec<PathBuf>,
    /// what came is written into the cases that fail
    pub update: bool,
    /// what so many are called
    pub noun: fn(usize) -> &'static str,
    /// what the author has to be sure of before it is written
    pub sure: &'static str,
    pub can_be_rewritten: fn(&F) -> bool,
}

/// Whether `--update` is asked for, by the option or by UPDATE=1 in the environment.
pub(super) fn is_update(option: bool) -> bool {
    option || std::env::var_os("UPDATE").is_some_and(|value| value == "1")
}

/// What follows from a case's failures; `rewritten` is the case's text with what came.
pub(super) fn went<F>(
    suite: &Suite<F>,
    file: &Path,
    ran: Result<Vec<F>>,
    rewritten: impl Fn(&[F]) -> Result<String>,
) -> Went<F> {
    match ran {
        Err(error) => Went::Broken(error),
        Ok(failures) if failures.is_empty() => Went::Well,
        Ok(failures) if suite.update && failures.iter().all(suite.can_be_rewritten) => {
            match rewritten(&failures).and_then(|text| replace(file, &text)) {
                Ok(()) => Went::Updated(failures),
                Err(error) => Went::Broken(error),
            }
        }
        Ok(failures) => Went::Wrong(failures),
    }
}

impl<F: Display> Suite<F> {
    /// Runs all of them; each answers what it says of itself, and what became of it.
    pub fn tell(&self, run: impl Fn(&Path) -> (String, Went<F>)) -> ExitCode {
        let (mut passed, mut updated, mut failed, mut can_be_updated) = (0, 0, 0, false);
        for file in &self.files {
            let (about, went) = run(file);
            let word = match &went {
                Went::Well => "ok",
                Went::Updated(_) => "new",
                Went::Wrong(_) | Went::Broken(_) => "FAILED",
            };
            let about = if about.is_empty() { about } else { format!(": {about}") };
            print(&format!("{word:<7} {}{about}\n", file.display()));
            match went {
                Went::Well => passed += 1,
                Went::Updated(failures) => {
                    updated += 1;
                    failures.iter().for_each(indented);
                }
                Went::Wrong(failures) => {
                    failed += 1;
                    can_be_updated |= failures.iter().any(self.can_be_rewritten);
                    failures.iter().for_each(indented);
                }
                Went::Broken(error) => {
                    failed += 1;
                    indented(&error);
                }
            }
        }
        let told = if updated > 0 { format!(", {updated} brought up to date") } else { String::new() };
        let (count, noun) = (self.files.len(), (self.noun)(self.files.len()));
        print(&format!("{count} {noun}: {passed} passed{told}, {failed} failed\n"));
        if can_be_updated && !self.update {
            print(&format!("if {} is right, `--update` writes it into the cases\n", self.sure));
        }
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn replace(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(|error| Error::io(format!("cannot write {}", file.display()), error))
}

fn indented(text: &impl Display) {
    text.to_string().lines().for_each(|line| print(&format!("  {line}\n")));
}
