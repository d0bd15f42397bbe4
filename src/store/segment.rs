//! hot rows as a Parquet file that anybody can read
//!
//!     hot batches ─► order by time ─► Parquet, written aside ─► fsync ─► rename ─► fsync of the folder
//!
//! Batches that are in order already are written as they are; others row by row in order, so no copy of all rows is ever made.
//!
//! **Always:** rows are sorted by `timestamp` ascending, those of one time in the order they were accepted.

use super::disk::{self, Disk, DiskFile};
use super::state::Frozen;
use super::{Segment, adapt};
use crate::error::{Error, Result};
use crate::event::columns::{BODY, TIMESTAMP};
use arrow::array::{Array, AsArray};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Float64Type, Int64Type, Schema, SchemaRef, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// The most rows of one file.
const FILE_ROWS_MAX: usize = 4 << 20;
/// Rows that are put in order at a time.
const CHUNK_ROWS: usize = 64 << 10;
/// Rows looked at to see whether a dictionary pays.
const SAMPLE_ROWS: usize = 2048;
/// Bytes collected before they are written.
const WRITE_BYTES: usize = 1 << 20;

/// Writes frozen rows into a table's folder, as one file or, when they are very many, several.
pub(super) fn write(disk: &dyn Disk, folder: &Path, table: &str, frozen: &Frozen) -> Result<Vec<Arc<Segment>>> {
    let batches: Vec<RecordBatch> =
        frozen.hot.iter().map(|hot| adapt(&hot.batch, &frozen.schema)).collect::<Result<_>>()?;
    let times: Vec<&[i64]> = batches.iter().map(times).collect::<Result<_>>()?;
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let order = order(&times, rows);
    let seq_first = frozen.hot.iter().map(|hot| hot.seq_first).min().unwrap_or(0);
    let seq_last = frozen.hot.iter().map(|hot| hot.seq_last).max().unwrap_or(0);
    let mut segments = Vec::new();
    for (part, piece) in order.pieces(&batches, FILE_ROWS_MAX).into_iter().enumerate() {
        let path = folder.join(name(seq_first, seq_last, part));
        let properties = properties(table, &frozen.schema, &batches, seq_first, seq_last, frozen.at)?;
        let (bytes, time_min, time_max, rows) = write_file(disk, &path, &frozen.schema, properties, &batches, &piece)
            .map_err(|error| within(&path, error))?;
        segments.push(Arc::new(Segment {
            path,
            rows,
            bytes,
            time_min,
            time_max,
            seq_first,
            seq_last,
            created_at: frozen.at,
        }));
    }
    disk.sync_dir(folder).map_err(|error| Error::io(format!("`{}`", folder.display()), error))?;
    Ok(segments)
}

/// The name of a file of segments.
fn name(seq_first: u64, seq_last: u64, part: usize) -> String {
    match part {
        0 => format!("{seq_first:020}-{seq_last:020}.parquet"),
        _ => format!("{seq_first:020}-{seq_last:020}-{part}.parquet"),
    }
}

/// Whether a file is named as ours are.
pub(super) fn is_ours(name: &str) -> bool {
    let Some(numbers) = name.strip_suffix(".parquet") else { return false };
    let parts: Vec<&str> = numbers.split('-').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (2..=3).contains(&parts.len()) && parts.iter().all(digits) && parts.iter().take(2).all(|part| part.len() == 20)
}

