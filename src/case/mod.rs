//! a plugin's cases: a file says what goes in and what has to come out
//!
//!     file ─ read ─► Case ─ run through the plugin ─► failures ─┬─► shown, column by column
//!                                                               └─► rewritten: what came out is what is expected from now on
//!     what a stage really got and made ─ captured ─► file
//!
//! The format is described in `plugins/README.md`. What runs is what runs in a pipeline: the same instance, in the same stage.
//!
//! **Always:** a failure says where in the file it is, what was expected and what came.
//! **Never:** a mistake in a case is the plugin's: it is an error of its own, before anything runs.

mod captured;
mod cell;
mod differ;
mod rewrite;
mod rows;
mod table;
mod ticks;
mod written;

use crate::error::{Error, Result};
use crate::event::Batch;
use crate::plugin::{Account, Configured, Engine, Instance, Limits, Lookup, Plugin, World};
pub use captured::captured;
pub use cell::{Cell, Cells};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use rewrite::rewritten;
pub use rows::{numbered, outcomes};

/// The most a file of cases may have, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// One file: settings, what goes in, what has to come out.
pub struct Case {
    /// what the case shows
    pub about: String,
    settings: String,
    tables: Arc<BTreeMap<String, Lookup>>,
    /// what the batch before the first one left
    state: Option<Vec<u8>>,
    expects: Expects,
}

enum Expects {
    /// `configure` fails with a message that has this in it.
    Refused(String),
    Batches(Vec<Events>),
    Ticks(Vec<Tick>),
}

/// Events that go in together, and the clock they see.
struct Events {
    now: Option<i64>,
    rows: Vec<Row>,
}

/// One event, and what has to come of it; nothing is said of that in a case that waits for `--update`.
struct Row {
    input: toml::Table,
    wanted: Option<Outcome>,
}

impl Row {
    fn fails(&self) -> bool {
        matches!(self.wanted, Some(Outcome::Error(_)))
    }
}

/// One tick of a scaler.
struct Tick {
    request: crate::plugin::Request,
    wanted: Option<Answer>,
}

/// What comes of one event. As it is expected: in rows, the columns that the plugin makes; in errors, a part of the message.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// the rows that came of it, none of them if it is dropped
    Rows(Vec<Cells>),
    /// what a filter said
    Keep(bool),
    /// why it could not be handled
    Error(String),
}

impl Outcome {
    /// The columns in which two outcomes differ, with the value of each; the whole of them where they cannot be compared so.
    pub fn differences(&self, other: &Outcome) -> Vec<[String; 3]> {
        differ::differences(self, other)
    }
}

/// What comes of one tick. As it is expected: in reasons and errors, a part of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Proposal { replicas: u32, reason: Option<String> },
    Error(String),
}

/// What went another way than the case says.
#[derive(Debug)]
pub struct Failure {
    place: Place,
    /// What was expected and what came, in lines.
    shown: String,
    change: Option<Change>,
}

/// Where in a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Settings,
    /// A row of `[[rows]]`.
    Row(usize),
    /// A row of one of `[[batches]]`.
    BatchRow(usize, usize),
    Tick(usize),
}

/// What would make the case say what came.
#[derive(Clone, Debug)]
enum Change {
    Refused(String),
    Outcome(Outcome),
    Answer(Answer),
}

