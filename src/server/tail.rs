//! the rows of a table as they arrive: `POST /v1/tail/{table}?last=10&since=…`
//!
//! Answers at once with `{"next": 17, "skipped": 0, "rows": [{…}]}`; the next call goes on with `since=17`.

use super::House;
use super::answer::Refusal;
use crate::error::Result;
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};

/// The most rows of one answer.
pub const ROWS_MAX: u64 = 1000;

/// Knows which rows came last.
pub trait TailDoor: Send + Sync {
    /// The rows after the first `since`, at most `last`; without `since` the last ones.
    fn rows(&self, table: &str, since: Option<u64>, last: u64) -> Result<Rows>;
}

/// New rows of a table.
#[derive(Debug, Serialize)]
pub struct Rows {
    /// where to go on
    pub next: u64,
    /// rows that came and are not among these, because there were too many
    pub skipped: u64,
    /// the rows
    pub rows: Vec<serde_json::Value>,
}

/// What the URL says.
#[derive(Debug, Deserialize)]
pub struct Asked {
    since: Option<u64>,
    last: Option<u64>,
}

/// Answers with the rows that are new.
pub(super) async fn post(
    State(house): State<House>,
    table: Result<Path<String>, PathRejection>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Rows>, Refusal> {
    let Path(table) = table.map_err(|error| Refusal::invalid(error.body_text()))?;
    let Query(asked) = asked.map_err(|error| Refusal::invalid(error.body_text()))?;
    let last = asked.last.unwrap_or(ROWS_MAX).min(ROWS_MAX);
    let rows = tokio::task::spawn_blocking(move || house.parts.tail.rows(&table, asked.since, last)).await;
    let rows = rows.map_err(|error| crate::error::Error::internal(format!("looking for rows: {error}")))?;
    Ok(Json(rows?))
}
