//! rows of a table or of an answer as events: what a source would have brought
//!
//! `body` is bytes again, times are nanoseconds in UTC, texts are plain, and each kind of number has one type. Rows with labels are metrics.

use super::columns::{BODY, Kind, LABELS, Type};
use super::{Batch, labels};
use crate::error::Result;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// Rows as events. A list or a duration becomes text; fails where a value has no such form.
pub fn arrived(rows: &RecordBatch) -> Result<Batch> {
    let mut kind = Kind::Logs;
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let r#type = match column.data_type() {
            _ if field.name() == BODY => DataType::Binary,
            DataType::Map(_, _) if field.name() == LABELS => {
                kind = Kind::Metrics;
                labels::data_type()
            }
            DataType::Map(_, _) => column.data_type().clone(),
            DataType::Boolean => DataType::Boolean,
            DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => Type::Timestamp.arrow(),
            integer if integer.is_integer() => DataType::Int64,
            number if number.is_numeric() => DataType::Float64,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
            _ => DataType::Utf8,
        };
        // Text becomes bytes by way of plain text: a dictionary cannot at once.
        let column = match (r#type == DataType::Binary, column.data_type()) {
            (true, DataType::Dictionary(_, _) | DataType::Utf8View | DataType::LargeUtf8) => {
                cast(column, &DataType::Utf8)?
            }
            _ => column.clone(),
        };
        fields.push(Field::new(field.name(), r#type.clone(), true));
        columns.push(if *column.data_type() == r#type { column } else { cast(&column, &r#type)? });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?;
    Ok(Batch { kind, columns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{AsArray, Int32Array, StringViewArray, TimestampMillisecondArray};
    use arrow::datatypes::TimestampNanosecondType;

    #[test]
    fn rows_become_what_a_source_brings() {
        let rows = RecordBatch::try_from_iter(vec![
            ("body", Arc::new(StringViewArray::from(vec!["a"])) as ArrayRef),
            ("n", Arc::new(Int32Array::from(vec![7]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![5]))),
        ]);
        let batch = arrived(&rows.unwrap()).unwrap();
        assert_eq!(batch.kind, Kind::Logs);
        assert_eq!(batch.columns.column(0).as_binary::<i32>().value(0), b"a");
        assert_eq!(batch.columns.column(1).data_type(), &DataType::Int64);
        assert_eq!(batch.columns.column(2).as_primitive::<TimestampNanosecondType>().value(0), 5_000_000);
    }
}