/// What a file says of itself: for when the catalog cannot.
pub(super) fn inspect(disk: &dyn Disk, path: &Path) -> Result<(Segment, SchemaRef)> {
    let damaged = |error: ParquetError| Error::internal(format!("`{}` cannot be read: {error}", path.display()));
    let bytes = disk.read(path).map_err(|error| Error::io(format!("cannot read `{}`", path.display()), error))?;
    let size = bytes.len() as u64;
    let metadata =
        ArrowReaderMetadata::load(&bytes::Bytes::from(bytes), ArrowReaderOptions::default()).map_err(damaged)?;
    let file = metadata.metadata().file_metadata();
    let told = |key: &str| {
        let entry = file.key_value_metadata()?.iter().find(|entry| entry.key == format!("tidemill.{key}"))?;
        entry.value.as_ref()?.parse::<u64>().ok()
    };
    let nothing = || Error::internal(format!("`{}` does not say what it holds", path.display()));
    let at = metadata.schema().fields().iter().position(|field| field.name() == TIMESTAMP).ok_or_else(nothing)?;
    let at = leaf_of(metadata.schema(), TIMESTAMP).map_or(at, |leaf| leaf as usize);
    let (mut time_min, mut time_max) = (i64::MAX, i64::MIN);
    for group in metadata.metadata().row_groups() {
        if let Some(Statistics::Int64(times)) = group.columns().get(at).and_then(|column| column.statistics()) {
            time_min = time_min.min(times.min_opt().copied().unwrap_or(i64::MIN));
            time_max = time_max.max(times.max_opt().copied().unwrap_or(i64::MAX));
        }
    }
    let segment = Segment {
        path: path.to_owned(),
        rows: u64::try_from(file.num_rows()).map_err(|_| nothing())?,
        bytes: size,
        time_min,
        time_max,
        seq_first: told("seq_first").ok_or_else(nothing)?,
        seq_last: told("seq_last").ok_or_else(nothing)?,
        created_at: told("created_at").and_then(|at| i64::try_from(at).ok()).unwrap_or(0),
    };
    Ok((segment, metadata.schema().clone()))
}

/// In which order rows go.
enum Order {
    /// as they are
    AsIs,
    /// batch and row of each
    Sorted(Vec<(usize, usize)>),
}

/// What goes into one file.
enum Piece<'a> {
    Batches(&'a [RecordBatch]),
    Rows(&'a [(usize, usize)]),
}

fn times(batch: &RecordBatch) -> Result<&[i64]> {
    let column =
        batch.column_by_name(TIMESTAMP).and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    let column = column.ok_or_else(|| Error::internal("hot rows have no column `timestamp` of type timestamp"))?;
    Ok(column.values())
}

fn order(times: &[&[i64]], rows: usize) -> Order {
    let mut all = times.iter().flat_map(|times| times.iter());
    let mut last = i64::MIN;
    if rows <= FILE_ROWS_MAX && all.all(|time| std::mem::replace(&mut last, *time) <= *time) {
        return Order::AsIs;
    }
    let mut keyed: Vec<(i64, u32, u32)> = Vec::with_capacity(rows);
    for (batch, times) in times.iter().enumerate() {
        keyed.extend(times.iter().enumerate().map(|(row, time)| (*time, batch as u32, row as u32)));
    }
    // Stable, and fast on runs that are in order already, which is what sources deliver.
    keyed.sort_by_key(|(time, _, _)| *time);
    Order::Sorted(keyed.into_iter().map(|(_, batch, row)| (batch as usize, row as usize)).collect())
}

impl Order {
    fn pieces<'a>(&'a self, batches: &'a [RecordBatch], rows_max: usize) -> Vec<Piece<'a>> {
        match self {
            Order::AsIs => vec![Piece::Batches(batches)],
            Order::Sorted(rows) => rows.chunks(rows_max).map(Piece::Rows).collect(),
        }
    }
}

fn write_file(
    disk: &dyn Disk,
    path: &Path,
    schema: &SchemaRef,
    properties: WriterProperties,
    batches: &[RecordBatch],
    piece: &Piece,
) -> Result<(u64, i64, i64, u64), ParquetError> {
    let temporary = disk::temporary(path);
    let file = Output { file: disk.create(&temporary)?, waiting: Vec::with_capacity(WRITE_BYTES), bytes: 0 };
    let options = ArrowWriterOptions::new().with_properties(properties);
    let mut writer = ArrowWriter::try_new_with_options(file, schema.clone(), options)?;
    let (mut min, mut max, mut rows) = (i64::MAX, i64::MIN, 0);
    let mut put = |writer: &mut ArrowWriter<Output>, batch: &RecordBatch| {
        let times = times(batch).map_err(|error| ParquetError::General(error.to_string()))?;
        min = min.min(times.first().copied().unwrap_or(i64::MAX));
        max = max.max(times.last().copied().unwrap_or(i64::MIN));
        rows += batch.num_rows() as u64;
        writer.write(batch)
    };
    match piece {
        Piece::Batches(batches) => batches.iter().try_for_each(|batch| put(&mut writer, batch))?,
        Piece::Rows(order) => {
            let batches: Vec<&RecordBatch> = batches.iter().collect();
            for chunk in order.chunks(CHUNK_ROWS) {
                put(&mut writer, &interleave_record_batch(&batches, chunk)?)?;
            }
        }
    }
    let mut file = writer.into_inner()?;
    file.flush()?;
    file.file.sync_data()?;
    let bytes = file.bytes;
    drop(file);
    disk.rename(&temporary, path)?;
    Ok((bytes, min, max, rows))
}

fn within(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(error) => Error::io(format!("cannot write `{}`", path.display()), *error),
            Err(error) => Error::internal(format!("cannot write `{}`: {error}", path.display())),
        },
        other => Error::internal(format!("cannot write `{}`: {other}", path.display())),
    }
}

