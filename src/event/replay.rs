//! dead letters that came again: each has one mark, stored in one record with what became of it
//!
//! | outcome | |
//! |---|---|
//! | `landed` | at least a row of it is in a table |
//! | `dropped` | a filter kept it out, a parser made nothing of it, or `on_error = "drop"` |
//! | `dead` | it failed again: a new dead letter has its name in `replay_of`, and is the one to replay next |
//!
//! **Always:** a letter with a mark is not taken again.

use super::columns::{Kind, LETTER, TIMESTAMP, Type, field};
use super::{Batch, DeadLetter, TableName};
use crate::error::Result;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The table of marks.
pub fn table() -> TableName {
    TableName::system("replays")
}

/// The columns of the table.
pub fn schema() -> SchemaRef {
    let texts = ["run", "stage", "letter", "outcome"].map(|name| field(name, Type::Utf8));
    Arc::new(Schema::new(std::iter::once(field(TIMESTAMP, Type::Timestamp)).chain(texts).collect::<Vec<_>>()))
}

/// A batch as a table takes it, and the letters in it as landed.
pub fn landed(batch: &RecordBatch, letters: &mut BTreeSet<String>) -> RecordBatch {
    let Ok(at) = batch.schema_ref().index_of(LETTER) else { return batch.clone() };
    let mut batch = batch.clone();
    let column = batch.remove_column(at);
    letters.extend(column.as_string_opt::<i32>().into_iter().flatten().flatten().map(str::to_owned));
    batch
}

/// The marks of a delivery of letters.
pub fn marks(
    (stage, run): (&str, &str),
    delivered: &RecordBatch,
    landed: &BTreeSet<String>,
    dead: &[DeadLetter],
    now: i64,
) -> Result<Batch> {
    let again: BTreeSet<&str> = dead.iter().filter_map(|letter| letter.replay_of.as_deref()).collect();
    let letters = delivered.column_by_name(LETTER).and_then(|column| column.as_string_opt::<i32>());
    let letters: Vec<&str> = letters.into_iter().flatten().flatten().collect();
    let outcomes = letters.iter().map(|letter| match (again.contains(letter), landed.contains(*letter)) {
        (true, _) => "dead",
        (false, true) => "landed",
        (false, false) => "dropped",
    });
    let same = |text: &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(letters.iter().map(|_| text))) };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_value(now, letters.len()).with_timezone("UTC")),
        same(run),
        same(stage),
        Arc::new(StringArray::from_iter_values(letters.iter())),
        Arc::new(StringArray::from_iter_values(outcomes)),
    ];
    Ok(Batch { kind: Kind::Logs, columns: RecordBatch::try_new(schema(), columns)? })
}
