//! how long requests took, counted in buckets a few percent wide
//!
//! 16 buckets for each doubling from 1 µs on, so a quantile is at most 4.5 % too high and any number of requests takes the same
//! memory. Two of them add up.

use std::time::Duration;

const PER_DOUBLING: f64 = 16.0;
/// 2^36 µs are 19 hours; what takes longer counts as that.
const BUCKETS: usize = 16 * 36;

/// A count of latencies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// grows to the highest bucket in use, at most BUCKETS
    buckets: Vec<u32>,
    count: u64,
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        let micros = (latency.as_secs_f64() * 1e6).max(1.0);
        let bucket = ((micros.log2() * PER_DOUBLING) as usize).min(BUCKETS - 1);
        self.add(bucket, 1);
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Latencies) {
        for (bucket, count) in other.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.add(bucket, *count);
        }
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The latency that this share of requests did not exceed (`0.95`), or nothing if there were none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(Duration::from_secs_f64(((bucket + 1) as f64 / PER_DOUBLING).exp2() / 1e6))
    }

    fn add(&mut self, bucket: usize, count: u32) {
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if let Some(held) = self.buckets.get_mut(bucket) {
            *held = held.saturating_add(count);
            self.count += u64::from(count);
        }
    }
}

/// A latency as people read it: `8 ms`, `240 ms`, `5.3 s`, `-` where there is none.
pub fn words(latency: Option<Duration>) -> String {
    match latency {
        None => "-".to_owned(),
        Some(latency) if latency < Duration::from_millis(995) => format!("{:.0} ms", latency.as_secs_f64() * 1e3),
        Some(latency) => format!("{:.1} s", latency.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_a_few_percent_high_at_most() {
        let mut all = Latencies::default();
        let mut half = Latencies::default();
        for ms in 1..=1000 {
            if ms % 2 == 0 { &mut all } else { &mut half }.record(Duration::from_millis(ms));
        }
        all.merge(&half);
        assert_eq!(all.count(), 1000);
        for (share, ms) in [(0.5, 500.0), (0.95, 950.0), (0.0, 1.0), (1.0, 1000.0)] {
            let found = all.quantile(share).unwrap().as_secs_f64() * 1e3;
            assert!((ms..ms * 1.05).contains(&found), "{share}: {found}");
        }
    }

    #[test]
    fn nothing_and_far_too_much_are_fine() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.95), None);
        latencies.record(Duration::ZERO);
        latencies.record(Duration::MAX);
        assert_eq!(latencies.count(), 2);
        assert!(latencies.quantile(1.0).unwrap() > Duration::from_secs(3600));
    }

    #[test]
    fn latencies_read_well() {
        for (ms, text) in [(8, "8 ms"), (240, "240 ms"), (999, "1.0 s"), (5340, "5.3 s")] {
            assert_eq!(words(Some(Duration::from_millis(ms))), text);
        }
        assert_eq!(words(None), "-");
    }
}
