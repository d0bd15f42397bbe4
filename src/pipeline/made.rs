//! the columns that a plugin is handed of a batch, and the batch that its answer makes of it
//!
//!     batch ─ handed ─► columns it reads ─► plugin ─► answer ─ parsed, kept, enriched ─► batch
//!
//! **Always:** what a plugin did not touch stays with its row. **Never:** `raw` and what else is ours crosses to a plugin.

use crate::error::Result;
use crate::event::columns::{BODY, CAPTURED, KIND, LABELS, LETTER, NAME, RAW, SOURCE, TIMESTAMP, Type, VALUE};
use crate::event::{Batch, Kind, labels, mixed};
use crate::plugin::instance::{Parsed, RowError};
use crate::plugin::{Fault, FaultKind};
use crate::units::ByteSize;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// The columns that a contract's patterns name, as they cross; `field` crosses as `body`, if there is one.
pub(super) fn handed(batch: &Batch, patterns: &[String], field: Option<&str>) -> Result<RecordBatch> {
    let mut fields: Vec<Field> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    let mut add = |name: &str, column: ArrayRef| -> Result<()> {
        if fields.iter().any(|field| field.name() == name) {
            return Ok(());
        }
        let column = match column.data_type() {
            DataType::Dictionary(_, value) => compute::cast(&column, value)?,
            DataType::Union(_, _) => mixed::plain(&column)?,
            _ => column,
        };
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
        Ok(())
    };
    if let Some(field) = field {
        add(BODY, text_of(batch, field)?)?;
    }
    for pattern in patterns {
        for (name, column) in matching(batch, pattern)? {
            add(&name, column)?;
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.columns.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// A column, or a label, as the line that a parser reads: empty where an event has none.
fn text_of(batch: &Batch, field: &str) -> Result<ArrayRef> {
    let empty = StringArray::new_scalar("");
    let Some((_, column)) = matching(batch, field)?.pop() else {
        return Ok(Arc::new(StringArray::from(vec![""; batch.columns.num_rows()])));
    };
    match column.data_type() {
        DataType::Binary if column.null_count() == 0 => Ok(column),
        DataType::Binary => Ok(zip(&compute::is_not_null(&column)?, &column, &BinaryArray::new_scalar(""))?),
        _ => {
            let texts = mixed::texts(&column)?;
            if texts.null_count() == 0 { Ok(texts) } else { Ok(zip(&compute::is_not_null(&texts)?, &texts, &empty)?) }
        }
    }
}

/// Of an event without the column that is parsed, the parser knows only that a line is empty.
pub(super) fn say_what_is_absent(errors: &mut [RowError], input: &Batch, field: &str) {
    if errors.is_empty() {
        return;
    }
    let column = matching(input, field).ok().and_then(|mut found| found.pop());
    let texts = column.and_then(|(_, column)| mixed::texts(&column).ok());
    let is_absent = |row: usize| texts.as_ref().is_none_or(|texts| row < texts.len() && texts.is_null(row));
    for error in errors.iter_mut().filter(|error| is_absent(error.row)) {
        error.message = format!("it has no `{field}`, which `field` names");
    }
}

/// What a parser made of `field`, or else of the line, beside what it did not touch; a fault where that would be larger than an answer may be.
pub(super) fn parsed(
    input: &Batch,
    parsed: Parsed,
    errors: &[RowError],
    produces: Kind,
    output_max: ByteSize,
    field: Option<&str>,
) -> std::result::Result<Result<Batch>, Fault> {
    let origin = origin(parsed.origin, errors, input.columns.num_rows());
    weigh(input, origin.as_ref(), output_max)?;
    Ok(replant(input, origin, parsed.rows, parsed.columns, produces, field))
}

/// What a filter let through; rows it could not handle are left out.
pub(super) fn kept(input: &Batch, keep: &BooleanBuffer, errors: &[RowError]) -> Result<Batch> {
    let mask = without(keep, errors);
    let columns = match mask.true_count() == mask.len() {
        true => input.columns.clone(),
        false => compute::filter_record_batch(&input.columns, &mask)?,
    };
    Ok(Batch { kind: input.kind, columns })
}

/// What an enricher made, beside all else; rows it could not handle are left out.
pub(super) fn enriched(input: &Batch, made: Vec<(String, ArrayRef)>, errors: &[RowError]) -> Result<Batch> {
    let rows = input.columns.num_rows();
    let columns = put(&input.columns, rows, made, None)?;
    if errors.is_empty() {
        return Ok(Batch { kind: input.kind, columns });
    }
    let all = BooleanBuffer::new_set(rows);
    let columns = compute::filter_record_batch(&columns, &without(&all, errors))?;
    Ok(Batch { kind: input.kind, columns })
}

/// The columns of a batch that a contract's pattern names: `status`, `labels.job`, `labels.*`, `*`.
fn matching(batch: &Batch, pattern: &str) -> Result<Vec<(String, ArrayRef)>> {
    let mut found = Vec::new();
    for (field, column) in batch.columns.schema_ref().fields().iter().zip(batch.columns.columns()) {
        let name = field.name();
        let wanted = match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == pattern,
        };
        let hidden = [RAW, LETTER, CAPTURED].contains(&name.as_str());
        if wanted && !hidden && !matches!(column.data_type(), DataType::Map(_, _)) {
            found.push((name.clone(), column.clone()));
        }
    }
    let wants_labels = pattern == "*" || pattern.starts_with(labels::PREFIX);
    if let Some(column) = batch.columns.column_by_name(LABELS).filter(|_| wants_labels) {
        let map = labels::map(column)?;
        for name in labels::names(map) {
            let full = format!("{}{name}", labels::PREFIX);
            if pattern == "*"
                || pattern.strip_suffix('*').is_some_and(|prefix| full.starts_with(prefix))
                || full == pattern
            {
                found.push((full, labels::column(map, &name)));
            }
        }
    }
    Ok(found)
}

/// For each row that a parser made, the row it came from; `None` when they are the same rows.
fn origin(origin: Option<Vec<u32>>, errors: &[RowError], rows: usize) -> Option<UInt32Array> {
    match origin {
        Some(origin) => Some(origin.into()),
        None if errors.is_empty() => None,
        None => {
            let mut at_fault = vec![false; rows];
            for error in errors {
                if let Some(row) = at_fault.get_mut(error.row) {
                    *row = true;
                }
            }
            Some((0u32..).zip(at_fault).filter(|(_, fault)| !fault).map(|(row, _)| row).collect())
        }
    }
}

/// Refuses rows made out of others where what follows them, untouched, would be larger than an answer may be.
fn weigh(input: &Batch, origin: Option<&UInt32Array>, output_max: ByteSize) -> Result<(), Fault> {
    let Some(origin) = origin else { return Ok(()) };
    let mut lengths = vec![0usize; input.columns.num_rows()];
    input.columns.columns().iter().for_each(|column| add_lengths(&mut lengths, column));
    let length = |row: u32| lengths.get(row as usize).copied().unwrap_or(0);
    let made: usize = origin.values().iter().map(|row| length(*row)).fold(0, usize::saturating_add);
    // As many as came in are there already.
    let more = made.saturating_sub(lengths.iter().sum());
    match more > output_max.as_usize() {
        true => Err(Fault {
            kind: FaultKind::Output,
            message: format!(
                "the rows that it makes of others have {more} bytes more than those; {output_max} are allowed"
            ),
            backtrace: None,
        }),
        false => Ok(()),
    }
}

/// Adds the bytes of each row; of what has no offsets the mean.
fn add_lengths(lengths: &mut [usize], column: &ArrayRef) {
    let texts = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().offsets().clone()),
        DataType::Binary => Some(column.as_binary::<i32>().offsets().clone()),
        _ => None,
    };
    if let Some(offsets) = texts(column) {
        lengths.iter_mut().zip(offsets.lengths()).for_each(|(length, bytes)| *length += bytes);
    } else if let Some(map) = column.as_map_opt() {
        for offsets in [map.keys(), map.values()].into_iter().filter_map(texts) {
            let at =
                |entry: i32| usize::try_from(entry).ok().and_then(|entry| offsets.get(entry)).copied().unwrap_or(0);
            let (begins, ends) = (map.offsets().iter(), map.offsets().iter().skip(1));
            for (length, (begin, end)) in lengths.iter_mut().zip(begins.zip(ends)) {
                *length += usize::try_from(at(*end) - at(*begin)).unwrap_or(0);
            }
        }
    } else {
        let all = column.to_data().get_slice_memory_size().unwrap_or(0);
        let each = all.div_ceil(lengths.len().max(1));
        lengths.iter_mut().for_each(|length| *length += each);
    }
}

