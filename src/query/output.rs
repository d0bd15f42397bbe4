//! answers as clients know them: plain texts, times in UTC, no two columns of one name

use super::rows::unviewed;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The schema a client sees for one that the engine made.
pub fn schema(made: &Schema) -> SchemaRef {
    let mut taken = BTreeSet::new();
    let fields = made.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut copy = 2;
        while !taken.insert(name.clone()) {
            name = format!("{}_{copy}", field.name());
            copy += 1;
        }
        Field::new(name, plain(field.data_type()), field.is_nullable())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The type a client sees: no views, and a time without a zone is in UTC.
fn plain(r#type: &DataType) -> DataType {
    match r#type {
        DataType::Timestamp(unit, None) => DataType::Timestamp(*unit, Some("UTC".into())),
        DataType::Timestamp(unit, Some(zone)) if zone.as_ref() == "+00:00" => {
            DataType::Timestamp(*unit, Some("UTC".into()))
        }
        DataType::Dictionary(_, value) => plain(value),
        other => unviewed(other),
    }
}

/// A batch of the engine's in the schema that [`schema`] made of its own.
pub fn batch(made: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = made.columns().iter().zip(schema.fields()).map(|(column, field)| {
        match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast(column, field.data_type()),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(made.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns.collect::<Result<Vec<_>, _>>()?, &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    #[test]
    fn names_are_told_apart_and_texts_are_plain() {
        let field = |name: &str, r#type| Field::new(name, r#type, true);
        let made = Arc::new(Schema::new(vec![
            field("a", DataType::Utf8View),
            field("a", DataType::Int64),
            field("a_2", DataType::Int64),
        ]));
        let seen = schema(&made);
        let names: Vec<&str> = seen.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["a", "a_2", "a_2_2"]);
        let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let columns = vec![Arc::new(StringViewArray::from(vec!["x"])) as ArrayRef, number.clone(), number];
        let batch = batch(&RecordBatch::try_new(made, columns).unwrap(), &seen).unwrap();
        assert_eq!(batch.column(0).data_type(), &DataType::Utf8);
    }
}
