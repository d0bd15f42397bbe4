//! columns on their way out: every length, offset, index and text is checked before it becomes a column

use super::boundary::{Column, Dictionary, Values, VarBytes};
use crate::event::Type;
use arrow::array::TimestampNanosecondArray;
use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;

/// Bytes that a dictionary may have once it is unpacked.
const UNPACKED_BYTES_MAX: usize = 256 << 20;

/// Checks a column and makes it Arrow's. The error says what is malformed.
pub(super) fn column(column: Column, rows: usize) -> Result<(String, ArrayRef), String> {
    let name = column.name;
    let wrong = |what: String| format!("column `{name}`: {what}");
    let length = |n: usize| match n == rows {
        true => Ok(()),
        false => Err(wrong(format!("has {n} values for {rows} rows"))),
    };
    let nulls = match column.validity {
        Some(bytes) if bytes.len() != rows => {
            return Err(wrong(format!("says which of {} rows are null, but has {rows} rows", bytes.len())));
        }
        Some(bytes) => Some(NullBuffer::new(bits(&bytes))),
        None => None,
    };
    let array: ArrayRef = match column.values {
        Values::Boolean(bytes) => {
            length(bytes.len())?;
            Arc::new(BooleanArray::new(bits(&bytes), nulls))
        }
        Values::Int64(numbers) => {
            length(numbers.len())?;
            Arc::new(Int64Array::new(numbers.into(), nulls))
        }
        Values::Float64(numbers) => {
            length(numbers.len())?;
            Arc::new(Float64Array::new(numbers.into(), nulls))
        }
        Values::Timestamp(times) => {
            length(times.len())?;
            Arc::new(TimestampNanosecondArray::new(times.into(), nulls).with_timezone("UTC"))
        }
        Values::Utf8(text) => {
            let (offsets, data) = spans(text, rows).map_err(wrong)?;
            Arc::new(StringArray::try_new(offsets, data, nulls).map_err(|_| wrong("its text is not UTF-8".into()))?)
        }
        Values::Binary(bytes) => {
            let (offsets, data) = spans(bytes, rows).map_err(wrong)?;
            Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(|error| wrong(error.to_string()))?)
        }
        Values::DictUtf8(dictionary) => {
            length(dictionary.indices.len())?;
            unpacked(dictionary, nulls).map_err(wrong)?
        }
    };
    Ok((name, array))
}

/// The type a column came back as.
pub(super) fn type_of(values: &Values) -> Type {
    match values {
        Values::Boolean(_) => Type::Boolean,
        Values::Int64(_) => Type::Int64,
        Values::Float64(_) => Type::Float64,
        Values::Timestamp(_) => Type::Timestamp,
        Values::Utf8(_) | Values::DictUtf8(_) => Type::Utf8,
        Values::Binary(_) => Type::Binary,
    }
}

/// One byte a row to one bit a row.
pub(super) fn bits(bytes: &[u8]) -> BooleanBuffer {
    BooleanBuffer::collect_bool(bytes.len(), |row| bytes.get(row).is_some_and(|byte| *byte != 0))
}

/// Offsets that Arrow can trust.
fn spans(bytes: VarBytes, rows: usize) -> Result<(OffsetBuffer<i32>, Buffer), String> {
    let VarBytes { offsets, data } = bytes;
    if offsets.len() != rows + 1 {
        return Err(format!("has {} offsets for {rows} rows; it needs one more than rows", offsets.len()));
    }
    let last = offsets.last().copied().unwrap_or(0);
    let in_order = offsets.first() == Some(&0) && offsets.is_sorted();
    if !in_order || last as usize > data.len() || i32::try_from(last).is_err() {
        return Err("its offsets do not start with 0, go backwards, or point past its data".into());
    }
    let length = offsets.len();
    let scalars = ScalarBuffer::<i32>::new(Buffer::from_vec(offsets), 0, length);
    Ok((OffsetBuffer::new(scalars), Buffer::from_vec(data)))
}

/// A dictionary as plain text. A null's index may be anything.
fn unpacked(dictionary: Dictionary, nulls: Option<NullBuffer>) -> Result<ArrayRef, String> {
    let Dictionary { indices, values } = dictionary;
    let distinct = values.offsets.len().saturating_sub(1);
    let (offsets, data) = spans(values, distinct)?;
    let values = StringArray::try_new(offsets, data, None).map_err(|_| "its text is not UTF-8".to_owned())?;
    let texts: Vec<&[u8]> = (0..distinct).map(|index| values.value(index).as_bytes()).collect();
    let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let mut bytes: usize = 0;
    for (row, index) in indices.iter().enumerate().filter(|(row, _)| valid(*row)) {
        let text = texts.get(*index as usize);
        let text = text.ok_or_else(|| format!("row {row} points past its {distinct} values"))?;
        bytes = bytes.saturating_add(text.len());
    }
    if bytes > UNPACKED_BYTES_MAX {
        return Err(format!("its {} values have {bytes} bytes; {UNPACKED_BYTES_MAX} are allowed", indices.len()));
    }
    let mut data = Vec::with_capacity(bytes);
    let mut offsets: Vec<i32> = Vec::with_capacity(indices.len() + 1);
    offsets.push(0);
    for (row, index) in indices.iter().enumerate() {
        if valid(row) {
            data.extend_from_slice(texts.get(*index as usize).copied().unwrap_or_default());
        }
        offsets.push(i32::try_from(data.len()).unwrap_or(i32::MAX));
    }
    // Whole values, each of which was checked.
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let text = StringArray::try_new(offsets, Buffer::from_vec(data), nulls);
    Ok(Arc::new(text.map_err(|error| error.to_string())?))
}
