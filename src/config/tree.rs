//! a TOML file as a tree whose every key knows its line

use super::{Mistake, Place, Places};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// Where `${NAME}` is looked up.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A file's tables, and where each key stands.
pub struct Tree<'t> {
    file: PathBuf,
    /// byte offset of the start of each line
    lines: Vec<usize>,
    root: DeTable<'t>,
    places: BTreeMap<String, usize>,
    /// texts that variables stood in, as they came out
    filled: BTreeSet<String>,
    unreadable: bool,
}

impl<'t> Tree<'t> {
    /// Reads a file's text; a syntax error, or each `${NAME}` that is not set, is a mistake. After a syntax error nothing else can be
    /// believed: a bracket that is not closed makes nonsense of every line that follows.
    pub fn parse(file: &Path, text: &'t str, variables: Variables<'_>, mistakes: &mut Vec<Mistake>) -> Tree<'t> {
        let lines = std::iter::once(0).chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1)).collect();
        let mut tree = Tree {
            file: file.to_owned(),
            lines,
            root: DeTable::new(),
            places: BTreeMap::new(),
            filled: BTreeSet::new(),
            unreadable: false,
        };
        let (root, errors) = DeTable::parse_recoverable(text);
        if let Some(error) = errors.iter().min_by_key(|error| error.span().map_or(0, |span| span.start)) {
            let at = error.span().map_or(0, |span| span.start);
            mistakes.push(tree.mistake(at, error.message().trim_end()));
            tree.unreadable = true;
            return tree;
        }
        let mut root = root.into_inner();
        tree.note(&root, "");
        tree.expand(&mut root, variables, mistakes);
        tree.root = root;
        tree
    }

    /// The texts that variables stood in, as they came out.
    pub fn filled(&self) -> &BTreeSet<String> {
        &self.filled
    }

    /// The line of a dotted key, or of the nearest key above it.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(at) = self.places.get(path) {
                return self.place_at(*at);
            }
            match path.rfind('.') {
                Some(dot) => path = path.get(..dot).unwrap_or_default(),
                None => return Place { file: self.file.clone(), line: 1 },
            }
        }
    }

    /// Where the keys below a dotted key stand.
    pub fn places(&self, path: &str) -> Places {
        let below = format!("{path}.");
        let keys = self
            .places
            .iter()
            .filter_map(|(key, at)| key.strip_prefix(&below).map(|key| (key.to_owned(), self.place_at(*at))));
        Places { path: path.to_owned(), at: keys.collect(), whole: self.place(path) }
    }

    /// Takes a table of the root out, as (name, value) pairs in the order of the file; `[section.name]` for each.
    pub fn take_section(&mut self, section: &str, mistakes: &mut Vec<Mistake>) -> Vec<(String, Spanned<DeValue<'t>>)> {
        let Some(value) = self.root.remove(section) else { return Vec::new() };
        let at = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => {
                let mut named: Vec<_> = table.into_iter().collect();
                named.sort_by_key(|(name, _)| name.span().start);
                named.into_iter().map(|(name, value)| (name.into_inner().into_owned(), value)).collect()
            }
            _ => {
                let place = format!("`{section}` is a table of tables: write [{section}.some_name]");
                mistakes.push(self.mistake(at, &place));
                Vec::new()
            }
        }
    }

    /// Takes one table of the root out.
    pub fn take(&mut self, name: &str) -> Option<Spanned<DeValue<'t>>> {
        self.root.remove(name)
    }

    /// Whether the file is no TOML.
    pub fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// Whether the file has this key.
    pub fn has(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// The names left in the root.
    pub fn rest(&self) -> Vec<String> {
        self.root.keys().map(|name| name.get_ref().to_string()).collect()
    }

    /// Reads a value as a `T`. Every unknown key and every wrong value is a mistake, not only the first.
    pub fn read<T: DeserializeOwned>(
        &self,
        value: Spanned<DeValue<'t>>,
        path: &str,
        mistakes: &mut Vec<Mistake>,
    ) -> Option<T> {
        self.read_with(value, path, mistakes, |reader| T::deserialize(reader))
    }

    /// Like [`Tree::read`], with a reader of one's own.
    pub fn read_with<T>(
        &self,
        mut value: Spanned<DeValue<'t>>,
        path: &str,
        mistakes: &mut Vec<Mistake>,
        read: impl Fn(ValueDeserializer<'t>) -> Result<T, toml::de::Error>,
    ) -> Option<T> {
        let mut removed: Vec<String> = Vec::new();
        loop {
            match read(ValueDeserializer::from(value.clone())) {
                Ok(read) => return removed.is_empty().then_some(read),
                Err(error) => {
                    let start = value.span().start;
                    let at = error.span().map_or(start, |span| span.start);
                    let what = friendly(error.message().trim_end());
                    // Without the key at fault, the rest may hold more mistakes.
                    let key = remove_at(value.get_mut(), at);
                    // A key that was taken out is not missing: it is wrong, and that has been said. A table may be wrong for want of it.
                    let is_missing = |taken: &String| what.starts_with(&format!("`{}` is missing", last(taken)));
                    let is_around =
                        |taken: &String| key.as_ref().is_some_and(|key| taken.starts_with(&format!("{key}.")));
                    if !removed.iter().any(|taken| is_missing(taken) || is_around(taken)) {
                        let place = if at == start { self.place(path) } else { self.place_at(at) };
                        let named = key.as_ref().is_none_or(|key| what.contains(&format!("`{}`", last(key))));
                        let message = match &key {
                            Some(key) if !named => format!("{path}: `{key}`: {what}"),
                            Some(_) | None => format!("{path}: {what}"),
                        };
                        mistakes.push(Mistake { place, message });
                    }
                    match key {
                        Some(key) => removed.push(key),
                        None => return None,
                    }
                }
            }
        }
    }

    fn mistake(&self, at: usize, message: &str) -> Mistake {
        Mistake { place: self.place_at(at), message: message.lines().collect::<Vec<_>>().join(", ") }
    }

    fn place_at(&self, at: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= at);
        Place { file: self.file.clone(), line }
    }

    fn note(&mut self, table: &DeTable<'_>, path: &str) {
        for (name, value) in table {
            let full = if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
            self.places.insert(full.clone(), name.span().start);
            match value.get_ref() {
                DeValue::Table(table) => self.note(table, &full),
                DeValue::Array(array) => {
                    let places =
                        array.iter().enumerate().map(|(at, value)| (format!("{full}.{at}"), value.span().start));
                    self.places.extend(places);
                }
                _ => (),
            }
        }
    }

    fn expand(&mut self, table: &mut DeTable<'_>, variables: Variables<'_>, mistakes: &mut Vec<Mistake>) {
        for value in table.iter_mut().map(|(_, value)| value) {
            self.expand_value(value, variables, mistakes);
        }
    }

    fn expand_value(
        &mut self,
        value: &mut Spanned<DeValue<'_>>,
        variables: Variables<'_>,
        mistakes: &mut Vec<Mistake>,
    ) {
        let at = value.span().start;
        match value.get_mut() {
            DeValue::String(text) => match expanded(text, variables) {
                Ok(None) => (),
                Ok(Some(new)) => {
                    self.filled.insert(new.clone());
                    *text = Cow::Owned(new);
                }
                Err(message) => mistakes.push(self.mistake(at, &message)),
            },
            DeValue::Array(array) => {
                for value in array.iter_mut() {
                    self.expand_value(value, variables, mistakes);
                }
            }
            DeValue::Table(table) => self.expand(table, variables, mistakes),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => (),
        }
    }
}

