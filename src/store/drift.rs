//! the table of columns that got values of another type: `tidemill.drift`

use crate::error::Result;
use crate::event::TableName;
use crate::event::columns::{TIMESTAMP, Type, field};
use crate::event::conform::Drift;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// The table's name.
pub fn table() -> TableName {
    TableName::system("drift")
}

/// The table's columns.
pub fn schema() -> SchemaRef {
    let text = ["table", "column", "was", "arrived", "became", "example"];
    let fields = std::iter::once(field(TIMESTAMP, Type::Timestamp)).chain(text.map(|name| field(name, Type::Utf8)));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Drifts as rows.
pub(super) fn batch(drifts: &[(TableName, Drift)], now: i64) -> Result<RecordBatch> {
    let text = |get: fn(&(TableName, Drift)) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(drifts.iter().map(get)))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_value(now, drifts.len()).with_timezone("UTC")),
        text(|(table, _)| table.as_str()),
        text(|(_, drift)| &drift.column),
        text(|(_, drift)| drift.was),
        text(|(_, drift)| drift.arrived),
        text(|(_, drift)| &drift.became),
        text(|(_, drift)| &drift.example),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// Table, column and type of each row, for whoever must not tell it again.
pub(super) fn told(batch: &RecordBatch) -> Vec<(String, String, String)> {
    let column = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let (Some(tables), Some(columns), Some(arrived)) = (column("table"), column("column"), column("arrived")) else {
        return Vec::new();
    };
    let text = |column: &StringArray, row: usize| column.value(row).to_owned();
    (0..tables.len()).map(|row| (text(tables, row), text(columns, row), text(arrived, row))).collect()
}
