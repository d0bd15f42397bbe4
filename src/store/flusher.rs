//! the thread that moves hot rows to segments, and lets go of the WAL behind them
//!
//!     choose (pure) ─► freeze ─► segments ─► catalog ─► shown in place of the hot rows ─► WAL files go
//!
//! What fails is tried again later by itself, the same rows to the same file; readers go on meanwhile.
//!
//! **Always:** a WAL file goes only after the catalog that makes it superfluous is safe.

use super::handle::Shared;
use super::state::Heat;
use super::stats::{Counters, Part};
use super::{Options, Segment, catalog, disk, segment};
use crate::clock::nanos;
use crate::error::{Error, Result};
use crate::event::TableName;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How often ages are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait after the first failure, and at most.
const BACK_OFF_MIN: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

pub(super) struct Flusher {
    shared: Arc<Shared>,
    failures: u32,
    retry_at: i64,
    /// the try that failed was for every table
    failed_all: bool,
}

/// Decides which tables to flush.
pub(super) fn choose(heat: &[Heat], wal_bytes: u64, options: &Options, now: i64) -> Vec<TableName> {
    if wal_bytes > options.wal_bytes_max {
        return heat.iter().map(|heat| heat.table.clone()).collect();
    }
    let old = |heat: &&Heat| heat.rows >= options.flush_rows || now.saturating_sub(heat.at) >= nanos(options.flush_age);
    let mut chosen: Vec<&Heat> = heat.iter().filter(old).collect();
    let mut rest: Vec<&Heat> = heat.iter().filter(|heat| !old(heat)).collect();
    rest.sort_by_key(|heat| std::cmp::Reverse(heat.bytes));
    let mut bytes: usize = rest.iter().map(|heat| heat.bytes).sum();
    for heat in rest {
        if bytes <= options.flush_bytes {
            break;
        }
        bytes -= heat.bytes;
        chosen.push(heat);
    }
    chosen.into_iter().map(|heat| heat.table.clone()).collect()
}

impl Flusher {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Flusher { shared, failures: 0, retry_at: 0, failed_all: false }
    }

    /// Whether there is something to do.
    pub(super) fn is_due(shared: &Shared) -> bool {
        let wal_bytes = shared.log().wal.bytes();
        wal_bytes > shared.options.wal_bytes_max
            || !choose(&shared.state.heat(), wal_bytes, &shared.options, shared.clock.now()).is_empty()
    }

    /// Flushes until it is told to end.
    pub(super) fn run(mut self) {
        loop {
            let asked = self.shared.signal.wait(TICK);
            if asked.abandon {
                return;
            }
            let forced = asked.end || !asked.replies.is_empty();
            if !forced && !self.may_try() {
                continue;
            }
            let wal_bytes = self.shared.log().wal.bytes();
            let again = self.failures > 0;
            let all = forced || (asked.relieve && wal_bytes > 0) || (again && self.failed_all);
            let names: Vec<TableName> = if all {
                self.shared.state.heat().into_iter().map(|heat| heat.table).collect()
            } else {
                choose(&self.shared.state.heat(), wal_bytes, &self.shared.options, self.shared.clock.now())
            };
            if all || again || !names.is_empty() || wal_bytes > self.shared.options.wal_bytes_max {
                let outcome = self.flush(&names);
                self.failed_all = all && outcome.is_err();
                self.note(&outcome);
                for reply in asked.replies {
                    // Whoever asked may have gone.
                    let _ = reply.send(outcome.clone());
                }
            }
            if asked.end {
                return;
            }
        }
    }

    /// Whether the last failure is long enough ago.
    fn may_try(&self) -> bool {
        let left = self.retry_at.saturating_sub(self.shared.clock.now());
        self.failures == 0 || left <= 0 || left > nanos(BACK_OFF_MAX)
    }

    fn note(&mut self, outcome: &Result<()>) {
        let told = outcome.as_ref().err().map(|error| error.message().to_owned());
        self.shared.counters.set_error(Part::Flushing, told.as_deref().unwrap_or_default());
        match outcome {
            Ok(()) => self.failures = 0,
            Err(error) => {
                let wait = BACK_OFF_MIN.saturating_mul(1 << self.failures.min(5)).min(BACK_OFF_MAX);
                self.failures += 1;
                self.retry_at = self.shared.clock.now().saturating_add(nanos(wait));
                Counters::add(&self.shared.counters.flush_failures, 1);
                tracing::error!(%error, failures = self.failures, retry_in = ?wait, "rows cannot be flushed to segments");
            }
        }
        self.shared.signal.flushed(told);
    }

    /// Moves these tables' hot rows to segments. What works is kept even when another table fails.
    fn flush(&self, names: &[TableName]) -> Result<()> {
        let mut flushed = BTreeMap::new();
        let mut failure = None;
        for name in names {
            match self.write(name) {
                Ok(segments) => drop(flushed.insert(name.clone(), segments)),
                Err(error) => failure = failure.or(Some(error.within(format!("table `{name}`")))),
            }
        }
        let shared = &self.shared;
        let catalog = shared.state.catalog(&flushed);
        catalog
            .save(&*shared.disk, &shared.root)
            .map_err(|error| Error::io(format!("cannot write the catalog in `{}`", shared.root.display()), error))?;
        for segment in flushed.values().flatten() {
            Counters::add(&shared.counters.segments_written, 1);
            Counters::add(&shared.counters.segment_bytes_written, segment.bytes);
        }
        shared.state.settle(flushed);
        let through = catalog.tables.values().map(|table| table.flushed_seq).min().unwrap_or(catalog.seq);
        let mut log = shared.log();
        let (wal, keys) = log.parts();
        wal.remove_through(through.min(catalog.seq), keys, shared.clock.now())
            .map_err(|error| Error::io(format!("cannot tidy the WAL in `{}`", shared.root.display()), error))?;
        failure.map_or(Ok(()), Err)
    }

    fn write(&self, name: &TableName) -> Result<Vec<Arc<Segment>>> {
        let Some(frozen) = self.shared.state.freeze(name, self.shared.clock.now()) else { return Ok(Vec::new()) };
        let folder = catalog::folder(&self.shared.root, name);
        make_folder(&self.shared, &folder)?;
        segment::write(&*self.shared.disk, &folder, name.as_str(), &frozen)
    }
}

