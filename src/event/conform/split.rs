//! the values of a column that fit another type, and the rest

use super::shape::EXACT_MAX;
use crate::error::Result;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Float64Array, Int64Array, StringArray};
use arrow::array::{OffsetBufferBuilder, StringBuilder};
use arrow::datatypes::{Float64Type, Int64Type};
use std::sync::Arc;

/// What fits (null where it does not), and what does not (null where it does); none where nothing is of that part.
pub(super) struct Split {
    pub fits: Option<ArrayRef>,
    pub rest: Option<ArrayRef>,
}

impl Split {
    pub(super) fn whole(fits: ArrayRef) -> Self {
        Split { fits: Some(fits), rest: None }
    }
}

/// Bytes as text; those that are not UTF-8 as lossy text, and as they are in the rest.
pub(super) fn binary_as_text(column: &ArrayRef) -> Result<Split> {
    let bytes = column.as_binary::<i32>();
    // Valid as a whole is the rule: checked once, nothing copied.
    if let Ok(text) = StringArray::try_from_binary(tight(bytes)) {
        return Ok(Split::whole(Arc::new(text)));
    }
    let mut text = StringBuilder::with_capacity(bytes.len(), bytes.value_data().len());
    let mut exact = BinaryBuilder::new();
    for value in bytes.iter() {
        match value.map(|value| (value, std::str::from_utf8(value))) {
            None => {
                text.append_null();
                exact.append_null();
            }
            Some((_, Ok(valid))) => {
                text.append_value(valid);
                exact.append_null();
            }
            Some((value, Err(_))) => {
                text.append_value(String::from_utf8_lossy(value));
                exact.append_value(value);
            }
        }
    }
    Ok(Split { fits: Some(Arc::new(text.finish())), rest: Some(Arc::new(exact.finish())) })
}

/// The same bytes, with no others before or after them in the buffer: checking a small slice must not read a large buffer.
fn tight(bytes: &BinaryArray) -> BinaryArray {
    let (Some(first), Some(last)) = (bytes.value_offsets().first().copied(), bytes.value_offsets().last().copied())
    else {
        return bytes.clone();
    };
    let (start, length) = (first as usize, (last - first) as usize);
    if start == 0 && length == bytes.values().len() {
        return bytes.clone();
    }
    let offsets = if start == 0 {
        bytes.offsets().clone()
    } else {
        let mut offsets = OffsetBufferBuilder::<i32>::new(bytes.len());
        bytes.offsets().lengths().for_each(|length| offsets.push_length(length));
        offsets.finish()
    };
    let values = bytes.values().slice_with_length(start, length);
    BinaryArray::try_new(offsets, values, bytes.nulls().cloned()).unwrap_or_else(|_| bytes.clone())
}

/// Integers that a float holds exactly.
pub(super) fn ints_as_floats(column: &ArrayRef) -> Split {
    let ints = column.as_primitive::<Int64Type>();
    let exact = |value: i64| (-EXACT_MAX..=EXACT_MAX).contains(&value);
    let fits: Float64Array = ints.iter().map(|value| value.filter(|v| exact(*v)).map(|v| v as f64)).collect();
    let rest: Int64Array = ints.iter().map(|value| value.filter(|v| !exact(*v))).collect();
    parts(Arc::new(fits), Arc::new(rest))
}

/// Floats that are whole numbers an integer holds exactly; minus zero is not one.
pub(super) fn floats_as_ints(column: &ArrayRef) -> Split {
    let floats = column.as_primitive::<Float64Type>();
    let fits: Int64Array = floats.iter().map(|value| value.and_then(whole)).collect();
    let rest: Float64Array = floats.iter().map(|value| value.filter(|v| whole(*v).is_none())).collect();
    parts(Arc::new(fits), Arc::new(rest))
}

fn whole(value: f64) -> Option<i64> {
    let within = value >= i64::MIN as f64 && value < i64::MAX as f64;
    let minus_zero = value == 0.0 && value.is_sign_negative();
    (within && value.fract() == 0.0 && !minus_zero).then_some(value as i64)
}

fn parts(fits: ArrayRef, rest: ArrayRef) -> Split {
    let some = |column: ArrayRef| (column.null_count() < column.len()).then_some(column);
    Split { fits: some(fits), rest: some(rest) }
}
