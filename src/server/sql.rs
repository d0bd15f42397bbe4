//! answers SQL: `/v1/sql`
//!
//! `POST` takes the text as its body, or JSON (`application/json`): `{"q": "SELECT 1", "timeout": "10s", "limit": 100, "format": "csv"}`.
//! `GET` takes the same names in the URL, and so does `POST` beside its body. Without `format` (`json`, `ndjson`, `csv`, `arrow`), `Accept` decides.
//!
//! The head of the answer waits for its first rows, so that whatever fails before them is a status and a JSON error. What fails
//! later stands at the end of the answer, or breaks it off: see [`crate::query::format`].

use super::House;
use super::answer::Refusal;
use super::ingest::{coding, text};
use crate::codec::json::Leaves;
use crate::net::{Gather, gather};
use crate::query::format::{Format, choose, encode};
use crate::query::{Answer, Engine, Query, QueryError};
use crate::units::Span;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Parameters, Request, State};
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::response::Response;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// How long the last words of an answer that breaks off have to go out.
const FLUSH_WAIT: Duration = Duration::from_millis(50);

/// Answers SQL.
pub trait QueryDoor: Send + Sync {
    /// Plans a query and begins to answer it; dropping the answer stops the work.
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer, QueryError>>;
}

impl QueryDoor for Engine {
    fn query(&self, query: Query) -> BoxFuture<'_, Result<Answer, QueryError>> {
        Box::pin(Engine::query(self, query))
    }
}

/// What can be said about a query in the URL.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InUrl {
    q: Option<String>,
    format: Option<String>,
    timeout: Option<String>,
    limit: Option<String>,
}

/// What can be said about a query in a JSON body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InBody {
    q: String,
    format: Option<String>,
    timeout: Option<Span>,
    limit: Option<u64>,
}

/// `GET /v1/sql?q=SELECT+1`
pub(super) async fn get(
    State(house): State<House>,
    parameters: Result<Parameters<InUrl>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (query, format) = in_url(parameters)?;
    if query.sql.trim().is_empty() {
        return Err(Refusal::invalid("what is asked? write it as `/v1/sql?q=SELECT+1`"));
    }
    answer(&house, query, chosen(format.as_deref(), &headers)?).await
}

/// `POST /v1/sql`
pub(super) async fn post(
    State(house): State<House>,
    parameters: Result<Parameters<InUrl>, QueryRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut query, mut format) = in_url(parameters)?;
    if !query.sql.is_empty() {
        return Err(Refusal::invalid("the text is the body of a POST, not `q` in its URL"));
    }
    let headers = request.headers().clone();
    let kind = text(&headers, CONTENT_TYPE)?.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let rules = Gather {
        coding: coding(&headers)?,
        // JSON may write a character as six.
        bytes_max: house.limits.sql_text_max.0.saturating_mul(6).saturating_add(1024),
        wait_max: house.limits.body_wait_max.0,
        room: None,
    };
    let body = gather(request.into_body(), &rules).await.map_err(|error| match error {
        crate::net::BodyError::TooLarge(_) => too_long(&house),
        error => error.into(),
    })?;
    if kind == "application/json" {
        let said: InBody = serde_json::from_slice(&body.bytes).map_err(|error| {
            Refusal::invalid(format!("the JSON must be like `{{\"q\": \"SELECT 1\"}}`: {}", wrong(&error, &body.bytes)))
        })?;
        query.sql = said.q;
        query.time_max = said.timeout.map(|span| span.0).or(query.time_max);
        query.rows_max = said.limit.or(query.rows_max);
        format = said.format.or(format);
    } else {
        let sql = std::str::from_utf8(&body.bytes).map_err(|_| Refusal::invalid("the SQL text is not UTF-8"))?;
        sql.clone_into(&mut query.sql);
    }
    if query.sql.trim().is_empty() {
        return Err(Refusal::invalid("what is asked? the body is the SQL text, such as `SELECT 1`"));
    }
    answer(&house, query, chosen(format.as_deref(), &headers)?).await
}

