//! a value that does not fit its column is widened or goes to a sibling column; nothing is lost
//!
//!     arriving batch ─► plain types ─► each column: fits │ widens │ becomes text │ goes to its sibling ─► columns of the table
//!
//! A column's own name is tried first. What does not fit goes to `<name>__<type>`, and should that be taken, to
//! `<name>__<type>__<type>` and so on. When a table has as many columns as it may have, further ones go as JSON text to `__more`.
//!
//! **Always:** every value that is not null can be found again, in its column, in a sibling, or in `__more`.
//! **Never:** an integer beyond 2^53 is turned into a float; nothing here touches a disk or reads a clock.

mod shape;
mod split;
mod text;

pub use shape::Shape;
pub(super) use text::text;

use super::columns::{self, BODY, COLUMNS_MAX, NAME_BYTES_MAX, RAW, TIMESTAMP, Type};
use super::mixed;
use crate::error::Result;
use arrow::array::{Array, ArrayRef, AsArray, TimestampNanosecondArray};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{Field, Schema, TimestampNanosecondType};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use sha2::{Digest, Sha256};
use split::Split;
use std::borrow::Cow;
use std::sync::Arc;

/// Where the values of columns go that a full table has no room for, as the text of a JSON object.
pub const MORE: &str = "__more";
/// What a column without a name is called.
pub const EMPTY: &str = "__empty";

/// The longest example of a drift, in characters.
const EXAMPLE_CHARS_MAX: usize = 200;

/// A batch as the table takes it.
#[derive(Clone, Debug)]
pub struct Conformed {
    /// the batch's columns under the table's names and types, in the table's order; columns it does not have are left out
    pub columns: RecordBatch,
    /// the table after it: the same one when nothing changed
    pub shape: Arc<Shape>,
    /// what arrived for the first time in a type that its column does not have
    pub drift: Vec<Drift>,
}

/// A column got a value of another type for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// the column's name
    pub column: String,
    /// its type before
    pub was: &'static str,
    /// the type that arrived
    pub arrived: &'static str,
    /// what was done: `widened to float64`, `text`, `sibling x__utf8`, `JSON text in __more`
    pub became: String,
    /// one of the values
    pub example: String,
}

/// Fits a batch to a table. Rows without a time get `now`.
pub fn conform(shape: &Arc<Shape>, batch: &RecordBatch, now: i64) -> Result<Conformed> {
    let mut arriving = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let dropped = field.name() == RAW || (field.name() == BODY && !shape.body);
        if dropped {
            continue;
        }
        let parts = match mixed::is_mixed(column) {
            true => mixed::parts(column)?,
            false => text::plain(column)?.into_iter().collect(),
        };
        if !parts.is_empty() {
            arriving.push(Arriving { name: stored_name(field.name()), parts });
        }
    }
    let mut fitting = Fitting {
        shape: shape.clone(),
        rows: batch.num_rows(),
        names: arriving.iter().map(|column| column.name.to_string()).collect(),
        placed: Vec::with_capacity(arriving.len() + 2),
        used: vec![false; shape.schema.fields().len()],
        own: Vec::new(),
        more: Vec::new(),
        more_before: 0,
        drift: Vec::new(),
    };
    for column in arriving {
        fitting.own.clear();
        fitting.more_before = fitting.more.len();
        for (r#type, part) in column.parts {
            fitting.place(&column.name, r#type, part)?;
        }
    }
    fitting.own.clear();
    fitting.more_before = fitting.more.len();
    fitting.place_more()?;
    fitting.stamp(now)?;
    fitting.finish()
}

/// The name as it is stored: never empty, never longer than [`NAME_BYTES_MAX`].
fn stored_name(name: &str) -> Cow<'_, str> {
    if name.is_empty() {
        return Cow::Borrowed(EMPTY);
    }
    if name.len() <= NAME_BYTES_MAX {
        return Cow::Borrowed(name);
    }
    let hash: String = Sha256::digest(name).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let kept = name.floor_char_boundary(NAME_BYTES_MAX - hash.len() - 2);
    Cow::Owned(format!("{}__{hash}", name.get(..kept).unwrap_or_default()))
}

/// One column of the batch, each part in one of our types; no two parts have a value in the same row.
struct Arriving<'a> {
    name: Cow<'a, str>,
    parts: Vec<(Type, ArrayRef)>,
}

