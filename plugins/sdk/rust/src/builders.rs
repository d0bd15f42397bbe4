//! what goes out: a builder for each type of column
//!
//! ```text
//! push, push_null, … ─► Vec of values, offsets, validity ─► handed to the host as they are
//! ```
//!
//! **Always:** what a column of text hands over is UTF-8; bytes that are not become U+FFFD.
//! **Never:** a validity is kept before the first null.

use std::collections::HashMap;

use crate::wire;

/// Something that ends as a column.
pub trait Build {
    /// How many rows were pushed.
    fn rows(&self) -> usize;

    /// The values, and which rows hold one.
    fn build(self) -> (wire::Values, Option<Vec<u8>>);
}

/// Which rows hold a value: nothing at all until the first null.
#[derive(Clone, Debug, Default)]
pub(crate) struct Validity(Option<Vec<u8>>);

impl Validity {
    #[inline]
    pub(crate) fn push_valid(&mut self) {
        if let Some(rows) = &mut self.0 {
            rows.push(1);
        }
    }

    #[inline]
    pub(crate) fn push_null(&mut self, rows_before: usize) {
        self.0.get_or_insert_with(|| vec![1; rows_before]).push(0);
    }

    pub(crate) fn into_bytes(self) -> Option<Vec<u8>> {
        self.0
    }
}

