//! whether the process lives, is ready, and its metrics

use super::House;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Knows whether Tidemill is ready.
pub trait Health: Send + Sync {
    /// What is still missing, in words; empty when Tidemill is ready to take and answer, never empty while it drains.
    fn reasons(&self) -> Vec<String>;
}

/// 200 as long as the process can answer at all.
pub(super) async fn livez() -> Response {
    Json(json!({ "live": true })).into_response()
}

/// 200 when ready, else 503 with the reasons.
pub(super) async fn readyz(State(house): State<House>) -> Response {
    let reasons = house.parts.health.reasons();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response()
}

/// Everything's metrics and the server's own, in Prometheus' text format 0.0.4.
pub(super) async fn metrics(State(house): State<House>) -> Response {
    let mut text = (house.parts.metrics)();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&house.stats.render());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
