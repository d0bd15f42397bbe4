//! what a stage gets and makes, as a case of its plugin: `POST /v1/admin/capture?stage=S&rows=50&wait=10s`
//!
//! Answers when so many rows have come, or the time is over, with what there is.

use super::House;
use super::answer::Refusal;
use crate::units::Span;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest wait for rows.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// What is to be captured.
#[derive(Clone, Debug)]
pub struct Asked {
    /// the stage
    pub stage: String,
    /// at most so many rows
    pub rows: u32,
    /// how long to wait for them
    pub wait: Duration,
}

/// What was captured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Captured {
    /// the stage's plugin, as the pipeline names it
    pub plugin: String,
    /// its hash
    pub sha256: String,
    /// how many rows
    pub rows: u64,
    /// the text of the case
    pub case: String,
    /// what whoever uses it should know
    pub notes: Vec<String>,
}

/// What the URL says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InUrl {
    stage: String,
    rows: Option<u32>,
    wait: Option<Span>,
}

/// Listens to a stage.
pub(super) async fn post(
    State(house): State<House>,
    asked: Result<Query<InUrl>, QueryRejection>,
) -> Result<Json<Captured>, Refusal> {
    let Query(said) = asked.map_err(|error| Refusal::invalid(error.body_text()))?;
    let wait = said.wait.map_or(Duration::from_secs(10), |wait| wait.0);
    if wait > WAIT_MAX {
        return Err(Refusal::invalid(format!("`wait` is longer than {}s; ask again instead", WAIT_MAX.as_secs())));
    }
    let asked = Asked { stage: said.stage, rows: said.rows.unwrap_or(50), wait };
    Ok(Json(house.parts.admin.capture(asked).await?))
}
