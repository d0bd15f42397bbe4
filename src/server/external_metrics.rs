//! the external metrics API of Kubernetes: what our scalers decided, for an existing HorizontalPodAutoscaler to follow
//!
//!     GET /apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/tidemill_replicas?labelSelector=scaler%3Dweb
//!       ─► ExternalMetricValueList of `external.metrics.k8s.io/v1beta1`, one item for each scaler that is selected
//!     GET …/tidemill_signal?labelSelector=scaler%3Dweb,signal%3Drps         ─► the figure that it decided from
//!     GET /apis, /apis/external.metrics.k8s.io[/v1beta1], /api, /openapi/v2, /openapi/v3, /version    ─► what there is
//!
//! It has a listener of its own, since the API server asks by TLS, shows a client certificate and sends no token of ours.
//!
//! **Always:** a refusal is a `Status`, as the API's clients know it.
//! **Never:** a number that rests on no evidence is answered, least of all 0: whoever asks for several gets none if one is missing.

use super::answer::Refusal;
use super::guard::Guard;
use super::quantity::quantity;
use super::selector::Selector;
use crate::net::Access;
use crate::scale::standing::{Board, Standing};
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

const GROUP: &str = "external.metrics.k8s.io";
const VERSION: &str = "external.metrics.k8s.io/v1beta1";
const REPLICAS: &str = "tidemill_replicas";
const SIGNAL: &str = "tidemill_signal";

/// A refusal as the API's clients know it.
struct Status {
    code: StatusCode,
    reason: &'static str,
    message: String,
}

/// All routes, guarded as `access` says.
pub fn router(board: Board, access: &Access) -> Router {
    Router::new()
        .route(
            "/api",
            get(|| async { Json(json!({"kind": "APIVersions", "versions": [], "serverAddressByClientCIDRs": []})) }),
        )
        .route(
            "/apis",
            get(|| async { Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]})) }),
        )
        .route("/apis/external.metrics.k8s.io", get(|| async { Json(group()) }))
        .route("/apis/external.metrics.k8s.io/v1beta1", get(resources))
        .route("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}", get(values))
        .route("/openapi/v2", get(|| async { Json(json!({"swagger": "2.0", "info": about(), "paths": {}})) }))
        .route("/openapi/v3", get(|| async { Json(json!({"paths": {}})) }))
        .route("/version", get(version))
        .method_not_allowed_fallback(wrong_method)
        .fallback(nothing_there)
        .with_state(board)
        .layer(from_fn_with_state(Arc::new(Guard::new(access)), guard))
}

async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => Status::of(&refusal).into_response(),
    }
}

fn about() -> Value {
    json!({"title": "Tidemill", "version": env!("CARGO_PKG_VERSION")})
}

fn group() -> Value {
    let version = json!({"groupVersion": VERSION, "version": "v1beta1"});
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version})
}

/// Of Tidemill, in the form of the API server's.
async fn version() -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.');
    let mut part = || parts.next().unwrap_or("0").to_owned();
    let (major, minor) = (part(), part());
    Json(json!({"major": major, "minor": minor, "gitVersion": format!("v{version}"), "platform": "tidemill"}))
}

async fn resources() -> Json<Value> {
    let resource = |name: &str| json!({"name": name, "singularName": "", "namespaced": true, "kind": "ExternalMetricValueList", "verbs": ["get"]});
    let resources = [resource(REPLICAS), resource(SIGNAL)];
    Json(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION, "resources": resources}))
}

