//! the labels of metrics: one map column in a table, a column a label in a plugin

use super::columns::{LABELS, Type};
use crate::error::{Error, Result};
use arrow::array::{Array, ArrayRef, MapArray, StringArray, StringBuilder};
use arrow::array::{MapBuilder, MapFieldNames};
use arrow::datatypes::{DataType, Field};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A label as a plugin's column starts with this.
pub const PREFIX: &str = "labels.";

/// How Arrow holds labels: `map<utf8, utf8>`, keys sorted by whoever builds it.
pub fn data_type() -> DataType {
    let entries = DataType::Struct(
        vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)].into(),
    );
    DataType::Map(Arc::new(Field::new("entries", entries, false)), false)
}

/// Collects labels row by row.
pub struct LabelsBuilder(MapBuilder<StringBuilder, StringBuilder>);

impl LabelsBuilder {
    /// An empty one.
    #[allow(clippy::new_without_default, reason = "a builder is always asked for by name")]
    pub fn new() -> Self {
        let names = MapFieldNames { entry: "entries".into(), key: "keys".into(), value: "values".into() };
        LabelsBuilder(MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new()))
    }

    /// The labels of the next row; they are sorted by name here, and of two with one name the last counts.
    pub fn push<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<()> {
        let mut sorted: Vec<(&str, &str)> = labels.into_iter().collect();
        sorted.sort_by_key(|(name, _)| *name);
        for (at, (name, value)) in sorted.iter().enumerate() {
            if sorted.get(at + 1).is_some_and(|(next, _)| next == name) {
                continue;
            }
            self.0.keys().append_value(name);
            self.0.values().append_value(value);
        }
        Ok(self.0.append(true)?)
    }

    /// The column.
    pub fn finish(mut self) -> ArrayRef {
        Arc::new(self.0.finish())
    }
}

/// The labels of one row, in the order they are kept.
pub fn of_row(labels: &MapArray, row: usize) -> Vec<(String, String)> {
    if labels.is_null(row) {
        return Vec::new();
    }
    let entries = labels.value(row);
    let text = |column: usize| entries.column(column).as_any().downcast_ref::<StringArray>().cloned();
    match (text(0), text(1)) {
        (Some(keys), Some(values)) => {
            (0..entries.len()).map(|at| (keys.value(at).to_owned(), values.value(at).to_owned())).collect()
        }
        _ => Vec::new(),
    }
}

/// The map column of a batch, if it has one.
pub fn map(column: &ArrayRef) -> Result<&MapArray> {
    column
        .as_any()
        .downcast_ref::<MapArray>()
        .ok_or_else(|| Error::internal(format!("the column `{LABELS}` is not of type {}", Type::Labels.word())))
}

/// Every label name that occurs.
pub fn names(labels: &MapArray) -> BTreeSet<String> {
    match labels.keys().as_any().downcast_ref::<StringArray>() {
        Some(keys) => keys.iter().flatten().map(str::to_owned).collect(),
        None => BTreeSet::new(),
    }
}

/// One label as a column: null where a row does not have it.
pub fn column(labels: &MapArray, name: &str) -> ArrayRef {
    let mut builder = StringBuilder::new();
    for row in 0..labels.len() {
        let found = of_row(labels, row).into_iter().find(|(key, _)| key == name);
        builder.append_option(found.map(|(_, value)| value));
    }
    Arc::new(builder.finish())
}

/// The labels with some of them set anew: a null removes the label from that row, an empty text too (as in Prometheus).
pub fn replace(labels: Option<&MapArray>, rows: usize, changes: &[(String, StringArray)]) -> Result<ArrayRef> {
    let mut builder = LabelsBuilder::new();
    for row in 0..rows {
        let mut kept: Vec<(String, String)> = labels.map(|map| of_row(map, row)).unwrap_or_default();
        for (name, values) in changes {
            kept.retain(|(key, _)| key != name);
            if values.is_valid(row) && !values.value(row).is_empty() {
                kept.push((name.clone(), values.value(row).to_owned()));
            }
        }
        builder.push(kept.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
    }
    Ok(builder.finish())
}
