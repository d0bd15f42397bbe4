//! Logstash's grok patterns: `%{SYNTAX:field:type}`
//!
//!     %{IPORHOST:client} %{NUMBER:took:float}      10.0.0.1 0.25   ─►   client = '10.0.0.1'   took = 0.25
//!
//! `library` knows the patterns by name, `expand` makes one regular expression of them, `fancy-regex` runs it: a backtracking engine
//! in Rust, which knows the atomic groups and look-around that grok patterns are written with.
//!
//! **Always:** a line on which a pattern goes astray is an error of its row: steps are counted.

mod expand;
mod library;

use std::collections::BTreeMap;

use fancy_regex::RegexBuilder;
use serde::Deserialize;
use tidemill_plugin::fields::{FieldColumns, FieldSettings, FieldType, Fields};
use tidemill_plugin::{Batch, Context, Contract, Parsed, Parser, Plugin};

use expand::{Expanded, expand};
use library::Library;

/// A configured parser.
pub struct Grok {
    patterns: Vec<Pattern>,
    fields: Fields,
}

/// One expression and, for each field, its groups there: the first that took part in the match counts.
struct Pattern {
    regex: fancy_regex::Regex,
    groups: Vec<Vec<usize>>,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The pattern that lines have.
    pattern: Option<String>,
    /// Several, tried in order: `match` in Logstash.
    patterns: Vec<String>,
    /// Patterns of one's own, as in a pattern file of Logstash: a name, a space and the pattern, one a line.
    definitions: String,
    /// Patterns without a field's name become columns under their own name.
    all: bool,
    /// The field that says when the event happened. Without it the usual names are tried.
    timestamp: Option<String>,
    /// How that is written.
    timestamp_format: Option<String>,
    /// The offset of times that do not say theirs.
    timezone: Option<String>,
    /// A type by field, in place of the one in the pattern.
    types: BTreeMap<String, String>,
}

/// An expression may have so many bytes when every pattern in it is written out.
const EXPANDED_BYTES_MAX: usize = 256 << 10;

/// A part of an expression may need this much memory, once compiled.
const COMPILED_BYTES_MAX: usize = 4 << 20;

/// A match may go back so many times before the line is given up.
const STEPS_MAX: usize = 200_000;

/// There may be so many patterns.
const PATTERNS_MAX: usize = 64;

impl Plugin for Grok {
    type Settings = Settings;
    const NAME: &'static str = "grok";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Grok, Contract), String> {
        let library = Library::new(&settings.definitions)?;
        let mut typed: Vec<(String, FieldType)> = Vec::new();
        let mut compiled = Vec::new();
        for (setting, pattern) in written(&settings)? {
            let expanded = expand(pattern, &library, settings.all, EXPANDED_BYTES_MAX)
                .map_err(|error| format!("{setting}: {error}"))?;
            let regex = compile(&expanded).map_err(|error| format!("{setting}: {error}"))?;
            if expanded.groups.is_empty() {
                return Err(format!("{setting} names no field; write %{{SYNTAX:field}}"));
            }
            expanded.groups.iter().for_each(|group| add(&mut typed, &group.field, &group.field_type));
            compiled.push((regex, expanded));
        }
        let fields = Fields::new(
            &typed,
            &FieldSettings {
                timestamp: settings.timestamp.as_deref(),
                timestamp_format: settings.timestamp_format.as_deref(),
                timezone: settings.timezone.as_deref(),
                types: Some(&settings.types),
            },
        )?;
        let patterns =
            compiled.into_iter().map(|(regex, expanded)| Pattern { groups: groups(&regex, &expanded, &typed), regex });
        let patterns = patterns.collect();
        let contract = fields.contract(Contract::new());
        Ok((Grok { patterns, fields }, contract))
    }
}

