//! rows of a case as columns, each of the type that its values have in TOML

use super::cell::{hex, nanos};
use crate::error::{Error, Result};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
    TimestampNanosecondArray,
};
use arrow::datatypes::{Field, Schema};
use std::sync::Arc;
use toml::{Table, Value};

/// Columns with their names.
pub(super) type Columns = Vec<(String, ArrayRef)>;

/// The columns of some rows, in the order of their names; what a row does not have is null.
pub(super) fn columns(rows: &[&Table]) -> Result<Columns> {
    let mut names: Vec<&String> = rows.iter().flat_map(|row| row.keys()).collect();
    names.sort();
    names.dedup();
    let column = |name: &String| {
        let values: Vec<Option<&Value>> = rows.iter().map(|row| row.get(name)).collect();
        let column = column(name, &values).map_err(|error| error.within(format!("`{name}`")))?;
        Ok((name.clone(), column))
    };
    names.into_iter().map(column).collect()
}

/// A batch of named columns; `rows` counts where there are none.
pub(super) fn batch(columns: Columns, rows: usize) -> Result<RecordBatch> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// `body` is bytes, as it comes from a source; `timestamp` is a time.
fn column(name: &str, values: &[Option<&Value>]) -> Result<ArrayRef> {
    let all = |is: fn(&Value) -> bool| name != "body" && values.iter().flatten().all(|value| is(value));
    if name == "timestamp" {
        let time = |value: &Value| match value {
            Value::String(text) => nanos(text),
            Value::Datetime(time) => nanos(&time.to_string()),
            other => Err(Error::invalid(format!("{other} is no time; write RFC 3339, as in `2026-01-31T12:00:00Z`"))),
        };
        let times = values.iter().map(|value| value.map(time).transpose()).collect::<Result<Vec<_>>>()?;
        return Ok(Arc::new(TimestampNanosecondArray::from_iter(times).with_timezone("UTC")));
    }
    if all(Value::is_datetime) {
        let time = |value: &Value| nanos(&value.to_string());
        let times = values.iter().map(|value| value.map(time).transpose()).collect::<Result<Vec<_>>>()?;
        return Ok(Arc::new(TimestampNanosecondArray::from_iter(times).with_timezone("UTC")));
    }
    if all(Value::is_str) {
        return Ok(Arc::new(StringArray::from_iter(values.iter().map(|value| value.and_then(Value::as_str)))));
    }
    if all(Value::is_integer) {
        return Ok(Arc::new(Int64Array::from_iter(values.iter().map(|value| value.and_then(Value::as_integer)))));
    }
    if all(|value| value.is_integer() || value.is_float()) {
        let float = |value: &Value| value.as_float().or(value.as_integer().map(|value| value as f64));
        return Ok(Arc::new(Float64Array::from_iter(values.iter().map(|value| value.and_then(float)))));
    }
    if all(Value::is_bool) {
        return Ok(Arc::new(BooleanArray::from_iter(values.iter().map(|value| value.and_then(Value::as_bool)))));
    }
    let bytes = values.iter().map(|value| value.map(bytes).transpose()).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(BinaryArray::from_iter(bytes)))
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    match value {
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Table(table) => hex(table),
        other => Err(Error::invalid(format!(
            "{other} stands among values of another type; a column has one, and bytes are text or `{{ hex = \"ff\" }}`"
        ))),
    }
}
