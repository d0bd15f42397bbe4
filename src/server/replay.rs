//! dead letters, taken again: `POST /v1/admin/replay?stage=S&last=1d&source=X&limit=100&dry_run=true`
//!
//! Answers when what became of them is stored. `"more": true` says that there are further ones: ask again, with `from` and `to` of the answer.

use super::House;
use super::answer::Refusal;
use crate::clock::nanos;
use crate::units::Span;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

/// Which letters.
#[derive(Clone, Debug)]
pub struct Asked {
    /// the stage that gave them up and takes them again
    pub stage: String,
    /// given up then or later, ns UTC
    pub from: Option<i64>,
    /// given up then or earlier, ns UTC; until now if it is not said
    pub to: Option<i64>,
    /// of this source only
    pub source: Option<String>,
    /// at most so many
    pub limit: Option<u64>,
    /// count them, and do nothing
    pub dry_run: bool,
}

/// What became of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// letters that were taken, or in a dry run: would be
    pub taken: u64,
    /// of these: at least a row is in a table
    pub landed: u64,
    /// of these: a filter kept it out, or a parser made nothing of it
    pub dropped: u64,
    /// of these: new dead letters
    pub failed_again: u64,
    /// letters that had been taken before
    pub already_done: u64,
    /// letters whose source leads to the stage no more
    pub unreachable: u64,
    /// since when letters were looked for, ns UTC
    pub from: Option<i64>,
    /// up to when letters were looked for, ns UTC
    pub to: i64,
    /// there are further ones
    pub more: bool,
    /// why it ended early
    pub stopped: Option<String>,
}

/// What the URL says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InUrl {
    stage: String,
    last: Option<Span>,
    from: Option<i64>,
    to: Option<i64>,
    source: Option<String>,
    limit: Option<u64>,
    #[serde(default)]
    dry_run: bool,
}

/// Has a stage take its dead letters again.
pub(super) async fn post(
    State(house): State<House>,
    asked: Result<Query<InUrl>, QueryRejection>,
) -> Result<Json<Report>, Refusal> {
    let Query(said) = asked.map_err(|error| Refusal::invalid(error.body_text()))?;
    let from = begin(said.last, said.from, house.parts.clock.now())?;
    let asked =
        Asked { stage: said.stage, from, to: said.to, source: said.source, limit: said.limit, dry_run: said.dry_run };
    Ok(Json(house.parts.admin.replay(asked).await?))
}

/// When a span begins that is said as `last` or as `from`.
pub(super) fn begin(last: Option<Span>, from: Option<i64>, now: i64) -> Result<Option<i64>, Refusal> {
    match (last, from) {
        (Some(_), Some(_)) => Err(Refusal::invalid("`last` and `from` both say when to begin; write one of them")),
        (Some(last), None) => Ok(Some(now.saturating_sub(nanos(last.0)))),
        (None, from) => Ok(from),
    }
}
