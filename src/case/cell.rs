//! one value of one row, as cases write it and as batches hold it

use crate::error::{Error, Result};
use crate::event::labels::{PREFIX, map, of_row};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType};
use chrono::{DateTime, SecondsFormat};
use std::collections::BTreeMap;
use std::fmt;
use toml::{Table, Value};
use toml_edit::InlineTable;

/// A row: what is not null, by column; a metric's labels are columns `labels.x`.
pub type Cells = BTreeMap<String, Cell>;

/// A value that is not null.
#[derive(Clone, Debug)]
pub enum Cell {
    /// text, which a case also writes for times and bytes
    Text(String),
    /// a whole number
    Int(i64),
    /// a number with a fraction
    Float(f64),
    /// true or false
    Boolean(bool),
    /// nanoseconds since 1970 UTC
    Time(i64),
    /// bytes, whatever they are
    Bytes(Vec<u8>),
}

impl Cell {
    /// What a case says of a column. What is a time there shows only beside what came: see [`PartialEq`].
    pub fn written(name: &str, value: &Value) -> Result<Cell> {
        Ok(match value {
            Value::String(text) if name == "timestamp" => Cell::Time(nanos(text)?),
            Value::String(text) => Cell::Text(text.clone()),
            Value::Integer(number) => Cell::Int(*number),
            Value::Float(number) => Cell::Float(*number),
            Value::Boolean(yes) => Cell::Boolean(*yes),
            Value::Table(table) => Cell::Bytes(hex(table)?),
            Value::Datetime(time) => Cell::Time(nanos(&time.to_string())?),
            Value::Array(_) => {
                return Err(Error::invalid(format!("`{name}` is a list; write text, as the column has it")));
            }
        })
    }

    /// A row of a batch.
    pub fn of_row(batch: &RecordBatch, row: usize) -> Result<Cells> {
        let mut cells = Cells::new();
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if let DataType::Map(_, _) = column.data_type() {
                let labels = of_row(map(column)?, row);
                cells.extend(labels.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), Cell::Text(value))));
            } else if column.is_valid(row) {
                cells.insert(field.name().clone(), Cell::at(column, row)?);
            }
        }
        Ok(cells)
    }

    fn at(column: &ArrayRef, row: usize) -> Result<Cell> {
        Ok(match column.data_type() {
            DataType::Int64 => Cell::Int(column.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(row)),
            DataType::Boolean => Cell::Boolean(column.as_boolean().value(row)),
            DataType::Timestamp(_, _) => Cell::Time(column.as_primitive::<TimestampNanosecondType>().value(row)),
            DataType::Binary => Cell::Bytes(column.as_binary::<i32>().value(row).to_vec()),
            _ => {
                let text = cast(&column.slice(row, 1), &DataType::Utf8)?;
                Cell::Text(text.as_string::<i32>().value(0).to_owned())
            }
        })
    }

    /// As a case would write it.
    pub fn to_toml(&self) -> toml_edit::Value {
        match self {
            Cell::Text(text) => text.as_str().into(),
            Cell::Int(number) => (*number).into(),
            Cell::Float(number) => (*number).into(),
            Cell::Boolean(yes) => (*yes).into(),
            Cell::Time(time) => {
                DateTime::from_timestamp_nanos(*time).to_rfc3339_opts(SecondsFormat::AutoSi, true).into()
            }
            Cell::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => text.into(),
                Err(_) => {
                    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    InlineTable::from_iter([("hex", digits)]).into()
                }
            },
        }
    }
}

/// Text stands for bytes and for times, since a case writes them so; numbers are equal where they are written the same.
impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        match (self, other) {
            (Cell::Text(one), Cell::Text(other)) => one == other,
            (Cell::Int(one), Cell::Int(other)) => one == other,
            (Cell::Float(one), Cell::Float(other)) => {
                one.to_bits() == other.to_bits() || (one.is_nan() && other.is_nan())
            }
            (Cell::Boolean(one), Cell::Boolean(other)) => one == other,
            (Cell::Time(one), Cell::Time(other)) => one == other,
            (Cell::Bytes(one), Cell::Bytes(other)) => one == other,
            (Cell::Bytes(bytes), Cell::Text(text)) | (Cell::Text(text), Cell::Bytes(bytes)) => bytes == text.as_bytes(),
            (Cell::Time(time), Cell::Text(text)) | (Cell::Text(text), Cell::Time(time)) => {
                nanos(text).is_ok_and(|written| written == *time)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_toml())
    }
}

/// RFC 3339 as nanoseconds since 1970 UTC.
pub(super) fn nanos(text: &str) -> Result<i64> {
    let wrong = || Error::invalid(format!("`{text}` is no time; write RFC 3339, as in `2026-01-31T12:00:00Z`"));
    DateTime::parse_from_rfc3339(text).ok().and_then(|time| time.timestamp_nanos_opt()).ok_or_else(wrong)
}

/// The bytes of `{ hex = "ff 00" }`.
pub(super) fn hex(table: &Table) -> Result<Vec<u8>> {
    let wrong = || Error::invalid("a table here is bytes: write `{ hex = \"ff 00\" }`, two digits a byte");
    let text = table.get("hex").and_then(Value::as_str).filter(|_| table.len() == 1).ok_or_else(wrong)?;
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if !digits.len().is_multiple_of(2) {
        return Err(wrong());
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(|pair| byte(pair).ok_or_else(wrong)).collect()
}