async fn values(
    State(board): State<Board>,
    Path((_, metric)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Status> {
    let query = query.unwrap_or_default();
    let selector = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "labelSelector");
    let selector = selector.map(|(_, selector)| selector.into_owned()).unwrap_or_default();
    let selector = Selector::parse(&selector).map_err(|error| Status::invalid(error.message()))?;
    let (items, waiting) = match metric.as_str() {
        REPLICAS => (replicas(&board, &selector)?, None),
        SIGNAL => (signals(&board, &selector)?, unknown_signals(&board)),
        _ => {
            let message = format!("there is no metric `{}`; there are {REPLICAS} and {SIGNAL}", shortened(&metric));
            return Err(Status::missing(message));
        }
    };
    match waiting.filter(|_| items.is_empty()) {
        Some(why) => Err(Status::no_evidence(why)),
        None if items.is_empty() => {
            let names: Vec<String> = board.names().map(|name| format!("`{name}`")).collect();
            let message = format!("nothing has these labels; the scalers are {}", names.join(", "));
            Err(Status::missing(message))
        }
        None => {
            Ok(Json(json!({"kind": "ExternalMetricValueList", "apiVersion": VERSION, "metadata": {}, "items": items})))
        }
    }
}

/// What was decided, of each scaler that is selected.
fn replicas(board: &Board, selector: &Selector) -> Result<Vec<Value>, Status> {
    let mut items = Vec::new();
    for (name, standing) in board.all() {
        let labels = BTreeMap::from([("scaler", name), ("workload", standing.workload.as_str())]);
        if selector.selects(&labels) {
            let value = standing.replicas(board.now()).map(f64::from);
            items.push(item(REPLICAS, &labels, &standing, value.map_err(|why| format!("scaler `{name}`: {why}")))?);
        }
    }
    Ok(items)
}

/// What it was decided from, of each signal that is selected.
fn signals(board: &Board, selector: &Selector) -> Result<Vec<Value>, Status> {
    let mut items = Vec::new();
    for (name, standing) in board.all() {
        for shown in &standing.signals {
            let labels = BTreeMap::from([
                ("scaler", name),
                ("workload", standing.workload.as_str()),
                ("signal", shown.name.as_str()),
            ]);
            if selector.selects(&labels) {
                let told = |why| format!("signal `{}` of scaler `{name}`: {why}", shown.name);
                let value = standing.signal(&shown.name, board.now()).unwrap_or_else(|| Err("it is gone".to_owned()));
                items.push(item(SIGNAL, &labels, &standing, value.map_err(told))?);
            }
        }
    }
    Ok(items)
}

/// Before a scaler's first tick nobody knows its signals.
fn unknown_signals(board: &Board) -> Option<String> {
    board.all().find(|(_, standing)| standing.signals.is_empty()).and_then(|(name, standing)| {
        let why = standing.replicas(board.now()).err()?;
        Some(format!("scaler `{name}`: {why}"))
    })
}

fn item(
    metric: &str,
    labels: &BTreeMap<&str, &str>,
    standing: &Standing,
    value: Result<f64, String>,
) -> Result<Value, Status> {
    let value = value.map_err(Status::no_evidence)?;
    let value = quantity(value)
        .ok_or_else(|| Status::no_evidence(format!("`{metric}` is {value}, which a quantity cannot hold")))?;
    let at = chrono::DateTime::from_timestamp_nanos(standing.tick).to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    Ok(json!({"metricName": metric, "metricLabels": labels, "timestamp": at, "value": value}))
}

fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

async fn nothing_there(request: Request) -> Status {
    Status::missing(format!(
        "there is nothing at `{}`; metrics are below `/apis/{VERSION}`",
        shortened(request.uri().path())
    ))
}

async fn wrong_method(method: Method) -> Status {
    Status::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", format!("metrics are read with GET, not {method}"))
}

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Status {
        Status { code, reason, message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Status {
        Status::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    fn missing(message: impl Into<String>) -> Status {
        Status::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// Without `Retry-After`: the API's clients would ask on and on within one question.
    fn no_evidence(message: impl Into<String>) -> Status {
        Status::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    fn of(refusal: &Refusal) -> Status {
        let reason = match refusal.status() {
            StatusCode::UNAUTHORIZED => "Unauthorized",
            StatusCode::FORBIDDEN => "Forbidden",
            StatusCode::URI_TOO_LONG => "RequestEntityTooLarge",
            _ => "BadRequest",
        };
        Status::new(refusal.status(), reason, refusal.message())
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        let mut response = (self.code, Json(body)).into_response();
        if self.code == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tidemill\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::net::Listen;
    use crate::scale::standing::Shown;
    use axum::body::Body;
    use http_body_util::BodyExt;
    use std::time::Duration;
    use tokio::sync::watch;
    use tower::ServiceExt;

    fn standing(tick: i64, decided: u32, doubt: &str) -> Standing {
        let shown = |name: &str, value| Shown { name: name.to_owned(), value };
        let signals = vec![shown("rps", Ok(12.5)), shown("p95", Err("it is missing: no row".to_owned()))];
        let every = Duration::from_secs(5);
        let signals = if tick == 0 { Vec::new() } else { signals };
        Standing { workload: "shop".to_owned(), tick, every, decided, doubt: doubt.to_owned(), signals }
    }

    async fn ask(scalers: &[(&str, Standing)], listen: &str, path: &str) -> (u16, Value) {
        let scalers = scalers.iter().map(|(name, standing)| ((*name).to_owned(), watch::channel(standing.clone()).1));
        let board = Board::new(scalers.collect(), Clock::held(1_700_000_003_000_000_000));
        let access = toml::from_str::<Listen>(listen).unwrap().open().unwrap();
        let request = axum::http::Request::get(path).header("host", "localhost").body(Body::empty()).unwrap();
        let answer = router(board, &access).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    const AT: i64 = 1_700_000_000_000_000_000;
    const WHERE: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default";

    #[tokio::test]
    async fn what_was_decided_is_a_metric() {
        let scalers = [("web", standing(AT, 5, "")), ("api", standing(AT, 0, ""))];
        let (status, list) = ask(&scalers, "", &format!("{WHERE}/tidemill_replicas?labelSelector=scaler%3Dweb")).await;
        let item = json!({
            "metricName": "tidemill_replicas", "metricLabels": {"scaler": "web", "workload": "shop"},
            "timestamp": "2023-11-14T22:13:20Z", "value": "5",
        });
        let expected =
            json!({"kind": "ExternalMetricValueList", "apiVersion": VERSION, "metadata": {}, "items": [item]});
        assert_eq!((status, list), (200, expected));
        let (_, both) = ask(&scalers, "", &format!("{WHERE}/tidemill_replicas?labelSelector=workload%3Dshop")).await;
        assert_eq!(both["items"].as_array().unwrap().len(), 2);
        assert_eq!(both["items"][0]["value"], "0", "0 that was decided from evidence is one");
        let query = "labelSelector=scaler%3Dweb%2Csignal%3Drps";
        let (status, list) = ask(&scalers, "", &format!("{WHERE}/tidemill_signal?{query}")).await;
        assert_eq!((status, &list["items"][0]["value"]), (200, &"12500m".into()));
    }

    #[tokio::test]
    async fn without_evidence_there_is_an_error_and_no_number() {
        let doubts = [
            (standing(0, 0, "nothing is decided yet"), "nothing is decided yet"),
            (standing(AT, 5, "not scaled down: signal `rps` is stale"), "not scaled down"),
            (standing(AT - 60_000_000_000, 5, ""), "is 63 s old"),
        ];
        for (doubtful, says) in doubts {
            let scalers = [("web", doubtful), ("api", standing(AT, 2, ""))];
            for query in ["", "?labelSelector=scaler%3Dweb", "?labelSelector=scaler%20in%20(web,api)"] {
                let (status, told) = ask(&scalers, "", &format!("{WHERE}/tidemill_replicas{query}")).await;
                assert_eq!(
                    (status, &told["kind"], &told["reason"]),
                    (503, &"Status".into(), &"ServiceUnavailable".into())
                );
                assert!(told["message"].as_str().unwrap().contains(says), "{told}");
                assert!(told.get("items").is_none());
            }
            let (status, _) = ask(&scalers, "", &format!("{WHERE}/tidemill_replicas?labelSelector=scaler%3Dapi")).await;
            assert_eq!(status, 200, "the other one is as good as before");
        }
        let scalers = [("web", standing(AT, 5, ""))];
        for (path, status, says) in [
            ("tidemill_signal?labelSelector=signal%3Dp95", 503, "signal `p95` of scaler `web`: it is missing: no row"),
            ("tidemill_replicas?labelSelector=scaler%3Dwep", 404, "nothing has these labels; the scalers are `web`"),
            ("tidemill_replicsa", 404, "there is no metric `tidemill_replicsa`; there are"),
            ("tidemill_replicas?labelSelector=%3D", 400, "the label selector `=` cannot be read"),
        ] {
            let (told, body) = ask(&scalers, "", &format!("{WHERE}/{path}")).await;
            assert_eq!((told, body["code"].as_u64()), (status, Some(status.into())), "{path}: {body}");
            assert!(body["message"].as_str().unwrap().contains(says), "{body}");
        }
        let (status, told) = ask(&[("web", standing(0, 0, "not yet"))], "", &format!("{WHERE}/tidemill_signal")).await;
        assert_eq!((status, &told["message"]), (503, &"scaler `web`: not yet".into()));
    }

    #[tokio::test]
    async fn it_is_discovered_and_guarded() {
        for (path, kind) in [
            ("/apis", "APIGroupList"),
            ("/apis/external.metrics.k8s.io", "APIGroup"),
            ("/apis/external.metrics.k8s.io/v1beta1", "APIResourceList"),
            ("/api", "APIVersions"),
        ] {
            let (status, told) = ask(&[], "", path).await;
            assert_eq!((status, &told["kind"]), (200, &kind.into()), "{path}");
        }
        let (status, told) = ask(&[], "token = 's3cret'", "/apis").await;
        assert_eq!((status, &told["kind"], &told["reason"]), (401, &"Status".into(), &"Unauthorized".into()));
        assert_eq!(ask(&[], "", "/v1/sql").await.0, 404, "nothing else is served here");
    }
}
