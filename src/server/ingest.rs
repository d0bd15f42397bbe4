//! takes what is pushed: `POST /v1/ingest/{source}`
//!
//! | `Content-Type` | read as |
//! |---|---|
//! | `application/x-ndjson`, `application/ndjson`, `application/jsonl`, `application/json-lines` | a JSON object a line |
//! | `application/json` | a JSON array of objects, or one object |
//! | `text/plain` | a line an event |
//! | none, `application/octet-stream`, `application/x-www-form-urlencoded` (what curl sends unasked) | whatever it looks like |
//!
//! `Content-Encoding` may be `gzip` or `zstd`. A second push with the same `Idempotency-Key` is answered like the first and not
//! stored again; with another body it is refused (422). Lines that cannot be read do not refuse the others: they become dead
//! letters and are listed in the answer, and so are events that a stage gave up.

use super::House;
use super::answer::Refusal;
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::net::{Coding, Gather, gather};
use crate::source::http::{Content, Inlet, KEY_BYTES_MAX, Push, Pushed};
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The most bad lines that an answer lists.
const ERRORS_MAX: usize = 100;
/// How long a push waits for its turn before its sender is asked to wait instead.
const TURN_WAIT_MAX: Duration = Duration::from_secs(2);

/// Takes pushes for one source.
pub trait IngestDoor: Send + Sync {
    /// The most bytes of a body, decompressed.
    fn body_bytes_max(&self) -> usize;
    /// Answers when everything is safe on disk.
    fn push(&self, push: Push) -> BoxFuture<'_, Result<Pushed>>;
}

impl IngestDoor for Inlet {
    fn body_bytes_max(&self) -> usize {
        Inlet::body_bytes_max(self)
    }

    fn push(&self, push: Push) -> BoxFuture<'_, Result<Pushed>> {
        Box::pin(Inlet::push(self, push))
    }
}

/// Takes one push.
pub(super) async fn post(
    State(house): State<House>,
    source: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Json<Value>, Refusal> {
    let Path(source) = source.map_err(|error| Refusal::invalid(error.body_text()))?;
    let inlet = inlet(&house, &source)?;
    let headers = request.headers();
    let (content, coding, key) = (content(headers)?, coding(headers)?, key(headers)?);
    let rules = Gather {
        coding,
        bytes_max: house.limits.body_max.0.min(inlet.body_bytes_max() as u64),
        wait_max: house.limits.body_wait_max.0,
        room: Some(house.bodies.clone()),
    };
    let gathered = gather(request.into_body(), &rules).await?;
    house.stats.ingest_wire_bytes.fetch_add(gathered.wire_bytes, Ordering::Relaxed);
    house.stats.ingest_bytes.fetch_add(gathered.bytes.len() as u64, Ordering::Relaxed);
    let turn = tokio::time::timeout(TURN_WAIT_MAX, house.pushes.clone().acquire_owned()).await;
    let Ok(Ok(_turn)) = turn else {
        return Err(Refusal::busy("too many pushes are waiting for the disk; send it again in a moment"));
    };
    let pushing = inlet.push(Push { body: gathered.bytes, content, key });
    let pushed = tokio::time::timeout(house.limits.push_wait_max.0, pushing).await;
    let pushed = pushed.map_err(|_| unknown_outcome(&house))?.map_err(refused)?;
    Ok(Json(told(&pushed)))
}

/// The only limit that a push can reach is that there is too much in it.
fn refused(error: Error) -> Refusal {
    match error.kind() {
        ErrorKind::Limit => Refusal::too_large(error.message()),
        _ => error.into(),
    }
}

fn inlet(house: &House, source: &str) -> Result<Arc<dyn IngestDoor>, Refusal> {
    let inlets = &house.parts.inlets;
    if let Some(inlet) = inlets.get(source) {
        return Ok(inlet.clone());
    }
    let shown: String = source.chars().take(63).collect();
    let near = did_you_mean(&shown, inlets.keys().map(String::as_str));
    let known: Vec<_> = inlets.keys().map(|name| format!("`{name}`")).collect();
    let hint = match known.is_empty() {
        true => "no source takes pushes; add one with `type = \"http\"` to a pipeline".to_owned(),
        false => format!("sources that take pushes: {}", known.join(", ")),
    };
    let message = format!("no source `{shown}` takes pushes{near}");
    Err(Refusal::new(StatusCode::NOT_FOUND, "missing", message).hint(hint))
}

fn content(headers: &HeaderMap) -> Result<Content, Refusal> {
    let text = text(headers, CONTENT_TYPE)?;
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "" | "application/octet-stream" | "application/x-www-form-urlencoded" => Ok(Content::Auto),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/json-lines"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/jsonlines" => Ok(Content::Ndjson),
        "application/json" => Ok(Content::JsonArray),
        "text/plain" => Ok(Content::Lines),
        _ => {
            let message =
                "this `Content-Type` cannot be read; send `application/x-ndjson`, `application/json` or `text/plain`";
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", message))
        }
    }
}

/// How a request's body is compressed.
pub(super) fn coding(headers: &HeaderMap) -> Result<Coding, Refusal> {
    Coding::parse(text(headers, CONTENT_ENCODING)?).ok_or_else(|| {
        let message = "this `Content-Encoding` cannot be read; send gzip, zstd or none";
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid", message)
            .header(HeaderName::from_static("accept-encoding"), HeaderValue::from_static("gzip, zstd"))
    })
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let bytes = key.as_bytes();
    let printable = bytes.iter().all(|c| c.is_ascii_graphic() || *c == b' ');
    if keys.next().is_some() || bytes.is_empty() || bytes.len() > KEY_BYTES_MAX || !printable {
        return Err(Refusal::invalid(format!(
            "`Idempotency-Key` must be one text of 1 to {KEY_BYTES_MAX} printable ASCII characters"
        )));
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}

/// A header that may stand there once at most; empty if it does not.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Result<&str, Refusal> {
    let mut values = headers.get_all(&name).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (None, _) => Ok(""),
        (Some(Ok(text)), None) => Ok(text),
        (Some(_), _) => Err(Refusal::invalid(format!("the header `{name}` must stand there once, in ASCII"))),
    }
}

fn told(pushed: &Pushed) -> Value {
    let bad = pushed.errors.iter().map(|bad| json!({ "line": bad.line, "reason": bad.reason }));
    let lost = pushed.losses.iter();
    let lost = lost.map(|loss| json!({ "stage": &*loss.stage, "reason": loss.reason, "events": loss.events }));
    let errors: Vec<_> = bad.chain(lost).take(ERRORS_MAX).collect();
    json!({ "accepted": pushed.accepted, "dead": pushed.dead, "repeated": pushed.repeated, "errors": errors })
}

fn unknown_outcome(house: &House) -> Refusal {
    let message = format!(
        "not safe on disk within {}, and it may still become so; send it again with the same `Idempotency-Key`",
        house.limits.push_wait_max
    );
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, "limit", message)
}
