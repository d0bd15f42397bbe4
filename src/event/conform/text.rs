//! values as text, and arriving columns in one of our types

use super::super::{columns::Type, labels};
use crate::error::Result;
use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The column in one of our types; none if it is of no type at all.
pub(super) fn plain(column: &ArrayRef) -> Result<Option<(Type, ArrayRef)>> {
    let to = |r#type: Type, column: ArrayRef| Ok(Some((r#type, column)));
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    match column.data_type() {
        DataType::Null => Ok(None),
        DataType::Boolean => to(Type::Boolean, column.clone()),
        DataType::Int64 => to(Type::Int64, column.clone()),
        DataType::Float64 => to(Type::Float64, column.clone()),
        DataType::Utf8 => to(Type::Utf8, column.clone()),
        DataType::Binary => to(Type::Binary, column.clone()),
        DataType::Timestamp(TimeUnit::Nanosecond, zone) if zone.as_deref() == Some("UTC") => {
            to(Type::Timestamp, column.clone())
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let times = column.as_primitive::<TimestampNanosecondType>().clone().with_timezone("UTC");
            to(Type::Timestamp, Arc::new(times))
        }
        DataType::Timestamp(_, zone) => {
            let nanos = DataType::Timestamp(TimeUnit::Nanosecond, zone.clone());
            plain(&cast_with_options(column, &nanos, &strict)?)
        }
        DataType::Map(_, _) => to(Type::Labels, plain_labels(column)?),
        DataType::Dictionary(_, values) => plain(&cast(column, values)?),
        DataType::Utf8View | DataType::LargeUtf8 => {
            to(Type::Utf8, cast_with_options(column, &DataType::Utf8, &strict)?)
        }
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            to(Type::Binary, cast_with_options(column, &DataType::Binary, &strict)?)
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            to(Type::Int64, cast_with_options(column, &DataType::Int64, &strict)?)
        }
        DataType::UInt64 => match cast_with_options(column, &DataType::Int64, &strict) {
            Ok(ints) => to(Type::Int64, ints),
            Err(_) => to(Type::Utf8, cast(column, &DataType::Utf8)?),
        },
        DataType::Float16 | DataType::Float32 => to(Type::Float64, cast(column, &DataType::Float64)?),
        other => Type::of(other).map(|_| None),
    }
}

/// Labels as our map; others call its parts otherwise.
fn plain_labels(column: &ArrayRef) -> Result<ArrayRef> {
    if *column.data_type() == labels::data_type() {
        return Ok(column.clone());
    }
    Ok(cast(column, &labels::data_type())?)
}

/// A column as text.
pub fn text(column: &ArrayRef, r#type: Type) -> StringArray {
    let mut builder = StringBuilder::new();
    for row in 0..column.len() {
        builder.append_option(value(column, r#type, row));
    }
    builder.finish()
}

/// One value as text: numbers shortest, times as RFC 3339, labels as a JSON object.
pub(super) fn value(column: &ArrayRef, r#type: Type, row: usize) -> Option<String> {
    if row >= column.len() || column.is_null(row) {
        return None;
    }
    Some(match r#type {
        Type::Boolean => column.as_boolean().value(row).to_string(),
        Type::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        Type::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        Type::Timestamp => {
            let time = DateTime::from_timestamp_nanos(column.as_primitive::<TimestampNanosecondType>().value(row));
            time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
        }
        Type::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        Type::Binary => String::from_utf8_lossy(column.as_binary::<i32>().value(row)).into_owned(),
        Type::Labels => Value::Object(label_object(column, row)).to_string(),
    })
}

fn label_object(column: &ArrayRef, row: usize) -> Map<String, Value> {
    match column.as_map_opt() {
        Some(map) => labels::of_row(map, row).into_iter().map(|(name, value)| (name, Value::String(value))).collect(),
        None => Map::new(),
    }
}

/// Several columns as one of JSON objects: null where none of them has a value.
pub(super) fn objects(columns: &[(String, Type, ArrayRef)], rows: usize) -> Result<StringArray> {
    let mut builder = StringBuilder::new();
    for row in 0..rows {
        let mut object = Map::new();
        for (name, r#type, column) in columns {
            if let Some(value) = json_value(column, *r#type, row) {
                object.insert(name.clone(), value);
            }
        }
        builder.append_option((!object.is_empty()).then(|| Value::Object(object).to_string()));
    }
    Ok(builder.finish())
}

/// One value in JSON. Bytes that are not text are `{"hex": "…"}`; floats that JSON does not know are text.
fn json_value(column: &ArrayRef, r#type: Type, row: usize) -> Option<Value> {
    let as_text = value(column, r#type, row)?;
    Some(match r#type {
        Type::Boolean => Value::Bool(column.as_boolean().value(row)),
        Type::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        Type::Float64 => {
            let number = column.as_primitive::<Float64Type>().value(row);
            serde_json::Number::from_f64(number).map_or(Value::String(as_text), Value::Number)
        }
        Type::Timestamp | Type::Utf8 => Value::String(as_text),
        Type::Binary => {
            let bytes = column.as_binary::<i32>().value(row);
            match std::str::from_utf8(bytes) {
                Ok(text) => Value::String(text.to_owned()),
                Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
            }
        }
        Type::Labels => Value::Object(label_object(column, row)),
    })
}