/// A batch while it is being fitted.
struct Fitting {
    shape: Arc<Shape>,
    rows: usize,
    /// the names the batch itself uses: no sibling may take one
    names: Vec<String>,
    /// columns that have their place in the table
    placed: Vec<(usize, ArrayRef)>,
    /// by place: whether this batch has filled it
    used: Vec<bool>,
    /// the places that parts of the column being placed have filled: its other parts may go there too
    own: Vec<usize>,
    /// columns the table has no room for
    more: Vec<(String, Type, ArrayRef)>,
    /// how many of those were there before the column being placed
    more_before: usize,
    drift: Vec<Drift>,
}

impl Fitting {
    /// Finds the place of one column, wherever that is.
    fn place(&mut self, name: &str, r#type: Type, column: ArrayRef) -> Result<()> {
        let Some(at) = self.shape.place(name) else {
            return self.place_new(name, r#type, column);
        };
        let was = self.shape.type_at(at)?;
        if self.is_taken(at) {
            return self.place_sibling(name, was, r#type, column);
        }
        if was == r#type {
            return self.put(at, column);
        }
        if column.null_count() == column.len() {
            return Ok(());
        }
        self.place_other(name, at, was, r#type, column)
    }

    /// The table has no such column yet.
    fn place_new(&mut self, name: &str, r#type: Type, column: ArrayRef) -> Result<()> {
        if !self.shape.has_room(COLUMNS_MAX, MORE) {
            if self.is_in_more(name) {
                return self.place_sibling(name, r#type, r#type, column);
            }
            if column.null_count() < column.len() {
                self.more.push((name.to_owned(), r#type, column));
            }
            return Ok(());
        }
        if name == BODY && r#type == Type::Binary {
            let at = self.grow(name, Type::Utf8);
            return self.place_other(name, at, Type::Utf8, r#type, column);
        }
        let at = self.grow(name, r#type);
        self.put(at, column)
    }

    /// The column is there and has another type; some value is not null.
    fn place_other(&mut self, name: &str, at: usize, was: Type, r#type: Type, column: ArrayRef) -> Result<()> {
        let Split { fits, rest } = match (was, r#type) {
            (Type::Utf8, Type::Binary) => split::binary_as_text(&column)?,
            (Type::Utf8, _) => {
                self.note(name, was, r#type, "text".into(), &column);
                Split::whole(Arc::new(text::text(&column, r#type)))
            }
            (Type::Float64, Type::Int64) => split::ints_as_floats(&column),
            (Type::Int64, Type::Float64) if self.shape.widens(at) => {
                self.note(name, was, r#type, "widened to float64".into(), &column);
                Arc::make_mut(&mut self.shape).retype(at, Type::Float64);
                Split::whole(column)
            }
            (Type::Int64, Type::Float64) => split::floats_as_ints(&column),
            _ => Split { fits: None, rest: Some(column) },
        };
        if let Some(fits) = fits {
            self.put(at, fits)?;
        }
        match rest {
            Some(rest) => self.place_sibling(name, was, r#type, rest),
            None => Ok(()),
        }
    }

    /// The first sibling that is free or of the right type.
    fn place_sibling(&mut self, name: &str, was: Type, r#type: Type, column: ArrayRef) -> Result<()> {
        if column.null_count() == column.len() {
            return Ok(());
        }
        let mut sibling = stored_name(&columns::sibling(name, r#type)).into_owned();
        while !self.is_free(&sibling, r#type)? {
            let next = stored_name(&columns::sibling(&sibling, r#type)).into_owned();
            sibling = next;
        }
        self.note(name, was, r#type, format!("sibling {sibling}"), &column);
        match self.shape.place(&sibling) {
            Some(at) => self.put(at, column)?,
            None if self.shape.has_room(COLUMNS_MAX, MORE) => {
                let at = self.grow(&sibling, r#type);
                self.put(at, column)?;
            }
            None => self.more.push((sibling, r#type, column)),
        }
        Ok(())
    }

    /// Whether this batch may put values of a type there.
    fn is_free(&self, name: &str, r#type: Type) -> Result<bool> {
        if self.names.iter().any(|own| own == name) || self.is_in_more(name) {
            return Ok(false);
        }
        match self.shape.place(name) {
            Some(at) => Ok(!self.is_taken(at) && self.shape.type_at(at)? == r#type),
            None => Ok(true),
        }
    }

    /// Whether another column of this batch has filled a place.
    fn is_taken(&self, at: usize) -> bool {
        self.used.get(at) == Some(&true) && !self.own.contains(&at)
    }

    /// Whether another column of this batch is among those the table has no room for.
    fn is_in_more(&self, name: &str) -> bool {
        self.more.iter().take(self.more_before).any(|(more, _, _)| more == name)
    }

    /// What the table has no room for, as JSON text.
    fn place_more(&mut self) -> Result<()> {
        if self.more.is_empty() {
            return Ok(());
        }
        let column: ArrayRef = Arc::new(text::objects(&self.more, self.rows)?);
        let mut name = MORE.to_owned();
        while !self.is_free(&name, Type::Utf8)? {
            name = columns::sibling(&name, Type::Utf8);
        }
        let first = self.more.first().map(|(name, r#type, _)| (name.clone(), *r#type));
        if let Some((first, r#type)) = first {
            self.remember(MORE, "", r#type, format!("JSON text in {name}"), first);
        }
        let at = match self.shape.place(&name) {
            Some(at) => at,
            None => self.grow(&name, Type::Utf8),
        };
        self.put(at, column)
    }

    /// Every row has a time.
    fn stamp(&mut self, now: i64) -> Result<()> {
        let Some(at) = self.shape.place(TIMESTAMP) else { return Ok(()) };
        let zoned = |times: TimestampNanosecondArray| -> ArrayRef { Arc::new(times.with_timezone("UTC")) };
        match self.placed.iter_mut().find(|(place, _)| *place == at) {
            Some((_, column)) if column.null_count() == 0 => {}
            Some((_, column)) => {
                let filled = column.as_primitive_opt::<TimestampNanosecondType>().map(|times| {
                    TimestampNanosecondArray::from_iter_values(times.iter().map(|time| time.unwrap_or(now)))
                });
                if let Some(filled) = filled {
                    *column = zoned(filled);
                }
            }
            None => self.put(at, zoned(TimestampNanosecondArray::from_value(now, self.rows)))?,
        }
        Ok(())
    }

    /// A new column at the end.
    fn grow(&mut self, name: &str, r#type: Type) -> usize {
        self.used.push(false);
        Arc::make_mut(&mut self.shape).grow(name, r#type)
    }

    /// Fills a place, or the rows of it that another part of the same column left empty.
    fn put(&mut self, at: usize, column: ArrayRef) -> Result<()> {
        if let Some((min, max)) = shape::int_bounds(&column)
            && self.shape.bound_at(at).is_none_or(|(least, most)| min < least || max > most)
        {
            Arc::make_mut(&mut self.shape).bound(at, min, max);
        }
        if let Some((_, before)) = self.placed.iter_mut().find(|(place, _)| *place == at) {
            // Integers are in a column that has just widened as what they were.
            let old = cast(before, column.data_type())?;
            *before = zip(&is_not_null(&column)?, &column, &old)?;
            return Ok(());
        }
        if let Some(used) = self.used.get_mut(at) {
            *used = true;
        }
        self.own.push(at);
        self.placed.push((at, column));
        Ok(())
    }

    /// A drift, with the first value as its example.
    fn note(&mut self, name: &str, was: Type, arrived: Type, became: String, column: &ArrayRef) {
        if self.shape.has_seen(name, arrived.word()) {
            return;
        }
        let row = (0..column.len()).find(|row| column.is_valid(*row)).unwrap_or(0);
        let example = text::value(column, arrived, row).unwrap_or_default();
        self.remember(name, was.word(), arrived, became, example.chars().take(EXAMPLE_CHARS_MAX).collect());
    }

    fn remember(&mut self, name: &str, was: &'static str, arrived: Type, became: String, example: String) {
        // One entry says that the table is full, whatever types come later: names without end must not fill the memory.
        let seen_as = if name == MORE { "" } else { arrived.word() };
        if self.shape.has_seen(name, seen_as) {
            return;
        }
        Arc::make_mut(&mut self.shape).see(name, seen_as);
        self.drift.push(Drift { column: name.to_owned(), was, arrived: arrived.word(), became, example });
    }

    /// The batch, in the table's order.
    fn finish(mut self) -> Result<Conformed> {
        self.placed.sort_by_key(|(at, _)| *at);
        let all = self.placed.len() == self.shape.schema.fields().len();
        let schema = if all {
            self.shape.schema.clone()
        } else {
            let fields: Vec<Arc<Field>> =
                self.placed.iter().filter_map(|(at, _)| self.shape.schema.fields().get(*at).cloned()).collect();
            Arc::new(Schema::new(fields))
        };
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        let columns = self.placed.into_iter().map(|(_, column)| column).collect();
        let columns = RecordBatch::try_new_with_options(schema, columns, &options)?;
        Ok(Conformed { columns, shape: self.shape, drift: self.drift })
    }
}

#[cfg(test)]
mod tests;
