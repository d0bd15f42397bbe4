//! regular expressions whose named groups become columns
//!
//!     (?<method>\S+) (?<path>\S+) (?<took>[\d.]+)      GET /a 0.25   ─►   method = 'GET'   path = '/a'   took = …
//!
//! Several patterns are tried in order; the first that matches anywhere in the line counts. A byte that is not UTF-8 is a character
//! like others, U+FFFD. `regex-automata` searches, in time that grows with the line and not with what the pattern is like.
//!
//! **Always:** what a pattern may cost is known before anything runs: too large a one is refused with the setting's name.

use std::collections::BTreeMap;

use regex_automata::meta;
use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;
use serde::Deserialize;
use tidemill_plugin::fields::{FieldColumns, FieldSettings, FieldType, Fields};
use tidemill_plugin::{Batch, Context, Contract, Parsed, Parser, Plugin};

/// A configured parser.
pub struct Regex {
    patterns: Vec<Pattern>,
    fields: Fields,
}

/// One expression and, for each field, its group there.
struct Pattern {
    regex: meta::Regex,
    captures: Captures,
    groups: Vec<Option<usize>>,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// One expression. Each named group, `(?<name>…)`, is a field.
    pattern: Option<String>,
    /// Several, tried in order.
    patterns: Vec<String>,
    /// The group that says when the event happened. Without it the usual names are tried.
    timestamp: Option<String>,
    /// How that is written.
    timestamp_format: Option<String>,
    /// The offset of times that do not say theirs.
    timezone: Option<String>,
    /// A type by group.
    types: BTreeMap<String, String>,
}

/// A compiled expression may need this much memory.
const PATTERN_BYTES_MAX: usize = 2 << 20;

/// There may be so many expressions.
const PATTERNS_MAX: usize = 64;

/// Groups within groups beyond this are refused.
const DEPTH_MAX: u32 = 100;

impl Plugin for Regex {
    type Settings = Settings;
    const NAME: &'static str = "regex";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Regex, Contract), String> {
        let written = written(&settings)?;
        let compiled =
            written.iter().map(|(setting, pattern)| compile(setting, pattern)).collect::<Result<Vec<_>, _>>()?;
        let mut names: Vec<&str> = Vec::new();
        for name in compiled.iter().flat_map(group_names) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let fields = Fields::new(
            &names.iter().map(|name| ((*name).to_owned(), FieldType::Utf8)).collect::<Vec<_>>(),
            &FieldSettings {
                timestamp: settings.timestamp.as_deref(),
                timestamp_format: settings.timestamp_format.as_deref(),
                timezone: settings.timezone.as_deref(),
                types: Some(&settings.types),
            },
        )?;
        let groups = |regex: &meta::Regex| names.iter().map(|name| group_index(regex, name)).collect();
        let groups: Vec<Vec<Option<usize>>> = compiled.iter().map(groups).collect();
        let patterns = compiled.into_iter().zip(groups);
        let patterns =
            patterns.map(|(regex, groups)| Pattern { captures: regex.create_captures(), regex, groups }).collect();
        let contract = fields.contract(Contract::new());
        Ok((Regex { patterns, fields }, contract))
    }
}

/// The expressions, each with the setting it stands in.
fn written(settings: &Settings) -> Result<Vec<(String, &str)>, String> {
    match (&settings.pattern, settings.patterns.as_slice()) {
        (Some(pattern), []) => Ok(vec![("`pattern`".to_owned(), pattern)]),
        (None, []) => {
            Err("`pattern` is missing; give an expression with named groups, like \"(?<level>\\\\w+): (?<message>.*)\""
                .to_owned())
        }
        (Some(_), _) => Err("`pattern` and `patterns` are both given; leave one of them out".to_owned()),
        (None, patterns) if patterns.len() > PATTERNS_MAX => {
            Err(format!("`patterns` has {} expressions; {PATTERNS_MAX} are the most", patterns.len()))
        }
        (None, patterns) => Ok(patterns
            .iter()
            .enumerate()
            .map(|(index, pattern)| (format!("`patterns`, number {}", index + 1), pattern.as_str()))
            .collect()),
    }
}

fn compile(setting: &str, pattern: &str) -> Result<meta::Regex, String> {
    let config = meta::Config::new()
        .nfa_size_limit(Some(PATTERN_BYTES_MAX))
        .onepass_size_limit(Some(PATTERN_BYTES_MAX))
        .hybrid_cache_capacity(PATTERN_BYTES_MAX);
    let syntax = syntax::Config::new().nest_limit(DEPTH_MAX);
    let regex = meta::Builder::new().configure(config).syntax(syntax).build(pattern).map_err(|error| {
        match error.size_limit() {
            Some(_) => format!(
                "{setting}: the expression needs more than {} MiB; make its repetitions like {{1000}} smaller",
                PATTERN_BYTES_MAX >> 20
            ),
            None => format!("{setting}: {}", reason(&error)),
        }
    })?;
    if group_names(&regex).next().is_none() {
        return Err(format!("{setting} has no named group; a column is made of each `(?<name>…)`"));
    }
    Ok(regex)
}

/// What is wrong, in one line.
fn reason(error: &meta::BuildError) -> String {
    let told = match error.syntax_error() {
        Some(error) => error.to_string(),
        None => error.to_string(),
    };
    let told = told.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it is not a regular expression").trim();
    told.strip_prefix("error: ").unwrap_or(told).to_owned()
}

fn group_names(regex: &meta::Regex) -> impl Iterator<Item = &str> {
    regex.group_info().pattern_names(regex_automata::PatternID::ZERO).flatten()
}

fn group_index(regex: &meta::Regex, name: &str) -> Option<usize> {
    regex.group_info().to_index(regex_automata::PatternID::ZERO, name)
}

impl Parser for Regex {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        let bodies = input.bytes("body")?;
        let arrived = input.timestamps("timestamp")?;
        let mut columns = FieldColumns::new(&self.fields, input, &bodies);
        for (row, body) in bodies.iter().enumerate() {
            let text = String::from_utf8_lossy(body.unwrap_or_default());
            let body = text.as_bytes();
            let pushed = match first_match(&mut self.patterns, body) {
                Some(pattern) => columns.push(arrived.get(row), |field| {
                    let span = pattern.captures.get_group(pattern.groups[field]?)?;
                    body.get(span.range())
                }),
                None => Err(no_match(self.patterns.len(), body)),
            };
            if let Err(message) = pushed {
                output.error(row, message);
            }
        }
        columns.finish(output);
        Ok(())
    }
}

/// The first pattern that matches, its captures filled.
fn first_match<'p>(patterns: &'p mut [Pattern], body: &[u8]) -> Option<&'p Pattern> {
    let index = patterns.iter_mut().position(|pattern| {
        pattern.regex.captures(body, &mut pattern.captures);
        pattern.captures.is_match()
    })?;
    patterns.get(index)
}

#[cold]
fn no_match(patterns: usize, body: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
    match patterns {
        1 => format!("the pattern does not match `{shown}`"),
        count => format!("none of the {count} patterns matches `{shown}`"),
    }
}

tidemill_plugin::export_parser!(Regex);
