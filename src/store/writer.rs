//! the one thread that writes: everything waiting becomes one record, one fsync, one change of the view
//!
//!     queue ─► group ─► known keys answered ─► conformed ─► WAL, fsync ─► published ─► acks
//!
//! When the disk cannot take a group, the impatient of it are refused and the patient wait in order, tried again every
//! [`super::Options::retry_every`]; meanwhile the impatient are refused at once.
//!
//! **Always:** patient appends become durable in the order they were submitted; an ack comes after the rows can be seen.

use super::disk;
use super::flusher::Flusher;
use super::handle::Shared;
use super::keys::Key;
use super::queue::{Declaration, Ending, Job, Waiting};
use super::record::{Record, Rows};
use super::state::{Hot, Table, concat};
use super::stats::{Counters, Part};
use super::{Append, TableOptions, drift};
use crate::clock::nanos;
use crate::error::{Error, ErrorKind, Result};
use crate::event::conform::{Drift, Shape, conform};
use crate::event::{Accepted, Kind, TableName};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of appends that are written together.
const GROUP_BYTES_MAX: usize = 8 << 20;
/// Batches with fewer rows are merged with their neighbours before they are written.
const MERGE_ROWS: usize = 8192;
/// How long the writer sleeps at a time while it waits for the flusher to make room.
const ROOM_WAIT: Duration = Duration::from_millis(20);

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// what is to be written, in order; bounded because each still holds its room in the queue
    backlog: VecDeque<Waiting>,
    trouble: Option<Trouble>,
}

/// The disk cannot take anything.
struct Trouble {
    error: Error,
    retry_at: i64,
}

/// A group on its way to the disk.
#[derive(Default)]
struct Group {
    record: Record,
    tables: BTreeMap<TableName, Prepared>,
    members: Vec<(Waiting, Accepted)>,
    /// by name: its place among the record's keys
    keys: HashMap<String, usize>,
    rows: u64,
}

