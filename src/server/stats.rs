//! counts requests, by route, method and status

use crate::clock::Clock;
use crate::net::Counts;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The server's own numbers.
pub struct Stats {
    clock: Clock,
    connections: Arc<Counts>,
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), Sum>>,
    in_flight: AtomicI64,
    /// bytes of pushed bodies as they came
    pub(super) ingest_wire_bytes: AtomicU64,
    /// bytes of pushed bodies, decompressed
    pub(super) ingest_bytes: AtomicU64,
    /// queries whose answer broke off after its first byte
    pub(super) answers_broken: AtomicU64,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    requests: u64,
    nanos: i64,
}

/// One more request in flight, until it is dropped.
struct InFlight<'a>(&'a AtomicI64);

/// Counts a request. Its time is counted up to the head of its answer.
pub(super) async fn count(State(stats): State<Arc<Stats>>, request: Request, next: Next) -> Response {
    let route = route(request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str));
    let method = method(request.method());
    let started = stats.clock.now();
    let in_flight = InFlight::new(&stats.in_flight);
    let response = next.run(request).await;
    drop(in_flight);
    let nanos = stats.clock.now().saturating_sub(started).max(0);
    stats.add(route, method, response.status(), nanos);
    response
}

impl Stats {
    /// Nothing counted yet; connections are counted by the listener.
    pub fn new(clock: Clock, connections: Arc<Counts>) -> Stats {
        Stats {
            clock,
            connections,
            requests: Mutex::default(),
            in_flight: AtomicI64::new(0),
            ingest_wire_bytes: AtomicU64::new(0),
            ingest_bytes: AtomicU64::new(0),
            answers_broken: AtomicU64::new(0),
        }
    }

    fn add(&self, route: &'static str, method: &'static str, status: StatusCode, nanos: i64) {
        if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
            tracing::warn!(route, method, status = status.as_u16(), millis = nanos / 1_000_000, "request failed");
        } else {
            tracing::debug!(route, method, status = status.as_u16(), millis = nanos / 1_000_000, "request");
        }
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = requests.entry((route, method, status.as_u16())).or_default();
        sum.requests += 1;
        sum.nanos = sum.nanos.saturating_add(nanos);
    }

    /// The numbers in Prometheus' text format.
    pub fn render(&self) -> String {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let by_route = |value: fn(&Sum) -> String| -> Vec<(String, String)> {
            let labels = |(route, method, status): &(&str, &str, u16)| {
                format!("{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}")
            };
            requests.iter().map(|(key, sum)| (labels(key), value(sum))).collect()
        };
        let one = |value: String| vec![(String::new(), value)];
        let read = |count: &AtomicU64| one(count.load(Ordering::Relaxed).to_string());
        let requests_total = by_route(|sum| sum.requests.to_string());
        family("tidemill_http_requests_total", "counter", "Requests answered.", &requests_total);
        let seconds_total = by_route(|sum| (sum.nanos as f64 / 1e9).to_string());
        let help = "Time from a request's head to its answer's head.";
        family("tidemill_http_request_seconds_total", "counter", help, &seconds_total);
        let in_flight = one(self.in_flight.load(Ordering::Relaxed).to_string());
        family("tidemill_http_requests_in_flight", "gauge", "Requests whose answer has not begun.", &in_flight);
        for (name, kind, help, count) in [
            ("ingest_wire_bytes_total", "counter", "Bytes of pushed bodies as they came.", &self.ingest_wire_bytes),
            ("ingest_bytes_total", "counter", "Bytes of pushed bodies, decompressed.", &self.ingest_bytes),
            ("answers_broken_total", "counter", "Queries whose answer broke off after it began.", &self.answers_broken),
            ("connections_accepted_total", "counter", "Connections opened.", &self.connections.accepted),
            (
                "connections_evicted_total",
                "counter",
                "Connections closed because they were silent.",
                &self.connections.evicted,
            ),
            ("connections", "gauge", "Connections open now.", &self.connections.open),
        ] {
            family(&format!("tidemill_http_{name}"), kind, help, &read(count));
        }
        text
    }
}

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicI64) -> InFlight<'a> {
        count.fetch_add(1, Ordering::Relaxed);
        InFlight(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The route as we write it, or `other`: labels come from us, never from a caller.
fn route(matched: &str) -> &'static str {
    super::ROUTES.iter().find(|(route, _)| *route == matched).map_or("other", |(route, _)| *route)
}

fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        _ => "other",
    }
}
