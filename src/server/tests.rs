//! every route and every refusal, asked as clients ask

use super::admin::Admin;
use super::capture::{self, Captured};
use super::health::Health;
use super::ingest::IngestDoor;
use super::replay::{Asked, Report};
use super::replay_table;
use super::sql::QueryDoor;
use super::{Parts, router};
use crate::clock::Clock;
use crate::codec::BadLine;
use crate::error::{Error, ErrorKind, Result};
use crate::net::{Access, Client, Limits, Listen, Listener, Post};
use crate::query::{Answer, Place, Query, QueryError};
use crate::source::http::{Content, Push, Pushed};
use crate::units::Span;
use arrow::array::{ArrayRef, Int64Array};
use arrow::record_batch::RecordBatch;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Answers by what the text says; remembers what it was asked.
#[derive(Default)]
struct Engine {
    asked: Mutex<Vec<Query>>,
    running: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn rows(count: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

fn failure(kind: ErrorKind) -> QueryError {
    let place = Some(Place { line: 1, column: 8 });
    QueryError {
        kind,
        message: "no column `statsu`".to_owned(),
        place,
        hint: Some("did you mean `status`?".to_owned()),
    }
}

impl QueryDoor for Engine {
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer, QueryError>> {
        self.running.fetch_add(1, Ordering::SeqCst);
        let running = Running(self.running.clone());
        let sql = query.sql.clone();
        self.asked.lock().unwrap().push(query);
        let batches = match sql.as_str() {
            "invalid" => return async { Err(failure(ErrorKind::Invalid)) }.boxed(),
            "missing" => return async { Err(failure(ErrorKind::Missing)) }.boxed(),
            "busy" => return async { Err(failure(ErrorKind::Unavailable)) }.boxed(),
            "bug" => return async { Err(failure(ErrorKind::Internal)) }.boxed(),
            "fails at first" => stream::iter(vec![Err(failure(ErrorKind::Limit))]).boxed(),
            "fails later" => stream::iter(vec![Ok(rows(3)), Err(failure(ErrorKind::Limit))]).boxed(),
            "empty" => stream::empty().boxed(),
            "endless" => stream::repeat_with(|| Ok(rows(1000))).boxed(),
            _ => stream::iter(vec![Ok(rows(3)), Ok(rows(2))]).boxed(),
        };
        let batches = batches.map(move |batch| {
            let _held = &running;
            batch
        });
        async move { Ok(Answer { schema: rows(0).schema(), batches: batches.boxed() }) }.boxed()
    }
}

/// Counts lines; a line `bad` is bad; the body `full` finds no room, `stuck` never ends.
#[derive(Default)]
struct Inlet {
    pushes: Mutex<Vec<Push>>,
}

impl IngestDoor for Inlet {
    fn body_bytes_max(&self) -> usize {
        100 << 20
    }

    fn push(&self, push: Push) -> BoxFuture<'_, Result<Pushed>> {
        self.pushes.lock().unwrap().push(push.clone());
        async move {
            if push.body == "full" {
                return Err(Error::new(ErrorKind::Unavailable, "the disk is full"));
            }
            if push.body == "many" {
                return Err(Error::new(ErrorKind::Limit, "too many events"));
            }
            if push.body == "stuck" {
                futures::future::pending::<()>().await;
            }
            let lines: Vec<_> = push.body.split(|c| *c == b'\n').filter(|line| !line.is_empty()).collect();
            let bad = (1..).zip(&lines).filter(|(_, line)| **line == b"bad");
            let errors: Vec<_> = bad.map(|(line, _)| BadLine { line, reason: "not JSON".to_owned() }).collect();
            let dead = errors.len() as u64;
            Ok(Pushed { accepted: lines.len() as u64 - dead, dead, repeated: false, errors, losses: Vec::new() })
        }
        .boxed()
    }
}

#[derive(Default)]
struct Operator(AtomicUsize);

impl Admin for Operator {
    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }.boxed()
    }

    fn replay(&self, asked: Asked) -> BoxFuture<'_, Result<Report>> {
        async move {
            match asked.stage.as_str() {
                "gone" => Err(Error::new(ErrorKind::Missing, "there is no stage `gone`")),
                _ => Ok(Report { taken: asked.limit.unwrap_or(7), to: asked.to.unwrap_or(0), ..Report::default() }),
            }
        }
        .boxed()
    }

    fn replay_table(&self, asked: replay_table::Asked) -> BoxFuture<'_, Result<replay_table::Report>> {
        let taken = if asked.again { 2 } else { 1 };
        async move { Ok(replay_table::Report { taken, from: asked.from.unwrap_or(0), ..Default::default() }) }.boxed()
    }

    fn capture(&self, asked: capture::Asked) -> BoxFuture<'_, Result<Captured>> {
        let plugin = asked.stage;
        async move {
            Ok(Captured { plugin, sha256: String::new(), rows: asked.rows.into(), case: String::new(), notes: vec![] })
        }
        .boxed()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Value>> {
        async { Ok(json!({ "changes": [] })) }.boxed()
    }

    fn status(&self) -> Value {
        json!({ "flushes": self.0.load(Ordering::SeqCst) })
    }
}

