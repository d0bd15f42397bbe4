//! what readers see at this moment, and how it changes
//!
//!     publish (writer) ─► hot ─► freeze (flusher) ─► frozen ─► segments
//!
//! **Always:** every change is made whole under the lock, which is held for an instant; rows are merged and views built outside it.

use super::catalog::{self, Catalog};
use super::{Segment, TableView, View};
use crate::error::Result;
use crate::event::conform::Shape;
use crate::event::{Kind, TableName};
use arrow::array::Array;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Hot batches below this many rows are merged with their neighbours.
const MERGE_ROWS: usize = 8192;
/// Hot batches above this many bytes are not copied to be merged.
const MERGE_BYTES: usize = 4 << 20;

/// All tables.
#[derive(Default)]
pub(super) struct State {
    inner: Mutex<Inner>,
    /// the latest view while somebody has it, and the version it is of
    view: Mutex<(u64, Weak<View>)>,
}

/// What the lock protects.
#[derive(Default)]
pub(super) struct Inner {
    version: u64,
    /// the last WAL record that is in here
    pub seq: u64,
    pub tables: BTreeMap<TableName, Table>,
    pub positions: BTreeMap<String, Vec<u8>>,
}

/// One table.
#[derive(Clone)]
pub(super) struct Table {
    pub kind: Kind,
    pub shape: Arc<Shape>,
    /// rows on their way to a segment
    pub frozen: Option<Arc<Frozen>>,
    pub hot: Arc<Vec<Arc<Hot>>>,
    pub segments: Arc<Vec<Arc<Segment>>>,
}

/// Rows that are in the WAL only.
pub(super) struct Hot {
    pub batch: RecordBatch,
    pub bytes: usize,
    pub seq_first: u64,
    pub seq_last: u64,
    /// when the oldest of them was accepted, ns UTC
    pub at: i64,
}

/// The rows of one flush. They stay the same until it succeeds.
pub(super) struct Frozen {
    pub hot: Arc<Vec<Arc<Hot>>>,
    pub schema: SchemaRef,
    /// when that was, ns UTC: in the file, which must come out the same every time
    pub at: i64,
}

/// What of a table is not in segments, in figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heat {
    pub table: TableName,
    pub rows: usize,
    pub bytes: usize,
    /// when the oldest was accepted, ns UTC
    pub at: i64,
}

impl Hot {
    pub(super) fn new(batch: RecordBatch, seq: u64, at: i64) -> Self {
        Hot { bytes: bytes_of(&batch), batch, seq_first: seq, seq_last: seq, at }
    }
}

impl Table {
    /// A table without rows.
    pub(super) fn new(kind: Kind, shape: Shape) -> Self {
        Table { kind, shape: Arc::new(shape), frozen: None, hot: Arc::default(), segments: Arc::default() }
    }

    /// Everything that is in no segment, oldest first.
    pub(super) fn all_hot(&self) -> impl Iterator<Item = &Arc<Hot>> {
        self.frozen.iter().flat_map(|frozen| frozen.hot.iter()).chain(self.hot.iter())
    }

    fn heat(&self, table: &TableName) -> Option<Heat> {
        let at = self.all_hot().map(|hot| hot.at).min()?;
        let rows = self.all_hot().map(|hot| hot.batch.num_rows()).sum();
        Some(Heat { table: table.clone(), rows, bytes: self.all_hot().map(|hot| hot.bytes).sum(), at })
    }
}

impl State {
    /// What came up at the start.
    pub(super) fn of(inner: Inner) -> Self {
        State { inner: Mutex::new(Inner { version: 1, ..inner }), view: Mutex::default() }
    }