/// What a parser made, beside what it did not touch.
fn replant(
    input: &Batch,
    origin: Option<UInt32Array>,
    rows: usize,
    made: Vec<(String, ArrayRef)>,
    produces: Kind,
    field: Option<&str>,
) -> Result<Batch> {
    let kept = match origin {
        Some(origin) => compute::take_record_batch(&input.columns, &origin)?,
        None => input.columns.clone(),
    };
    let kept = match (input.kind, produces) {
        (Kind::Logs, Kind::Metrics) => only_what_metrics_have(&kept)?,
        _ => kept,
    };
    Ok(Batch { kind: produces, columns: put(&kept, rows, made, field)? })
}

/// Logs that become metrics keep their time and source; the line stays with them for dead letters only.
fn only_what_metrics_have(logs: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in logs.schema_ref().fields().iter().zip(logs.columns()) {
        match field.name().as_str() {
            TIMESTAMP | SOURCE | RAW | LETTER | CAPTURED | NAME | KIND | VALUE => fields.push(field.as_ref().clone()),
            BODY if logs.column_by_name(RAW).is_none() => fields.push(Field::new(RAW, field.data_type().clone(), true)),
            _ => continue,
        }
        columns.push(column.clone());
    }
    let options = RecordBatchOptions::new().with_row_count(Some(logs.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// A mask with the rows of these errors taken out.
fn without(keep: &BooleanBuffer, errors: &[RowError]) -> BooleanArray {
    if errors.is_empty() {
        return BooleanArray::new(keep.clone(), None);
    }
    let mut errors = errors.iter().map(|error| error.row).peekable();
    let mask = keep.iter().enumerate().map(|(row, keep)| match errors.next_if_eq(&row) {
        Some(_) => false,
        None => keep,
    });
    BooleanArray::new(mask.collect(), None)
}

/// Sets columns: those of the same name are replaced, `labels.x` goes into the labels, a null `timestamp` keeps the old one. So does a
/// null in place of the column that was parsed: which columns a row has must not depend on the other rows of its batch.
fn put(batch: &RecordBatch, rows: usize, made: Vec<(String, ArrayRef)>, parsed: Option<&str>) -> Result<RecordBatch> {
    let mut fields: Vec<Field> = batch.schema_ref().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    let mut changes = Vec::new();
    for (name, column) in made {
        if let Some(label) = name.strip_prefix(labels::PREFIX) {
            let text = compute::cast(&column, &DataType::Utf8)?;
            changes.push((label.to_owned(), text.as_string::<i32>().clone()));
            continue;
        }
        let at = fields.iter().position(|field| *field.name() == name);
        let old = at.and_then(|at| columns.get(at));
        let column = match old {
            Some(old) if name == TIMESTAMP && column.null_count() > 0 && old.data_type() == column.data_type() => {
                zip(&compute::is_not_null(&column)?, &column, old)?
            }
            Some(old) if parsed == Some(&name) && column.null_count() > 0 => beneath(&column, old)?,
            _ => column,
        };
        let field = Field::new(&name, column.data_type().clone(), true);
        match at.and_then(|at| fields.get_mut(at).zip(columns.get_mut(at))) {
            Some((old_field, old_column)) => (*old_field, *old_column) = (field, column),
            None => {
                fields.push(field);
                columns.push(column);
            }
        }
    }
    if !changes.is_empty() {
        let at = fields.iter().position(|field| field.name() == LABELS);
        let old = at.and_then(|at| columns.get(at)).map(labels::map).transpose()?;
        let column = labels::replace(old, rows, &changes)?;
        match at.and_then(|at| columns.get_mut(at)) {
            Some(old) => *old = column,
            None => {
                fields.push(Field::new(LABELS, column.data_type().clone(), true));
                columns.push(column);
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// A column with the old text where the new one has no value.
fn beneath(new: &ArrayRef, old: &ArrayRef) -> Result<ArrayRef> {
    let old = mixed::texts(old)?;
    let is_new = compute::is_not_null(new)?;
    match new.data_type() {
        DataType::Utf8 => Ok(zip(&is_new, new, &old)?),
        other => mixed::column(vec![(Type::of(other)?, new.clone()), (Type::Utf8, compute::nullif(&old, &is_new)?)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, MapBuilder, StringBuilder};

    fn logs(columns: Vec<(&str, ArrayRef)>) -> Batch {
        Batch { kind: Kind::Logs, columns: RecordBatch::try_from_iter(columns).unwrap() }
    }

    #[test]
    fn a_field_crosses_as_the_line() {
        let batch = logs(vec![
            ("body", Arc::new(StringArray::from(vec!["whole", "whole"]))),
            ("message", Arc::new(StringArray::from(vec![Some("part"), None]))),
            ("code", Arc::new(Int64Array::from(vec![7, 8]))),
        ]);
        let crossing = |field: &str| {
            let handed = handed(&batch, &["body".to_owned(), "code".to_owned()], Some(field)).unwrap();
            assert_eq!(handed.num_columns(), 2);
            handed
                .column_by_name("body")
                .unwrap()
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(str::to_owned))
                .collect()
        };
        let lines: Vec<Option<String>> = crossing("message");
        assert_eq!(lines, [Some("part".to_owned()), Some(String::new())], "an event without it has an empty line");
        let lines: Vec<Option<String>> = crossing("code");
        assert_eq!(lines, [Some("7".to_owned()), Some("8".to_owned())]);
        let lines: Vec<Option<String>> = crossing("absent");
        assert_eq!(lines, [Some(String::new()), Some(String::new())]);
    }

    #[test]
    fn what_was_parsed_stays_where_nothing_takes_its_place() {
        let input = RecordBatch::try_from_iter([(
            "message",
            Arc::new(StringArray::from(vec![r#"{"message":"new"}"#, r#"{"n":1}"#])) as ArrayRef,
        )])
        .unwrap();
        let made: ArrayRef = Arc::new(StringArray::from(vec![Some("new"), None]));
        let batch = put(&input, 2, vec![("message".into(), made)], Some("message")).unwrap();
        assert_eq!(batch.column(0).as_string::<i32>(), &StringArray::from(vec!["new", r#"{"n":1}"#]));
        let made: ArrayRef = Arc::new(Int64Array::from(vec![Some(5), None]));
        let batch = put(&input, 2, vec![("message".into(), made)], Some("message")).unwrap();
        let parts = mixed::parts(batch.column(0)).unwrap();
        assert_eq!(parts.iter().map(|(r#type, _)| *r#type).collect::<Vec<_>>(), [Type::Int64, Type::Utf8]);
        assert_eq!(parts[1].1.as_string::<i32>(), &StringArray::from(vec![None, Some(r#"{"n":1}"#)]));
        let made: ArrayRef = Arc::new(StringArray::from(vec![Some("new"), None]));
        let batch = put(&input, 2, vec![("message".into(), made)], None).unwrap();
        assert!(batch.column(0).is_null(1));
    }

    #[test]
    fn every_column_weighs() {
        let weigh = |column: ArrayRef| {
            let mut lengths = vec![0; column.len()];
            add_lengths(&mut lengths, &column);
            lengths
        };
        assert_eq!(weigh(Arc::new(StringArray::from(vec![Some("four"), None, Some("")]))), [4, 0, 0]);
        assert_eq!(weigh(Arc::new(Int64Array::from(vec![1, 2, 3]))), [8, 8, 8]);
        assert_eq!(weigh(Arc::new(BooleanArray::from(vec![true; 16]))), [1; 16]);
        let mut labels = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        labels.keys().append_value("host");
        labels.values().append_value("a".repeat(1000));
        labels.append(true).unwrap();
        labels.append(false).unwrap();
        labels.keys().append_value("a");
        labels.values().append_value("b");
        labels.append(true).unwrap();
        let labels = labels.finish();
        assert_eq!(weigh(Arc::new(labels.slice(1, 2))), [0, 2]);
        assert_eq!(weigh(Arc::new(labels)), [1004, 0, 2]);
    }
}