macro_rules! fixed_size {
    ($(#[$about:meta])* $name:ident, $value:ty, $slot:ty, $variant:ident) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default)]
        pub struct $name {
            values: Vec<$slot>,
            validity: Validity,
        }

        impl $name {
            /// Room for so many rows.
            pub fn with_rows(rows: usize) -> $name {
                $name { values: Vec::with_capacity(rows), validity: Validity::default() }
            }

            /// The next row's value.
            #[inline]
            pub fn push(&mut self, value: $value) {
                self.values.push(value as $slot);
                self.validity.push_valid();
            }

            /// The next row has none.
            #[inline]
            pub fn push_null(&mut self) {
                self.validity.push_null(self.values.len());
                self.values.push(<$slot>::default());
            }

            /// The next row's value, if it has one.
            #[inline]
            pub fn push_option(&mut self, value: Option<$value>) {
                match value {
                    Some(value) => self.push(value),
                    None => self.push_null(),
                }
            }
        }

        impl Build for $name {
            fn rows(&self) -> usize {
                self.values.len()
            }

            fn build(self) -> (wire::Values, Option<Vec<u8>>) {
                (wire::Values::$variant(self.values), self.validity.0)
            }
        }
    };
}

fixed_size!(
    /// A column of 64-bit integers.
    Ints, i64, i64, Int64
);
fixed_size!(
    /// A column of 64-bit floating-point numbers.
    Floats, f64, f64, Float64
);
fixed_size!(
    /// A column of nanoseconds since 1970-01-01T00:00:00Z.
    Timestamps, i64, i64, Timestamp
);
fixed_size!(
    /// A column of true and false.
    Booleans, bool, u8, Boolean
);

macro_rules! variable_size {
    ($(#[$about:meta])* $name:ident) => {
        $(#[$about])*
        #[derive(Clone, Debug)]
        pub struct $name {
            offsets: Vec<u32>,
            data: Vec<u8>,
            validity: Validity,
        }

        impl Default for $name {
            fn default() -> $name {
                $name::with_rows(0, 0)
            }
        }

        impl $name {
            /// Room for so many rows and bytes.
            pub fn with_rows(rows: usize, bytes: usize) -> $name {
                let mut offsets = Vec::with_capacity(rows + 1);
                offsets.push(0);
                $name { offsets, data: Vec::with_capacity(bytes), validity: Validity::default() }
            }

            /// The next row's value.
            #[inline]
            pub fn push(&mut self, value: impl AsRef<[u8]>) {
                self.data.extend_from_slice(value.as_ref());
                self.offsets.push(self.data.len() as u32);
                self.validity.push_valid();
            }

            /// The next row has none.
            #[inline]
            pub fn push_null(&mut self) {
                self.validity.push_null(self.offsets.len() - 1);
                self.offsets.push(self.data.len() as u32);
            }

            /// The next row's value, if it has one.
            #[inline]
            pub fn push_option(&mut self, value: Option<impl AsRef<[u8]>>) {
                match value {
                    Some(value) => self.push(value),
                    None => self.push_null(),
                }
            }

            fn into_parts(self) -> (wire::VarBytes, Option<Vec<u8>>) {
                (wire::VarBytes { offsets: self.offsets, data: self.data }, self.validity.0)
            }
        }
    };
}

variable_size!(
    /// A column of text. It takes bytes: what is not UTF-8 becomes U+FFFD at the end, once for the whole column.
    Texts
);
variable_size!(
    /// A column of bytes.
    Binaries
);

impl Texts {
    pub(crate) fn into_var_bytes(self) -> wire::VarBytes {
        as_utf8(self.into_parts().0)
    }
}

impl Build for Texts {
    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn build(self) -> (wire::Values, Option<Vec<u8>>) {
        let (values, validity) = self.into_parts();
        (wire::Values::Utf8(as_utf8(values)), validity)
    }
}

impl Build for Binaries {
    fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    fn build(self) -> (wire::Values, Option<Vec<u8>>) {
        let (values, validity) = self.into_parts();
        (wire::Values::Binary(values), validity)
    }
}

/// A column of text with few distinct values (a method, a level, a host): each is written once.
#[derive(Clone, Debug, Default)]
pub struct Words {
    indices: Vec<u32>,
    distinct: Texts,
    validity: Validity,
    /// Only filled when there are more distinct values than a glance takes in.
    index_of: HashMap<Box<[u8]>, u32>,
}

/// Up to here a look along the distinct values is quicker than hashing.
const WORDS_AT_A_GLANCE: usize = 12;

impl Words {
    /// Room for so many rows.
    pub fn with_rows(rows: usize) -> Words {
        Words { indices: Vec::with_capacity(rows), ..Words::default() }
    }

    /// The next row's value.
    #[inline(always)]
    pub fn push(&mut self, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let index = match self.indices.last() {
            Some(last) if self.distinct_at(*last as usize).is_some_and(|word| same(word, value)) => *last,
            _ => self.find_or_add(value),
        };
        self.indices.push(index);
        self.validity.push_valid();
    }

    /// The next row has none.
    #[inline]
    pub fn push_null(&mut self) {
        self.validity.push_null(self.indices.len());
        self.indices.push(0);
    }

    /// The next row's value, if it has one.
    #[inline]
    pub fn push_option(&mut self, value: Option<impl AsRef<[u8]>>) {
        match value {
            Some(value) => self.push(value),
            None => self.push_null(),
        }
    }

    #[inline]
    fn distinct_at(&self, index: usize) -> Option<&[u8]> {
        let start = *self.distinct.offsets.get(index)? as usize;
        let end = *self.distinct.offsets.get(index + 1)? as usize;
        self.distinct.data.get(start..end)
    }

    fn find_or_add(&mut self, value: &[u8]) -> u32 {
        let count = self.distinct.rows();
        let found = if count <= WORDS_AT_A_GLANCE {
            (0..count)
                .find(|index| self.distinct_at(*index).is_some_and(|word| same(word, value)))
                .map(|index| index as u32)
        } else {
            self.index_of.get(value).copied()
        };
        found.unwrap_or_else(|| self.add(value))
    }

    fn add(&mut self, value: &[u8]) -> u32 {
        let index = self.distinct.rows() as u32;
        self.distinct.push(value);
        self.index_of.insert(value.into(), index);
        index
    }
}

/// Whether two words are the same: short ones by their two halves, which may overlap, without a call and without a loop.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    fn halves<const N: usize>(word: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        Some((word.first_chunk()?, word.last_chunk()?))
    }
    if one.len() != other.len() {
        return false;
    }
    match one.len() {
        0 => true,
        1 => one[0] == other[0],
        2..=4 => halves::<2>(one) == halves::<2>(other),
        5..=8 => halves::<4>(one) == halves::<4>(other),
        9..=16 => halves::<8>(one) == halves::<8>(other),
        _ => one == other,
    }
}

impl Build for Words {
    fn rows(&self) -> usize {
        self.indices.len()
    }

    fn build(mut self) -> (wire::Values, Option<Vec<u8>>) {
        if self.distinct.rows() == 0 && !self.indices.is_empty() {
            self.distinct.push(""); // nulls point at it
        }
        let values = self.distinct.into_var_bytes();
        (wire::Values::DictUtf8(wire::Dictionary { indices: self.indices, values }), self.validity.0)
    }
}

/// One look at the whole column where it is ASCII, as logs nearly always are; else value by value.
fn as_utf8(values: wire::VarBytes) -> wire::VarBytes {
    if is_ascii(&values.data) || every_value_is_utf8(&values) {
        return values;
    }
    let mut repaired = Texts::with_rows(values.offsets.len(), values.data.len());
    for pair in values.offsets.windows(2) {
        let value = values.data.get(pair[0] as usize..pair[1] as usize).unwrap_or_default();
        repaired.push(String::from_utf8_lossy(value).as_bytes());
    }
    repaired.into_parts().0
}

fn every_value_is_utf8(values: &wire::VarBytes) -> bool {
    let Ok(text) = std::str::from_utf8(&values.data) else { return false };
    values.offsets.iter().all(|offset| text.is_char_boundary(*offset as usize))
}

/// In blocks that the compiler turns into vector instructions.
fn is_ascii(bytes: &[u8]) -> bool {
    let blocks = bytes.chunks_exact(64);
    let rest = blocks.remainder();
    blocks.into_iter().all(|block| block.iter().fold(0, |all, byte| all | byte) < 128) && rest.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(words: Words) -> Vec<Option<String>> {
        let (built, validity) = words.build();
        let wire::Values::DictUtf8(dictionary) = built else { unreachable!() };
        let column = wire::Column { name: "x".into(), values: wire::Values::DictUtf8(dictionary), validity };
        let rows = match &column.values {
            wire::Values::DictUtf8(dictionary) => dictionary.indices.len(),
            _ => 0,
        };
        let batch = crate::Batch::new(rows, vec![column]);
        let text = batch.text("x").unwrap();
        text.iter().map(|value| value.map(|value| value.into_owned())).collect()
    }

    #[test]
    fn words_come_back_in_order_however_many_there_are() {
        let mut words = Words::default();
        let mut expected = Vec::new();
        for row in 0..200 {
            if row % 7 == 0 {
                words.push_null();
                expected.push(None);
            } else {
                words.push(format!("w{}", row % 40));
                expected.push(Some(format!("w{}", row % 40)));
            }
        }
        assert_eq!(values(words), expected);
    }

    #[test]
    fn nothing_but_nulls_is_still_a_dictionary() {
        let mut words = Words::default();
        words.push_null();
        assert_eq!(values(words), [None]);
    }

    #[test]
    fn a_character_cut_between_two_values_is_repaired_in_both() {
        let mut texts = Texts::default();
        texts.push([0xc3]);
        texts.push([0xa9]);
        texts.push("é");
        let (values, _) = texts.build();
        let wire::Values::Utf8(values) = values else { unreachable!() };
        assert_eq!(std::str::from_utf8(&values.data).unwrap(), "\u{fffd}\u{fffd}é");
        assert_eq!(values.offsets, [0, 3, 6, 8]);
    }
}
