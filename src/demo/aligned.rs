//! an answer as an aligned table whose last column wraps

use super::view::{clipped, wrapped};
use crate::error::Result;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// How many rows are shown.
const ROWS_MAX: usize = 20;
/// How many characters a column has, but for the last.
const COLUMN_MAX: usize = 24;
/// How many lines the last column may take in a row.
const LINES_MAX: usize = 8;

/// The answer in lines of at most `width` characters.
pub fn aligned(batch: &RecordBatch, width: usize) -> Result<Vec<String>> {
    let options = FormatOptions::default().with_null("-");
    let formatters = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options))
        .collect::<Result<Vec<_>, _>>()?;
    let head: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    let shown = batch.num_rows().min(ROWS_MAX);
    let cells = |row: usize| -> Vec<String> {
        let cell = |formatter: &ArrayFormatter| formatter.value(row).try_to_string().unwrap_or_else(|_| "?".to_owned());
        formatters.iter().map(cell).collect()
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain((0..shown).map(cells)).collect();
    let columns = batch.num_columns();
    let widths: Vec<usize> = (0..columns.saturating_sub(1))
        .map(|column| {
            let lengths = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            lengths.max().unwrap_or(0).min(COLUMN_MAX)
        })
        .collect();
    let indent: usize = widths.iter().map(|width| width + 2).sum();
    let room = width.saturating_sub(indent).max(20);
    let mut lines = Vec::new();
    for row in &rows {
        let mut line: String =
            row.iter().zip(&widths).map(|(cell, width)| format!("{:<width$}  ", clipped(cell, *width))).collect();
        for part in wrapped(row.last().map_or("", String::as_str), room, LINES_MAX) {
            lines.push((line.clone() + &part).trim_end().to_owned());
            line = " ".repeat(indent);
        }
        if !line.trim().is_empty() {
            lines.push(line.trim_end().to_owned());
        }
    }
    if batch.num_rows() > shown {
        lines.push(format!("… {} rows more", batch.num_rows() - shown));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn columns_line_up_and_the_last_one_wraps() {
        let at: ArrayRef = Arc::new(StringArray::from(vec!["10:00:01", "10:00:02", "10:00:03"]));
        let decided: ArrayRef = Arc::new(Int64Array::from(vec![Some(2), None, Some(10)]));
        let reason: ArrayRef = Arc::new(StringArray::from(vec!["arrivals 9.0 / 5.0 a replica", "held", ""]));
        let batch = RecordBatch::try_from_iter([("at", at), ("decided", decided), ("reason", reason)]).unwrap();
        assert_eq!(
            aligned(&batch, 42).unwrap(),
            [
                "at        decided  reason",
                "10:00:01  2        arrivals 9.0 / 5.0 a",
                "                   replica",
                "10:00:02  -        held",
                "10:00:03  10",
            ]
        );
        assert_eq!(aligned(&batch.slice(0, 0), 42).unwrap().len(), 1);
    }

    #[test]
    fn many_rows_end() {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let lines = aligned(&batch, 80).unwrap();
        assert_eq!(lines.len(), ROWS_MAX + 2);
        assert_eq!(lines.last().unwrap(), "… 80 rows more");
    }
}
