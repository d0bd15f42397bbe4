//! rows of a table, taken again by a stage: `POST /v1/admin/replay/table?table=raw&stage=S&into=T&last=1d&again=true&dry_run=true`
//!
//! Answers when what became of them is stored. `"more": true` says that there are further ones: ask again, with `from` and `to` of the
//! answer and without `again`.

use super::House;
use super::answer::Refusal;
use super::replay::begin;
use crate::event::TableName;
use crate::units::Span;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

/// Which rows, and where to.
#[derive(Clone, Debug)]
pub struct Asked {
    /// the table that has them
    pub table: TableName,
    /// the stage that takes them
    pub stage: String,
    /// the one table that all goes into which the stage makes; else it goes on as the pipeline says
    pub into: Option<TableName>,
    /// rows of that time or later, ns UTC
    pub from: Option<i64>,
    /// rows of that time or earlier, ns UTC; until now if it is not said
    pub to: Option<i64>,
    /// also rows that were taken before
    pub again: bool,
    /// count them, and do nothing
    pub dry_run: bool,
}

/// What became of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// rows that were taken, or in a dry run: would be
    pub taken: u64,
    /// rows that are in tables because of them
    pub rows: u64,
    /// rows that the stage could not handle: new dead letters
    pub failed: u64,
    /// rows that had been taken before
    pub already_done: u64,
    /// rows whose source does not lead to the stage
    pub unreachable: u64,
    /// the time of the first rows that were looked for, ns UTC
    pub from: i64,
    /// the time of the last ones
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
    table: String,
    stage: String,
    into: Option<String>,
    last: Option<Span>,
    from: Option<i64>,
    to: Option<i64>,
    #[serde(default)]
    again: bool,
    #[serde(default)]
    dry_run: bool,
}

/// Has a stage take rows of a table.
pub(super) async fn post(
    State(house): State<House>,
    asked: Result<Query<InUrl>, QueryRejection>,
) -> Result<Json<Report>, Refusal> {
    let Query(said) = asked.map_err(|error| Refusal::invalid(error.body_text()))?;
    let from = begin(said.last, said.from, house.parts.clock.now())?;
    let asked = Asked {
        table: TableName::parse(&said.table)?,
        stage: said.stage,
        into: said.into.as_deref().map(TableName::user).transpose()?,
        from,
        to: said.to,
        again: said.again,
        dry_run: said.dry_run,
    };
    Ok(Json(house.parts.admin.replay_table(asked).await?))
}
