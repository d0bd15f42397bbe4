//! pairs with separators, quotes and prefix of one's own
//!
//!     a=1, b: 2; c="x y"   ─►   a = 1   b = 2   c = 'x y'
//!
//! `pairs` finds where keys and values stand; this file makes columns of them.
//!
//! **Always:** a line without any pair is an error of its row.

mod pairs;

use std::borrow::Cow;

use serde::Deserialize;
use tidemill_plugin::{Batch, Context, Contract, OpenColumns, Parsed, Parser, Plugin, Value, lines, time};

use pairs::{Pair, Separators, resolved};

/// A configured parser.
pub struct KeyValue {
    settings: Settings,
    separators: Separators,
    /// The pairs of the line at hand; kept for its room.
    pairs: Vec<Pair>,
    /// A column's name with its prefix; kept for its room.
    name: String,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What may stand between two pairs.
    pair: Vec<String>,
    /// What may stand between a key and its value.
    field: Vec<String>,
    /// The characters that a value, or a key, may stand in. Inside, a backslash takes the next character as it is.
    quotes: String,
    /// Before each column's name.
    prefix: String,
    /// Words that are no pair are true under their own name; else they are left out.
    bare: bool,
    /// Values without quotes that look like numbers or booleans become such.
    types: bool,
    /// The key that says when the event happened. Without it the usual names are tried.
    timestamp: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Settings {
            pair: texts(&[" ", "\t", ",", ";"]),
            field: texts(&["=", ":"]),
            quotes: "\"'".to_owned(),
            prefix: String::new(),
            bare: false,
            types: true,
            timestamp: None,
        }
    }
}

impl Plugin for KeyValue {
    type Settings = Settings;
    const NAME: &'static str = "key-value";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(KeyValue, Contract), String> {
        let contract = lines::open_contract(settings.timestamp.as_deref())?;
        let separators = Separators::new(&settings.pair, &settings.field, &settings.quotes)?;
        Ok((KeyValue { settings, separators, pairs: Vec::new(), name: String::new() }, contract))
    }
}

impl Parser for KeyValue {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        lines::parse_lines(input, output, |body, open| self.line(body, open))
    }
}

impl KeyValue {
    /// Sets the line's columns and gives its timestamp.
    fn line(&mut self, line: &[u8], open: &mut OpenColumns) -> Result<Option<i64>, String> {
        self.separators.split(line, &mut self.pairs)?;
        if !self.pairs.iter().any(|pair| pair.value.is_some()) {
            return Err(match line.trim_ascii().is_empty() {
                true => "the line is empty; pairs like level=info are wanted".to_owned(),
                false => format!(
                    "there is no pair in the line; {} stands between key and value",
                    shown(&self.settings.field)
                ),
            });
        }
        let time = self.time(line)?;
        for (index, pair) in self.pairs.iter().enumerate() {
            if time.is_some_and(|(of, _)| of == index) || (pair.value.is_none() && !self.settings.bare) {
                continue;
            }
            let key = resolved(&line[pair.key.clone()], pair.key_is_quoted);
            self.name.clear();
            self.name.push_str(&self.settings.prefix);
            self.name.push_str(&String::from_utf8_lossy(&key));
            let text = pair.value.clone().map(|value| resolved(&line[value], pair.value_is_quoted));
            open.set(&self.name, value(pair, text.as_deref(), self.settings.types));
        }
        Ok(time.map(|(_, nanoseconds)| nanoseconds))
    }

    /// Which pair is the timestamp, and what it says: of several the one whose name is tried first.
    fn time(&self, line: &[u8]) -> Result<Option<(usize, i64)>, String> {
        let text = |pair: &Pair| {
            let value = pair.value.clone().filter(|value| !value.is_empty())?;
            Some(String::from_utf8_lossy(&resolved(&line[value], pair.value_is_quoted)).into_owned())
        };
        let key = |pair: &Pair| resolved(&line[pair.key.clone()], pair.key_is_quoted);
        let Some(wanted) = &self.settings.timestamp else {
            let ranked = self.pairs.iter().enumerate().filter_map(|(index, pair)| {
                let key = key(pair);
                let rank = lines::TIMESTAMP_FIELDS.iter().position(|usual| usual.as_bytes() == key.as_ref())?;
                Some((rank, index, time::recognise(&text(pair)?)?))
            });
            return Ok(ranked.min_by_key(|(rank, index, _)| (*rank, *index)).map(|(_, index, time)| (index, time)));
        };
        let named = self.pairs.iter().enumerate().find(|(_, pair)| key(pair).as_ref() == wanted.as_bytes());
        let Some((index, written)) = named.and_then(|(index, pair)| Some((index, text(pair)?))) else {
            return Err(format!("there is no key `{wanted}`, which `timestamp` names in the settings"));
        };
        match time::parse_epoch(&written) {
            Some(nanoseconds) => Ok(Some((index, nanoseconds))),
            None => time::parse_rfc3339(&written)
                .map(|nanoseconds| Some((index, nanoseconds)))
                .map_err(|error| format!("key `{wanted}`: {error}")),
        }
    }
}

fn value<'a>(pair: &Pair, text: Option<&'a [u8]>, types: bool) -> Value<'a> {
    match text {
        None => Value::Bool(true),
        Some(b"") if !pair.value_is_quoted => Value::Null,
        Some(text) if types && !pair.value_is_quoted => lines::typed(text),
        Some(text) => Value::Text(text),
    }
}

fn shown(separators: &[String]) -> String {
    separators.iter().map(|separator| format!("`{separator}`")).collect::<Vec<_>>().join(" or ")
}

/// What a key or value says, borrowed where there is no escape in it.
type Resolved<'a> = Cow<'a, [u8]>;

tidemill_plugin::export_parser!(KeyValue);
