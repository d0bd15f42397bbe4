//! a plugin's columns as Arrow's, as somebody who calls the plugin's code natively would make them

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use std::sync::Arc;
use tidemill_plugin::{Batch, wire};

/// One column; `input` is what the plugin was handed.
pub fn arrow_of(column: wire::Column, input: &Batch) -> ArrayRef {
    let nulls =
        column.validity.map(|valid| NullBuffer::new(BooleanBuffer::collect_bool(valid.len(), |row| valid[row] != 0)));
    match column.values {
        wire::Values::Boolean(values) => {
            Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(values.len(), |row| values[row] != 0), nulls))
        }
        wire::Values::Int64(values) => Arc::new(Int64Array::new(values.into(), nulls)),
        wire::Values::Float64(values) => Arc::new(Float64Array::new(values.into(), nulls)),
        wire::Values::Timestamp(values) => {
            Arc::new(TimestampNanosecondArray::new(values.into(), nulls).with_timezone("UTC"))
        }
        wire::Values::Utf8(values) => Arc::new(text(values.offsets, values.data, nulls)),
        wire::Values::Binary(_) => unreachable!("access logs have no bytes"),
        wire::Values::DictUtf8(dictionary) => {
            let values = text(dictionary.values.offsets, dictionary.values.data, None);
            let distinct: Vec<&[u8]> =
                (0..arrow::array::Array::len(&values)).map(|at| values.value(at).as_bytes()).collect();
            let rows = dictionary.indices.iter().enumerate();
            let valid = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
            let of_row = |(row, index): (usize, &u32)| if valid(row) { distinct[*index as usize] } else { &[][..] };
            let (offsets, data) = joined(rows.map(of_row), dictionary.indices.len(), 0);
            Arc::new(text(offsets, data, nulls))
        }
        wire::Values::SlicedUtf8(slices) => {
            let source = input.bytes(&slices.of).expect("it was read");
            let source = source.plain().map_or(&[][..], |(_, data)| data);
            let spans = slices.spans.as_chunks::<2>().0.iter();
            let bytes = spans.clone().map(|[_, length]| *length as usize).sum();
            let value = |[start, length]: &[u32; 2]| match (*start as usize).checked_sub(source.len()) {
                None => &source[*start as usize..][..*length as usize],
                Some(start) => &slices.extra[start..][..*length as usize],
            };
            let (offsets, data) = joined(spans.map(value), slices.spans.len() / 2, bytes);
            Arc::new(text(offsets, data, nulls))
        }
    }
}

fn joined<'a>(values: impl Iterator<Item = &'a [u8]>, rows: usize, bytes: usize) -> (Vec<u32>, Vec<u8>) {
    let (mut offsets, mut data) = (Vec::with_capacity(rows + 1), Vec::with_capacity(bytes));
    offsets.push(0);
    for value in values {
        data.extend_from_slice(value);
        offsets.push(data.len() as u32);
    }
    (offsets, data)
}

fn text(offsets: Vec<u32>, data: Vec<u8>, nulls: Option<NullBuffer>) -> StringArray {
    let length = offsets.len();
    let offsets = OffsetBuffer::new(ScalarBuffer::<i32>::new(Buffer::from_vec(offsets), 0, length));
    StringArray::try_new(offsets, Buffer::from_vec(data), nulls).expect("text is UTF-8")
}
