//! columns on their way in: borrowed from their Arrow buffers wherever the layout is the same

use super::boundary::{ColumnIn, ValuesIn, VarBytesIn};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampNanosecondType};
use std::borrow::Cow;

/// A column made ready: what could not be borrowed is held here.
pub(super) struct Ready<'a> {
    name: Cow<'a, str>,
    values: Held<'a>,
    validity: Option<Vec<u8>>,
}

enum Held<'a> {
    Boolean(Vec<u8>),
    Int64(&'a [i64]),
    Float64(&'a [f64]),
    Timestamp(&'a [i64]),
    Utf8(Cow<'a, [u32]>, &'a [u8]),
    Binary(Cow<'a, [u32]>, &'a [u8]),
}

impl<'a> Ready<'a> {
    /// Makes a column ready. Dictionaries must have been unpacked.
    pub fn new(name: Cow<'a, str>, column: &'a ArrayRef) -> Result<Self> {
        let values = match column.data_type() {
            DataType::Boolean => Held::Boolean(column.as_boolean().values().iter().map(u8::from).collect()),
            DataType::Int64 => Held::Int64(column.as_primitive::<Int64Type>().values()),
            DataType::Float64 => Held::Float64(column.as_primitive::<Float64Type>().values()),
            DataType::Timestamp(_, _) => Held::Timestamp(column.as_primitive::<TimestampNanosecondType>().values()),
            DataType::Utf8 => {
                let text = column.as_string::<i32>();
                let (offsets, data) = rebased(text.offsets(), text.value_data());
                Held::Utf8(offsets, data)
            }
            DataType::Binary => {
                let bytes = column.as_binary::<i32>();
                let (offsets, data) = rebased(bytes.offsets(), bytes.value_data());
                Held::Binary(offsets, data)
            }
            other => return Err(Error::internal(format!("column `{name}` of type {other} cannot cross to a plugin"))),
        };
        let validity = match column.nulls() {
            Some(nulls) if nulls.null_count() > 0 => Some(nulls.iter().map(u8::from).collect()),
            _ => None,
        };
        Ok(Ready { name, values, validity })
    }

    /// Bytes that cross.
    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            Held::Boolean(bytes) => bytes.len(),
            Held::Int64(numbers) | Held::Timestamp(numbers) => 8 * numbers.len(),
            Held::Float64(numbers) => 8 * numbers.len(),
            Held::Utf8(offsets, data) | Held::Binary(offsets, data) => 4 * offsets.len() + data.len(),
        };
        values + self.validity.as_ref().map_or(0, Vec::len)
    }

    /// The column as it crosses.
    pub fn lower(&self) -> ColumnIn<'_> {
        let values = match &self.values {
            Held::Boolean(bytes) => ValuesIn::Boolean(bytes),
            Held::Int64(numbers) => ValuesIn::Int64(numbers),
            Held::Float64(numbers) => ValuesIn::Float64(numbers),
            Held::Timestamp(times) => ValuesIn::Timestamp(times),
            Held::Utf8(offsets, data) => ValuesIn::Utf8(VarBytesIn { offsets, data }),
            Held::Binary(offsets, data) => ValuesIn::Binary(VarBytesIn { offsets, data }),
        };
        ColumnIn { name: &self.name, values, validity: self.validity.as_deref() }
    }
}

/// The bytes of a column of text or bytes as the plugin sees them.
pub(super) fn data_of(column: &ArrayRef) -> Option<&[u8]> {
    match column.data_type() {
        DataType::Utf8 => {
            let text = column.as_string::<i32>();
            Some(own_data(text.offsets(), text.value_data()))
        }
        DataType::Binary => {
            let bytes = column.as_binary::<i32>();
            Some(own_data(bytes.offsets(), bytes.value_data()))
        }
        _ => None,
    }
}

/// Offsets that start with 0 and the bytes they mean; of a slice of a larger column only its own bytes cross.
fn rebased<'a>(offsets: &'a OffsetBuffer<i32>, data: &'a [u8]) -> (Cow<'a, [u32]>, &'a [u8]) {
    let raw: &[u32] = offsets.inner().inner().typed_data::<u32>();
    let own = own_data(offsets, data);
    match raw.first() {
        Some(first) if *first > 0 => (Cow::Owned(raw.iter().map(|offset| offset - first).collect()), own),
        _ => (Cow::Borrowed(raw), own),
    }
}

/// The bytes between the first offset and the last.
fn own_data<'a>(offsets: &OffsetBuffer<i32>, data: &'a [u8]) -> &'a [u8] {
    let at = |offset: Option<&i32>| offset.and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
    data.get(at(offsets.first())..at(offsets.last())).unwrap_or_default()
}
