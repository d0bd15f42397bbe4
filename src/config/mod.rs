//! reads the TOML files into one checked Config
//!
//!     text ─► tree of keys with lines ─ ${ENV} filled in ─► the Config of each part, by its own room ─► names checked
//!
//! **Always:** every mistake of every file is told at once, with file and line, what is wrong, and what to write.

mod tree;

pub use tree::Variables;

use crate::error::{Fault, did_you_mean};
use crate::event::table_name::well_formed;
use crate::net::{Listen, Section};
use crate::pipeline::{StageConfig, TableConfig};
use crate::scale::{Config as ScalerConfig, actuator};
use crate::source;
use crate::units::{ByteSize, DAY, GIB, MIB, Span, within};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::DeValue;
use tree::Tree;

/// The sections of a pipeline file.
const SECTIONS: &[&str] = &[
    "server",
    "external_metrics",
    "external_scaler",
    "store",
    "query",
    "sources",
    "stages",
    "tables",
    "scalers",
    "workloads",
];

/// Everything that the files say.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `[server]`
    pub server: Listen,
    /// `[external_metrics]`: where Kubernetes' API server finds what was decided
    pub external_metrics: Option<Listen>,
    /// `[external_scaler]`: where KEDA does
    pub external_scaler: Option<Listen>,
    /// `[store]`
    pub store: StoreConfig,
    /// `[query]`
    pub query: QueryConfig,
    /// `[sources.*]`
    pub sources: Vec<Named<source::Config>>,
    /// `[stages.*]`
    pub stages: Vec<Named<StageConfig>>,
    /// `[tables.*]`
    pub tables: Vec<Named<TableConfig>>,
    /// `[scalers.*]`
    pub scalers: Vec<Named<ScalerConfig>>,
    /// `[workloads.*]`
    pub workloads: Vec<Named<actuator::Config>>,
    /// Parts that are there and could not be read: nobody is blamed for naming them.
    pub broken: Vec<Broken>,
    /// Texts that variables stood in, as they came out: they may be secrets.
    pub filled: BTreeSet<String>,
    /// A file could not be read at all, so that nobody knows which names are in it.
    pub unreadable: bool,
}

/// `[store]`: where and how accepted events are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// The data directory.
    pub path: PathBuf,
    /// A table's fresh rows become a Parquet file at this age at the latest.
    #[serde(deserialize_with = "within::<100, DAY, _, _>")]
    pub flush_age: Span,
    /// Fresh rows become Parquet files when they take this much memory.
    #[serde(deserialize_with = "within::<65_536, { 256 * MIB }, _, _>")]
    pub flush_bytes: ByteSize,
}

/// `[query]`: what one query may use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// Time from the question to its last row.
    #[serde(deserialize_with = "within::<10, DAY, _, _>")]
    pub timeout: Span,
    /// Memory of all queries together.
    #[serde(deserialize_with = "within::<MIB, { 1024 * GIB }, _, _>")]
    pub memory: ByteSize,
    /// Rows of one answer.
    #[serde(deserialize_with = "within::<1, { u64::MAX }, _, _>")]
    pub rows_max: u64,
    /// Queries at one time.
    #[serde(deserialize_with = "within::<1, 1024, _, _>")]
    pub concurrent: usize,
}

/// A part that is in a file and could not be read.
#[derive(Clone, Debug)]
pub struct Broken {
    /// `sources`
    pub section: &'static str,
    /// its name there
    pub name: String,
}

/// A part of the config with its name and where it stands.
#[derive(Clone, Debug)]
pub struct Named<T> {
    /// its name in the file
    pub name: String,
    /// what it says
    pub config: T,
    /// where its keys stand
    pub places: Places,
}

/// Where the keys of one part stand.
#[derive(Clone, Debug)]
pub struct Places {
    path: String,
    at: BTreeMap<String, Place>,
    whole: Place,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// the file, as it was named
    pub file: PathBuf,
    /// from 1
    pub line: usize,
}

/// Something in a file that must be mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// where
    pub place: Place,
    /// what is wrong, and what to write
    pub message: String,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            path: "tidemill-data".into(),
            flush_age: Span(std::time::Duration::from_secs(300)),
            flush_bytes: ByteSize(64 << 20),
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        QueryConfig {
            timeout: Span(std::time::Duration::from_secs(30)),
            memory: ByteSize(1 << 30),
            rows_max: 1_000_000,
            concurrent: 8,
        }
    }
}

impl Config {
    /// Names of parts of these sections that could not be read.
    pub fn broken_in<'a>(&'a self, sections: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.broken.iter().filter(|part| sections.contains(&part.section)).map(|part| part.name.as_str())
    }

    fn is_empty(&self) -> bool {
        self.sources.is_empty()
            && self.stages.is_empty()
            && self.tables.is_empty()
            && self.scalers.is_empty()
            && self.workloads.is_empty()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.file.display(), self.place.line, self.message)
    }
}

