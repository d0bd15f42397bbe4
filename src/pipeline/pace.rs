//! how many events a call gets: learned from the calls before, so that a slow plugin's time suffices for what it is handed
//!
//! A batch of 8,192 lines is 4 ms to a plugin in Rust and more than a second to one in JavaScript: handed whole, it would run out of time
//! every time, and nobody could tell its slowness from an event that it chokes on.
//!
//! **Always:** a batch is handed over in order, and in as few calls as its time allows. **Never:** a plugin that nobody knows yet gets more than
//! [`ROWS_FIRST`] events.

use std::time::Duration;

/// What a plugin gets in its first call.
const ROWS_FIRST: usize = 256;
/// How many times the last call's events the next may be.
const GROWTH_MAX: usize = 8;
/// The part of a call's time that is planned for; the rest is for events that take longer.
const SHARE: f64 = 0.5;

/// What was learned of a plugin in its place.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    nanoseconds: Option<f64>,
    rows_max: usize,
}

impl Pace {
    /// How many of the events that wait the next call gets, at least one.
    pub(super) fn rows(&self, waiting: usize, time: Duration) -> usize {
        let fit = match self.nanoseconds {
            Some(each) => ((time.as_nanos() as f64 * SHARE / each) as usize).min(self.rows_max * GROWTH_MAX),
            None => ROWS_FIRST,
        };
        fit.clamp(1, waiting.max(1))
    }

    /// A call went well: so many events took so long. Slower counts at once, quicker little by little.
    pub(super) fn learn(&mut self, rows: usize, took: Duration) {
        if rows == 0 {
            return;
        }
        let latest = (took.as_nanos() as f64 / rows as f64).max(1.0);
        self.nanoseconds = Some(self.nanoseconds.map_or(latest, |old| latest.max(old * 0.75 + latest * 0.25)));
        self.rows_max = self.rows_max.max(rows);
    }

    /// The time that so many events may well take, if anything is known.
    pub(super) fn time(&self, rows: usize) -> Duration {
        let nanoseconds = self.nanoseconds.unwrap_or_default() * rows as f64 / SHARE;
        Duration::from_nanos(nanoseconds as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(200);

    #[test]
    fn calls_grow_until_half_of_the_time_is_used() {
        let (mut pace, mut waiting, mut calls) = (Pace::default(), 8192, Vec::new());
        while waiting > 0 {
            let rows = pace.rows(waiting, TIME);
            pace.learn(rows, Duration::from_micros(50) * rows as u32);
            calls.push(rows);
            waiting -= rows;
        }
        assert_eq!(calls, [256, 2000, 2000, 2000, 1936]);
    }

    #[test]
    fn a_quick_plugin_gets_whole_batches_soon() {
        let mut pace = Pace::default();
        let mut calls = Vec::new();
        for _ in 0..2 {
            let mut waiting = 8192;
            while waiting > 0 {
                let rows = pace.rows(waiting, TIME);
                pace.learn(rows, Duration::from_nanos(500) * rows as u32);
                calls.push(rows);
                waiting -= rows;
            }
        }
        assert_eq!(calls, [256, 2048, 5888, 8192]);
    }

    #[test]
    fn slower_counts_at_once_and_quicker_little_by_little() {
        let mut pace = Pace::default();
        pace.learn(1000, Duration::from_millis(10));
        assert_eq!(pace.rows(100_000, TIME), 8000);
        pace.learn(1000, Duration::from_millis(1000));
        assert_eq!(pace.rows(100_000, TIME), 100);
        pace.learn(100, Duration::from_millis(1));
        assert_eq!(pace.rows(100_000, TIME), 132);
        assert_eq!(pace.time(100).as_millis(), 150);
        // However slow it is, one event is tried.
        pace.learn(1, Duration::from_secs(1));
        assert_eq!(pace.rows(10, TIME), 1);
    }
}
