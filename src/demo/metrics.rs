//! what the scrypt server counts, as Prometheus reads it

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// The content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Upper bounds of the histogram, in seconds.
const BOUNDS: [f64; 10] = [0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8];
/// Methods that are told apart; a client cannot invent more series.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

/// The counters of one server.
pub struct Metrics(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    received: BTreeMap<&'static str, u64>,
    answered: BTreeMap<(u16, &'static str), u64>,
    in_flight: u64,
    buckets: [u64; BOUNDS.len()],
    seconds: f64,
    timed: u64,
    hashing_seconds: f64,
}

impl Default for Metrics {
    /// Passwords count from zero on, so that a server without any says 0 and not nothing.
    fn default() -> Self {
        Metrics(Mutex::new(Counts { received: BTreeMap::from([("POST", 0)]), ..Counts::default() }))
    }
}

impl Metrics {
    /// A request came in.
    pub fn received(&self, method: &str) {
        let mut counts = self.counts();
        *counts.received.entry(known(method)).or_default() += 1;
        counts.in_flight += 1;
    }

    /// It was answered with this code, this long after it came. Hashes count in the histogram, other answers do not.
    pub fn answered(&self, method: &str, code: u16, took: Duration) {
        let mut counts = self.counts();
        *counts.answered.entry((code, known(method))).or_default() += 1;
        counts.in_flight = counts.in_flight.saturating_sub(1);
        if method == "POST" && code == 200 {
            let seconds = took.as_secs_f64();
            counts.seconds += seconds;
            counts.timed += 1;
            for (bucket, bound) in counts.buckets.iter_mut().zip(BOUNDS) {
                *bucket += u64::from(seconds <= bound);
            }
        }
    }

    /// A hash used this much processor time.
    pub fn hashed(&self, processor: Duration) {
        self.counts().hashing_seconds += processor.as_secs_f64();
    }

    /// The text of `/metrics`, with `waiting` requests in the queue.
    pub fn text(&self, waiting: usize) -> String {
        let counts = self.counts();
        let mut text = String::with_capacity(4096);
        let out = &mut text;
        head(out, "http_requests_received", "counter", "_total", "Requests that came in.");
        for (method, count) in &counts.received {
            let _ = writeln!(out, "http_requests_received_total{{method=\"{method}\"}} {count}");
        }
        head(out, "http_requests", "counter", "_total", "Requests that were answered; 499 is a client that left.");
        for ((code, method), count) in &counts.answered {
            let _ = writeln!(out, "http_requests_total{{code=\"{code}\",method=\"{method}\"}} {count}");
        }
        head(out, "http_request_duration_seconds", "histogram", "", "Hashes, from arrival to answer.");
        for (bucket, bound) in counts.buckets.iter().zip(BOUNDS) {
            let _ = writeln!(out, "http_request_duration_seconds_bucket{{le=\"{bound}\"}} {bucket}");
        }
        let _ = writeln!(out, "http_request_duration_seconds_bucket{{le=\"+Inf\"}} {}", counts.timed);
        let _ = writeln!(out, "http_request_duration_seconds_sum {}", counts.seconds);
        let _ = writeln!(out, "http_request_duration_seconds_count {}", counts.timed);
        head(out, "http_requests_in_flight", "gauge", "", "Requests that came in and are not answered.");
        let _ = writeln!(out, "http_requests_in_flight {}", counts.in_flight);
        head(out, "scrypt_queue_length", "gauge", "", "Passwords that wait for the one hash at a time.");
        let _ = writeln!(out, "scrypt_queue_length {waiting}");
        head(out, "scrypt_cpu_seconds", "counter", "_total", "Processor time spent on hashing.");
        let _ = writeln!(out, "scrypt_cpu_seconds_total {}", counts.hashing_seconds);
        text
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counters stay usable whatever another thread did: nothing between two of their changes can be half done.
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn head(out: &mut String, name: &str, kind: &str, suffix: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
}

fn known(method: &str) -> &'static str {
    METHODS.iter().find(|known| **known == method).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_what_happened() {
        let metrics = Metrics::default();
        for _ in 0..3 {
            metrics.received("POST");
        }
        metrics.received("BREW\"\n");
        metrics.answered("POST", 200, Duration::from_millis(150));
        metrics.answered("POST", 503, Duration::from_millis(1));
        metrics.answered("BREW\"\n", 405, Duration::ZERO);
        metrics.hashed(Duration::from_millis(500));
        let text = metrics.text(7);
        for line in [
            "# TYPE http_requests_received_total counter",
            "http_requests_received_total{method=\"POST\"} 3",
            "http_requests_received_total{method=\"other\"} 1",
            "http_requests_total{code=\"200\",method=\"POST\"} 1",
            "http_requests_total{code=\"503\",method=\"POST\"} 1",
            "# TYPE http_request_duration_seconds histogram",
            "http_request_duration_seconds_bucket{le=\"0.1\"} 0",
            "http_request_duration_seconds_bucket{le=\"0.2\"} 1",
            "http_request_duration_seconds_bucket{le=\"+Inf\"} 1",
            "http_request_duration_seconds_sum 0.15",
            "http_requests_in_flight 1",
            "scrypt_queue_length 7",
            "scrypt_cpu_seconds_total 0.5",
        ] {
            assert!(text.lines().any(|held| held == line), "{line} is not in:\n{text}");
        }
    }
}
