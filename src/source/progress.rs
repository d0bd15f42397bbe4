//! how far a source is, for `tidemill.targets` and for whoever must know whether an answer is fresh

use crate::clock::Clock;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// What a source tells of itself, by target (a file, an address to scrape; `""` for a source that has only itself).
pub struct Progress {
    clock: Clock,
    targets: Mutex<BTreeMap<String, Standing>>,
}

/// One target's latest news.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// When nothing that should have been read was waiting any more (and all of it was safe), ns UTC; 0 = never yet.
    pub caught_up_at: i64,
    /// bytes or samples known to be waiting
    pub behind: u64,
    /// events handed over
    pub events: u64,
    /// bytes read
    pub bytes: u64,
    /// what went wrong last; empty while all is well
    pub error: String,
    /// when that was, ns UTC
    pub error_at: i64,
}

impl Progress {
    /// Nothing read yet.
    pub fn new(clock: Clock) -> Self {
        Progress { clock, targets: Mutex::default() }
    }

    /// Something was read from a target.
    pub fn read(&self, target: &str, events: u64, bytes: u64) {
        self.change(target, |standing, _| {
            standing.events += events;
            standing.bytes += bytes;
        });
    }

    /// All there was is read and safe.
    pub fn caught_up(&self, target: &str) {
        self.change(target, |standing, now| {
            standing.caught_up_at = now;
            standing.behind = 0;
            standing.error.clear();
        });
    }

    /// So much is known to wait.
    pub fn behind(&self, target: &str, waiting: u64) {
        self.change(target, |standing, _| standing.behind = waiting);
    }

    /// A target could not be read.
    pub fn failed(&self, target: &str, error: impl Into<String>) {
        self.change(target, |standing, now| {
            standing.error = error.into();
            standing.error_at = now;
        });
    }

    /// Whether the last news of a target was a failure.
    pub fn is_failed(&self, target: &str) -> bool {
        self.lock().get(target).is_some_and(|standing| !standing.error.is_empty())
    }

    /// A target is no longer there to be read (a file that was removed after it was read to its end).
    pub fn gone(&self, target: &str) {
        self.lock().remove(target);
    }

    /// Every target's news.
    pub fn standings(&self) -> Vec<(String, Standing)> {
        self.lock().iter().map(|(target, standing)| (target.clone(), standing.clone())).collect()
    }

    /// The time up to which this source is known to have read everything: the oldest of its targets' `caught_up_at`, 0 if none.
    pub fn caught_up_at(&self) -> i64 {
        self.lock().values().map(|standing| standing.caught_up_at).min().unwrap_or(0)
    }

    fn change(&self, target: &str, change: impl FnOnce(&mut Standing, i64)) {
        let now = self.clock.now();
        let mut targets = self.lock();
        match targets.get_mut(target) {
            Some(standing) => change(standing, now),
            None => change(targets.entry(target.to_owned()).or_default(), now),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Standing>> {
        self.targets.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