/// One table's part of it.
struct Prepared {
    kind: Kind,
    shape: Arc<Shape>,
    batches: Vec<RecordBatch>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Writer { shared, backlog: VecDeque::new(), trouble: None }
    }

    /// Writes until the queue is closed.
    pub(super) fn run(mut self) {
        loop {
            let wait_max = match (&self.trouble, self.backlog.is_empty()) {
                (Some(_), _) => Some(self.shared.options.retry_every),
                (None, false) => Some(Duration::ZERO),
                (None, true) => None,
            };
            let taken = self.shared.queue.take(wait_max);
            if taken.ending == Ending::Now {
                return;
            }
            let due = self.is_due(taken.timed_out) || taken.ending == Ending::Drain;
            for job in taken.jobs {
                match job {
                    Job::Append(waiting) => self.backlog.push_back(*waiting),
                    Job::Declare(declaration) => self.declare(*declaration),
                }
            }
            if due {
                self.write_next();
            } else {
                self.refuse_impatient();
            }
            if taken.ending == Ending::Drain && (self.backlog.is_empty() || self.trouble.is_some()) {
                return;
            }
        }
    }

    /// Whether to try: always while all is well, else from time to time.
    fn is_due(&self, timed_out: bool) -> bool {
        let Some(trouble) = &self.trouble else { return true };
        let left = trouble.retry_at.saturating_sub(self.shared.clock.now());
        // More left than there ever was: the clock was set back.
        timed_out || left <= 0 || left > nanos(self.shared.options.retry_every)
    }

    /// Writes what fits into one group.
    fn write_next(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        if let Err(error) = self.wait_for_room() {
            return self.fail(error, VecDeque::new());
        }
        if let Err(error) = self.check_space() {
            return self.fail(disk::refusal(&self.shared.root, &error), VecDeque::new());
        }
        let mut group = Group::default();
        let mut bytes = 0;
        let now = self.shared.clock.now();
        while let Some(next) = self.backlog.front() {
            if bytes > 0 && bytes + next.bytes > GROUP_BYTES_MAX {
                break;
            }
            bytes += next.bytes;
            if let Some(next) = self.backlog.pop_front() {
                self.join(&mut group, next, now);
            }
        }
        match self.store(&mut group) {
            Ok(seq) => self.done(group, seq, now),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                self.fail(error, group.members.into_iter().map(|(waiting, _)| waiting).collect());
            }
            // Not the disk's fault: trying again would never end.
            Err(error) => group.members.into_iter().for_each(|(waiting, _)| waiting.ack.answer(Err(error.clone()))),
        }
    }

    /// Puts an append into a group, or answers it.
    fn join(&self, group: &mut Group, waiting: Waiting, now: i64) {
        if let Some(key) = &waiting.append.key {
            let known = self.shared.log().keys.find(&key.name, now).map(|known| known.again(&key.digest));
            if let Some(answer) = known {
                let counters = &self.shared.counters;
                Counters::add(if answer.is_ok() { &counters.repeated } else { &counters.refused }, 1);
                return waiting.ack.answer(answer);
            }
            let first = group.keys.get(&key.name).and_then(|at| group.record.keys.get(*at));
            match first.map(|first| first.again(&key.digest)) {
                // Answered with the first of its key, once that is safe.
                Some(Ok(accepted)) => return group.members.push((waiting, accepted)),
                Some(Err(error)) => return waiting.ack.answer(Err(error)),
                None => {}
            }
        }
        match self.prepare(group, &waiting.append, now) {
            Ok(()) => {
                let accepted = Accepted { repeated: false, ..waiting.append.accepted };
                group.members.push((waiting, accepted));
            }
            Err(error) => waiting.ack.answer(Err(error)),
        }
    }

    /// Conforms an append and adds it to the group: whole, or not at all.
    fn prepare(&self, group: &mut Group, append: &Append, now: i64) -> Result<()> {
        let mut changed: BTreeMap<TableName, (Kind, Arc<Shape>, Vec<RecordBatch>)> = BTreeMap::new();
        let mut drifts: Vec<(TableName, Drift)> = Vec::new();
        let mut rows = 0;
        for (table, kind, batch) in append.tables.iter().filter(|(_, _, batch)| batch.num_rows() > 0) {
            let before = changed.get(table).map(|(kind, shape, _)| (*kind, shape.clone()));
            let (kind, shape) = match before {
                Some(before) => before,
                None => self.shape(group, table, *kind)?,
            };
            let conformed = conform(&shape, batch, now).map_err(|error| error.within(format!("table `{table}`")))?;
            drifts.extend(conformed.drift.into_iter().map(|drift| (table.clone(), drift)));
            rows += batch.num_rows() as u64;
            let entry = changed.entry(table.clone()).or_insert_with(|| (kind, shape, Vec::new()));
            entry.1 = conformed.shape;
            entry.2.push(conformed.columns);
        }
        if !drifts.is_empty() {
            let (kind, shape) = self.shape(group, &drift::table(), Kind::Logs)?;
            let conformed = conform(&shape, &drift::batch(&drifts, now)?, now)?;
            let entry = changed.entry(drift::table()).or_insert_with(|| (kind, shape, Vec::new()));
            entry.1 = conformed.shape;
            entry.2.push(conformed.columns);
        }
        for (table, (kind, shape, batches)) in changed {
            let prepared = group.tables.entry(table).or_insert_with(|| Prepared {
                kind,
                shape: shape.clone(),
                batches: Vec::new(),
            });
            prepared.shape = shape;
            prepared.batches.extend(batches);
        }
        group.rows += rows;
        group.record.positions.extend(append.positions.iter().cloned());
        if let Some(key) = &append.key {
            let accepted = Accepted { repeated: false, ..append.accepted };
            group.keys.insert(key.name.clone(), group.record.keys.len());
            let key = Key { key: key.name.as_str().into(), digest: key.digest, at: now, accepted };
            group.record.keys.push(key);
        }
        Ok(())
    }

    /// What a table looks like after what is in the group already.
    fn shape(&self, group: &Group, table: &TableName, kind: Kind) -> Result<(Kind, Arc<Shape>)> {
        if let Some(prepared) = group.tables.get(table) {
            return Ok((prepared.kind, prepared.shape.clone()));
        }
        match self.shared.state.lock().tables.get(table) {
            Some(known) => Ok((known.kind, known.shape.clone())),
            None => Ok((kind, Arc::new(new_shape(table, kind, &TableOptions::default())?))),
        }
    }

    /// Writes a group and makes it safe.
    fn store(&self, group: &mut Group) -> Result<u64> {
        for (table, prepared) in &mut group.tables {
            let batches = merge_small(std::mem::take(&mut prepared.batches))?;
            prepared.batches = batches;
            for run in prepared.batches.chunk_by(|a, b| a.schema_ref() == b.schema_ref()) {
                group.record.tables.push(Rows {
                    table: table.clone(),
                    kind: prepared.kind,
                    body: prepared.shape.body,
                    batches: run.to_vec(),
                });
            }
        }
        let record = &group.record;
        let mut log = self.shared.log();
        if record.tables.is_empty() && record.positions.is_empty() && record.keys.is_empty() {
            return Ok(log.wal.last_seq());
        }
        log.wal.append(record).map_err(|error| disk::refusal(&self.shared.root, &error))
    }

    /// A group is safe: it is shown, then answered.
    fn done(&mut self, group: Group, seq: u64, now: i64) {
        if self.trouble.take().is_some() {
            tracing::info!(path = %self.shared.root.display(), "the store is writing again");
            self.shared.counters.set_error(Part::Writing, "");
        }
        {
            let mut log = self.shared.log();
            log.keys.expire(now);
            group.record.keys.into_iter().for_each(|key| log.keys.insert(seq, key));
        }
        let touched: Vec<TableName> = group.tables.keys().cloned().collect();
        let (positions, tables) = (group.record.positions, group.tables);
        self.shared.state.change(|inner| {
            inner.seq = inner.seq.max(seq);
            for position in positions {
                if position.value.is_empty() {
                    inner.positions.remove(&position.name);
                } else {
                    inner.positions.insert(position.name, position.value);
                }
            }
            for (name, prepared) in tables {
                let fresh = || Table::new(prepared.kind, prepared.shape.as_ref().clone());
                let table = inner.tables.entry(name).or_insert_with(fresh);
                table.shape = prepared.shape;
                let hot = prepared.batches.into_iter().map(|batch| Arc::new(Hot::new(batch, seq, now)));
                Arc::make_mut(&mut table.hot).extend(hot);
            }
        });
        let counters = &self.shared.counters;
        Counters::add(&counters.appends, group.members.len() as u64);
        Counters::add(&counters.groups, 1);
        Counters::add(&counters.rows, group.rows);
        counters.group_appends_max.fetch_max(group.members.len() as u64, std::sync::atomic::Ordering::Relaxed);
        for (waiting, accepted) in group.members {
            waiting.ack.answer(Ok(accepted));
        }
        for table in &touched {
            if let Err(error) = self.shared.state.merge(table) {
                tracing::error!(%table, %error, "small hot batches cannot be merged");
            }
        }
        if Flusher::is_due(&self.shared) {
            self.shared.signal.nudge();
        }
    }

    /// The disk cannot take it: the patient wait in their order, the others hear of it.
    fn fail(&mut self, error: Error, members: VecDeque<Waiting>) {
        for waiting in members.into_iter().rev() {
            self.backlog.push_front(waiting);
        }
        if self.trouble.is_none() {
            tracing::error!(%error, "the store cannot write");
        }
        self.shared.counters.set_error(Part::Writing, error.message());
        self.shared.signal.relieve();
        let retry_at = self.shared.clock.now().saturating_add(nanos(self.shared.options.retry_every));
        self.trouble = Some(Trouble { error, retry_at });
        self.refuse_impatient();
    }

    fn refuse_impatient(&mut self) {
        let Some(trouble) = &self.trouble else { return };
        let (patient, impatient) = self.backlog.drain(..).partition(|waiting: &Waiting| waiting.append.patient);
        self.backlog = patient;
        let impatient: VecDeque<Waiting> = impatient;
        Counters::add(&self.shared.counters.refused, impatient.len() as u64);
        for waiting in impatient {
            waiting.ack.answer(Err(trouble.error.clone()));
        }
    }

    /// Some of the disk is kept for the flush that frees the rest: segments are smaller than the WAL they replace.
    fn check_space(&self) -> io::Result<()> {
        let space = self.shared.disk.space(&self.shared.root)?;
        let reserve = (space.total_bytes / 16).min(self.shared.options.reserve_bytes);
        if space.free_bytes < reserve { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Waits while more is hot than may be. Ends with an error when flushing fails: then waiting may not end.
    fn wait_for_room(&self) -> Result<()> {
        while self.shared.state.hot_bytes() > self.shared.options.hot_bytes_max {
            self.shared.signal.nudge();
            if let Some(error) = self.shared.signal.failure() {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "too many rows wait to be flushed, and flushing fails: {error}; accepted again when it works"
                    ),
                ));
            }
            if self.shared.queue.is_ending_now() {
                return Err(Error::new(ErrorKind::Unavailable, "tidemill is stopping; send it again later"));
            }
            self.shared.signal.wait_for_flush(ROOM_WAIT);
        }
        Ok(())
    }

    fn declare(&self, declaration: Declaration) {
        let Declaration { table, kind, options, reply } = declaration;
        let outcome = self.shared.state.change(|inner| match inner.tables.get_mut(&table) {
            None => {
                let shape = new_shape(&table, kind, &options)?;
                inner.tables.insert(table.clone(), Table::new(kind, shape));
                Ok(())
            }
            Some(known) if known.kind != kind => Err(Error::invalid(format!(
                "the table `{table}` holds {}; it cannot take {} as well, use another name",
                known.kind.word(),
                kind.word()
            ))),
            Some(known) => {
                let shape = Arc::make_mut(&mut known.shape);
                shape.body = options.body;
                shape.add(&columns(&table, kind, &options))
            }
        });
        // Whoever declared may have gone.
        let _ = reply.send(outcome);
    }
}

