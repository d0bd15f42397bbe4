//! the columns of an event as JSON text that keeps every type, and back
//!
//!     {"status": 500, "level": "warn", "ok": true, "took": {"float64": "0.25"}, "at": {"timestamp": 1753000000000000000},
//!      "blob": {"binary": "AAEC"}, "labels": {"labels": {"job": "web"}}}
//!
//! Whole numbers, texts and booleans are themselves; all else is an object whose one name is the type. Floats are text, because not
//! every float survives every JSON reader.
//!
//! **Always:** what was written is read back as the same values of the same types; a null is left out.

use super::columns::{Type, field};
use super::labels::{self, LabelsBuilder};
use super::mixed;
use crate::error::{Error, Result};
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
    StringArray, TimestampNanosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, TimestampNanosecondType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// true or false
    Boolean(bool),
    /// a whole number
    Int64(i64),
    /// a number with a fraction
    Float64(f64),
    /// ns UTC
    Timestamp(i64),
    /// text
    Utf8(String),
    /// bytes
    Binary(Vec<u8>),
    /// labels of a metric
    Labels(BTreeMap<String, String>),
}

/// The values of one event by the names of their columns.
pub type Row = BTreeMap<String, Value>;

/// The first row of a batch, without the columns of these names.
pub fn row(batch: &RecordBatch, without: &[&str]) -> Result<Row> {
    let mut row = Row::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if !without.contains(&field.name().as_str())
            && let Some(value) = value(&column.slice(0, 1))?
        {
            row.insert(field.name().clone(), value);
        }
    }
    Ok(row)
}

/// As text.
pub fn write(row: &Row) -> String {
    let values = row.iter().map(|(name, value)| (name.clone(), value.json()));
    Json::Object(values.collect::<Map<_, _>>()).to_string()
}

/// What such a text says.
pub fn read(text: &str) -> Result<Row> {
    let wrong = |what: String| Error::invalid(format!("not an event's columns as JSON: {what}"));
    let object: Map<String, Json> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let value = |(name, json)| Value::of(json).map(|value| (name, value));
    object
        .into_iter()
        .map(|(name, json)| value((name.clone(), json)).ok_or_else(|| wrong(format!("`{name}` has no known type"))))
        .collect()
}

