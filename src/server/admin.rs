//! what operators ask for: flush, reload, status

use super::House;
use super::answer::Refusal;
use super::capture::{self, Captured};
use super::replay::{Asked, Report};
use super::replay_table;
use crate::error::Result;
use axum::Json;
use axum::extract::State;
use futures::future::BoxFuture;
use serde_json::{Value, json};

/// Does what operators ask for.
pub trait Admin: Send + Sync {
    /// Writes all hot rows to segments.
    fn flush(&self) -> BoxFuture<'_, Result<()>>;
    /// Has a stage take dead letters again.
    fn replay(&self, asked: Asked) -> BoxFuture<'_, Result<Report>>;
    /// Has a stage take rows of a table.
    fn replay_table(&self, asked: replay_table::Asked) -> BoxFuture<'_, Result<replay_table::Report>>;
    /// Listens to a stage, and writes what it got and made as a case.
    fn capture(&self, asked: capture::Asked) -> BoxFuture<'_, Result<Captured>>;
    /// Reads pipeline files and plugins again, and tells what became of each change.
    fn reload(&self) -> BoxFuture<'_, Result<Value>>;
    /// How everything is, for people.
    fn status(&self) -> Value;
}

/// Answers when all rows that were hot are in segments.
pub(super) async fn flush(State(house): State<House>) -> Result<Json<Value>, Refusal> {
    house.parts.admin.flush().await?;
    Ok(Json(json!({ "flushed": true })))
}

/// Answers with what changed: `{"changes": [{"stage", "event", "changed", "old_sha256", "new_sha256", "reason"}]}`.
pub(super) async fn reload(State(house): State<House>) -> Result<Json<Value>, Refusal> {
    Ok(Json(house.parts.admin.reload().await?))
}

/// Answers with whatever the parts tell of themselves.
pub(super) async fn status(State(house): State<House>) -> Json<Value> {
    Json(house.parts.admin.status())
}
