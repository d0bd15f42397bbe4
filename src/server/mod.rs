//! HTTP: routes, limits, access
//!
//!     request ─► count ─► guard (host, origin, token, sizes) ─► sql │ ingest │ admin │ health ─► answer
//!
//! The parts it serves come in as [`Parts`]; `app` joins them. HTTP's status codes exist in this room alone: see [`answer`].
//!
//! What lets others follow our scalers ([`external_metrics`], [`external_scaler`]) has listeners of its own, beside these routes.
//!
//! **Always:** a push is answered with 200 only after it is safe on disk; a refusal says what to do, as JSON.
//! **Never:** a token, a query or a body is logged.

pub mod admin;
pub mod answer;
pub mod capture;
pub mod external_metrics;
pub mod external_scaler;
pub mod guard;
pub mod health;
pub mod ingest;
pub mod quantity;
pub mod replay;
pub mod replay_table;
pub mod scale;
pub mod selector;
pub mod sql;
pub mod stats;
pub mod tail;
#[cfg(test)]
mod tests;

use crate::clock::Clock;
use crate::net::{Access, Counts, Limits};
use answer::Refusal;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ALLOW, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use ingest::IngestDoor;
use sql::QueryDoor;
use stats::Stats;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is served.
pub struct Parts {
    /// answers SQL
    pub query: Arc<dyn QueryDoor>,
    /// takes what is pushed, by the name of the source
    pub inlets: BTreeMap<String, Arc<dyn IngestDoor>>,
    /// knows which rows came last
    pub tail: Arc<dyn tail::TailDoor>,
    /// does what operators ask for
    pub admin: Arc<dyn admin::Admin>,
    /// reaches the scalers
    pub scale: Arc<dyn scale::ScaleDoor>,
    /// knows whether Tidemill is ready
    pub health: Arc<dyn health::Health>,
    /// writes the metrics of everything else, in Prometheus' text format
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// the time
    pub clock: Clock,
}

/// Every route and its methods, for those who look for one.
pub const ROUTES: &[(&str, &str)] = &[
    ("/v1/sql", "GET, POST"),
    ("/v1/ingest/{source}", "POST"),
    ("/v1/tail/{table}", "POST"),
    ("/v1/admin/flush", "POST"),
    ("/v1/admin/reload", "POST"),
    ("/v1/admin/status", "GET"),
    ("/v1/admin/replay", "POST"),
    ("/v1/admin/replay/table", "POST"),
    ("/v1/admin/capture", "POST"),
    ("/v1/admin/scalers/{name}/order", "POST"),
    ("/v1/admin/scalers/{name}/release", "POST"),
    ("/v1/admin/scalers/{name}/promote", "POST"),
    ("/livez", "GET"),
    ("/readyz", "GET"),
    ("/metrics", "GET"),
];

/// What every handler sees.
#[derive(Clone)]
pub(crate) struct House(Arc<Rooms>);

/// The insides of a [`House`].
pub(crate) struct Rooms {
    parts: Parts,
    limits: Limits,
    stats: Arc<Stats>,
    queries: Arc<tokio::sync::Semaphore>,
    pushes: Arc<tokio::sync::Semaphore>,
    bodies: crate::net::body::Room,
}

impl std::ops::Deref for House {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.0
    }
}

/// All routes, guarded as `access` says; `counts` are those of the listener they are served on.
pub fn router(parts: Parts, access: &Access, counts: Arc<Counts>) -> Router {
    let limits = access.limits.clone();
    let stats = Arc::new(Stats::new(parts.clock.clone(), counts));
    let house = House(Arc::new(Rooms {
        queries: Arc::new(tokio::sync::Semaphore::new(limits.queries_max)),
        pushes: Arc::new(tokio::sync::Semaphore::new(limits.pushes_max)),
        bodies: crate::net::body::Room::new(limits.bodies_max.0),
        stats: stats.clone(),
        parts,
        limits,
    }));
    Router::new()
        .route("/v1/sql", get(sql::get).post(sql::post))
        .route("/v1/ingest/{source}", post(ingest::post))
        .route("/v1/tail/{table}", post(tail::post))
        .route("/v1/admin/flush", post(admin::flush))
        .route("/v1/admin/reload", post(admin::reload))
        .route("/v1/admin/status", get(admin::status))
        .route("/v1/admin/replay", post(replay::post))
        .route("/v1/admin/replay/table", post(replay_table::post))
        .route("/v1/admin/capture", post(capture::post))
        .route("/v1/admin/scalers/{name}/order", post(scale::order))
        .route("/v1/admin/scalers/{name}/release", post(scale::release))
        .route("/v1/admin/scalers/{name}/promote", post(scale::promote))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_there)
        .with_state(house)
        .layer(from_fn_with_state(Arc::new(guard::Guard::new(access)), guard::guard))
        .layer(from_fn_with_state(stats, stats::count))
}

async fn nothing_there(request: Request) -> Refusal {
    let path = request.uri().path();
    let shown: String = path.chars().take(100).collect();
    let near = crate::error::did_you_mean(&shown, ROUTES.iter().map(|(route, _)| *route));
    let all: Vec<_> = ROUTES.iter().map(|(route, methods)| format!("{methods} {route}")).collect();
    Refusal::new(StatusCode::NOT_FOUND, "missing", format!("there is nothing at `{shown}`{near}"))
        .hint(format!("the routes are: {}", all.join("; ")))
}

async fn wrong_method(method: Method, path: Option<MatchedPath>, _: State<House>) -> Refusal {
    let route = path.as_ref().map_or("", MatchedPath::as_str);
    let allowed = ROUTES.iter().find(|(known, _)| *known == route).map_or("", |(_, methods)| *methods);
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", format!("`{route}` takes {allowed}, not {method}"))
        .header(ALLOW, HeaderValue::from_static(allowed))
}