impl Case {
    /// Reads a case from a file.
    pub fn open(path: &Path) -> Result<(String, Case)> {
        let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > FILE_BYTES_MAX {
            let message = format!("{}: it has {bytes} bytes, and a case may have {FILE_BYTES_MAX}", path.display());
            return Err(Error::invalid(message));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let case = Case::read(&text).map_err(|error| error.within(path.display()))?;
        Ok((text, case))
    }

    /// Reads a case from its text.
    pub fn read(text: &str) -> Result<Case> {
        written::read(text)
    }

    /// The settings as JSON text.
    pub fn settings(&self) -> &str {
        &self.settings
    }

    /// The lookup tables that the case brings along.
    pub fn tables(&self) -> Arc<BTreeMap<String, Lookup>> {
        self.tables.clone()
    }

    /// How many events come through.
    pub fn events(&self) -> usize {
        match &self.expects {
            Expects::Batches(batches) => {
                batches.iter().flat_map(|batch| &batch.rows).filter(|row| !row.fails()).count()
            }
            Expects::Refused(_) | Expects::Ticks(_) => 0,
        }
    }

    /// The events that go in, again and again until there are as many as `rows`, without those that have to fail; none for an
    /// autoscaler or refused settings.
    pub fn repeated(&self, rows: usize) -> Result<Option<Batch>> {
        let Expects::Batches(batches) = &self.expects else { return Ok(None) };
        let good: Vec<&toml::Table> =
            batches.iter().flat_map(|batch| &batch.rows).filter(|row| !row.fails()).map(|row| &row.input).collect();
        if good.is_empty() {
            return Ok(None);
        }
        let many: Vec<&toml::Table> = good.into_iter().cycle().take(rows).collect();
        rows::events(&many).map(Some)
    }

    /// The plugin with the case's settings and lookup tables.
    pub fn configured(&self, plugin: &Plugin) -> Configured {
        Configured {
            stage: "tested".into(),
            plugin: plugin.clone(),
            settings: self.settings.clone(),
            limits: Limits::default(),
            tables: self.tables.clone(),
            account: Arc::new(Account::default()),
        }
    }

    /// Runs the case through a plugin; what went another way, in the order of the file.
    pub fn run(&self, engine: &Engine, plugin: &Plugin) -> Result<Vec<Failure>> {
        let made = Instance::new(engine, self.configured(plugin));
        let instance = match (&self.expects, made) {
            (Expects::Refused(part), made) => return Ok(refusal(part, made.err()).into_iter().collect()),
            (_, Ok(instance)) => instance,
            (_, Err(error)) => {
                let shown = format!("the settings are refused: {error}");
                // Rows that are there stay: a misspelt setting is likelier than a case that asks for a refusal.
                return Ok(vec![Failure { place: Place::Settings, shown, change: None }]);
            }
        };
        match (&self.expects, plugin.world()) {
            (Expects::Ticks(ticks), World::Autoscaler) => Ok(ticks::run(instance, ticks)),
            (Expects::Batches(batches), World::Parser | World::Filter | World::Enricher) => {
                rows::run(engine, instance, batches, self.state.clone())
            }
            (_, World::Autoscaler) => Err(Error::invalid("the plugin is an autoscaler; its cases have [[ticks]]")),
            (_, world) => {
                let world = world.word();
                Err(Error::invalid(format!("the plugin is made for the world {world}; its cases have [[rows]]")))
            }
        }
    }
}

fn refusal(part: &str, error: Option<Error>) -> Option<Failure> {
    let failure = |shown, change| Some(Failure { place: Place::Settings, shown, change });
    match error {
        Some(error) if error.message().contains(part) => None,
        Some(error) => {
            let change = Change::Refused(error.message().to_owned());
            failure(format!("expected to be refused with  {part}\nrefused with                 {error}"), Some(change))
        }
        None => failure(format!("expected to be refused with  {part}\nthe settings were taken"), None),
    }
}

impl Failure {
    /// Whether it is about the settings, not about a row.
    pub fn is_of_settings(&self) -> bool {
        self.place == Place::Settings
    }

    /// Whether [`rewritten`] can make the case say what came.
    pub fn can_be_rewritten(&self) -> bool {
        self.change.is_some()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        self.shown.lines().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Settings => f.write_str("settings"),
            Place::Row(row) => write!(f, "row {}", row + 1),
            Place::BatchRow(batch, row) => write!(f, "batch {}, row {}", batch + 1, row + 1),
            Place::Tick(tick) => write!(f, "tick {}", tick + 1),
        }
    }
}

/// Rows as a case writes them, as the table that a query would answer.
pub fn table(rows: &[&toml::Table]) -> Result<arrow::array::RecordBatch> {
    table::batch(table::columns(rows)?, rows.len())
}

/// The case files of a folder, in the order of their names.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let listing = std::fs::read_dir(folder)
        .map_err(|error| Error::io(format!("cannot read the cases in {}", folder.display()), error))?;
    let paths = listing.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
