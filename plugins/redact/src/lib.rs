//! replaces what nobody should read: addresses, card numbers, tokens
//!
//! ```text
//! text ─► every finder says where it found something ─► the places that do not overlap, in order ─► replaced
//! ```
//!
//! What is looked for by default has a form that can be checked: an address has a domain, a card number its check
//! digit, a token a prefix of its maker's. No finder goes back over a text: time grows with its length alone.
//!
//! **Always:** a text without anything to find stays as it is, byte for byte.
//! **Never:** what was found is written anywhere, also not into an error.

mod address;
mod card;
mod find;
mod replace;
mod token;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_plugin::{
    Batch, Binaries, BytesColumn, Column, Context, Contract, DataType, Enriched, Enricher, Ints, Plugin, Texts,
};

use find::{Finders, Kind};
use replace::{Replace, Replacer};

/// A configured enricher.
pub struct Redact {
    /// The columns to look through; none: every column of text or bytes.
    fields: Vec<String>,
    finders: Finders,
    replacer: Replacer,
    count: Option<String>,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The columns to look through; every column of text without it.
    fields: Vec<String>,
    /// What to look for.
    find: Vec<Kind>,
    /// Further patterns, by the name that their label has.
    patterns: BTreeMap<String, String>,
    replace: Replace,
    /// The secret of `replace = "hash"`.
    key: Option<String>,
    /// A column for how many were replaced in an event.
    count: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            fields: Vec::new(),
            find: vec![Kind::Email, Kind::Card, Kind::Token],
            patterns: BTreeMap::new(),
            replace: Replace::Label,
            key: None,
            count: None,
        }
    }
}

impl Plugin for Redact {
    type Settings = Settings;
    const NAME: &'static str = "redact";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Redact, Contract), String> {
        let Settings { fields, find, patterns, replace, key, count } = settings;
        if fields.iter().chain(&count).any(String::is_empty) {
            return Err("`fields` and `count` are names of columns, and one is empty".to_owned());
        }
        let finders = Finders::new(&find, patterns)?;
        let replacer = Replacer::new(replace, key)?;
        // Open, because a column stays what it is, text or bytes, and is written only where something was found.
        let mut contract = match fields.is_empty() {
            true => Contract::new().reads("*"),
            false => fields.iter().fold(Contract::new(), Contract::reads),
        }
        .open_schema();
        if let Some(count) = &count {
            contract = contract.writes(count, DataType::Int64);
        }
        Ok((Redact { fields, finders, replacer, count }, contract))
    }
}

impl Enricher for Redact {
    fn enrich(&mut self, input: &Batch, _: &Context, output: &mut Enriched) -> Result<(), String> {
        let mut counts = vec![0; input.rows()];
        for column in input.columns() {
            let wanted = self.fields.is_empty() || self.fields.iter().any(|field| field == column.name());
            if wanted && let Some(texts) = column.bytes() {
                self.redact(column, texts, &mut counts, output);
            }
        }
        if let Some(count) = &self.count {
            let mut values = Ints::with_rows(input.rows());
            counts.iter().for_each(|count| values.push(*count));
            output.column(count, values);
        }
        Ok(())
    }
}

impl Redact {
    /// Writes the column anew if anything of it has to go.
    fn redact(&self, column: Column<'_>, texts: BytesColumn<'_>, counts: &mut [i64], output: &mut Enriched) {
        let mut places = Vec::new();
        let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            let Some(text) = text else { continue };
            self.finders.find(text, &mut places);
            if !places.is_empty() {
                counts[row] += places.len() as i64;
                found.push((row, self.replacer.replace(text, &places, &self.finders)));
            }
        }
        if found.is_empty() {
            return;
        }
        let bytes = texts.plain().map_or(0, |(_, data)| data.len());
        let mut found = found.into_iter().peekable();
        let values = texts.iter().enumerate().map(|(row, text)| match found.next_if(|(at, _)| *at == row) {
            Some((_, replaced)) => Some(Cow::Owned(replaced)),
            None => text.map(Cow::Borrowed),
        });
        if column.type_name() == "binary" {
            let mut column_out = Binaries::with_rows(counts.len(), bytes);
            values.for_each(|value| column_out.push_option(value));
            output.column(column.name(), column_out);
        } else {
            let mut column_out = Texts::with_rows(counts.len(), bytes);
            values.for_each(|value| column_out.push_option(value));
            output.column(column.name(), column_out);
        }
    }
}

tidemill_plugin::export_enricher!(Redact);
