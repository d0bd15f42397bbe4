//! what comes in: a batch of columns, read by name and by type
//!
//! A column that no event has is absent from the batch, and reads as null in every row.
//! A column of another type than the one asked for is an error that names both.

use std::borrow::Cow;

use crate::wire;

/// Columns of equal length.
#[derive(Clone, Debug)]
pub struct Batch {
    rows: usize,
    columns: Vec<wire::Column>,
}

impl From<wire::Batch> for Batch {
    fn from(batch: wire::Batch) -> Batch {
        Batch { rows: batch.rows as usize, columns: batch.columns }
    }
}

impl Batch {
    /// A batch of `rows` rows out of the wire's columns, for native callers.
    pub fn new(rows: usize, columns: Vec<wire::Column>) -> Batch {
        Batch { rows, columns }
    }

    /// How many rows there are, in every column.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns, in the order they came.
    pub fn columns(&self) -> impl Iterator<Item = Column<'_>> {
        self.columns.iter().map(|column| Column { rows: self.rows, column })
    }

    /// One column, whatever its type.
    pub fn column(&self, name: &str) -> Option<Column<'_>> {
        self.columns().find(|column| column.name() == name)
    }

    /// A column of text or bytes, as bytes.
    pub fn bytes(&self, name: &str) -> Result<BytesColumn<'_>, String> {
        match self.column(name) {
            None => Ok(BytesColumn { name: "", rows: self.rows, validity: None, kind: BytesKind::Absent }),
            Some(column) => column.bytes().ok_or_else(|| column.mismatch("text or bytes")),
        }
    }

    /// A column of text. Bytes that are not UTF-8 read as U+FFFD.
    pub fn text(&self, name: &str) -> Result<TextColumn<'_>, String> {
        self.bytes(name).map(TextColumn::new)
    }

    /// A column of 64-bit integers.
    pub fn ints(&self, name: &str) -> Result<NumberColumn<'_, i64>, String> {
        match self.column(name) {
            None => Ok(NumberColumn::absent(self.rows)),
            Some(column) => column.ints().ok_or_else(|| column.mismatch("int64")),
        }
    }

    /// A column of timestamps: nanoseconds since 1970-01-01T00:00:00Z.
    pub fn timestamps(&self, name: &str) -> Result<NumberColumn<'_, i64>, String> {
        match self.column(name) {
            None => Ok(NumberColumn::absent(self.rows)),
            Some(column) => column.timestamps().ok_or_else(|| column.mismatch("timestamp")),
        }
    }

    /// A column of numbers: float64 as it is, int64 converted.
    pub fn floats(&self, name: &str) -> Result<FloatColumn<'_>, String> {
        match self.column(name) {
            None => Ok(FloatColumn { rows: self.rows, values: Cow::Borrowed(&[]), validity: None }),
            Some(column) => column.floats().ok_or_else(|| column.mismatch("float64 or int64")),
        }
    }

    /// A column of booleans, one byte a row: 0 or 1.
    pub fn booleans(&self, name: &str) -> Result<NumberColumn<'_, u8>, String> {
        match self.column(name) {
            None => Ok(NumberColumn::absent(self.rows)),
            Some(column) => column.booleans().ok_or_else(|| column.mismatch("boolean")),
        }
    }
}

/// One column of a batch, of a type not known yet.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    rows: usize,
    column: &'a wire::Column,
}

