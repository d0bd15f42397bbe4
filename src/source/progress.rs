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
    /// bytes, samples or pushes known to be waiting
    pub behind: u64,
    /// events handed over
    pub events: u64,
    /// bytes read
    pub bytes: u64,
    /// places where an event of several lines was cut
    pub cuts: u64,
    /// what went wrong last; empty while all is well
    pub error: String,
    /// when that was, ns UTC
    pub error_at: i64,
    /// since when there is news of it, ns UTC
    pub since: i64,
}

impl Standing {
    /// How long it has not been caught up, in seconds.
    pub fn lag_seconds(&self, now: i64) -> f64 {
        now.saturating_sub(self.caught_up_at.max(self.since)).max(0) as f64 / 1e9
    }
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

    /// Events of several lines were cut in so many places.
    pub fn cut(&self, target: &str, cuts: u64) {
        if cuts > 0 {
            self.change(target, |standing, _| standing.cuts += cuts);
        }
    }

    /// All there was until then is read and safe; what came later waits for its further lines.
    pub fn caught_up_until(&self, target: &str, at: i64) {
        self.change(target, |standing, now| {
            standing.caught_up_at = standing.caught_up_at.max(at.min(now));
            standing.behind = 0;
            standing.error.clear();
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
            None => {
                let standing = targets.entry(target.to_owned()).or_default();
                standing.since = now;
                change(standing, now);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Standing>> {
        self.targets.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
