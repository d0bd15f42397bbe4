//! refusals: which status, which JSON
//!
//! `{"error": {"kind": "invalid", "message": "…", "line": 1, "column": 8, "hint": "…"}}`; what is not known is left out.

use crate::error::{Error, ErrorKind};
use crate::net::BodyError;
use crate::query::QueryError;
use axum::Json;
use axum::http::header::{CONNECTION, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// How many seconds to wait before trying again, when the pipeline or the disk cannot take more.
const RETRY_AFTER_SECONDS: u16 = 2;

/// An answer that says no.
#[derive(Debug)]
pub struct Refusal(Box<Inside>);

#[derive(Debug)]
struct Inside {
    status: StatusCode,
    body: ErrorBody,
    headers: HeaderMap,
}

/// What the JSON under `error` says.
#[derive(Debug, Serialize)]
pub struct ErrorBody {
    /// the kind, in a word
    pub kind: &'static str,
    /// where, what, and what to do
    pub message: String,
    /// the line of the SQL text, from 1
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// the column of the SQL text, from 1
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// what to write instead
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The word and the status of each kind of error.
///
/// A query that reaches a limit gets 422, not 413 or 5xx: nothing is wrong with the request's size or the server, and asking the
/// same again, as clients do after a 5xx, would only cost the same again. So does a body under the key of another one, as
/// draft-ietf-httpapi-idempotency-key-header has it.
pub fn status(kind: ErrorKind) -> (&'static str, StatusCode) {
    match kind {
        ErrorKind::Invalid => ("invalid", StatusCode::BAD_REQUEST),
        ErrorKind::Missing => ("missing", StatusCode::NOT_FOUND),
        ErrorKind::Forbidden => ("forbidden", StatusCode::FORBIDDEN),
        ErrorKind::Conflict => ("conflict", StatusCode::UNPROCESSABLE_ENTITY),
        ErrorKind::Limit => ("limit", StatusCode::UNPROCESSABLE_ENTITY),
        ErrorKind::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE),
        ErrorKind::Foreign => ("foreign", StatusCode::BAD_GATEWAY),
        ErrorKind::Io => ("io", StatusCode::INTERNAL_SERVER_ERROR),
        ErrorKind::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR),
    }
}

impl Refusal {
    /// A refusal of this status, with the word for its kind and the sentence for people.
    pub fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Refusal {
        let body = ErrorBody { kind, message: message.into(), line: None, column: None, hint: None };
        let refusal = Refusal(Box::new(Inside { status, body, headers: HeaderMap::new() }));
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                refusal.header(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))
            }
            _ => refusal,
        }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its sentence for people.
    pub fn message(&self) -> &str {
        &self.0.body.message
    }

    /// What was sent is wrong.
    pub fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// What was sent is too large.
    pub fn too_large(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "limit", message)
    }

    /// Not now.
    pub fn busy(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// The same with what to write instead.
    pub fn hint(mut self, hint: impl Into<String>) -> Refusal {
        self.0.body.hint = Some(hint.into());
        self
    }

    /// The same with one more header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Refusal {
        self.0.headers.insert(name, value);
        self
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (kind, status) = status(error.kind());
        Refusal::new(status, kind, error.message())
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let (kind, status) = status(error.kind);
        let mut refusal = Refusal::new(status, kind, error.message);
        refusal.0.body.line = error.place.map(|place| place.line);
        refusal.0.body.column = error.place.map(|place| place.column);
        refusal.0.body.hint = error.hint;
        refusal
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let message = error.to_string();
        match error {
            BodyError::TooLarge(_) => Refusal::too_large(message),
            BodyError::Broken(_, _) | BodyError::Gone(_) => Refusal::invalid(message),
            BodyError::Slow => Refusal::new(StatusCode::REQUEST_TIMEOUT, "limit", message)
                .header(CONNECTION, HeaderValue::from_static("close")),
            BodyError::Full => Refusal::busy(message),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Inside { status, body, headers } = *self.0;
        (status, headers, Json(serde_json::json!({ "error": body }))).into_response()
    }
}