impl<'a> Column<'a> {
    /// What the column is called.
    pub fn name(&self) -> &'a str {
        &self.column.name
    }

    /// Its type, as the interface names it.
    pub fn type_name(&self) -> &'static str {
        match &self.column.values {
            wire::Values::Boolean(_) => "boolean",
            wire::Values::Int64(_) => "int64",
            wire::Values::Float64(_) => "float64",
            wire::Values::Timestamp(_) => "timestamp",
            wire::Values::Utf8(_) | wire::Values::DictUtf8(_) | wire::Values::SlicedUtf8(_) => "utf8",
            wire::Values::Binary(_) => "binary",
        }
    }

    /// Text or bytes, or `None` if it is another type.
    pub fn bytes(&self) -> Option<BytesColumn<'a>> {
        let kind = match &self.column.values {
            wire::Values::Utf8(values) | wire::Values::Binary(values) => BytesKind::Plain(values),
            wire::Values::DictUtf8(dictionary) => BytesKind::Dictionary(dictionary),
            _ => return None,
        };
        Some(BytesColumn { name: self.name(), rows: self.rows, validity: self.validity(), kind })
    }

    /// 64-bit integers, or `None` if it is another type.
    pub fn ints(&self) -> Option<NumberColumn<'a, i64>> {
        match &self.column.values {
            wire::Values::Int64(values) => Some(self.numbers(values)),
            _ => None,
        }
    }

    /// Timestamps, or `None` if it is another type.
    pub fn timestamps(&self) -> Option<NumberColumn<'a, i64>> {
        match &self.column.values {
            wire::Values::Timestamp(values) => Some(self.numbers(values)),
            _ => None,
        }
    }

    /// Booleans, or `None` if it is another type.
    pub fn booleans(&self) -> Option<NumberColumn<'a, u8>> {
        match &self.column.values {
            wire::Values::Boolean(values) => Some(self.numbers(values)),
            _ => None,
        }
    }

    /// Numbers as float64, or `None` if it is another type.
    pub fn floats(&self) -> Option<FloatColumn<'a>> {
        let values = match &self.column.values {
            wire::Values::Float64(values) => Cow::Borrowed(values.as_slice()),
            wire::Values::Int64(values) => Cow::Owned(values.iter().map(|value| *value as f64).collect()),
            _ => return None,
        };
        Some(FloatColumn { rows: self.rows, values, validity: self.validity() })
    }

    /// A row's value as text, `None` where it is null: timestamps in RFC 3339, booleans as true and false.
    pub fn text_of(&self, row: usize) -> Option<Cow<'a, [u8]>> {
        fn shown<'a>(text: String) -> Cow<'a, [u8]> {
            Cow::Owned(text.into_bytes())
        }
        match &self.column.values {
            wire::Values::Boolean(_) => self.booleans()?.get(row).map(|value| shown((value != 0).to_string())),
            wire::Values::Int64(_) => self.ints()?.get(row).map(|value| shown(value.to_string())),
            wire::Values::Float64(values) => self.numbers(values).get(row).map(|value| shown(value.to_string())),
            wire::Values::Timestamp(_) => {
                self.timestamps()?.get(row).map(|value| shown(crate::time::format_rfc3339(value)))
            }
            wire::Values::Utf8(_) | wire::Values::Binary(_) | wire::Values::DictUtf8(_) => {
                self.bytes()?.get(row).map(Cow::Borrowed)
            }
            // Only in answers, where nobody reads it before it was cut out.
            wire::Values::SlicedUtf8(_) => None,
        }
    }

    /// One byte a row, 0 where it is null; `None` where nothing is.
    pub fn validity(&self) -> Option<&'a [u8]> {
        self.column.validity.as_deref()
    }

    /// The column as it crossed.
    pub fn wire(&self) -> &'a wire::Column {
        self.column
    }

    fn numbers<T: Copy>(&self, values: &'a [T]) -> NumberColumn<'a, T> {
        NumberColumn { rows: self.rows, values, validity: self.validity() }
    }

    fn mismatch(&self, wanted: &str) -> String {
        format!("column `{}` is {}, and {wanted} is wanted here", self.name(), self.type_name())
    }
}

/// Fixed-size values of one column.
#[derive(Clone, Copy, Debug)]
pub struct NumberColumn<'a, T> {
    rows: usize,
    values: &'a [T],
    validity: Option<&'a [u8]>,
}

impl<'a, T: Copy> NumberColumn<'a, T> {
    fn absent(rows: usize) -> NumberColumn<'a, T> {
        NumberColumn { rows, values: &[], validity: None }
    }

    /// A row's value, `None` where it is null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<T> {
        if is_null(self.validity, row) { None } else { self.values.get(row).copied() }
    }

    /// Every row's value in order, `None` where it is null.
    pub fn iter(&self) -> impl Iterator<Item = Option<T>> + use<'a, T> {
        let column = *self;
        (0..self.rows).map(move |row| column.get(row))
    }

    /// The bare values, for a tight loop; a null's slot holds anything, and an absent column has none.
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// One byte a row, 0 where it is null; `None` where nothing is.
    pub fn validity(&self) -> Option<&'a [u8]> {
        self.validity
    }
}