/// Rows as a batch, a null where a row lacks a column. Fails where a column has values of several types: see [`fits`].
pub fn batch(rows: &[Row]) -> Result<RecordBatch> {
    let mut types = BTreeMap::new();
    if !rows.iter().all(|row| fits(row, &mut types)) {
        return Err(Error::internal("rows whose columns are of different types do not make a batch"));
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (name, r#type) in types {
        columns.push(column(rows.iter().map(|row| row.get(&name)), r#type)?);
        fields.push(field(&name, r#type));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// Whether a row can be in one batch with those whose columns are of these types; if so, its own are added.
pub fn fits(row: &Row, types: &mut BTreeMap<String, Type>) -> bool {
    if row.iter().any(|(name, value)| types.get(name).is_some_and(|r#type| *r#type != value.r#type())) {
        return false;
    }
    types.extend(row.iter().map(|(name, value)| (name.clone(), value.r#type())));
    true
}

impl Value {
    /// Its type.
    pub fn r#type(&self) -> Type {
        match self {
            Value::Boolean(_) => Type::Boolean,
            Value::Int64(_) => Type::Int64,
            Value::Float64(_) => Type::Float64,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Utf8(_) => Type::Utf8,
            Value::Binary(_) => Type::Binary,
            Value::Labels(_) => Type::Labels,
        }
    }

    fn json(&self) -> Json {
        let typed = |value: Json| json!({ (self.r#type().word()): value });
        match self {
            Value::Boolean(value) => json!(value),
            Value::Int64(value) => json!(value),
            Value::Utf8(value) => json!(value),
            Value::Float64(value) => typed(json!(value.to_string())),
            Value::Timestamp(value) => typed(json!(value)),
            Value::Binary(value) => typed(json!(BASE64.encode(value))),
            Value::Labels(value) => typed(json!(value)),
        }
    }

    fn of(json: Json) -> Option<Value> {
        let object = match json {
            Json::Bool(value) => return Some(Value::Boolean(value)),
            Json::Number(value) => return value.as_i64().map(Value::Int64),
            Json::String(value) => return Some(Value::Utf8(value)),
            Json::Object(object) => object,
            Json::Null | Json::Array(_) => return None,
        };
        let (word, value) = object.into_iter().next()?;
        match word.as_str() {
            "float64" => value.as_str()?.parse().ok().map(Value::Float64),
            "timestamp" => value.as_i64().map(Value::Timestamp),
            "binary" => BASE64.decode(value.as_str()?).ok().map(Value::Binary),
            "labels" => serde_json::from_value(value).ok().map(Value::Labels),
            _ => None,
        }
    }
}

/// The value of a column of one row.
fn value(column: &ArrayRef) -> Result<Option<Value>> {
    let column = match column.data_type() {
        DataType::Dictionary(_, value) => cast(column, value)?,
        DataType::Union(_, _) => mixed::plain(column)?,
        _ => column.clone(),
    };
    if column.is_empty() || column.is_null(0) {
        return Ok(None);
    }
    let text = |column: &ArrayRef| -> Result<String> {
        Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().value(0).to_owned())
    };
    Ok(Some(match Type::of(column.data_type())? {
        Type::Boolean => Value::Boolean(column.as_boolean().value(0)),
        Type::Int64 => Value::Int64(column.as_primitive::<Int64Type>().value(0)),
        Type::Float64 => Value::Float64(column.as_primitive::<Float64Type>().value(0)),
        Type::Timestamp => Value::Timestamp(column.as_primitive::<TimestampNanosecondType>().value(0)),
        Type::Utf8 => Value::Utf8(text(&column)?),
        Type::Binary => Value::Binary(cast(&column, &DataType::Binary)?.as_binary::<i32>().value(0).to_vec()),
        Type::Labels => Value::Labels(labels::of_row(labels::map(&column)?, 0).into_iter().collect()),
    }))
}

fn column<'a>(values: impl Iterator<Item = Option<&'a Value>>, r#type: Type) -> Result<ArrayRef> {
    macro_rules! of {
        ($array:ty, $kind:ident, $get:expr) => {
            values
                .map(|value| match value {
                    Some(Value::$kind(value)) => Some($get(value)),
                    _ => None,
                })
                .collect::<$array>()
        };
    }
    Ok(match r#type {
        Type::Boolean => Arc::new(of!(BooleanArray, Boolean, |value: &bool| *value)),
        Type::Int64 => Arc::new(of!(Int64Array, Int64, |value: &i64| *value)),
        Type::Float64 => Arc::new(of!(Float64Array, Float64, |value: &f64| *value)),
        Type::Timestamp => {
            Arc::new(of!(TimestampNanosecondArray, Timestamp, |value: &i64| *value).with_timezone("UTC"))
        }
        Type::Utf8 => Arc::new(of!(StringArray, Utf8, |value: &'a String| value.as_str())),
        Type::Binary => Arc::new(of!(BinaryArray, Binary, |value: &'a Vec<u8>| value.as_slice())),
        Type::Labels => {
            let mut builder = LabelsBuilder::new();
            for value in values {
                let labels = match value {
                    Some(Value::Labels(labels)) => labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect(),
                    Some(_) | None => Vec::new(),
                };
                builder.push(labels)?;
            }
            builder.finish()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_as_it_was() {
        let labels = BTreeMap::from([("job".to_owned(), "web".to_owned()), ("le".to_owned(), "+Inf".to_owned())]);
        let values = [
            Value::Boolean(true),
            Value::Int64(i64::MIN),
            Value::Int64(9_007_199_254_740_993),
            Value::Float64(0.1 + 0.2),
            Value::Float64(f64::NEG_INFINITY),
            Value::Float64(5e-324),
            Value::Timestamp(-1),
            Value::Utf8("{\"int64\": 1}".to_owned()),
            Value::Binary(vec![0, 255, 10]),
            Value::Labels(labels),
        ];
        for value in values {
            let written = write(&Row::from([("x".to_owned(), value.clone())]));
            let rows = [read(&written).unwrap(), Row::new()];
            assert_eq!(rows[0].get("x"), Some(&value), "{written}");
            let batch = batch(&rows).unwrap();
            assert_eq!(row(&batch, &[]).unwrap(), rows[0], "{written}");
        }
        for wrong in
            ["", "[]", "{\"x\": 1.5}", "{\"x\": null}", "{\"x\": {\"int8\": 1}}", "{\"x\": {\"binary\": \"?\"}}"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_column_of_two_types_does_not_fit() {
        let mut types = BTreeMap::new();
        assert!(fits(&Row::from([("x".into(), Value::Int64(1))]), &mut types));
        assert!(fits(&Row::from([("y".into(), Value::Boolean(true))]), &mut types));
        assert!(!fits(&Row::from([("x".into(), Value::Utf8("1".into()))]), &mut types));
    }
}
