//! what `SHOW TABLES` and `DESCRIBE` answer: rows that are known without a plan

use super::QueryError;
use super::catalog::Shelf;
use super::names::{unknown_table, written};
use crate::error::Error;
use crate::event::{TableName, Type};
use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::ObjectName;
use std::sync::Arc;

/// `SHOW TABLES`
pub(super) fn tables(shelf: &dyn Shelf) -> Result<RecordBatch, QueryError> {
    let names = shelf.names();
    let columns = names.iter().map(|name| shelf.columns(name).map_or(0, |schema| schema.fields().len() as i64));
    let columns: ArrayRef = Arc::new(Int64Array::from_iter_values(columns));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names.iter().map(TableName::as_str)));
    known_rows(vec![("table", names), ("columns", columns)])
}

/// `DESCRIBE t`
pub(super) fn columns(name: &ObjectName, shelf: &dyn Shelf) -> Result<RecordBatch, QueryError> {
    let text = written(name);
    let schema = TableName::parse(&text).ok().and_then(|name| shelf.columns(&name));
    let schema = schema.ok_or_else(|| unknown_table(&text, name, shelf))?;
    let types = schema.fields().iter().map(|field| match Type::of(field.data_type()) {
        Ok(r#type) => r#type.word().to_owned(),
        Err(_) => field.data_type().to_string().to_lowercase(),
    });
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let types: ArrayRef = Arc::new(StringArray::from_iter_values(types));
    known_rows(vec![("column", names), ("type", types)])
}

fn known_rows(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, QueryError> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| Error::from(error).into())
}