/// Numbers of one column as float64.
#[derive(Clone, Debug)]
pub struct FloatColumn<'a> {
    rows: usize,
    values: Cow<'a, [f64]>,
    validity: Option<&'a [u8]>,
}

impl FloatColumn<'_> {
    /// A row's value, `None` where it is null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<f64> {
        if is_null(self.validity, row) { None } else { self.values.get(row).copied() }
    }

    /// Every row's value in order, `None` where it is null.
    pub fn iter(&self) -> impl Iterator<Item = Option<f64>> + '_ {
        (0..self.rows).map(|row| self.get(row))
    }

    /// The bare values, for a tight loop; a null's slot holds anything, and an absent column has none.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// Text or bytes of one column.
#[derive(Clone, Copy, Debug)]
pub struct BytesColumn<'a> {
    name: &'a str,
    rows: usize,
    validity: Option<&'a [u8]>,
    kind: BytesKind<'a>,
}

#[derive(Clone, Copy, Debug)]
enum BytesKind<'a> {
    Absent,
    Plain(&'a wire::VarBytes),
    Dictionary(&'a wire::Dictionary),
}

impl<'a> BytesColumn<'a> {
    /// What the column is called; nothing where it is absent.
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// A row's value, `None` where it is null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<&'a [u8]> {
        if is_null(self.validity, row) {
            return None;
        }
        match self.kind {
            BytesKind::Absent => None,
            BytesKind::Plain(values) => slot(values, row),
            BytesKind::Dictionary(dictionary) => slot(&dictionary.values, *dictionary.indices.get(row)? as usize),
        }
    }

    /// Every row's value in order, `None` where it is null.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Option<&'a [u8]>> + use<'a> {
        let column = *self;
        (0..self.rows).map(move |row| column.get(row))
    }

    /// One byte a row, 0 where it is null; `None` where nothing is.
    pub fn validity(&self) -> Option<&'a [u8]> {
        self.validity
    }

    /// Offsets and data back to back, unless it is a dictionary or absent: for a search over the whole column at once.
    pub fn plain(&self) -> Option<(&'a [u32], &'a [u8])> {
        match self.kind {
            BytesKind::Plain(values) => Some((&values.offsets, &values.data)),
            BytesKind::Absent | BytesKind::Dictionary(_) => None,
        }
    }

    /// The index of each row and the distinct values, if it is a dictionary.
    pub fn dictionary(&self) -> Option<(&'a [u32], impl Iterator<Item = &'a [u8]> + use<'a>)> {
        match self.kind {
            BytesKind::Dictionary(dictionary) => {
                let values = &dictionary.values;
                let count = values.offsets.len().saturating_sub(1);
                Some((dictionary.indices.as_slice(), (0..count).filter_map(move |index| slot(values, index))))
            }
            BytesKind::Absent | BytesKind::Plain(_) => None,
        }
    }
}

/// Text of one column.
#[derive(Clone, Copy, Debug)]
pub struct TextColumn<'a> {
    bytes: BytesColumn<'a>,
}

impl<'a> TextColumn<'a> {
    fn new(bytes: BytesColumn<'a>) -> TextColumn<'a> {
        TextColumn { bytes }
    }

    /// A row's value, `None` where it is null.
    #[inline]
    pub fn get(&self, row: usize) -> Option<Cow<'a, str>> {
        self.bytes.get(row).map(String::from_utf8_lossy)
    }

    /// Every row's value in order, `None` where it is null.
    pub fn iter(&self) -> impl Iterator<Item = Option<Cow<'a, str>>> + use<'a> {
        self.bytes.iter().map(|value| value.map(String::from_utf8_lossy))
    }
}

#[inline]
fn is_null(validity: Option<&[u8]>, row: usize) -> bool {
    validity.is_some_and(|validity| validity.get(row) == Some(&0))
}

#[inline]
fn slot(values: &wire::VarBytes, index: usize) -> Option<&[u8]> {
    let start = *values.offsets.get(index)? as usize;
    let end = *values.offsets.get(index + 1)? as usize;
    values.data.get(start..end)
}
