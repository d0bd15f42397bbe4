//! columns on their way out: every length, offset, index and text is checked before it becomes a column

use super::answer::Flaw;
use super::boundary::{Column, Dictionary, Slices, Values, VarBytes};
use super::{Limits, write};
use crate::event::Type;
use crate::units::ByteSize;
use arrow::array::TimestampNanosecondArray;
use arrow::array::{ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
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
            let bytes = slices.spans.as_chunks::<2>().0.iter().fold(0, |sum, [_, length]| sum + *length as usize);
            room.take(&name, bytes)?;
            cut_out(&slices, nulls, input, bytes).map_err(wrong)?
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

/// One byte a row to one bit a row; any byte but 0 is a 1.
pub(super) fn bits(bytes: &[u8]) -> BooleanBuffer {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut packed = Vec::with_capacity(eights.len() + 1);
    packed.extend(eights.iter().map(|eight| packed_byte(*eight)));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        packed.push(packed_byte(last));
    }
    BooleanBuffer::new(Buffer::from_vec(packed), 0, bytes.len())
}

/// Eight bytes to eight bits: the highest bit of each that is not 0, gathered by a product whose partial sums do not meet.
fn packed_byte(eight: [u8; 8]) -> u8 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let word = u64::from_le_bytes(eight);
    let set = (((word & LOW) + LOW) | word) & !LOW;
    ((set >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8
}

/// Values no longer than this are copied as a block of it, which takes no call.
const BLOCK: usize = 16;

/// Appends `source[start..start + length]`; nothing and false where there is no such slice.
fn append(data: &mut Vec<u8>, source: &[u8], start: usize, length: usize) -> bool {
    let Some(rest) = source.get(start..) else { return false };
    match rest.first_chunk::<BLOCK>() {
        Some(block) if length <= BLOCK => {
            let end = data.len() + length;
            data.extend_from_slice(block);
            data.truncate(end);
        }
        _ => match rest.get(..length) {
            Some(value) => data.extend_from_slice(value),
            None => return false,
        },
    }
    true
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
        let spans: Vec<(usize, usize)> = values
            .offsets()
            .iter()
            .zip(values.offsets().lengths())
            .map(|(start, length)| (*start as usize, length))
            .collect();
        // So that a block can be copied of the last value too.
        let texts = [values.value_data(), &[0; BLOCK]].concat();
        let mut data = Vec::with_capacity(bytes + BLOCK);
        let mut offsets: Vec<i32> = Vec::with_capacity(indices.len() + 1);
        offsets.push(0);
        for (row, index) in indices.iter().enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row)) {
                let (start, length) = spans.get(*index as usize).copied().unwrap_or_default();
                append(&mut data, &texts, start, length);
            }
            offsets.push(i32::try_from(data.len()).unwrap_or(i32::MAX));
        }
        // Whole values, each of which was checked.
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let text = text(offsets, Buffer::from_vec(data), nulls);
        Ok(Arc::new(text.map_err(|error| error.to_string())?))
    }
}

/// Slices of a column as plain text, so many bytes. A null's slice is read like any other: the SDKs give it no bytes.
fn cut_out(slices: &Slices, nulls: Option<NullBuffer>, input: &RecordBatch, bytes: usize) -> Result<ArrayRef, String> {
    let Slices { of, spans, extra } = slices;
    let source = match input.column_by_name(of) {
        Some(column) => write::data_of(column).ok_or_else(|| format!("is cut out of `{of}`, which is no text"))?,
        // As for the plugin: a column that no event has is null in every row.
        None => &[],
    };
    let mut data = Vec::with_capacity(bytes + BLOCK);
    let mut offsets: Vec<i32> = Vec::with_capacity(spans.len() / 2 + 1);
    offsets.push(0);
    for (row, [start, length]) in spans.as_chunks::<2>().0.iter().enumerate() {
        let (start, length) = (*start as usize, *length as usize);
        let is_there = match start.checked_sub(source.len()) {
            // What is not all in the column is nowhere; the block that is copied of a short one may reach further than it.
            None => start + length <= source.len() && append(&mut data, source, start, length),
            Some(start) => start + length <= extra.len() && append(&mut data, extra, start, length),
        };
        if !is_there {
            return Err(format!("row {row} is cut out from beyond the end of `{of}`"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_a_row_is_a_bit_a_row() {
        for length in 0..40 {
            for salt in 0..64usize {
                let bytes: Vec<u8> =
                    (0..length).map(|row| [0, 1, 2, 0x7f, 0x80, 0xff][(row * 7 + salt * 5) % 6]).collect();
                let wanted: Vec<bool> = bytes.iter().map(|byte| *byte != 0).collect();
                assert_eq!(bits(&bytes).iter().collect::<Vec<_>>(), wanted, "{bytes:?}");
            }
        }
    }

    #[test]
    fn values_are_appended_as_they_are_and_nothing_beyond() {
        let source: Vec<u8> = (0..40).collect();
        for start in 0..=41 {
            for length in 0..=41 {
                let mut data = vec![99];
                match source.get(start..start + length) {
                    Some(value) => {
                        assert!(append(&mut data, &source, start, length));
                        assert_eq!((data[0], &data[1..]), (99, value));
                    }
                    None => assert!(!append(&mut data, &source, start, length)),
                }
            }
        }
    }
}
