//! how the store is doing, in figures

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How the store is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// bytes in WAL files
    pub wal_bytes: u64,
    /// WAL files
    pub wal_files: u64,
    /// syncs of WAL files
    pub wal_fsyncs: u64,
    /// places of the WAL that could not be read at the start
    pub wal_damaged: u64,
    /// bytes of rows that no segment has yet
    pub hot_bytes: u64,
    /// rows that no segment has yet
    pub hot_rows: u64,
    /// appends that were stored
    pub appends: u64,
    /// groups of appends that were made safe together
    pub groups: u64,
    /// appends in the largest group
    pub group_appends_max: u64,
    /// rows that were stored
    pub rows: u64,
    /// appends answered from memory because their key was known
    pub repeated: u64,
    /// appends refused because the disk could not take them
    pub refused: u64,
    /// delivery keys that are remembered
    pub keys: u64,
    /// segments written
    pub segments_written: u64,
    /// bytes of segments written
    pub segment_bytes_written: u64,
    /// flushes that failed
    pub flush_failures: u64,
    /// what went wrong last; empty while writing and flushing work
    pub last_error: String,
}

/// What is counted as it happens.
#[derive(Default)]
pub(super) struct Counters {
    pub appends: AtomicU64,
    pub groups: AtomicU64,
    pub group_appends_max: AtomicU64,
    pub rows: AtomicU64,
    pub repeated: AtomicU64,
    pub refused: AtomicU64,
    pub segments_written: AtomicU64,
    pub segment_bytes_written: AtomicU64,
    pub flush_failures: AtomicU64,
    pub wal_damaged: AtomicU64,
    /// what went wrong last with writing, and with flushing
    errors: Mutex<[String; 2]>,
}

/// Whose error it is.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Writing = 0,
    Flushing = 1,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    /// What went wrong last in a part; empty when it works again.
    pub(super) fn set_error(&self, part: Part, error: &str) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = errors.get_mut(part as usize) {
            place.clear();
            place.push_str(error);
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        Stats {
            appends: get(&self.appends),
            groups: get(&self.groups),
            group_appends_max: get(&self.group_appends_max),
            rows: get(&self.rows),
            repeated: get(&self.repeated),
            refused: get(&self.refused),
            segments_written: get(&self.segments_written),
            segment_bytes_written: get(&self.segment_bytes_written),
            flush_failures: get(&self.flush_failures),
            wal_damaged: get(&self.wal_damaged),
            last_error: errors.iter().filter(|error| !error.is_empty()).cloned().collect::<Vec<_>>().join("; "),
            ..Stats::default()
        }
    }
}