impl Places {
    /// A mistake at a key of this part (`plugin`, `signals.rps`); at the part itself where the key is not written.
    pub fn mistake(&self, key: &str, message: impl fmt::Display) -> Mistake {
        let mut key = key;
        let place = loop {
            match (self.at.get(key), key.rfind('.')) {
                (Some(place), _) => break place,
                (None, Some(dot)) => key = key.get(..dot).unwrap_or_default(),
                (None, None) => break &self.whole,
            }
        };
        Mistake { place: place.clone(), message: format!("{}: {message}", self.path) }
    }

    /// What is wrong with keys of this part, each where it stands.
    pub fn mistakes(&self, faults: Vec<Fault>) -> impl Iterator<Item = Mistake> {
        faults.into_iter().map(|fault| self.mistake(&fault.key, fault.error))
    }

    /// The folder of the file, from which paths in it start.
    pub fn folder(&self) -> &Path {
        self.whole.file.parent().unwrap_or(Path::new(""))
    }
}

/// Reads the files into one config, as far as they can be read, and tells the mistakes.
pub fn read(files: &[PathBuf], variables: Variables<'_>) -> (Config, Vec<Mistake>) {
    let mut texts = Vec::new();
    let mut mistakes = Vec::new();
    for file in files {
        match std::fs::read_to_string(file) {
            Ok(text) => texts.push((file.clone(), text)),
            Err(error) => {
                let place = Place { file: file.clone(), line: 1 };
                mistakes.push(Mistake { place, message: format!("cannot be read: {error}") });
            }
        }
    }
    let unread = !mistakes.is_empty();
    let mut config = read_texts(&texts, variables, &mut mistakes);
    config.unreadable |= unread;
    (config, mistakes)
}

/// Reads texts that need not be files.
pub fn read_texts(texts: &[(PathBuf, String)], variables: Variables<'_>, mistakes: &mut Vec<Mistake>) -> Config {
    let mut config = Config::default();
    for (file, text) in texts {
        let mut tree = Tree::parse(file, text, variables, mistakes);
        config.unreadable |= tree.is_unreadable();
        config.filled.extend(tree.filled().iter().cloned());
        one_table(&mut tree, "server", &mut config.server, mistakes);
        if tree.has("server") {
            let faults = config.server.faults().into_iter().chain(config.server.file_faults());
            mistakes.extend(faults.map(|fault| Mistake {
                place: tree.place(&format!("server.{}", fault.key)),
                message: fault.error.to_string(),
            }));
        }
        follower(&mut tree, "external_metrics", &mut config.external_metrics, mistakes);
        follower(&mut tree, "external_scaler", &mut config.external_scaler, mistakes);
        one_table(&mut tree, "store", &mut config.store, mistakes);
        one_table(&mut tree, "query", &mut config.query, mistakes);
        let broken = &mut config.broken;
        sources(&mut tree, &mut config.sources, broken, mistakes);
        named(&mut tree, "stages", &mut config.stages, broken, mistakes);
        named(&mut tree, "tables", &mut config.tables, broken, mistakes);
        named(&mut tree, "scalers", &mut config.scalers, broken, mistakes);
        workloads(&mut tree, &mut config.workloads, broken, mistakes);
        for name in tree.rest() {
            let hint = did_you_mean(&name, SECTIONS.iter().copied());
            let message = format!("unknown section `{name}`{hint} (there are: {})", SECTIONS.join(", "));
            mistakes.push(Mistake { place: tree.place(&name), message });
        }
    }
    if let Some((file, _)) = texts.first().filter(|_| mistakes.is_empty() && config.is_empty()) {
        let message = "there is nothing to run in it; write a source and a table, such as `[sources.web]` with \
                       `type = \"file\"` and `include = [\"…\"]`, and `[tables.lines]` with `inputs = [\"web\"]`";
        mistakes.push(Mistake { place: Place { file: file.clone(), line: 1 }, message: message.to_owned() });
    }
    config
}

fn one_table<T: for<'de> Deserialize<'de>>(tree: &mut Tree<'_>, name: &str, into: &mut T, mistakes: &mut Vec<Mistake>) {
    if let Some(value) = tree.take(name)
        && let Some(read) = tree.read(value, name, mistakes)
    {
        *into = read;
    }
}