fn properties(
    table: &str,
    schema: &Schema,
    batches: &[RecordBatch],
    seq_first: u64,
    seq_last: u64,
    now: i64,
) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(1).map_err(|error| Error::internal(error.to_string()))?;
    let told = |key: &str, value: String| KeyValue::new(format!("tidemill.{key}"), value);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_created_by(concat!("tidemill ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_key_value_metadata(Some(vec![
            told("table", table.to_owned()),
            told("seq_first", seq_first.to_string()),
            told("seq_last", seq_last.to_string()),
            told("created_at", now.to_string()),
        ]));
    if let Some(column_idx) = leaf_of(schema, TIMESTAMP) {
        let sorted = SortingColumn { column_idx, descending: false, nulls_first: false };
        properties = properties.set_sorting_columns(Some(vec![sorted]));
    }
    for field in schema.fields() {
        let path = || ColumnPath::from(vec![field.name().clone()]);
        if field.name() == TIMESTAMP {
            properties = properties
                .set_column_dictionary_enabled(path(), false)
                .set_column_encoding(path(), Encoding::DELTA_BINARY_PACKED);
        } else if field.name() == BODY {
            // Lines differ, and nobody asks for those between two others.
            properties = properties
                .set_column_dictionary_enabled(path(), false)
                .set_column_statistics_enabled(path(), EnabledStatistics::None);
        } else if !dictionary_pays(field.name(), batches) {
            properties = properties.set_column_dictionary_enabled(path(), false);
        }
    }
    Ok(properties.build())
}

/// The number of a column among the leaves of the file: a map has two.
fn leaf_of(schema: &Schema, name: &str) -> Option<i32> {
    let before = schema.fields().iter().take_while(|field| field.name() != name);
    let leaves: i32 = before.map(|field| if matches!(field.data_type(), DataType::Map(_, _)) { 2 } else { 1 }).sum();
    schema.index_of(name).ok().map(|_| leaves)
}

/// Whether values repeat enough: judged by the largest batch.
fn dictionary_pays(name: &str, batches: &[RecordBatch]) -> bool {
    let Some(largest) = batches.iter().max_by_key(|batch| batch.num_rows()) else { return true };
    let Some(column) = largest.column_by_name(name) else { return true };
    let rows = (0..column.len().min(SAMPLE_ROWS)).filter(|row| column.is_valid(*row));
    let (seen, distinct) = match column.data_type() {
        DataType::Utf8 => {
            let column = column.as_string::<i32>();
            distinct(rows.map(|row| column.value(row)))
        }
        DataType::Binary => {
            let column = column.as_binary::<i32>();
            distinct(rows.map(|row| column.value(row)))
        }
        DataType::Int64 => {
            let column = column.as_primitive::<Int64Type>();
            distinct(rows.map(|row| column.value(row)))
        }
        DataType::Float64 => {
            let column = column.as_primitive::<Float64Type>();
            distinct(rows.map(|row| column.value(row).to_bits()))
        }
        _ => return true,
    };
    seen < 64 || distinct * 2 <= seen
}

fn distinct<T: std::hash::Hash + Eq>(values: impl Iterator<Item = T>) -> (usize, usize) {
    let mut seen = HashSet::new();
    let count = values.map(|value| seen.insert(value)).count();
    (count, seen.len())
}

/// A file for the Parquet writer, written in large pieces.
struct Output {
    file: Box<dyn DiskFile>,
    waiting: Vec<u8>,
    bytes: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.waiting)?;
        self.bytes += self.waiting.len() as u64;
        self.waiting.clear();
        Ok(())
    }
}
