//! `tidemill test [PATH…]`

use super::cases::{self, Suite, Went};
use super::check::environment;
use crate::config;
use crate::error::{Error, Result, did_you_mean};
use crate::plugin::Library;
use crate::scale::case::{Case, Failure, Named, rewritten};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const ABOUT: &str = "\
A case is a TOML file: a scaler, what its signals say over time, and what it has to decide when. It is run through the scaler's
own loop, policy and plugins, on a clock of its own. A folder stands for the cases in it and in its folder `cases`. With --update, or
UPDATE=1 in the environment, what was decided becomes what is expected: look at the difference before you keep it.";

/// Runs scaling cases, and shows what differs.
#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub struct Test {
    /// Cases, or folders with cases.
    #[arg(value_name = "PATH", default_value = ".")]
    paths: Vec<PathBuf>,
    /// Write what was decided into the cases that fail.
    #[arg(long)]
    update: bool,
}

impl Test {
    pub(super) fn run(self) -> Result<ExitCode> {
        let suite = Suite {
            files: files(&self.paths)?,
            update: cases::is_update(self.update),
            noun: |count| if count == 1 { "case" } else { "cases" },
            sure: "what was decided",
            can_be_rewritten: |_: &Failure| true,
        };
        let library = super::library()?;
        Ok(suite.tell(|file| match Case::open(file) {
            Ok((text, case)) => {
                let ran = decided(&library, file, &case);
                (case.about.clone(), cases::went(&suite, file, ran, |failures| rewritten(&text, failures)))
            }
            Err(error) => (String::new(), Went::Broken(error)),
        }))
    }
}

/// Finds the scaler, and runs the case through it.
fn decided(library: &Library, file: &Path, case: &Case) -> Result<Vec<Failure>> {
    let here = file.parent().unwrap_or(Path::new(""));
    let (pipeline, wanted) = match &case.scaler {
        Named::Here(config) => return case.run(config, library, here),
        Named::InFile { file, scaler } => (here.join(file), scaler.as_deref()),
    };
    // No part of the pipeline but its scaler is used: mistakes elsewhere, as a variable that is not set here, are of no account.
    let (config, mistakes) = config::read(&[pipeline], &environment);
    let named: Vec<&str> = config.scalers.iter().map(|scaler| scaler.name.as_str()).collect();
    let found = match wanted {
        Some(wanted) => config.scalers.iter().find(|scaler| scaler.name == wanted),
        None => config.scalers.first().filter(|_| named.len() == 1),
    };
    match (found, wanted) {
        (Some(scaler), _) => case.run(&scaler.config, library, scaler.places.folder()),
        (None, _) if !mistakes.is_empty() => {
            let told: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            Err(Error::invalid(told.join("\n")))
        }
        (None, Some(wanted)) => {
            let near = did_you_mean(wanted, named.iter().copied());
            Err(Error::invalid(format!("there is no scaler `{wanted}`{near} (there are: {})", named.join(", "))))
        }
        (None, None) if named.is_empty() => Err(Error::invalid("the pipeline has no scaler")),
        (None, None) => {
            Err(Error::invalid(format!("there are several scalers; write `scaler = \"{}\"`", named.join("\"` or `\""))))
        }
    }
}

/// The cases that these paths stand for, each once.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = BTreeSet::new();
    for path in paths {
        if !path.is_dir() {
            files.insert(path.clone());
            continue;
        }
        let before = files.len();
        for folder in [path.clone(), path.join("cases"), path.join("pipelines/cases")] {
            let listed = if folder.is_dir() { crate::case::files(&folder)? } else { Vec::new() };
            // Pipelines and plugins' cases stand beside them.
            files.extend(
                listed.into_iter().filter(|file| std::fs::read_to_string(file).is_ok_and(|text| Case::is_one(&text))),
            );
        }
        if files.len() == before {
            let shown = path.display();
            return Err(Error::invalid(format!(
                "there is no scaling case in {shown} and {shown}/cases; a case is a .toml file with [[steps]]"
            )));
        }
    }
    Ok(files.into_iter().collect())
}
