//! lines that belong together: what a source's `multiline` says
//!
//!     line ─► place(held, line): does it join what is held? does it end it? ─► lines.rs joins, or hands over and begins anew
//!
//! Either stack traces of some languages ([`trace`]), which know how each language writes them, or patterns of one's own
//! ([`pattern`]). What is held goes out with the first line that does not join it, with the line that ends it, after `timeout`
//! without a line, or where it would grow beyond its limits. Then it is cut: each piece but the last one comes as it is, and
//! what still belongs to it comes in further pieces, numbered in the column `part`.
//!
//! **Always:** every line is in exactly one event, in order; how the bytes arrive makes no difference.
//! **Never:** nothing here knows the time; whoever reads says when nothing more has come for too long.

pub mod pattern;
#[cfg(test)]
mod tests;
pub mod trace;

use crate::error::did_you_mean;
use crate::units::{ByteSize, HOUR, MIB, Span, within};
use pattern::{Pattern, Patterns};
use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::time::Duration;
use trace::{LANGUAGES, Language, Traces};

/// What a source's `multiline` says.
#[derive(Clone, Debug)]
pub struct Config {
    by: By,
    /// How long an event waits for a further line.
    pub timeout: Span,
    lines_max: usize,
    bytes_max: usize,
}

#[derive(Clone, Debug)]
enum By {
    Traces(Vec<&'static Language>),
    Patterns(Patterns),
}

/// `multiline` as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// Languages whose stack traces are joined: `java`, `python`, `go`, `dotnet`.
    languages: Option<Languages>,
    /// A line that matches begins an event.
    start: Option<Pattern>,
    /// A line that matches belongs to the line before it.
    r#continue: Option<Pattern>,
    /// A line that matches is the last one of its event.
    end: Option<Pattern>,
    /// A line that matches goes on in the next one.
    unfinished: Option<Pattern>,
    /// How long an event waits for a further line.
    #[serde(default = "timeout", deserialize_with = "within::<10, HOUR, _, _>")]
    timeout: Span,
    /// Lines an event may have; what is beyond comes as further parts.
    #[serde(default = "lines_max", deserialize_with = "within::<2, 1_000_000, _, _>")]
    lines_max: usize,
    /// Bytes an event may have; what is beyond comes as further parts.
    #[serde(default = "bytes_max", deserialize_with = "within::<1, { 64 * MIB }, _, _>")]
    bytes_max: ByteSize,
}

fn timeout() -> Span {
    Span(Duration::from_secs(1))
}

fn lines_max() -> usize {
    2000
}

fn bytes_max() -> ByteSize {
    ByteSize(1 << 20)
}

/// One language, or several.
struct Languages(Vec<&'static Language>);

/// Where a line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// It belongs to the event before it; an empty one only if more of the event follows.
    pub joins: bool,
    /// It is the last line of its event.
    pub ends: bool,
}

/// Decides line by line what belongs together, for one stream of lines. A clone of one that has seen nothing is for another stream.
#[derive(Clone, Debug)]
pub struct Joiner {
    by: Machine,
    /// lines of one event
    pub lines_max: usize,
    /// bytes of one event, the line ends between its lines included
    pub bytes_max: usize,
}

#[derive(Clone, Debug)]
enum Machine {
    Traces(Traces),
    Patterns(Patterns),
}

impl Config {
    /// What decides for one stream.
    pub fn joiner(&self) -> Joiner {
        let by = match &self.by {
            By::Traces(languages) => Machine::Traces(Traces::new(languages)),
            By::Patterns(patterns) => Machine::Patterns(patterns.clone()),
        };
        Joiner { by, lines_max: self.lines_max, bytes_max: self.bytes_max }
    }
}

impl Joiner {
    /// Where a line belongs. `held` is the event before it, if that was not handed over yet.
    pub fn place(&mut self, held: Option<&[u8]>, line: &[u8]) -> Place {
        match &mut self.by {
            Machine::Traces(traces) => traces.place(held, line),
            Machine::Patterns(patterns) => patterns.place(line),
        }
    }

    /// What was held went out, though more of it may come.
    pub fn released(&mut self) {
        match &mut self.by {
            Machine::Traces(traces) => traces.released(),
            Machine::Patterns(_) => {}
        }
    }

    /// Nothing that comes belongs to what came before.
    pub fn reset(&mut self) {
        match &mut self.by {
            Machine::Traces(traces) => traces.reset(),
            Machine::Patterns(patterns) => patterns.reset(),
        }
    }
}

impl Table {
    fn checked(self) -> Result<Config, String> {
        let patterns =
            Patterns::new(self.start.clone(), self.r#continue.clone(), self.end.clone(), self.unfinished.clone());
        let by = match (self.languages, patterns) {
            (Some(Languages(languages)), None) => By::Traces(languages),
            (None, Some(patterns)) => By::Patterns(patterns),
            (Some(_), Some(_)) => {
                return Err("`languages` and patterns exclude each other; write `languages`, or `start`, `continue`, \
                            `end`, `unfinished`"
                    .to_owned());
            }
            (None, None) => {
                return Err("it says nothing of which lines belong together; write `languages = [\"java\"]`, or a \
                            pattern as `start = '^\\d{4}-'`, `continue`, `end`, `unfinished`"
                    .to_owned());
            }
        };
        Ok(Config { by, timeout: self.timeout, lines_max: self.lines_max, bytes_max: self.bytes_max.as_usize() })
    }
}

impl From<Languages> for Config {
    fn from(Languages(languages): Languages) -> Config {
        let (lines_max, bytes_max) = (lines_max(), bytes_max().as_usize());
        Config { by: By::Traces(languages), timeout: timeout(), lines_max, bytes_max }
    }
}

fn language<E: de::Error>(name: &str) -> Result<&'static Language, E> {
    LANGUAGES.iter().find(|language| language.name == name).ok_or_else(|| {
        let names = LANGUAGES.iter().map(|language| language.name);
        let list: Vec<String> = names.clone().map(|name| format!("`{name}`")).collect();
        let hint = did_you_mean(name, names);
        E::custom(format!("no stack traces of `{name}` are known{hint}; there are {}", list.join(", ")))
    })
}

impl<'de> Deserialize<'de> for Languages {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Languages;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a language as \"java\", or a list of them")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Languages, E> {
                Ok(Languages(vec![language(name)?]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Languages, A::Error> {
                let mut languages = Vec::new();
                while let Some(name) = names.next_element::<String>()? {
                    languages.push(language(&name)?);
                }
                match languages.is_empty() {
                    true => Err(de::Error::custom("the list is empty; name a language as \"java\"")),
                    false => Ok(Languages(languages)),
                }
            }
        }
        reader.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Config;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a language as \"java\", a list of them, or a table with `languages` or `start`")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Config, E> {
                Ok(Languages(vec![language(name)?]).into())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Config, A::Error> {
                Languages::deserialize(de::value::SeqAccessDeserializer::new(names)).map(Config::from)
            }
            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Config, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(table))?.checked().map_err(de::Error::custom)
            }
        }
        reader.deserialize_any(Read)
    }
}
