//! events that could not be handled, with the reason and the bytes they came as

use super::columns::{Kind, TIMESTAMP, Type};
use super::{Batch, TableName};
use crate::error::Result;
use arrow::array::{ArrayRef, BinaryArray, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::collections::HashMap;
use std::sync::Arc;

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
    ]))
}

/// Dead letters as rows of their table.
pub fn batch(letters: &[DeadLetter]) -> Result<Batch> {
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
    ];
    Ok(Batch { kind: Kind::Logs, columns: RecordBatch::try_new(schema(), columns)? })
}