/// Makes a folder below the root, with every one above it, and their names safe.
fn make_folder(shared: &Shared, folder: &Path) -> Result<()> {
    let above: Vec<&Path> = folder.ancestors().take_while(|above| *above != shared.root).collect();
    for folder in above.into_iter().rev() {
        let made = shared.disk.create_dir(folder).and_then(|()| shared.disk.sync_dir(disk::parent(folder)));
        made.map_err(|error| Error::io(format!("cannot make `{}`", folder.display()), error))?;
    }
    Ok(())
}

/// How the flusher is told what to do.
pub(super) struct Signal {
    asked: Mutex<Told>,
    come: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct Told {
    asked: Asked,
    /// why flushing does not work, while it does not
    failure: Option<String>,
    /// nobody flushes any more
    ended: bool,
}

/// What the flusher is asked for.
#[derive(Default)]
pub(super) struct Asked {
    nudged: bool,
    /// the disk is full: a flush may free some of it
    relieve: bool,
    /// who wants everything flushed
    replies: Vec<oneshot::Sender<Result<()>>>,
    /// flush everything a last time, then end
    end: bool,
    /// end at once
    abandon: bool,
}

impl Signal {
    pub(super) fn new() -> Self {
        Signal { asked: Mutex::default(), come: Condvar::new(), done: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, change: impl FnOnce(&mut Asked)) {
        let mut told = self.lock();
        change(&mut told.asked);
        if told.ended {
            // Those who ask hear that it is over, because nobody keeps their reply.
            told.asked.replies.clear();
        }
        self.come.notify_one();
    }

    /// There may be something to do.
    pub(super) fn nudge(&self) {
        self.ask(|asked| asked.nudged = true);
    }

    /// The disk is full.
    pub(super) fn relieve(&self) {
        self.ask(|asked| asked.relieve = true);
    }

    /// Everything is to be flushed; the answer says how it went.
    pub(super) fn flush(&self) -> oneshot::Receiver<Result<()>> {
        let (reply, answer) = oneshot::channel();
        self.ask(|asked| asked.replies.push(reply));
        answer
    }

    /// A last flush, then the end.
    pub(super) fn end(&self) -> oneshot::Receiver<Result<()>> {
        let (reply, answer) = oneshot::channel();
        self.ask(|asked| {
            asked.replies.push(reply);
            asked.end = true;
        });
        answer
    }

    /// The end, at once.
    pub(super) fn abandon(&self) {
        self.ask(|asked| asked.abandon = true);
    }

    /// Why flushing does not work, while it does not.
    pub(super) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Waits for a flush to end, or that long.
    pub(super) fn wait_for_flush(&self, wait_max: Duration) {
        drop(self.done.wait_timeout(self.lock(), wait_max));
    }

    /// The flusher is gone, in whatever way.
    pub(super) fn ended(&self) {
        let mut told = self.lock();
        told.ended = true;
        told.failure = Some("the flusher has ended".into());
        told.asked.replies.clear();
        drop(told);
        self.done.notify_all();
    }

    fn flushed(&self, failure: Option<String>) {
        self.lock().failure = failure;
        self.done.notify_all();
    }

    fn wait(&self, tick: Duration) -> Asked {
        let mut told = self.lock();
        let idle = |asked: &Asked| !asked.nudged && !asked.relieve && asked.replies.is_empty() && !asked.abandon;
        if idle(&told.asked) {
            let (held, _) = self.come.wait_timeout(told, tick).unwrap_or_else(PoisonError::into_inner);
            told = held;
        }
        std::mem::take(&mut told.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn tables_are_flushed_by_age_rows_bytes_and_wal() {
        let mut options = Options::new(Clock::held(0));
        options.flush_bytes = 100;
        options.flush_rows = 1000;
        options.flush_age = Duration::from_nanos(50);
        options.wal_bytes_max = 10_000;
        let heat = |name: &str, rows, bytes, at| Heat { table: TableName::user(name).unwrap(), rows, bytes, at };
        let three = [heat("a", 1, 30, 60), heat("b", 1, 60, 70), heat("c", 1, 20, 80)];
        for (heat, wal_bytes, now, expected) in [
            (vec![], 99_999, 100, ""),
            (vec![heat("a", 1, 10, 60)], 0, 100, ""),
            (vec![heat("a", 1, 10, 60)], 0, 110, "a"),
            (vec![heat("a", 1000, 10, 60)], 0, 100, "a"),
            (three.to_vec(), 0, 100, "b"),
            (three[..2].to_vec(), 0, 100, ""),
            (three.to_vec(), 10_001, 100, "a b c"),
        ] {
            let chosen = choose(&heat, wal_bytes, &options, now);
            let names: Vec<&str> = chosen.iter().map(TableName::as_str).collect();
            assert_eq!(names.join(" "), expected, "{heat:?} {now}");
        }
    }
}