/// A listener for those who follow our decisions: there is none unless it is written.
fn follower(tree: &mut Tree<'_>, name: &'static str, into: &mut Option<Listen>, mistakes: &mut Vec<Mistake>) {
    if !tree.has(name) {
        return;
    }
    let mut listen = Listen { section: Section(name), ..Listen::default() };
    one_table(tree, name, &mut listen, mistakes);
    listen.section = Section(name);
    let mut mistake = |key: &str, message: String| {
        mistakes.push(Mistake { place: tree.place(&format!("{name}.{key}")), message });
    };
    if !tree.has(&format!("{name}.address")) {
        mistake("address", format!("`[{name}]` has no `address`; write one of its own, such as `127.0.0.1:7443`"));
    }
    for fault in listen.faults().into_iter().chain(listen.file_faults()) {
        mistake(&fault.key, fault.error.to_string());
    }
    *into = Some(listen);
}

fn named<T: for<'de> Deserialize<'de>>(
    tree: &mut Tree<'_>,
    section: &'static str,
    into: &mut Vec<Named<T>>,
    broken: &mut Vec<Broken>,
    mistakes: &mut Vec<Mistake>,
) {
    for (name, value) in tree.take_section(section, mistakes) {
        let path = format!("{section}.{name}");
        check_name(tree, &name, &path, mistakes);
        match tree.read(value, &path, mistakes) {
            Some(config) => add(tree, name, &path, config, into, mistakes),
            None => broken.push(Broken { section, name }),
        }
    }
}

fn add<T>(tree: &Tree<'_>, name: String, path: &str, config: T, into: &mut Vec<Named<T>>, mistakes: &mut Vec<Mistake>) {
    let places = tree.places(path);
    if into.iter().any(|other| other.name == name) {
        mistakes.push(
            places.mistake("", format!("`{name}` is there already, in another file; each needs a name of its own")),
        );
    }
    into.push(Named { name, config, places });
}

/// Also of a part that cannot be read for another reason.
fn check_name(tree: &Tree<'_>, name: &str, path: &str, mistakes: &mut Vec<Mistake>) {
    if !well_formed(name) {
        let rule = "use lower-case letters, digits and _, at most 63, not starting with a digit";
        mistakes.push(tree.places(path).mistake("", format!("`{name}` cannot be a name; {rule}")));
    }
}

/// Sources: the word after `type =` says whose keys they have.
fn sources(
    tree: &mut Tree<'_>,
    into: &mut Vec<Named<source::Config>>,
    broken: &mut Vec<Broken>,
    mistakes: &mut Vec<Mistake>,
) {
    let words: Vec<&str> = source::SOURCES.iter().map(|source| source.name).collect();
    for (name, value) in tree.take_section("sources", mistakes) {
        let path = format!("sources.{name}");
        check_name(tree, &name, &path, mistakes);
        let read = kind(tree, value, &path, &words, mistakes).and_then(|(kind, value)| {
            tree.read_with(value, &path, mistakes, |reader| source::Config::deserialize(&kind, reader))
        });
        match read {
            Some(config) => add(tree, name, &path, config, into, mistakes),
            None => broken.push(Broken { section: "sources", name }),
        }
    }
}

/// Workloads: likewise.
fn workloads(
    tree: &mut Tree<'_>,
    into: &mut Vec<Named<actuator::Config>>,
    broken: &mut Vec<Broken>,
    mistakes: &mut Vec<Mistake>,
) {
    let words: Vec<&str> = actuator::ACTUATORS.iter().map(|kind| kind.name).collect();
    for (name, value) in tree.take_section("workloads", mistakes) {
        let path = format!("workloads.{name}");
        check_name(tree, &name, &path, mistakes);
        let read = kind(tree, value, &path, &words, mistakes).and_then(|(kind, value)| {
            tree.read_with(value, &path, mistakes, |reader| actuator::Config::read(&kind, reader))
        });
        match read {
            Some(config) => add(tree, name, &path, config, into, mistakes),
            None => broken.push(Broken { section: "workloads", name }),
        }
    }
}

/// Takes `type` out of a table and looks whether it is one of the known words.
fn kind<'t>(
    tree: &Tree<'t>,
    mut value: Spanned<DeValue<'t>>,
    path: &str,
    known: &[&str],
    mistakes: &mut Vec<Mistake>,
) -> Option<(String, Spanned<DeValue<'t>>)> {
    let all = known.join(", ");
    let mut wrong = |message: String| {
        mistakes.push(Mistake { place: tree.place(&format!("{path}.type")), message: format!("{path}: {message}") });
        None
    };
    let DeValue::Table(table) = value.get_mut() else {
        return wrong(format!("must be a table: write [{path}]"));
    };
    let Some(word) = table.remove("type") else {
        return wrong(format!("`type` is missing; write one of: {all}"));
    };
    match word.get_ref().as_str() {
        Some(word) if known.contains(&word) => Some((word.to_owned(), value)),
        Some(word) => {
            let hint = did_you_mean(word, known.iter().copied());
            wrong(format!("unknown type `{word}`{hint} (there are: {all})"))
        }
        None => wrong(format!("`type` must be one of these words: {all}")),
    }
}

#[cfg(test)]
mod tests;
