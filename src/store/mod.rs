//! accepted events, safe on disk and open to readers
//!
//!     append ─► wal ─ fsync ─► hot rows ─► segment (Parquet) ─► catalog
//!                │                │                             │
//!                └─► ack          └──────────── view ◄──────────┘
//!
//! **Always:** an acknowledged row is in the WAL or in a segment that the catalog names, and a view shows it exactly once.
//! **Never:** nothing here knows SQL, HTTP, plugins or pipelines.

pub mod disk;
pub mod drift;
mod catalog;
mod flusher;
mod handle;
mod keys;
mod queue;
mod record;
mod recovery;
mod segment;
#[cfg(test)]
mod simulated;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod wal;
mod writer;

pub use handle::Store;
pub use recovery::FORMAT;
pub use stats::Stats;

use crate::clock::Clock;
use crate::error::Result;
use crate::event::columns::TIMESTAMP;
use crate::event::{Accepted, Key, Kind, Position, TableName};
use arrow::array::AsArray;
use arrow::compute::{max, min};
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use disk::{Disk, RealDisk};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is stored together, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// rows for each table
    pub tables: Vec<(TableName, Kind, RecordBatch)>,
    /// where the sources (and the stages that keep state) stand once the rows are safe
    pub positions: Vec<Position>,
    /// the client's name for it, made unique over sources by whoever appends
    pub key: Option<Key>,
    /// what to answer if the same key comes again
    pub accepted: Accepted,
    /// wait for a full disk to become free, keeping the order of appends; otherwise fail at once
    pub patient: bool,
}

/// Everything that can be read, as it was at one moment. A fan-out over several tables is in it whole or not at all.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// every table by name
    pub tables: BTreeMap<TableName, TableView>,
}

/// One table at that moment.
#[derive(Clone, Debug)]
pub struct TableView {
    /// logs or metrics
    pub kind: Kind,
    /// the table's columns; only types of [`crate::event::Type`], only grows (and `int64` may become `float64` or `utf8`)
    pub schema: SchemaRef,
    /// accepted rows that no segment has yet, oldest first; a batch may lack columns or hold an older type of one: see [`adapt`]
    pub hot: Vec<RecordBatch>,
    /// files, oldest rows first
    pub segments: Vec<Arc<Segment>>,
}

impl TableView {
    /// The times of the oldest and the newest row, ns UTC, hot or not.
    pub fn times(&self) -> Option<(i64, i64)> {
        let hot = self.hot.iter().filter_map(|batch| {
            let times = batch.column_by_name(TIMESTAMP)?.as_primitive_opt::<TimestampNanosecondType>()?;
            min(times).zip(max(times))
        });
        let kept = self.segments.iter().map(|segment| (segment.time_min, segment.time_max));
        hot.chain(kept).reduce(|(min, max), (first, last)| (first.min(min), last.max(max)))
    }
}

/// A Parquet file that the catalog names. It is never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// where it is
    pub path: PathBuf,
    /// rows in it
    pub rows: u64,
    /// its size
    pub bytes: u64,
    /// the time of its oldest row, ns UTC; rows are sorted by `timestamp` ascending
    pub time_min: i64,
    /// the time of its newest row, ns UTC
    pub time_max: i64,
    /// first WAL sequence number whose rows it has
    pub seq_first: u64,
    /// last WAL sequence number whose rows it has
    pub seq_last: u64,
    /// when it was written, ns UTC
    pub created_at: i64,
}

/// A hot batch with exactly the columns and types of the table's schema: missing ones are null, older types are cast.
pub fn adapt(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
            Some(column) => Ok(arrow::compute::cast(column, field.data_type())?),
            None => Ok(arrow::array::new_null_array(field.data_type(), batch.num_rows())),
        })
        .collect::<Result<Vec<_>>>()?;
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// How a store works.
#[derive(Clone)]
pub struct Options {
    /// the time
    pub clock: Clock,
    /// the file system
    pub disk: Arc<dyn Disk>,
    /// hot bytes of all tables beyond which the largest table is flushed
    pub flush_bytes: usize,
    /// hot rows beyond which a table is flushed
    pub flush_rows: usize,
    /// age of the oldest hot row at which a table is flushed
    pub flush_age: Duration,
    /// bytes of the WAL beyond which everything is flushed
    pub wal_bytes_max: u64,
    /// size at which the WAL goes on in a new file
    pub wal_file_bytes: u64,
    /// hot bytes beyond which appends wait
    pub hot_bytes_max: usize,
    /// how long to wait before a disk that failed is tried again
    pub retry_every: Duration,
    /// bytes of the disk kept free for flushing (a sixteenth of a small disk)
    pub reserve_bytes: u64,
}

impl Options {
    /// The defaults, on the machine's disk.
    pub fn new(clock: Clock) -> Self {
        Options {
            clock,
            disk: Arc::new(RealDisk),
            flush_bytes: 64 << 20,
            flush_rows: 1 << 20,
            flush_age: Duration::from_secs(300),
            wal_bytes_max: 512 << 20,
            wal_file_bytes: 64 << 20,
            hot_bytes_max: 256 << 20,
            retry_every: Duration::from_millis(200),
            reserve_bytes: 64 << 20,
        }
    }
}

/// How a table is kept.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// whether `body` is kept beside what was parsed of it
    pub body: bool,
    /// the columns it starts with; those of its kind if none are given
    pub columns: Option<SchemaRef>,
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions { body: true, columns: None }
    }
}
