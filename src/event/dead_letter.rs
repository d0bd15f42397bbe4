//! events that could not be handled, with the reason and the bytes they came as

use super::columns::{BODY, Kind, LETTER, RAW, SOURCE, TIMESTAMP, Type};
use super::row_json::{self, Row, Value};
use super::{Batch, TableName};
use crate::error::Result;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// What stands for a stage in dead letters that never were events: a source itself could not read them.
pub const CODEC: &str = "codec";

/// One event that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// when it was given up, ns UTC
    pub timestamp: i64,
    /// the source it came from
    pub source: Arc<str>,
    /// the stage, `codec`, or `table <name>`, where it was given up
    pub stage: Arc<str>,
    /// sha256 of the plugin at fault; empty where no plugin was
    pub plugin: Arc<str>,
    /// in words
    pub reason: String,
    /// the original bytes
    pub raw: Vec<u8>,
    /// the functions of the plugin that were running, innermost first, a line each; none where nothing trapped
    pub backtrace: Option<Arc<str>>,
    /// what it was when a stage gave it up; none where it was no event yet
    pub event: Option<Event>,
    /// the dead letter that came again as this one
    pub replay_of: Option<String>,
}

/// What an event was, beside its bytes: enough to hand it to its stage again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// logs or metrics
    pub kind: Kind,
    /// its columns but those that `raw` and `source` say, as [`super::row_json`] writes them
    pub columns: String,
}

/// The most different losses that are told; all of them are dead letters.
pub const LOSSES_MAX: usize = 100;

/// Events that one stage gave up for one reason, as told to whoever sent them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Loss {
    /// the stage
    pub stage: Arc<str>,
    /// in words
    pub reason: String,
    /// how many
    pub events: u64,
}

/// Dead letters by stage and reason, in the order of the first of each.
pub fn losses(letters: &[DeadLetter]) -> Vec<Loss> {
    let mut losses: Vec<Loss> = Vec::new();
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    for letter in letters {
        let same = (&*letter.stage, letter.reason.as_str());
        if let Some(loss) = places.get(&same).and_then(|at| losses.get_mut(*at)) {
            loss.events += 1;
        } else if losses.len() < LOSSES_MAX {
            places.insert(same, losses.len());
            losses.push(Loss { stage: letter.stage.clone(), reason: letter.reason.clone(), events: 1 });
        }
    }
    losses
}

/// The table they land in.
pub fn table() -> TableName {
    TableName::system("dead_letters")
}

/// The columns of the table.
pub fn schema() -> SchemaRef {
    let field = |name: &str, r#type: Type| Field::new(name, r#type.arrow(), true);
    Arc::new(Schema::new(vec![
        field(TIMESTAMP, Type::Timestamp),
        field("source", Type::Utf8),
        field("stage", Type::Utf8),
        field("plugin", Type::Utf8),
        field("reason", Type::Utf8),
        field("raw", Type::Binary),
        field("backtrace", Type::Utf8),
        field("id", Type::Utf8),
        field("kind", Type::Utf8),
        field("event", Type::Utf8),
        field("replay_of", Type::Utf8),
    ]))
}

impl Event {
    /// The event of one row; what cannot be written down (it never happens to columns of our types) is left out.
    pub fn of(kind: Kind, row: &RecordBatch) -> Event {
        // The bytes are in `raw`: see there which of the two columns they come from.
        let has_raw = row.column_by_name(RAW).is_some_and(|column| column.is_valid(0));
        let without: &[&str] = if has_raw { &[RAW, LETTER, SOURCE] } else { &[RAW, BODY, LETTER, SOURCE] };
        Event { kind, columns: row_json::row(row, without).map(|row| row_json::write(&row)).unwrap_or_default() }
    }

    /// The same event again, for its stage: its columns with the letter it came as.
    pub fn again(&self, letter: &str, source: &str, raw: &[u8]) -> Result<Row> {
        let mut row = row_json::read(&self.columns)?;
        let bytes = if row.contains_key(BODY) || self.kind == Kind::Metrics { RAW } else { BODY };
        row.insert(bytes.to_owned(), Value::Binary(raw.to_vec()));
        row.insert(SOURCE.to_owned(), Value::Utf8(source.to_owned()));
        row.insert(LETTER.to_owned(), Value::Utf8(letter.to_owned()));
        Ok(row)
    }
}

/// The dead letter that an event of one row came as, if it did.
pub fn of_row(row: &RecordBatch) -> Option<String> {
    let column = row.column_by_name(LETTER)?.as_string_opt::<i32>()?;
    column.is_valid(0).then(|| column.value(0).to_owned())
}

/// A name for a letter that no other has: `nth` counts the letters of its source since the start.
fn id(letter: &DeadLetter, nth: u64) -> String {
    let mut hash = Sha256::new();
    for part in [letter.source.as_bytes(), letter.stage.as_bytes(), letter.reason.as_bytes(), &letter.raw] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(letter.timestamp.to_le_bytes());
    hash.update(nth.to_le_bytes());
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Dead letters as rows of their table; `first` is how many its source had before since the start, so that each has a name of its own.
pub fn batch(letters: &[DeadLetter], first: u64) -> Result<Batch> {
    let text =
        |get: fn(&DeadLetter) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(letters.iter().map(get))) };
    let timestamps = TimestampNanosecondArray::from_iter_values(letters.iter().map(|l| l.timestamp));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(timestamps.with_timezone("UTC")),
        text(|l| &l.source),
        text(|l| &l.stage),
        text(|l| &l.plugin),
        text(|l| &l.reason),
        Arc::new(BinaryArray::from_iter_values(letters.iter().map(|l| l.raw.as_slice()))),
        Arc::new(StringArray::from_iter(letters.iter().map(|l| l.backtrace.as_deref()))),
        Arc::new(StringArray::from_iter_values((first..).zip(letters).map(|(nth, letter)| id(letter, nth)))),
        Arc::new(StringArray::from_iter(letters.iter().map(|l| l.event.as_ref().map(|event| event.kind.word())))),
        Arc::new(StringArray::from_iter(letters.iter().map(|l| l.event.as_ref().map(|event| &event.columns)))),
        Arc::new(StringArray::from_iter(letters.iter().map(|l| l.replay_of.as_deref()))),
    ];
    Ok(Batch { kind: Kind::Logs, columns: RecordBatch::try_new(schema(), columns)? })
}
