//! answers as aligned text for a terminal

use arrow::array::Array;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Rows as lines, columns aligned: numbers to the right, nulls empty, one header line and a rule below it.
pub fn table(schema: &SchemaRef, batches: &[RecordBatch]) -> String {
    cut(schema, batches, None)
}

/// The same, with cells longer than `cell_chars_max` ending in `…`.
pub fn cut(schema: &SchemaRef, batches: &[RecordBatch], cell_chars_max: Option<usize>) -> String {
    let header: Vec<String> = schema.fields().iter().map(|field| shown(field.name(), cell_chars_max)).collect();
    let right: Vec<bool> = schema.fields().iter().map(|field| is_number(field.data_type())).collect();
    let mut lines = vec![header];
    for batch in batches {
        let columns: Vec<Vec<String>> =
            batch.columns().iter().map(|column| cells(column.as_ref(), cell_chars_max)).collect();
        for row in 0..batch.num_rows() {
            lines.push(columns.iter().map(|cells| cells.get(row).cloned().unwrap_or_default()).collect());
        }
    }
    let mut widths = vec![0; schema.fields().len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let rule = widths.iter().map(|width| "─".repeat(*width)).collect();
    lines.insert(1, rule);
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for ((cell, width), right) in line.iter().zip(&widths).zip(&right) {
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            match right {
                true => row.extend([space.as_str(), cell]),
                false => row.extend([cell, space.as_str()]),
            }
            row.push_str("  ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

fn is_number(r#type: &DataType) -> bool {
    r#type.is_numeric()
}

fn cells(column: &dyn Array, cell_chars_max: Option<usize>) -> Vec<String> {
    let options = FormatOptions::new().with_null("");
    if let DataType::Binary = column.data_type() {
        let bytes = arrow::array::AsArray::as_binary::<i32>(column);
        let text =
            |row: Option<&[u8]>| row.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        return bytes.iter().map(|row| shown(&text(row), cell_chars_max)).collect();
    }
    match ArrayFormatter::try_new(column, &options) {
        Ok(formatter) => (0..column.len())
            .map(|row| match formatter.value(row).try_to_string() {
                Ok(text) => shown(&text, cell_chars_max),
                Err(_) => "?".to_owned(),
            })
            .collect(),
        Err(_) => vec!["?".to_owned(); column.len()],
    }
}

/// One line, with nothing in it that a terminal would act on.
fn shown(text: &str, cell_chars_max: Option<usize>) -> String {
    let mut line = String::with_capacity(text.len());
    for (count, letter) in text.chars().enumerate() {
        if cell_chars_max.is_some_and(|most| count + 1 >= most && text.chars().nth(most).is_some()) {
            line.push('…');
            break;
        }
        match letter {
            '\n' => line.push('␤'),
            '\t' => line.push(' '),
            control if control.is_control() => line.push('\u{fffd}'),
            other => line.push(other),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn columns_are_aligned() {
        let path: ArrayRef = Arc::new(StringArray::from(vec![Some("/a\u{1b}[31m"), None]));
        let hits: ArrayRef = Arc::new(Int64Array::from(vec![5, 1234]));
        let batch = RecordBatch::try_from_iter(vec![("path", path), ("hits", hits)]).unwrap();
        let text = table(&batch.schema(), std::slice::from_ref(&batch));
        assert_eq!(text, "path     hits\n───────  ────\n/a\u{fffd}[31m     5\n         1234\n");
        assert!(cut(&batch.schema(), &[batch], Some(4)).contains("/a\u{fffd}…"));
    }
}