    /// The lock, for an instant.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what readers see.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        inner.version += 1;
        change(&mut inner)
    }

    /// Everything, as it is now. Shared by all who have it at the same version.
    pub(super) fn view(&self) -> Arc<View> {
        let cached = |version| {
            let view = self.view.lock().unwrap_or_else(PoisonError::into_inner);
            Some(&*view).filter(|(of, _)| *of == version).and_then(|(_, view)| view.upgrade())
        };
        let (version, tables) = {
            let inner = self.lock();
            match cached(inner.version) {
                Some(view) => return view,
                None => (inner.version, inner.tables.clone()),
            }
        };
        let tables = tables.into_iter().map(|(name, table)| {
            let hot = table.all_hot().map(|hot| hot.batch.clone()).collect();
            let segments = table.segments.as_ref().clone();
            (name, TableView { kind: table.kind, schema: table.shape.schema.clone(), hot, segments })
        });
        let view = Arc::new(View { tables: tables.collect() });
        let mut latest = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.0 <= version {
            *latest = (version, Arc::downgrade(&view));
        }
        view
    }

    /// What is in no segment, by table.
    pub(super) fn heat(&self) -> Vec<Heat> {
        self.lock().tables.iter().filter_map(|(name, table)| table.heat(name)).collect()
    }

    /// Bytes that are in no segment.
    pub(super) fn hot_bytes(&self) -> usize {
        self.heat().iter().map(|heat| heat.bytes).sum()
    }

    /// Takes a table's hot rows for a flush; the same ones again if the last flush of it failed.
    pub(super) fn freeze(&self, name: &TableName, now: i64) -> Option<Arc<Frozen>> {
        let mut inner = self.lock();
        let table = inner.tables.get_mut(name)?;
        if table.frozen.is_none() && !table.hot.is_empty() {
            let frozen = Frozen { hot: std::mem::take(&mut table.hot), schema: table.shape.schema.clone(), at: now };
            table.frozen = Some(Arc::new(frozen));
        }
        table.frozen.clone()
    }

    /// The catalog as it will be once these frozen rows are in these segments.
    pub(super) fn catalog(&self, flushed: &BTreeMap<TableName, Vec<Arc<Segment>>>) -> Catalog {
        let inner = self.lock();
        let positions = inner.positions.iter().map(|(name, value)| (name.clone(), catalog::to_hex(value)));
        let mut catalog = Catalog { seq: inner.seq, tables: BTreeMap::new(), positions: positions.collect() };
        for (name, table) in &inner.tables {
            let mut segments = table.segments.as_ref().clone();
            let first_hot = match flushed.get(name) {
                Some(new) => {
                    segments.extend(new.iter().cloned());
                    table.hot.first()
                }
                None => table.all_hot().next(),
            };
            catalog.add(name, table, &segments, first_hot.map(|hot| hot.seq_first));
        }
        catalog
    }

    /// The frozen rows are in these segments now.
    pub(super) fn settle(&self, flushed: BTreeMap<TableName, Vec<Arc<Segment>>>) {
        self.change(|inner| {
            for (name, new) in flushed {
                if let Some(table) = inner.tables.get_mut(&name) {
                    table.frozen = None;
                    Arc::make_mut(&mut table.segments).extend(new);
                }
            }
        });
    }

    /// Merges small hot batches of a table. The copying is done outside the lock; should the rows be frozen meanwhile, it was in vain.
    pub(super) fn merge(&self, name: &TableName) -> Result<()> {
        let Some(before) = self.lock().tables.get(name).map(|table| table.hot.clone()) else { return Ok(()) };
        let Some(after) = merge_last(&before)? else { return Ok(()) };
        self.change(|inner| {
            if let Some(table) = inner.tables.get_mut(name).filter(|table| Arc::ptr_eq(&table.hot, &before)) {
                table.hot = Arc::new(after);
            }
        });
        Ok(())
    }
}

/// The same rows with the small batches at the end as one, if that is due.
pub(super) fn merge_last(hot: &[Arc<Hot>]) -> Result<Option<Vec<Arc<Hot>>>> {
    let Some(from) = merge_from(hot) else { return Ok(None) };
    let (kept, small) = hot.split_at_checked(from).unwrap_or_default();
    let mut after = kept.to_vec();
    after.push(Arc::new(merged(small)?));
    Ok(Some(after))
}

/// From which batch on to merge, such that each row is copied a few times at most: a batch joins the one before it once it is
/// half as large.
fn merge_from(hot: &[Arc<Hot>]) -> Option<usize> {
    let (mut from, mut rows, mut bytes) = (hot.len(), 0, 0);
    for (at, batch) in hot.iter().enumerate().rev() {
        let joins = from == hot.len() || batch.batch.num_rows() <= 2 * rows;
        let small = batch.batch.num_rows() < MERGE_ROWS && bytes + batch.bytes <= MERGE_BYTES;
        if !joins || !small {
            break;
        }
        rows += batch.batch.num_rows();
        bytes += batch.bytes;
        from = at;
    }
    (from + 1 < hot.len()).then_some(from)
}

fn merged(small: &[Arc<Hot>]) -> Result<Hot> {
    let batches: Vec<RecordBatch> = small.iter().map(|hot| hot.batch.clone()).collect();
    let batch = concat(&batches)?;
    Ok(Hot {
        bytes: bytes_of(&batch),
        batch,
        seq_first: small.iter().map(|hot| hot.seq_first).min().unwrap_or(0),
        seq_last: small.iter().map(|hot| hot.seq_last).max().unwrap_or(0),
        at: small.iter().map(|hot| hot.at).min().unwrap_or(0),
    })
}

/// Batches of one table as one, with every column that any of them has, in the type of the last.
pub(super) fn concat(batches: &[RecordBatch]) -> Result<RecordBatch> {
    let Some(first) = batches.first() else {
        return Ok(RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())));
    };
    if batches.iter().all(|batch| batch.schema_ref() == first.schema_ref()) {
        return Ok(concat_batches(first.schema_ref(), batches)?);
    }
    let schema = union(batches);
    let adapted: Vec<RecordBatch> = batches.iter().map(|batch| super::adapt(batch, &schema)).collect::<Result<_>>()?;
    Ok(concat_batches(&schema, &adapted)?)
}

fn union(batches: &[RecordBatch]) -> SchemaRef {
    let mut fields: Vec<arrow::datatypes::FieldRef> = Vec::new();
    let mut places = BTreeMap::new();
    for batch in batches {
        for field in batch.schema_ref().fields() {
            let at = *places.entry(field.name().clone()).or_insert(fields.len());
            match fields.get_mut(at) {
                Some(place) => *place = field.clone(),
                None => fields.push(field.clone()),
            }
        }
    }
    Arc::new(arrow::datatypes::Schema::new(fields))
}

/// The bytes of a batch's own rows, not of the buffers it shares.
pub(super) fn bytes_of(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    columns
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()))
        .sum()
}
