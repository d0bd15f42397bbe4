//! comma-separated values and their like, one record a line
//!
//!     columns = ["at", "who", "what"]      2026-11-22,ann,"said ""hi"""   ─►   at = …   who = 'ann'   what = 'said "hi"'
//!
//! `record` takes a line apart as RFC 4180 says; what the values become stands in the settings.
//!
//! **Always:** a line is a row, an error, or one of those that are no record: the header, a comment, an empty line.
//! **Never:** a record goes on in the next line: a plugin sees the lines one by one.

mod record;

use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_plugin::fields::{FieldColumns, FieldSettings, FieldType, Fields};
use tidemill_plugin::{Batch, Context, Contract, Parsed, Parser, Plugin};

use record::Record;

/// A configured parser.
pub struct Csv {
    fields: Fields,
    record: Record,
    /// The header as bytes, where there is one: a line like it is no record.
    header: Option<Vec<u8>>,
    comment: Option<u8>,
    null: Option<Vec<u8>>,
    is_flexible: bool,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What the fields are called, in order. `""` leaves a field out.
    columns: Vec<String>,
    /// Instead of `columns`: the file's first line. Lines equal to it are left out.
    header: Option<String>,
    /// What stands between two fields: one ASCII character, `\t` for a tab. `,` by default.
    delimiter: Option<String>,
    /// What a field may stand in: one ASCII character, or nothing. `"` by default.
    quote: Option<String>,
    /// Lines that begin with this ASCII character are left out.
    comment: Option<String>,
    /// A field that is this text has no value.
    null: Option<String>,
    /// Lines may have fewer or more fields than there are columns.
    flexible: bool,
    /// The column that says when the event happened. Without it the usual names are tried.
    timestamp: Option<String>,
    /// How that is written.
    timestamp_format: Option<String>,
    /// The offset of times that do not say theirs.
    timezone: Option<String>,
    /// A type by column.
    types: BTreeMap<String, String>,
}

/// A line has at most so many fields.
const COLUMNS_MAX: usize = 4_096;

impl Plugin for Csv {
    type Settings = Settings;
    const NAME: &'static str = "csv";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Csv, Contract), String> {
        let delimiter = character("delimiter", settings.delimiter.as_deref())?.unwrap_or(b',');
        let quote = match settings.quote.as_deref() {
            None => Some(b'"'),
            Some(_) => character("quote", settings.quote.as_deref())?,
        };
        let comment = character("comment", settings.comment.as_deref())?;
        if quote == Some(delimiter) {
            return Err("`quote` and `delimiter` are the same character".to_owned());
        }
        let mut record = Record::new(delimiter, quote);
        let names = names(&settings, &mut record)?;
        let named: Vec<(usize, &String)> = names.iter().enumerate().filter(|(_, name)| !name.is_empty()).collect();
        record.wanted(names.len(), named.iter().map(|(index, _)| *index).collect());
        let fields = Fields::new(
            &named.iter().map(|(_, name)| ((*name).clone(), FieldType::Utf8)).collect::<Vec<_>>(),
            &FieldSettings {
                timestamp: settings.timestamp.as_deref(),
                timestamp_format: settings.timestamp_format.as_deref(),
                timezone: settings.timezone.as_deref(),
                types: Some(&settings.types),
            },
        )?;
        let contract = fields.contract(Contract::new());
        let header = settings.header.map(String::into_bytes);
        let null = settings.null.map(String::into_bytes);
        Ok((Csv { fields, record, header, comment, null, is_flexible: settings.flexible }, contract))
    }
}

/// One ASCII character, or none for empty text.
fn character(setting: &str, written: Option<&str>) -> Result<Option<u8>, String> {
    match written.map(str::as_bytes) {
        None | Some(b"") => Ok(None),
        Some(b"\\t") => Ok(Some(b'\t')),
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(Some(*byte)),
        Some(_) => Err(format!("`{setting}` is `{}`; it is one ASCII character", written.unwrap_or_default())),
    }
}

fn names(settings: &Settings, record: &mut Record) -> Result<Vec<String>, String> {
    let (setting, names) = match (settings.columns.as_slice(), &settings.header) {
        ([], None) => {
            return Err(
                "`columns` is missing; name the fields in order, or give the file's first line as `header`".to_owned()
            );
        }
        ([], Some(header)) => ("header", header_names(header, record)?),
        (columns, None) => ("columns", columns.to_vec()),
        (_, Some(_)) => return Err("`columns` and `header` are both given; leave one of them out".to_owned()),
    };
    if names.len() > COLUMNS_MAX {
        return Err(format!("`{setting}` has {} names; {COLUMNS_MAX} are the most", names.len()));
    }
    let twice = names.iter().enumerate().find(|(index, name)| !name.is_empty() && names[..*index].contains(name));
    if let Some((_, name)) = twice {
        return Err(format!("`{setting}` has `{name}` twice; give each its own name in `columns`"));
    }
    if names.iter().all(String::is_empty) {
        return Err(format!("`{setting}` names no column"));
    }
    Ok(names)
}

/// `a,b,c`, or `#Fields: a b c` as the W3C's extended log file format has it.
fn header_names(header: &str, record: &mut Record) -> Result<Vec<String>, String> {
    let names = header.strip_prefix("#Fields:").map_or(header, str::trim_start);
    let split = record.split(names.as_bytes()).map_err(|error| format!("`header`: {error}"))?;
    Ok((0..split)
        .map(|index| String::from_utf8_lossy(record.field(names.as_bytes(), index)).trim().to_owned())
        .collect())
}

impl Parser for Csv {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        let bodies = input.bytes("body")?;
        let arrived = input.timestamps("timestamp")?;
        let mut columns = FieldColumns::new(&self.fields, input, &bodies);
        let mut origin = Vec::with_capacity(input.rows());
        for (row, body) in bodies.iter().enumerate() {
            let line = body.unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if self.is_no_record(line) {
                continue;
            }
            let pushed = self.record.split(line).and_then(|fields| {
                self.record.check_count(fields, self.is_flexible)?;
                let value = |field| self.record.wanted_field(line, field);
                columns
                    .push(arrived.get(row), |field| value(field).filter(|value| self.null.as_deref() != Some(*value)))
            });
            match pushed {
                Ok(()) => origin.push(row as u32),
                Err(message) => output.error(row, message),
            }
        }
        columns.finish(output);
        output.origin(origin);
        Ok(())
    }
}

impl Csv {
    fn is_no_record(&self, line: &[u8]) -> bool {
        let is_comment = self.comment.is_some() && line.first().copied() == self.comment;
        let is_header = self.header.as_deref() == Some(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line));
        line.is_empty() || is_comment || is_header
    }
}

tidemill_plugin::export_parser!(Csv);
