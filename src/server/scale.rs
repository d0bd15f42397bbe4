//! what operators say to scalers: so many replicas for a while, let go again, promote the shadow
//!
//!     POST /v1/admin/scalers/{name}/order     {"replicas": 5, "for": "1h", "why": "a sale"}
//!     POST /v1/admin/scalers/{name}/release
//!     POST /v1/admin/scalers/{name}/promote
//!
//! **Always:** a 200 means that it is on disk, as a row of `tidemill.decisions`, and that the next tick heeds it.

use super::House;
use super::answer::Refusal;
use crate::error::{Error, Result};
use crate::units::Span;
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

/// Reaches the scalers.
pub trait ScaleDoor: Send + Sync {
    /// So many replicas for a while, whatever the plugin says; answers what that changes.
    fn order<'a>(&'a self, scaler: &'a str, replicas: u32, lasts: Span, why: String) -> BoxFuture<'a, Result<String>>;
    /// The order no longer holds.
    fn release<'a>(&'a self, scaler: &'a str) -> BoxFuture<'a, Result<String>>;
    /// The shadow decides from now on.
    fn promote<'a>(&'a self, scaler: &'a str) -> BoxFuture<'a, Result<String>>;
}

/// An order as it is sent.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    replicas: u32,
    r#for: Span,
    #[serde(default)]
    why: String,
}

pub(super) async fn order(
    State(house): State<House>,
    Path(scaler): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Refusal> {
    let sent: Sent = serde_json::from_slice(&body).map_err(|error| {
        Error::invalid(format!(
            "the order cannot be read ({error}); send {{\"replicas\": 5, \"for\": \"1h\", \"why\": \"a sale\"}}"
        ))
    })?;
    if sent.r#for.0.is_zero() {
        return Err(Error::invalid(
            "`for` is 0s, and the order would not hold for a moment; say how long, like \"1h\"",
        )
        .into());
    }
    told(house.parts.scale.order(&scaler, sent.replicas, sent.r#for, sent.why).await)
}

pub(super) async fn release(State(house): State<House>, Path(scaler): Path<String>) -> Result<Json<Value>, Refusal> {
    told(house.parts.scale.release(&scaler).await)
}

pub(super) async fn promote(State(house): State<House>, Path(scaler): Path<String>) -> Result<Json<Value>, Refusal> {
    told(house.parts.scale.promote(&scaler).await)
}

fn told(done: Result<String>) -> Result<Json<Value>, Refusal> {
    Ok(Json(json!({ "told": done? })))
}
