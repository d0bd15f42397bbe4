//! what a stage gets and makes, kept for a moment for somebody who asked
//!
//!     ask ─► Slot ◄─ is anything wanted? one number, before each batch ─── Stage
//!             │  ◄── the first rows of a batch, each with what came of it ─┘
//!             └─► enough rows, or time is over: what there is
//!
//! **Always:** so many rows and bytes and no more, but whole batches of a plugin that keeps state, which is watched in one lane, from
//! the state it had.
//! **Never:** a batch takes another way because somebody watches, and the number of a row reaches neither plugin nor table.

use super::slot::Version;
use super::stage::Outcome;
use crate::error::Result;
use crate::event::Batch;
use crate::event::columns::CAPTURED;
use arrow::array::{Array, RecordBatch, UInt32Array};
use arrow::compute::{filter_record_batch, is_not_null};
use arrow::datatypes::{DataType, Field, Schema};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The most rows that one capture keeps.
pub const ROWS_MAX: u32 = 1000;
/// The most bytes of columns that one capture keeps.
pub const BYTES_MAX: usize = 4 << 20;

/// Rows that went into a stage together, and what came of them.
pub struct Got {
    /// the lane
    pub source: Arc<str>,
    /// what ran
    pub version: Arc<Version>,
    /// the clock that the plugin saw, if it sees one
    pub now: Option<i64>,
    /// the state that the batch before had left
    pub state: Option<Vec<u8>>,
    /// the rows as they came, with the columns that plugins do not get
    pub input: RecordBatch,
    /// the columns that crossed
    pub reads: RecordBatch,
    /// what came of these rows; the column `__captured` has their numbers
    pub outcome: Outcome,
}

/// A stage's ear.
#[derive(Default)]
pub struct Capture {
    /// rows still wanted: 0 almost always
    wanted: AtomicU32,
    kept: Mutex<Kept>,
    news: Notify,
}

#[derive(Default)]
struct Kept {
    got: Vec<Got>,
    bytes: usize,
}

impl Capture {
    /// Begins, unless somebody else is at it.
    pub fn begin(&self, rows: u32) -> bool {
        let mut kept = self.lock();
        let wanted = rows.clamp(1, ROWS_MAX);
        let begun = self.wanted.compare_exchange(0, wanted, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if begun {
            *kept = Kept::default();
        }
        begun
    }

    /// Returns when nothing more is wanted.
    pub async fn over(&self) {
        while self.wanted() > 0 {
            let news = self.news.notified();
            if self.wanted() > 0 {
                news.await;
            }
        }
    }

    /// Ends; answers with what there is.
    pub fn end(&self) -> Vec<Got> {
        let mut kept = self.lock();
        self.wanted.store(0, Ordering::Relaxed);
        std::mem::take(&mut kept.got)
    }

    /// How many rows are wanted.
    pub fn wanted(&self) -> u32 {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Takes what a batch became.
    pub fn take(&self, got: Got) {
        let mut kept = self.lock();
        let wanted = self.wanted();
        let rows = got.input.num_rows();
        let first = kept.got.first();
        // Another version, or another lane's state, would be another case.
        let fits = first.is_none_or(|first| {
            let keeps_state = first.version.contract.keeps_state;
            Arc::ptr_eq(&first.version, &got.version) && (!keeps_state || first.source == got.source)
        });
        if wanted == 0 || !fits {
            return;
        }
        kept.bytes = kept.bytes.saturating_add(got.bytes());
        let left = wanted.saturating_sub(u32::try_from(rows).unwrap_or(u32::MAX));
        let full = kept.bytes > BYTES_MAX;
        if !full || kept.got.is_empty() {
            kept.got.push(got);
        }
        self.wanted.store(if full { 0 } else { left }, Ordering::Relaxed);
        self.news.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Got {
    fn bytes(&self) -> usize {
        let made = self.outcome.batches.iter().map(|batch| batch.columns.get_array_memory_size()).sum::<usize>();
        self.reads.get_array_memory_size() + made
    }
}

/// A batch whose first rows are numbered.
pub fn numbered(batch: &Batch, rows: usize) -> Result<Batch> {
    let count = batch.columns.num_rows();
    let numbers = (0u32..).take(count).map(|row| (row as usize).lt(&rows).then_some(row));
    let mut fields: Vec<Field> =
        batch.columns.schema_ref().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns = batch.columns.columns().to_vec();
    fields.push(Field::new(CAPTURED, DataType::UInt32, true));
    columns.push(Arc::new(UInt32Array::from_iter(numbers)));
    Ok(Batch { kind: batch.kind, columns: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)? })
}

/// Takes the numbers off an outcome again; answers with a copy of what became of numbered rows.
pub fn taken(outcome: &mut Outcome) -> Result<Outcome> {
    let mut copy = Outcome { sha256: outcome.sha256.clone(), paused: outcome.paused, ..Outcome::default() };
    for batch in &mut outcome.batches {
        if let Some(numbers) = batch.columns.column_by_name(CAPTURED) {
            let columns = filter_record_batch(&batch.columns, &is_not_null(numbers)?)?;
            copy.batches.push(Batch { kind: batch.kind, columns });
        }
        plain(&mut batch.columns);
    }
    for casualty in &mut outcome.casualties {
        if casualty.row.column_by_name(CAPTURED).is_some_and(|number| number.null_count() == 0) {
            copy.casualties.push(casualty.clone());
        }
        plain(&mut casualty.row);
    }
    Ok(copy)
}

fn plain(rows: &mut RecordBatch) {
    if let Ok(at) = rows.schema_ref().index_of(CAPTURED) {
        rows.remove_column(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::pipeline::stage::Casualty;
    use arrow::array::Int64Array;

    #[test]
    fn numbers_go_on_the_first_rows_and_come_off_again() {
        let column: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![10, 20, 30]));
        let batch = Batch { kind: Kind::Logs, columns: RecordBatch::try_from_iter(vec![("n", column)]).unwrap() };
        let numbered = numbered(&batch, 2).unwrap();
        let casualty = |row| Casualty { row: numbered.columns.slice(row, 1), reason: "x".into(), backtrace: None };
        let mut outcome = Outcome {
            batches: vec![Batch { kind: Kind::Logs, columns: numbered.columns.slice(1, 2) }],
            casualties: vec![casualty(0), casualty(2)],
            ..Outcome::default()
        };
        let copy = taken(&mut outcome).unwrap();
        assert_eq!((copy.batches[0].columns.num_rows(), copy.casualties.len()), (1, 1));
        assert_eq!((outcome.batches[0].columns.num_columns(), outcome.batches[0].columns.num_rows()), (1, 2));
        assert_eq!(outcome.casualties[1].row, batch.columns.slice(2, 1));
    }

    #[test]
    fn nobody_else_captures_meanwhile() {
        let capture = Capture::default();
        assert_eq!(capture.wanted(), 0);
        assert!(capture.begin(5) && !capture.begin(5));
        assert_eq!(capture.wanted(), 5);
        assert!(capture.end().is_empty());
        assert!(capture.begin(u32::MAX));
        assert_eq!(capture.wanted(), ROWS_MAX);
    }
}
