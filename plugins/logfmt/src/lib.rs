//! `key=value` lines, each key a column
//!
//!     time=2026-11-22T10:00:00Z level=info msg="two words" n=5 done   ─►   level = 'info'   msg = …   n = 5   done = true
//!
//! `pairs` takes a line apart; this file decides what a value is.
//!
//! **Always:** a line without any `key=value` is an error of its row, or prose would become a column a word.

mod pairs;

use std::borrow::Cow;

use serde::Deserialize;
use tidemill_plugin::{Batch, Context, Contract, OpenColumns, Parsed, Parser, Plugin, Value, lines, time};

use pairs::{Pairs, Written};

/// A configured parser.
pub struct Logfmt {
    settings: Settings,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The key that says when the event happened. Without it the usual names are tried.
    timestamp: Option<String>,
    /// Values without quotes that look like numbers or booleans become such.
    types: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { timestamp: None, types: true }
    }
}

impl Plugin for Logfmt {
    type Settings = Settings;
    const NAME: &'static str = "logfmt";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Logfmt, Contract), String> {
        let contract = lines::open_contract(settings.timestamp.as_deref())?;
        Ok((Logfmt { settings }, contract))
    }
}

impl Parser for Logfmt {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        lines::parse_lines(input, output, |body, open| self.line(body, open))
    }
}

/// A pair that may be the timestamp: the lowest rank wins, and the others stay columns.
struct Candidate<'a> {
    rank: usize,
    nanoseconds: i64,
    key: &'a [u8],
    written: Written<'a>,
}

impl Logfmt {
    /// Sets the line's columns and gives its timestamp.
    fn line(&self, line: &[u8], open: &mut OpenColumns) -> Result<Option<i64>, String> {
        let mut pairs = Pairs::new(line);
        let mut best: Option<Candidate<'_>> = None;
        let mut has_value = false;
        while let Some((key, written)) = pairs.next()? {
            has_value |= written != Written::Bare;
            let candidate = match self.timestamp(&String::from_utf8_lossy(key), &written)? {
                Some((rank, nanoseconds)) => Candidate { rank, nanoseconds, key, written },
                None => {
                    self.set(key, &written, open);
                    continue;
                }
            };
            let (winner, loser) = match best.take() {
                Some(other) if other.rank < candidate.rank => (other, Some(candidate)),
                other => (candidate, other),
            };
            if let Some(loser) = loser.filter(|loser| loser.rank != winner.rank) {
                self.set(loser.key, &loser.written, open);
            }
            best = Some(winner);
        }
        if !has_value {
            return Err(match line.trim_ascii().is_empty() {
                true => "the line is empty; pairs like level=info are wanted".to_owned(),
                false => "there is no key=value pair in the line".to_owned(),
            });
        }
        match (&self.settings.timestamp, best) {
            (Some(key), None) => Err(format!("there is no key `{key}`, which `timestamp` names in the settings")),
            (_, best) => Ok(best.map(|best| best.nanoseconds)),
        }
    }

    /// The timestamp in this pair, if it is one, and its rank: the lowest wins.
    fn timestamp(&self, key: &str, written: &Written<'_>) -> Result<Option<(usize, i64)>, String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let value = match written {
            Written::Plain(value) => text(value),
            Written::Quoted(value) => text(value),
            Written::Bare | Written::Empty => return Ok(None),
        };
        match &self.settings.timestamp {
            Some(wanted) if wanted == key => match time::parse_epoch(&value) {
                Some(nanoseconds) => Ok(Some((0, nanoseconds))),
                None => time::parse_rfc3339(&value)
                    .map(|time| Some((0, time)))
                    .map_err(|error| format!("key `{key}`: {error}")),
            },
            Some(_) => Ok(None),
            None => {
                let rank = lines::TIMESTAMP_FIELDS.iter().position(|usual| *usual == key);
                Ok(rank.and_then(|rank| Some((rank, time::recognise(&value)?))))
            }
        }
    }

    fn set(&self, key: &[u8], written: &Written<'_>, open: &mut OpenColumns) {
        let value = match written {
            Written::Bare => Value::Bool(true),
            Written::Empty => Value::Null,
            Written::Quoted(text) => Value::Text(text),
            Written::Plain(text) if self.settings.types => lines::typed(text),
            Written::Plain(text) => Value::Text(text),
        };
        open.set(&String::from_utf8_lossy(key), value);
    }
}

/// What a quoted value says, borrowed where there is no escape in it.
type Unescaped<'a> = Cow<'a, [u8]>;

tidemill_plugin::export_parser!(Logfmt);
