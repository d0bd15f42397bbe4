//! a table's columns as conforming needs them: places by name, bounds of integers, drift already told

use super::super::columns::{TIMESTAMP, Type, field};
use super::super::mixed;
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{max, min};
use arrow::datatypes::{Field, Int64Type, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// The largest integer up to which every integer is also a float.
pub(super) const EXACT_MAX: i64 = mixed::EXACT_MAX as i64;

/// What a table looks like. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shape {
    /// the columns
    pub schema: SchemaRef,
    /// whether the table keeps `body`
    pub body: bool,
    places: Arc<HashMap<String, usize>>,
    /// the least and the greatest integer of every int64 column, by place
    bounds: Vec<Option<(i64, i64)>>,
    /// columns, and the types that arrived for them, that are in `tidemill.drift` already
    seen: Arc<BTreeSet<(String, String)>>,
}

impl Shape {
    /// A table that has no rows yet. `timestamp` comes first when the columns do not have it.
    pub fn new(columns: &Schema, body: bool) -> Result<Self> {
        let mut shape = Shape {
            schema: Arc::new(Schema::empty()),
            body,
            places: Arc::default(),
            bounds: Vec::new(),
            seen: Arc::default(),
        };
        if columns.index_of(TIMESTAMP).is_err() {
            shape.grow(TIMESTAMP, Type::Timestamp);
        }
        shape.add(columns)?;
        Ok(shape)
    }

    /// Adds the columns that are missing; those there are stay as they are.
    pub fn add(&mut self, columns: &Schema) -> Result<()> {
        for field in columns.fields() {
            let r#type = Type::of(field.data_type())?;
            if self.place(field.name()).is_none() {
                self.grow(field.name(), r#type);
            }
        }
        Ok(())
    }

    /// Takes in what a batch that was conformed before (and is now read back from the WAL) did to the table.
    pub fn replay(&mut self, batch: &RecordBatch) -> Result<()> {
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let r#type = Type::of(field.data_type())?;
            let at = match self.place(field.name()) {
                Some(at) => at,
                None => self.grow(field.name(), r#type),
            };
            if self.type_at(at)? == Type::Int64 && r#type == Type::Float64 {
                self.retype(at, Type::Float64);
            }
            if let Some((min, max)) = int_bounds(column).filter(|_| self.type_at(at).is_ok_and(|t| t == Type::Int64)) {
                self.bound(at, min, max);
            }
        }
        Ok(())
    }

    /// Where a column is.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The bounds of the integers, by column name.
    pub fn bounds(&self) -> BTreeMap<String, (i64, i64)> {
        let named = self.schema.fields().iter().zip(&self.bounds);
        named.filter_map(|(field, bound)| bound.map(|bound| (field.name().clone(), bound))).collect()
    }

    /// What was told of drift: column and type.
    pub fn seen(&self) -> impl Iterator<Item = &(String, String)> {
        self.seen.iter()
    }

    /// Takes in the bounds of a column.
    pub fn set_bounds(&mut self, name: &str, (min, max): (i64, i64)) {
        if let Some(at) = self.place(name) {
            self.bound(at, min, max);
        }
    }

    /// A drift is told.
    pub fn see(&mut self, column: &str, arrived: &str) {
        Arc::make_mut(&mut self.seen).insert((column.to_owned(), arrived.to_owned()));
    }

    pub(super) fn has_seen(&self, column: &str, arrived: &str) -> bool {
        !self.seen.is_empty() && self.seen.contains(&(column.to_owned(), arrived.to_owned()))
    }

    pub(super) fn type_at(&self, at: usize) -> Result<Type> {
        let field = self.schema.fields().get(at);
        Type::of(field.ok_or_else(|| Error::internal(format!("a table has no column {at}")))?.data_type())
    }

    pub(super) fn bound_at(&self, at: usize) -> Option<(i64, i64)> {
        self.bounds.get(at).copied().flatten()
    }

    /// Whether every integer of the column is also a float.
    pub(super) fn widens(&self, at: usize) -> bool {
        self.bound_at(at).is_none_or(|(min, max)| min >= -EXACT_MAX && max <= EXACT_MAX)
    }

    /// Whether a column more leaves one for `more`.
    pub(super) fn has_room(&self, columns_max: usize, more: &str) -> bool {
        let reserved = usize::from(self.place(more).is_none());
        self.schema.fields().len() + reserved < columns_max
    }

    pub(super) fn grow(&mut self, name: &str, r#type: Type) -> usize {
        let mut fields: Vec<Arc<Field>> = self.schema.fields().iter().cloned().collect();
        let at = fields.len();
        fields.push(Arc::new(field(name, r#type)));
        self.schema = Arc::new(Schema::new(fields));
        Arc::make_mut(&mut self.places).insert(name.to_owned(), at);
        self.bounds.push(None);
        at
    }

    pub(super) fn retype(&mut self, at: usize, r#type: Type) {
        let fields: Vec<Arc<Field>> = self
            .schema
            .fields()
            .iter()
            .enumerate()
            .map(|(place, old)| if place == at { Arc::new(field(old.name(), r#type)) } else { old.clone() })
            .collect();
        self.schema = Arc::new(Schema::new(fields));
        if let Some(bound) = self.bounds.get_mut(at) {
            *bound = None;
        }
    }

    pub(super) fn bound(&mut self, at: usize, min: i64, max: i64) {
        if let Some(bound) = self.bounds.get_mut(at) {
            let (least, most) = bound.unwrap_or((min, max));
            *bound = Some((least.min(min), most.max(max)));
        }
    }
}

/// The least and the greatest value of a column of integers.
pub(super) fn int_bounds(column: &ArrayRef) -> Option<(i64, i64)> {
    let ints = column.as_primitive_opt::<Int64Type>().filter(|ints| !ints.is_empty())?;
    Some((min(ints)?, max(ints)?))
}