#[derive(Default)]
struct Doctor(AtomicBool);

impl Health for Doctor {
    fn reasons(&self) -> Vec<String> {
        if self.0.load(Ordering::SeqCst) { Vec::new() } else { vec!["the WAL is being read".to_owned()] }
    }
}

/// A scaler named `web` that repeats what it is told.
struct OneScaler;

impl OneScaler {
    fn told(scaler: &str, words: String) -> BoxFuture<'static, Result<String>> {
        let known = scaler == "web";
        let missing = Error::new(ErrorKind::Missing, format!("there is no scaler `{scaler}`"));
        async move { if known { Ok(words) } else { Err(missing) } }.boxed()
    }
}

impl super::scale::ScaleDoor for OneScaler {
    fn order<'a>(&'a self, scaler: &'a str, replicas: u32, lasts: Span, why: String) -> BoxFuture<'a, Result<String>> {
        OneScaler::told(scaler, format!("{replicas} for {lasts} because {why}"))
    }

    fn release<'a>(&'a self, scaler: &'a str) -> BoxFuture<'a, Result<String>> {
        OneScaler::told(scaler, "released".to_owned())
    }

    fn promote<'a>(&'a self, scaler: &'a str) -> BoxFuture<'a, Result<String>> {
        OneScaler::told(scaler, "promoted".to_owned())
    }
}

#[tokio::test]
async fn operators_order_release_and_promote() {
    let mill = Mill::new(Listen::default());
    let order = r#"{"replicas": 5, "for": "1h", "why": "a sale"}"#;
    for (line, body, status, says) in [
        ("POST /v1/admin/scalers/web/order", order, 200, "5 for 1h because a sale"),
        ("POST /v1/admin/scalers/web/release", "", 200, "released"),
        ("POST /v1/admin/scalers/web/promote", "", 200, "promoted"),
        ("POST /v1/admin/scalers/wep/promote", "", 404, "there is no scaler `wep`"),
        ("POST /v1/admin/scalers/web/order", "{\"replicas\": 5}", 400, "missing field `for`"),
        ("POST /v1/admin/scalers/web/order", "five", 400, "the order cannot be read"),
        ("GET /v1/admin/scalers/web/order", "", 405, "takes POST, not GET"),
    ] {
        let (got, _, text) = mill.ask(line, "", body).await;
        assert!(got == status && text.contains(says), "{line} {body}: {got} {text}");
    }
}

/// A table without rows.
struct NoRows;

impl super::tail::TailDoor for NoRows {
    fn rows(&self, table: &str, _: Option<u64>, _: u64) -> Result<super::tail::Rows> {
        match table {
            "access" => Ok(super::tail::Rows { next: 0, skipped: 0, rows: Vec::new() }),
            other => Err(Error::new(ErrorKind::Missing, format!("there is no table `{other}`"))),
        }
    }
}

/// A router over parts that a test can look into.
struct Mill {
    router: Router,
    access: Access,
    engine: Arc<Engine>,
    inlet: Arc<Inlet>,
    doctor: Arc<Doctor>,
}