/// What a table looks like before its first row.
pub(super) fn new_shape(table: &TableName, kind: Kind, options: &TableOptions) -> Result<Shape> {
    Shape::new(&columns(table, kind, options), options.body)
}

fn columns(table: &TableName, kind: Kind, options: &TableOptions) -> Schema {
    match &options.columns {
        Some(columns) => columns.as_ref().clone(),
        // Tables about Tidemill itself have columns of their own.
        None if table.is_system() => Schema::empty(),
        None => {
            let base = kind.base();
            let kept = base.fields().iter().filter(|f| options.body || f.name() != crate::event::columns::BODY);
            Schema::new(kept.cloned().collect::<Vec<_>>())
        }
    }
}

/// Neighbours with few rows as one batch.
fn merge_small(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
    let mut merged: Vec<RecordBatch> = Vec::new();
    let mut small: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in batches {
        let fits = small.last().is_none_or(|last| last.schema_ref() == batch.schema_ref());
        if !fits || rows + batch.num_rows() > MERGE_ROWS {
            flush_small(&mut small, &mut merged)?;
            rows = 0;
        }
        rows += batch.num_rows();
        small.push(batch);
    }
    flush_small(&mut small, &mut merged)?;
    Ok(merged)
}

fn flush_small(small: &mut Vec<RecordBatch>, merged: &mut Vec<RecordBatch>) -> Result<()> {
    match small.len() {
        0 | 1 => merged.append(small),
        _ => {
            merged.push(concat(small)?);
            small.clear();
        }
    }
    Ok(())
}