/// The patterns to match, each with the setting it stands in.
fn written(settings: &Settings) -> Result<Vec<(String, &str)>, String> {
    match (&settings.pattern, settings.patterns.as_slice()) {
        (Some(pattern), []) => Ok(vec![("`pattern`".to_owned(), pattern)]),
        (None, []) => {
            Err("`pattern` is missing; give one like \"%{IPORHOST:client} %{GREEDYDATA:message}\"".to_owned())
        }
        (Some(_), _) => Err("`pattern` and `patterns` are both given; leave one of them out".to_owned()),
        (None, patterns) if patterns.len() > PATTERNS_MAX => {
            Err(format!("`patterns` has {} patterns; {PATTERNS_MAX} are the most", patterns.len()))
        }
        (None, patterns) => {
            let named = patterns.iter().enumerate();
            Ok(named.map(|(index, pattern)| (format!("`patterns`, number {}", index + 1), pattern.as_str())).collect())
        }
    }
}

/// One field may stand in several patterns: integers and floats together are floats, other mixtures are text.
fn add(typed: &mut Vec<(String, FieldType)>, field: &str, field_type: &FieldType) {
    let Some((_, known)) = typed.iter_mut().find(|(name, _)| name == field) else {
        typed.push((field.to_owned(), field_type.clone()));
        return;
    };
    *known = match (&*known, field_type) {
        (FieldType::Int64, FieldType::Int64) => FieldType::Int64,
        (FieldType::Boolean, FieldType::Boolean) => FieldType::Boolean,
        (FieldType::Int64 | FieldType::Float64, FieldType::Int64 | FieldType::Float64) => FieldType::Float64,
        _ => FieldType::Utf8,
    };
}

fn compile(expanded: &Expanded) -> Result<fancy_regex::Regex, String> {
    RegexBuilder::new(&expanded.regex)
        .oniguruma_mode(true)
        .backtrack_limit(STEPS_MAX)
        .delegate_size_limit(COMPILED_BYTES_MAX)
        .delegate_dfa_size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| format!("written out it is no regular expression: {}", last_line(&error.to_string())))
}

fn last_line(message: &str) -> &str {
    message.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(message).trim()
}

fn groups(regex: &fancy_regex::Regex, expanded: &Expanded, typed: &[(String, FieldType)]) -> Vec<Vec<usize>> {
    let index_of = |name: &str| regex.capture_names().position(|known| known == Some(name));
    let of_field = |field: &String| {
        let named = expanded.groups.iter().filter(|group| group.field == *field);
        named.filter_map(|group| index_of(&group.name)).collect()
    };
    typed.iter().map(|(field, _)| of_field(field)).collect()
}

impl Parser for Grok {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        let bodies = input.bytes("body")?;
        let arrived = input.timestamps("timestamp")?;
        let mut columns = FieldColumns::new(&self.fields, input, &bodies);
        for (row, body) in bodies.iter().enumerate() {
            let pushed = self.line(body.unwrap_or_default(), arrived.get(row), &mut columns);
            if let Err(message) = pushed {
                output.error(row, message);
            }
        }
        columns.finish(output);
        Ok(())
    }
}

impl Grok {
    fn line(&self, line: &[u8], arrived: Option<i64>, columns: &mut FieldColumns<'_, '_>) -> Result<(), String> {
        // A byte that is not UTF-8 is a character like others: U+FFFD.
        let body = &*String::from_utf8_lossy(line);
        for (number, pattern) in self.patterns.iter().enumerate() {
            let captures = pattern.regex.captures(body).map_err(|error| match error {
                fancy_regex::Error::RuntimeError(_) => {
                    format!(
                        "pattern {} goes back more than {STEPS_MAX} times on `{}`; anchor it with ^, or be more exact",
                        number + 1,
                        shown(line)
                    )
                }
                other => other.to_string(),
            })?;
            let Some(captures) = captures else { continue };
            return columns.push(arrived, |field| {
                let groups = pattern.groups.get(field)?;
                let found = groups.iter().find_map(|group| captures.get(*group))?;
                Some(found.as_str().as_bytes())
            });
        }
        Err(match self.patterns.len() {
            1 => format!("the pattern does not match `{}`", shown(line)),
            count => format!("none of the {count} patterns matches `{}`", shown(line)),
        })
    }
}

#[cold]
fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned()
}

tidemill_plugin::export_parser!(Grok);