/// `${NAME}` and `${NAME:-default}` filled in; `$${` stands for `${`. `None` where there is nothing to fill in.
fn expanded(text: &str, variables: Variables<'_>) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after.get(2..).unwrap_or_default();
            continue;
        }
        out.push_str(before);
        let Some(end) = after.find('}') else {
            return Err("`${` without a `}`; write `$${` for the two characters themselves".to_owned());
        };
        let inner = after.get(2..end).unwrap_or_default();
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        match (variables(name).filter(|value| !value.is_empty() || default.is_none()), default) {
            (Some(value), _) => out.push_str(&value),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                return Err(format!(
                    "the environment variable `{name}` is not set; set it, or write `${{{name}:-a default}}`"
                ));
            }
        }
        rest = after.get(end + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(Some(out))
}

/// serde's sentences in ours: with a suggestion where a name is near.
fn friendly(message: &str) -> String {
    let words: Vec<&str> = message.split('`').collect();
    match (message, words.as_slice()) {
        (m, [_, name, _, known @ ..]) if m.starts_with("unknown field") || m.starts_with("unknown variant") => {
            let known: Vec<&str> = known.iter().copied().step_by(2).collect();
            let what = if m.starts_with("unknown field") { "key" } else { "word" };
            let hint = crate::error::did_you_mean(name, known.iter().copied());
            match known.is_empty() {
                true => format!("unknown {what} `{name}`; no key goes here"),
                false => format!("unknown {what} `{name}`{hint} (there are: {})", known.join(", ")),
            }
        }
        (m, [_, name, ..]) if m.starts_with("missing field") => format!("`{name}` is missing; it must be given"),
        _ => WORDS.iter().fold(message.lines().collect::<Vec<_>>().join(", "), |text, (theirs, ours)| {
            match text.strip_suffix(theirs) {
                Some(text) => format!("{text}{ours}"),
                None => text,
            }
        }),
    }
}

/// What serde expects, in the words of who writes TOML.
const WORDS: &[(&str, &str)] = &[
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected u64", "expected a whole number that is not negative"),
    ("expected usize", "expected a whole number that is not negative"),
    ("expected a string", "expected a text in quotes"),
    ("expected path string", "expected a path in quotes"),
    ("expected a boolean", "expected `true` or `false`"),
    ("expected a sequence", "expected a list, `[…, …]`"),
    ("expected a map", "expected a table, `{ name = … }`"),
];

/// The last name of a dotted key.
fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// Removes the key that stands at (or whose value stands at) a place; its dotted name, if there was one.
fn remove_at(value: &mut DeValue<'_>, at: usize) -> Option<String> {
    let DeValue::Table(table) = value else { return None };
    let mut found = None;
    for (name, value) in table.iter_mut() {
        // The keys of `[server.limits]` stand outside of what is called its span.
        if let Some(inner) = remove_at(value.get_mut(), at) {
            return Some(format!("{}.{inner}", name.get_ref()));
        }
        if name.span().contains(&at) || value.span().contains(&at) {
            found = Some(name.get_ref().to_string());
        }
    }
    found.filter(|name| table.remove(name.as_str()).is_some())
}
