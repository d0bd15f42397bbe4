//! the values of one field of many JSON objects, as a column

use super::json::Value;
use crate::error::Result;
use crate::event::columns::Type;
use crate::event::mixed;
use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use std::sync::Arc;

/// One column of the events, absent values left out.
pub(super) struct Column<'a> {
    pub name: String,
    /// by row
    pub values: Vec<(usize, Value<'a>)>,
}

impl Value<'_> {
    /// The type of the column it fits.
    pub(super) fn r#type(&self) -> Type {
        match self {
            Value::Boolean(_) => Type::Boolean,
            Value::Int(_) => Type::Int64,
            Value::Float(_) => Type::Float64,
            Value::Wide(_) | Value::Text(_) | Value::Array(_) => Type::Utf8,
        }
    }
}

impl Column<'_> {
    /// The values, each in its type.
    pub(super) fn finish(&self, rows: usize) -> Result<ArrayRef> {
        let mut types = Vec::new();
        for (_, value) in &self.values {
            if types.last() != Some(&value.r#type()) && !types.contains(&value.r#type()) {
                types.push(value.r#type());
            }
        }
        let mut parts: Vec<_> = types.into_iter().map(|r#type| (r#type, self.part(r#type, rows))).collect();
        match parts.pop() {
            Some((_, only)) if parts.is_empty() => Ok(only),
            last => mixed::column(parts.into_iter().chain(last).collect()),
        }
    }

    /// The values of one type.
    fn part(&self, r#type: Type, rows: usize) -> ArrayRef {
        let values = self.values.iter().map(|(row, value)| (*row, value)).filter(|(_, value)| value.r#type() == r#type);
        match r#type {
            Type::Boolean => {
                let values = values.map(|(row, value)| (row, *value == Value::Boolean(true)));
                Arc::new(sparse(rows, values, BooleanBuilder::new(), BooleanBuilder::append_option).finish())
            }
            Type::Int64 => {
                let values = values.filter_map(|(row, value)| match value {
                    Value::Int(value) => Some((row, *value)),
                    _ => None,
                });
                Arc::new(sparse(rows, values, Int64Builder::new(), Int64Builder::append_option).finish())
            }
            Type::Float64 => {
                let values = values.filter_map(|(row, value)| Some((row, value.text().parse::<f64>().ok()?)));
                Arc::new(sparse(rows, values, Float64Builder::new(), Float64Builder::append_option).finish())
            }
            Type::Utf8 | Type::Timestamp | Type::Binary | Type::Labels => {
                let values = values.map(|(row, value)| (row, value.text()));
                Arc::new(sparse(rows, values, StringBuilder::new(), StringBuilder::append_option).finish())
            }
        }
    }
}

/// Appends each value at its row and null at the others.
pub(super) fn sparse<T, B>(
    rows: usize,
    values: impl Iterator<Item = (usize, T)>,
    mut builder: B,
    append: impl Fn(&mut B, Option<T>),
) -> B {
    let mut values = values.peekable();
    for row in 0..rows {
        append(&mut builder, values.next_if(|(at, _)| *at == row).map(|(_, value)| value));
    }
    builder
}