impl Mill {
    fn new(listen: Listen) -> Mill {
        let access = Listen { address: "127.0.0.1:0".to_owned(), ..listen }.open().unwrap();
        let (engine, inlet, doctor) = (Arc::<Engine>::default(), Arc::<Inlet>::default(), Arc::<Doctor>::default());
        let inlets: BTreeMap<String, Arc<dyn IngestDoor>> = BTreeMap::from([("access".to_owned(), inlet.clone() as _)]);
        let parts = Parts {
            query: engine.clone(),
            inlets,
            tail: Arc::new(NoRows),
            admin: Arc::<Operator>::default(),
            scale: Arc::new(OneScaler),
            health: doctor.clone(),
            metrics: Arc::new(|| "tidemill_up 1".to_owned()),
            clock: Clock::system(),
        };
        let router = router(parts, &access, Arc::default());
        Mill { router, access, engine, inlet, doctor }
    }

    fn small(change: impl FnOnce(&mut Limits)) -> Mill {
        let mut limits = Limits::default();
        change(&mut limits);
        Mill::new(Listen { limits, ..Listen::default() })
    }

    /// `POST /path`, with headers as `Name: value` lines.
    async fn ask(&self, line: &str, headers: &str, body: impl Into<Body>) -> (u16, HeaderMap, String) {
        let (method, url) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(url).header("Host", "localhost:7070");
        for (name, value) in headers.lines().filter_map(|header| header.split_once(": ")) {
            request = request.header(name, value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let text = match body.collect().await {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            Err(error) => format!("broken off: {error}"),
        };
        (head.status.as_u16(), head.headers, text)
    }

    async fn status(&self, line: &str, headers: &str, body: impl Into<Body>) -> u16 {
        self.ask(line, headers, body).await.0
    }

    async fn serve(&self, stop: CancellationToken) -> std::net::SocketAddr {
        let listener = Listener::bind(&self.access).await.unwrap();
        let address = listener.address();
        tokio::spawn(listener.serve(self.router.clone(), stop, Duration::from_secs(1)));
        address
    }
}

fn mill() -> Mill {
    Mill::new(Listen::default())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[tokio::test]
async fn sql_comes_in_three_ways_and_leaves_in_four_formats() {
    let mill = mill();
    for (line, headers, body) in [
        ("GET /v1/sql?q=SELECT+1&timeout=5s&limit=7", "", ""),
        ("POST /v1/sql?timeout=5s&limit=7", "", "SELECT 1"),
        ("POST /v1/sql?timeout=5s&limit=7", "Content-Type: application/x-www-form-urlencoded", "SELECT 1"),
        (
            "POST /v1/sql",
            "Content-Type: application/json; charset=utf-8",
            r#"{"q":"SELECT 1","timeout":"5s","limit":7}"#,
        ),
    ] {
        let (status, headers, text) = mill.ask(line, headers, body).await;
        assert_eq!(status, 200, "{line}: {text}");
        assert_eq!(headers["content-type"], "application/json");
        let asked = mill.engine.asked.lock().unwrap().pop().unwrap();
        let expected = ("SELECT 1", Some(Duration::from_secs(5)), Some(7));
        assert_eq!((asked.sql.as_str(), asked.time_max, asked.rows_max), expected, "{line}");
    }
    let compressed = gzip(b"SELECT 1");
    assert_eq!(mill.status("POST /v1/sql", "Content-Encoding: gzip", compressed).await, 200);
    for (format, accept, expected) in [
        ("", "", "application/json"),
        ("", "application/x-ndjson", "application/x-ndjson"),
        ("&format=csv", "application/json", "text/csv"),
        ("&format=arrow", "", "application/vnd.apache.arrow.stream"),
        ("&format=ndjson", "", "application/x-ndjson"),
    ] {
        let accept = if accept.is_empty() { String::new() } else { format!("Accept: {accept}") };
        let (status, headers, _) = mill.ask(&format!("GET /v1/sql?q=x{format}"), &accept, "").await;
        let kind = headers["content-type"].to_str().unwrap();
        assert!(status == 200 && kind.starts_with(expected), "{format} {accept}: {status} {kind}");
    }
    assert_eq!(mill.status("GET /v1/sql?q=empty", "", "").await, 200);
}

#[tokio::test]
async fn sql_that_cannot_be_answered_says_why() {
    let mill = mill();
    for (line, headers, body, expected) in [
        ("GET /v1/sql", "", "", 400),
        ("GET /v1/sql?q=+", "", "", 400),
        ("GET /v1/sql?query=x", "", "", 400),
        ("GET /v1/sql?q=x&timeout=10", "", "", 400),
        ("GET /v1/sql?q=x&limit=-1", "", "", 400),
        ("GET /v1/sql?q=x&format=xml", "", "", 400),
        ("GET /v1/sql?q=x", "Accept: image/png", "", 406),
        ("POST /v1/sql?q=x", "", "x", 400),
        ("POST /v1/sql", "", "", 400),
        ("POST /v1/sql", "Content-Type: application/json", "SELECT 1", 400),
        ("POST /v1/sql", "Content-Type: application/json", r#"{"q":"x","limitt":1}"#, 400),
        ("POST /v1/sql", "Content-Encoding: br", "x", 415),
        ("POST /v1/sql", "Content-Encoding: gzip", "x", 400),
        ("POST /v1/sql", "", "invalid", 400),
        ("POST /v1/sql", "", "missing", 404),
        ("POST /v1/sql", "", "busy", 503),
        ("POST /v1/sql", "", "bug", 500),
        ("POST /v1/sql", "", "fails at first", 422),
    ] {
        let (status, headers, text) = mill.ask(line, headers, body).await;
        assert_eq!(status, expected, "{line} {body}: {text}");
        let error = &parse(&text)["error"];
        assert!(error["kind"].is_string() && error["message"].is_string(), "{text}");
        assert_eq!(headers.contains_key("retry-after"), status == 503, "{line} {body}");
    }
    for (body, says) in [
        ("SELECT 1", "byte 1: expected a JSON object, found `S`"),
        (r#"{"q": nope}"#, "byte 7: expected a value, found `n`"),
        (r#"{"q": 1}"#, "invalid type: integer `1`, expected a string"),
    ] {
        let (_, _, text) = mill.ask("POST /v1/sql", "Content-Type: application/json", body).await;
        assert!(parse(&text)["error"]["message"].as_str().unwrap().contains(says), "{text}");
    }
    let long = "x".repeat((64 << 10) + 1);
    assert_eq!(mill.status("POST /v1/sql", "", long).await, 413);
    let very_long = "x".repeat(1 << 20);
    assert_eq!(mill.status("POST /v1/sql", "", very_long).await, 413);
    let (_, _, text) = mill.ask("POST /v1/sql", "", "invalid").await;
    let expected = json!({ "error": {
        "kind": "invalid", "message": "no column `statsu`", "line": 1, "column": 8, "hint": "did you mean `status`?",
    }});
    assert_eq!(parse(&text), expected);
    assert!(mill.ask("POST /v1/sql", "", "fails later").await.2.starts_with("broken off"));
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_query() {
    let mill = Mill::small(|limits| limits.queries_max = 1);
    let address = mill.serve(CancellationToken::new()).await;
    let post = Post {
        url: format!("http://{address}/v1/sql"),
        wait_max: Duration::from_secs(5),
        auth: None,
        headers: Vec::new(),
        body: Bytes::from_static(b"endless"),
    };
    let client = Client::new(None).unwrap();
    let mut reply = client.post(post.clone()).await.unwrap();
    assert!(reply.body.next().await.unwrap().is_ok());
    assert_eq!(mill.engine.running.load(Ordering::SeqCst), 1);
    assert_eq!(client.post(post).await.unwrap().status, 429);
    drop(reply);
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if mill.engine.running.load(Ordering::SeqCst) == 0 {
            return;
        }
    }
    panic!("the query still runs");
}

#[tokio::test]
async fn pushes_are_read_as_they_say() {
    let mill = mill();
    let lines = b"one\ntwo\n";
    for (headers, body, content) in [
        ("Content-Type: application/x-ndjson", lines.to_vec(), Content::Ndjson),
        ("Content-Type: application/json; charset=utf-8", lines.to_vec(), Content::JsonArray),
        ("Content-Type: Text/Plain", lines.to_vec(), Content::Lines),
        ("", lines.to_vec(), Content::Auto),
        ("Content-Type: application/x-www-form-urlencoded", lines.to_vec(), Content::Auto),
        ("Content-Encoding: gzip", gzip(lines), Content::Auto),
        ("Content-Encoding: zstd", zstd::encode_all(&lines[..], 1).unwrap(), Content::Auto),
        ("Content-Encoding: identity", lines.to_vec(), Content::Auto),
    ] {
        let (status, _, text) =
            mill.ask("POST /v1/ingest/access", &format!("{headers}\nIdempotency-Key: a b"), body).await;
        assert_eq!(status, 200, "{headers}: {text}");
        assert_eq!(parse(&text), json!({ "accepted": 2, "dead": 0, "repeated": false, "errors": [] }));
        let push = mill.inlet.pushes.lock().unwrap().pop().unwrap();
        assert_eq!(
            (&push.body[..], push.content, push.key.as_deref()),
            (&lines[..], content, Some("a b")),
            "{headers}"
        );
    }
    let (status, _, text) = mill.ask("POST /v1/ingest/access", "", "good\n".to_owned() + &"bad\n".repeat(150)).await;
    let answer = parse(&text);
    assert_eq!((status, &answer["accepted"], &answer["dead"]), (200, &json!(1), &json!(150)));
    assert_eq!(answer["errors"].as_array().unwrap().len(), 100);
    assert_eq!(answer["errors"][0], json!({ "line": 2, "reason": "not JSON" }));
}

#[tokio::test]
async fn pushes_that_cannot_be_taken_say_why() {
    let mill = Mill::small(|limits| {
        limits.body_max.0 = 1 << 20;
        limits.push_wait_max.0 = Duration::from_millis(50);
    });
    let long_key = format!("Idempotency-Key: {}", "k".repeat(256));
    let two_mebibytes = vec![b'x'; 2 << 20];
    for (path, headers, body, expected, says) in [
        ("acces", "", b"x".to_vec(), 404, "did you mean `access`?"),
        ("acc%FFess", "", b"x".to_vec(), 400, "UTF-8"),
        ("access", "Content-Type: image/png", b"x".to_vec(), 415, "Content-Type"),
        ("access", "Content-Encoding: br", b"x".to_vec(), 415, "gzip, zstd"),
        ("access", "Content-Encoding: gzip, gzip", b"x".to_vec(), 415, "gzip, zstd"),
        ("access", "Content-Encoding: gzip", b"not gzip".to_vec(), 400, "not whole, correct gzip"),
        ("access", "Content-Encoding: gzip", gzip(b"cut off")[..12].to_vec(), 400, "ends too early"),
        ("access", "", two_mebibytes.clone(), 413, "1.0 MiB"),
        ("access", "Content-Encoding: gzip", gzip(&two_mebibytes), 413, "1.0 MiB"),
        ("access", &long_key, b"x".to_vec(), 400, "Idempotency-Key"),
        ("access", "Idempotency-Key: é", b"x".to_vec(), 400, "Idempotency-Key"),
        ("access", "Idempotency-Key: a\nIdempotency-Key: b", b"x".to_vec(), 400, "Idempotency-Key"),
        ("access", "", b"full".to_vec(), 503, "the disk is full"),
        ("access", "", b"many".to_vec(), 413, "too many events"),
        ("access", "", b"stuck".to_vec(), 504, "may still become so"),
    ] {
        let (status, headers, text) = mill.ask(&format!("POST /v1/ingest/{path}"), headers, body).await;
        assert_eq!(status, expected, "{path} {says}: {text}");
        assert!(parse(&text)["error"]["message"].as_str().unwrap().contains(says), "{says}: {text}");
        assert_eq!(headers.contains_key("retry-after"), status == 503);
    }
}

#[tokio::test]
async fn pushes_wait_for_their_turn_but_not_for_ever() {
    let mill = Arc::new(Mill::small(|limits| limits.pushes_max = 1));
    let stuck = tokio::spawn({
        let mill = mill.clone();
        async move { mill.status("POST /v1/ingest/access", "", "stuck").await }
    });
    while mill.inlet.pushes.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(mill.status("POST /v1/ingest/access", "", "x").await, 503);
    stuck.abort();
    let _ = stuck.await;
    assert_eq!(mill.status("POST /v1/ingest/access", "", "x").await, 200);
}

#[tokio::test]
async fn a_bomb_over_a_socket_is_refused_soon() {
    let mill = Mill::small(|limits| limits.body_max.0 = 4 << 20);
    let address = mill.serve(CancellationToken::new()).await;
    let bomb = Post {
        url: format!("http://{address}/v1/ingest/access"),
        wait_max: Duration::from_secs(30),
        auth: None,
        headers: vec![("Content-Encoding".to_owned(), "gzip".to_owned())],
        body: gzip(&vec![0; 16 << 20]).into(),
    };
    let reply = Client::new(None).unwrap().post(bomb).await.unwrap();
    assert_eq!(reply.status, 413);
    assert!(mill.inlet.pushes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_that_trickles_is_refused() {
    let mill = Mill::small(|limits| limits.body_wait_max.0 = Duration::from_millis(100));
    let trickle = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((Ok::<_, std::convert::Infallible>("x"), ()))
    });
    assert_eq!(mill.status("POST /v1/ingest/access", "", Body::from_stream(trickle)).await, 408);
}

#[tokio::test]
async fn health_admin_and_metrics() {
    let mill = Mill::new(Listen { token: Some(crate::net::Secret::new("s3cret")), ..Listen::default() });
    assert_eq!(mill.status("GET /livez", "", "").await, 200);
    let (status, _, text) = mill.ask("GET /readyz", "", "").await;
    assert_eq!((status, parse(&text)), (503, json!({ "ready": false, "reasons": ["the WAL is being read"] })));
    mill.doctor.0.store(true, Ordering::SeqCst);
    assert_eq!(mill.status("GET /readyz", "", "").await, 200);
    let (status, headers, text) = mill.ask("GET /v1/admin/status", "", "").await;
    assert_eq!((status, headers["www-authenticate"].to_str().unwrap()), (401, "Bearer realm=\"tidemill\""));
    assert!(!text.contains("s3cret"));
    let token = "Authorization: Bearer s3cret";
    assert_eq!(mill.status("POST /v1/admin/flush", token, "").await, 200);
    assert_eq!(parse(&mill.ask("GET /v1/admin/status", token, "").await.2), json!({ "flushes": 1 }));
    assert_eq!(mill.status("GET /v1/nothing/at/all", token, "").await, 404);
    assert_eq!(parse(&mill.ask("POST /v1/admin/reload", token, "").await.2), json!({ "changes": [] }));
    assert_eq!(mill.status("POST /v1/admin/reload", "", "").await, 401);
    assert_eq!(mill.status("BREW /v1/admin/flush", token, "").await, 405);
    let (status, headers, text) = mill.ask("GET /metrics", token, "").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    for line in [
        "tidemill_up 1",
        "tidemill_http_requests_total{route=\"/readyz\",method=\"GET\",status=\"503\"} 1",
        "tidemill_http_requests_total{route=\"/v1/admin/status\",method=\"GET\",status=\"401\"} 1",
        "tidemill_http_requests_total{route=\"/v1/admin/flush\",method=\"other\",status=\"405\"} 1",
        "tidemill_http_requests_total{route=\"other\",method=\"GET\",status=\"404\"} 1",
        "# TYPE tidemill_http_connections gauge",
        "tidemill_http_requests_in_flight 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn wrong_routes_and_methods_say_what_there_is() {
    let mill = mill();
    let (status, headers, text) = mill.ask("GET /v1/sqll", "", "").await;
    assert_eq!(status, 404);
    assert!(text.contains("did you mean `/v1/sql`?") && text.contains("POST /v1/ingest/{source}"), "{text}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    for (line, allow) in [
        ("DELETE /v1/sql", "GET, POST"),
        ("GET /v1/ingest/access", "POST"),
        ("GET /v1/admin/flush", "POST"),
        ("POST /metrics", "GET"),
    ] {
        let (status, headers, text) = mill.ask(line, "", "").await;
        assert_eq!((status, headers["allow"].to_str().unwrap()), (405, allow), "{line}");
        assert!(text.contains(allow), "{text}");
    }
    assert_eq!(mill.status("GET /", "Origin: http://evil.example.org", "").await, 403);
    assert_eq!(mill.status("GET http://evil.example.org/livez", "", "").await, 403);
}
