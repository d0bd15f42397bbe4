//! JSON objects, one a line, each field a column
//!
//!     {"a": {"b": 1}, "c": [1, 2], "ts": "…"}   ─►   a.b = 1    c = '[1, 2]'    timestamp = …
//!
//! Nested objects are flattened with dots, arrays stay JSON text, `null` is an absent value. Of several fields of one
//! name the last wins, and the others are JSON text in `__more`. `serde_json` reads the text; numbers are kept as written until the column's type is known.
//!
//! **Never:** a number loses a digit, or half a line becomes half a row.

mod words;

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use tidemill_plugin::{Batch, Context, Contract, OpenColumns, Parsed, Parser, Plugin, Value, lines, time};

/// A configured parser.
pub struct Json {
    settings: Settings,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The field that says when the event happened; nested ones with dots. Without it the usual names are tried.
    timestamp: Option<String>,
}

/// Objects within objects beyond this are an error of the row.
const DEPTH_MAX: usize = 32;

impl Plugin for Json {
    type Settings = Settings;
    const NAME: &'static str = "json";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Json, Contract), String> {
        let contract = lines::open_contract(settings.timestamp.as_deref())?;
        Ok((Json { settings }, contract))
    }
}

impl Parser for Json {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        lines::parse_lines(input, output, |body, open| {
            let text = String::from_utf8_lossy(body);
            let mut line = Line { settings: &self.settings, open, path: String::new(), timestamp: None, skipped: 0 };
            line.parse(&text)
        })
    }
}

/// One line on its way into the columns.
struct Line<'s, 't> {
    settings: &'s Settings,
    open: &'s mut OpenColumns,
    /// Where in the object we are: `a.b`.
    path: String,
    timestamp: Option<Candidate<'t>>,
    /// White space before the object.
    skipped: usize,
}

/// A field that may be the timestamp: the lowest rank wins, and the others stay columns.
struct Candidate<'t> {
    rank: usize,
    nanoseconds: i64,
    raw: &'t str,
}

impl<'t> Line<'_, 't> {
    fn parse(&mut self, text: &'t str) -> Result<Option<i64>, String> {
        self.skipped = text.len() - text.trim_start().len();
        let text = text.trim();
        match text.as_bytes().first() {
            Some(b'{') => {}
            None => return Err("the line is empty; a JSON object is wanted".to_owned()),
            Some(_) => {
                let shown: String = text.chars().take(40).collect();
                return Err(match serde_json::from_str::<&RawValue>(text) {
                    Ok(_) => format!("JSON, but not an object: `{shown}`; wrap it in one, like {{\"message\": …}}"),
                    Err(error) => format!("not a JSON object: {}: `{shown}`", words::told(&error, self.skipped)),
                });
            }
        }
        self.object(text, 1)?;
        if let (Some(field), None) = (&self.settings.timestamp, &self.timestamp) {
            return Err(format!("there is no field `{field}`, which `timestamp` names in the settings"));
        }
        Ok(self.timestamp.take().map(|candidate| candidate.nanoseconds))
    }

    fn object(&mut self, text: &'t str, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            let path: String = self.path.chars().take(60).collect();
            return Err(format!("objects are nested deeper than {DEPTH_MAX} at `{path}…`"));
        }
        let mut problem = None;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let visited = deserializer.deserialize_map(Fields { line: self, depth, problem: &mut problem });
        let ended = visited.and_then(|()| deserializer.end());
        match (problem, ended) {
            (Some(problem), _) => Err(problem),
            (None, Err(error)) => Err(format!("not JSON: {}", words::told(&error, self.skipped))),
            (None, Ok(())) => Ok(()),
        }
    }

    fn field(&mut self, key: &str, raw: &'t str, depth: usize) -> Result<(), String> {
        let path_length = self.path.len();
        if depth > 1 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let result = self.value(raw, depth);
        self.path.truncate(path_length);
        result
    }

    fn value(&mut self, raw: &'t str, depth: usize) -> Result<(), String> {
        match raw.as_bytes().first() {
            Some(b'{') => self.object(raw, depth + 1),
            Some(b'[') => {
                self.open.set(&self.path, Value::Text(raw.as_bytes()));
                Ok(())
            }
            _ => self.scalar(raw),
        }
    }

    /// A value that is no container. Where it is the timestamp it becomes no field beside it.
    fn scalar(&mut self, raw: &'t str) -> Result<(), String> {
        let text = if raw.starts_with('"') { self.unquoted(raw)? } else { Cow::Borrowed(raw) };
        let Some((rank, nanoseconds)) = self.timestamp_in(&text)? else {
            self.open.set(&self.path, scalar_value(raw, &text));
            return Ok(());
        };
        let candidate = Candidate { rank, nanoseconds, raw };
        let (winner, loser) = match self.timestamp.take() {
            Some(other) if other.rank < rank => (other, Some(candidate)),
            other => (candidate, other),
        };
        if let Some(loser) = loser.filter(|loser| loser.rank != winner.rank) {
            let text = if loser.raw.starts_with('"') { self.unquoted(loser.raw)? } else { Cow::Borrowed(loser.raw) };
            self.open.set(lines::TIMESTAMP_FIELDS[loser.rank], scalar_value(loser.raw, &text));
        }
        self.timestamp = Some(winner);
        Ok(())
    }

    /// The timestamp that the field at hand holds, if it does, and its rank.
    fn timestamp_in(&self, text: &str) -> Result<Option<(usize, i64)>, String> {
        match &self.settings.timestamp {
            Some(field) if *field == self.path && text != "null" => match time::parse_epoch(text) {
                Some(nanoseconds) => Ok(Some((0, nanoseconds))),
                None => time::parse_rfc3339(text)
                    .map(|time| Some((0, time)))
                    .map_err(|error| format!("field `{field}`: {error}")),
            },
            Some(_) => Ok(None),
            None => {
                let rank = lines::TIMESTAMP_FIELDS.iter().position(|field| *field == self.path);
                Ok(rank.and_then(|rank| Some((rank, time::recognise(text)?))))
            }
        }
    }

    /// Borrowed where there is no escape in it.
    fn unquoted(&self, raw: &'t str) -> Result<Cow<'t, str>, String> {
        match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(inner) if !inner.contains('\\') => Ok(Cow::Borrowed(inner)),
            _ => serde_json::from_str(raw)
                .map(Cow::Owned)
                .map_err(|error| format!("field `{}`: {} of its value", self.path, words::told(&error, 0))),
        }
    }
}

fn scalar_value<'a>(raw: &'a str, text: &'a str) -> Value<'a> {
    match raw.as_bytes().first() {
        Some(b'"') => Value::Text(text.as_bytes()),
        Some(b't' | b'f') => Value::Bool(raw == "true"),
        Some(b'n') => Value::Null,
        _ => Value::Number(raw),
    }
}

/// Hands the fields of an object to the line, one by one, without building a tree.
struct Fields<'l, 's, 't> {
    line: &'l mut Line<'s, 't>,
    depth: usize,
    problem: &'l mut Option<String>,
}

impl<'de> Visitor<'de> for Fields<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key<'de>>()? {
            let value: &RawValue = map.next_value()?;
            if self.problem.is_none() {
                *self.problem = self.line.field(&key.0, value.get(), self.depth).err();
            }
        }
        Ok(())
    }
}

/// A field's name, borrowed where there is no escape in it.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key<'de>, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a field name")
            }

            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }

            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

tidemill_plugin::export_parser!(Json);
