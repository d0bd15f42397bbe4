//! columns on their way out: every length, offset, index and text is checked before it becomes a column

use super::answer::Flaw;
use super::boundary::{Column, Dictionary, Slices, Values, VarBytes};
use super::{Limits, write};
use crate::event::Type;
use crate::units::ByteSize;
use arrow::array::TimestampNanosecondArray;
use arrow::array::{Array, ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use std::sync::Arc;

/// What the dictionaries and slices of an answer may still become once they are unpacked.
pub(super) struct Room {
    all: ByteSize,
    left: usize,
}

impl Room {
    /// For one answer.
    pub fn of(limits: &Limits) -> Room {
        Room { all: limits.output, left: limits.output.as_usize() }
    }

    fn take(&mut self, name: &str, bytes: usize) -> Result<(), Flaw> {
        match self.left.checked_sub(bytes) {
            // Offsets are 32 bits wide and signed.
            Some(left) if i32::try_from(bytes).is_ok() => {
                self.left = left;
                Ok(())
            }
            _ => Err(Flaw::Large(format!(
                "its answer is larger than {} once column `{name}` is unpacked, which has {bytes} bytes",
                self.all
            ))),
        }
    }
}

/// Checks a column and makes it Arrow's. The error says what is malformed. `input` is what the plugin was handed.
pub(super) fn column(
    column: Column,
    rows: usize,
    input: &RecordBatch,
    room: &mut Room,
) -> Result<(String, ArrayRef), Flaw> {
    let name = column.name;
    let wrong = |what: String| Flaw::Malformed(format!("column `{name}`: {what}"));
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
        Values::Utf8(bytes) => {
            let (offsets, data) = spans(bytes, rows).map_err(wrong)?;
            Arc::new(text(offsets, data, nulls).map_err(|_| wrong("its text is not UTF-8".into()))?)
        }
        Values::Binary(bytes) => {
            let (offsets, data) = spans(bytes, rows).map_err(wrong)?;
            Arc::new(BinaryArray::try_new(offsets, data, nulls).map_err(|error| wrong(error.to_string()))?)
        }
        Values::DictUtf8(dictionary) => {
            length(dictionary.indices.len())?;
            let (texts, bytes) = Texts::of(dictionary, nulls.as_ref()).map_err(wrong)?;
            room.take(&name, bytes)?;
            texts.unpacked(nulls, bytes).map_err(wrong)?
        }
        Values::SlicedUtf8(slices) => {
            if slices.spans.len() != 2 * rows {
                return Err(wrong(format!("has {} starts and lengths for {rows} rows", slices.spans.len())));
            }
            room.take(
                &name,
                slices.spans.as_chunks::<2>().0.iter().fold(0, |sum, [_, length]| sum + *length as usize),
            )?;
            cut_out(&slices, nulls, input).map_err(wrong)?
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
        Values::Utf8(_) | Values::DictUtf8(_) | Values::SlicedUtf8(_) => Type::Utf8,
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

/// A dictionary whose values are text and whose indices all have one. A null's index may be anything.
struct Texts {
    indices: Vec<u32>,
    values: StringArray,
}

impl Texts {
    /// With the bytes that they have once unpacked.
    fn of(dictionary: Dictionary, nulls: Option<&NullBuffer>) -> Result<(Texts, usize), String> {
        let Dictionary { indices, values } = dictionary;
        let distinct = values.offsets.len().saturating_sub(1);
        let (offsets, data) = spans(values, distinct)?;
        let values = StringArray::try_new(offsets, data, None).map_err(|_| "its text is not UTF-8".to_owned())?;
        let lengths: Vec<usize> = values.offsets().lengths().collect();
        let mut bytes: usize = 0;
        for (row, index) in indices.iter().enumerate() {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let length = lengths.get(*index as usize);
            let length = length.ok_or_else(|| format!("row {row} points past its {distinct} values"))?;
            bytes = bytes.saturating_add(*length);
        }
        Ok((Texts { indices, values }, bytes))
    }

    /// As plain text.
    fn unpacked(self, nulls: Option<NullBuffer>, bytes: usize) -> Result<ArrayRef, String> {
        let Texts { indices, values } = self;
        let texts: Vec<&[u8]> = (0..values.len()).map(|index| values.value(index).as_bytes()).collect();
        let mut data = Vec::with_capacity(bytes);
        let mut offsets: Vec<i32> = Vec::with_capacity(indices.len() + 1);
        offsets.push(0);
        for (row, index) in indices.iter().enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                data.extend_from_slice(texts.get(*index as usize).copied().unwrap_or_default());
            }
            offsets.push(i32::try_from(data.len()).unwrap_or(i32::MAX));
        }
        // Whole values, each of which was checked.
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let text = text(offsets, Buffer::from_vec(data), nulls);
        Ok(Arc::new(text.map_err(|error| error.to_string())?))
    }
}

/// Slices of a column as plain text. A null's slice has no bytes.
fn cut_out(slices: &Slices, nulls: Option<NullBuffer>, input: &RecordBatch) -> Result<ArrayRef, String> {
    let Slices { of, spans, extra } = slices;
    let source = match input.column_by_name(of) {
        Some(column) => write::data_of(column).ok_or_else(|| format!("is cut out of `{of}`, which is no text"))?,
        // As for the plugin: a column that no event has is null in every row.
        None => &[],
    };
    let pairs = || spans.as_chunks::<2>().0.iter().map(|[start, length]| (*start as usize, *length as usize));
    let bytes: usize = pairs().map(|(_, length)| length).fold(0, usize::saturating_add);
    let slice = |(start, length): (usize, usize)| match start.checked_sub(source.len()) {
        None => source.get(start..start + length),
        Some(start) => extra.get(start..start + length),
    };
    let mut data = Vec::with_capacity(bytes);
    let mut offsets: Vec<i32> = Vec::with_capacity(spans.len() / 2 + 1);
    offsets.push(0);
    for (row, span) in pairs().enumerate() {
        let value = slice(span).ok_or_else(|| format!("row {row} is cut out from beyond the end of `{of}`"))?;
        data.extend_from_slice(value);
        offsets.push(data.len() as i32);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    let data = Buffer::from_vec(data);
    let text = text(offsets.clone(), data.clone(), nulls.clone());
    Ok(Arc::new(text.unwrap_or_else(|_| repaired(BinaryArray::new(offsets, data, nulls)))))
}

/// A column of text, if that is what it is. Most logs are ASCII, and to see that is quick.
fn text(offsets: OffsetBuffer<i32>, data: Buffer, nulls: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
    let last = offsets.last().and_then(|last| usize::try_from(*last).ok());
    let fits = last.is_some_and(|last| last <= data.len());
    let nulls_fit = nulls.as_ref().is_none_or(|nulls| nulls.len() + 1 == offsets.len());
    if fits && nulls_fit && data.is_ascii() {
        // SAFETY: offsets ascend by their type and end within the data, there is a null's bit for each value, and ASCII is UTF-8
        // wherever it is cut.
        #[allow(
            unsafe_code,
            reason = "Arrow would look at each byte and each offset again, which is a sixth of a parser's time"
        )]
        return Ok(unsafe { StringArray::new_unchecked(offsets, data, nulls) });
    }
    StringArray::try_new(offsets, data, nulls)
}

/// With U+FFFD for what is not UTF-8, value by value.
fn repaired(bytes: BinaryArray) -> StringArray {
    bytes.iter().map(|value| value.map(String::from_utf8_lossy)).collect()
}