/// What is wrong with the JSON: where it is none, in the codec's words and with the byte.
fn wrong(error: &serde_json::Error, bytes: &[u8]) -> String {
    let read = std::str::from_utf8(bytes).map(|text| Leaves::default().read(text));
    match read {
        Ok(Err(wrong)) => format!("byte {}: {}", wrong.column, wrong.what),
        Err(error) => format!("byte {}: not UTF-8", error.valid_up_to() + 1),
        Ok(Ok(())) => error.to_string(),
    }
}

fn in_url(parameters: Result<Parameters<InUrl>, QueryRejection>) -> Result<(Query, Option<String>), Refusal> {
    let Parameters(said) = parameters.map_err(|error| Refusal::invalid(error.body_text()))?;
    let time_max = said.timeout.as_deref().map(Span::parse).transpose();
    let time_max = time_max.map_err(|error| Refusal::invalid(format!("`timeout`: {error}")))?.map(|span| span.0);
    let rows_max = said.limit.as_deref().map(str::parse::<u64>).transpose();
    let rows_max = rows_max.map_err(|_| Refusal::invalid("`limit` must be a whole number of rows"))?;
    Ok((Query { sql: said.q.unwrap_or_default(), time_max, rows_max }, said.format))
}

fn chosen(format: Option<&str>, headers: &HeaderMap) -> Result<Format, Refusal> {
    match format {
        Some("json") => Ok(Format::Json),
        Some("ndjson") => Ok(Format::Ndjson),
        Some("csv") => Ok(Format::Csv),
        Some("arrow") => Ok(Format::Arrow),
        Some(_) => Err(Refusal::invalid("`format` must be `json`, `ndjson`, `csv` or `arrow`")),
        None => {
            let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect::<Vec<_>>();
            let accept = (!accept.is_empty()).then(|| accept.join(", "));
            choose(accept.as_deref()).map_err(|error| {
                let refusal = Refusal::new(StatusCode::NOT_ACCEPTABLE, "invalid", error.message);
                match error.hint {
                    Some(hint) => refusal.hint(hint),
                    None => refusal,
                }
            })
        }
    }
}

async fn answer(house: &House, query: Query, format: Format) -> Result<Response, Refusal> {
    if query.sql.len() as u64 > house.limits.sql_text_max.0 {
        return Err(too_long(house));
    }
    let turn = house.queries.clone().try_acquire_owned();
    let turn = turn.map_err(|_| {
        let message = "too many queries are being answered; ask again in a moment";
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, "unavailable", message)
    })?;
    let Answer { schema, batches } = house.parts.query.query(query).await?;
    // An answer without rows has ended by now, and must not be asked once more.
    let mut batches = batches.fuse();
    let first = batches.next().await.transpose()?;
    let stats = house.stats.clone();
    let rest = batches.inspect_err(move |error| {
        stats.answers_broken.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(kind = ?error.kind, "an answer broke off after it began");
    });
    let batches = stream::iter(first.map(Ok)).chain(rest).boxed();
    let parts = sent(encode(Answer { schema, batches }, format), turn);
    let mut response = Response::new(Body::from_stream(parts));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

/// The parts of an answer, which holds its turn until it is sent or given up.
fn sent(
    parts: BoxStream<'static, Result<Bytes, QueryError>>,
    turn: OwnedSemaphorePermit,
) -> impl futures::Stream<Item = Result<Bytes, QueryError>> + Send {
    let parts = parts.then(|part| async {
        if part.is_err() {
            // The error closes the connection at once; what was written before it, and may say why, goes out first.
            tokio::time::sleep(FLUSH_WAIT).await;
        }
        part
    });
    parts.map(move |part| {
        let _held = &turn;
        part
    })
}

fn too_long(house: &House) -> Refusal {
    Refusal::too_large(format!("the SQL text is longer than {}", house.limits.sql_text_max))
}
