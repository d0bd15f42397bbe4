//! KEDA's ExternalScaler over gRPC: what our scalers decided, for a ScaledObject to follow
//!
//!     scalerMetadata { scaler: "web" } ─► GetMetricSpec: a target of 1    GetMetrics: how many replicas were decided
//!                                         IsActive: whether it is any     StreamIsActive: the same, whenever it changes
//!
//! One replica for each 1 of the metric: so the HorizontalPodAutoscaler that KEDA makes asks for what was decided.
//!
//! **Always:** UNAVAILABLE where a number would rest on no evidence; a stream says nothing until there is some.
//! **Never:** a 0 is answered, or `false`, that was not decided.

use super::guard::Guard;
use crate::net::Access;
use crate::scale::standing::{Board, Standing};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::post;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::server::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// The most bytes of a question.
const QUESTION_BYTES_MAX: usize = 64 << 10;

/// Whose scaler is meant: the ScaledObject, and what its author wrote under `metadata`.
#[derive(Clone, PartialEq, Message)]
struct ScaledObjectRef {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(map = "string, string", tag = "3")]
    scaler_metadata: HashMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct IsActiveResponse {
    #[prost(bool, tag = "1")]
    result: bool,
}

#[derive(Clone, PartialEq, Message)]
struct GetMetricSpecResponse {
    #[prost(message, repeated, tag = "1")]
    metric_specs: Vec<MetricSpec>,
}

/// A metric and how much of it one replica is for: as a whole number for older KEDAs, and as any.
#[derive(Clone, PartialEq, Message)]
struct MetricSpec {
    #[prost(string, tag = "1")]
    metric_name: String,
    #[prost(int64, tag = "2")]
    target_size: i64,
    #[prost(double, tag = "3")]
    target_size_float: f64,
}

#[derive(Clone, PartialEq, Message)]
struct GetMetricsRequest {
    #[prost(message, optional, tag = "1")]
    scaled_object_ref: Option<ScaledObjectRef>,
    #[prost(string, tag = "2")]
    metric_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct GetMetricsResponse {
    #[prost(message, repeated, tag = "1")]
    metric_values: Vec<MetricValue>,
}

#[derive(Clone, PartialEq, Message)]
struct MetricValue {
    #[prost(string, tag = "1")]
    metric_name: String,
    #[prost(int64, tag = "2")]
    metric_value: i64,
    #[prost(double, tag = "3")]
    metric_value_float: f64,
}

/// All calls, guarded as `access` says.
pub fn router(board: Board, access: &Access) -> Router {
    Router::new()
        .route("/externalscaler.ExternalScaler/IsActive", post(is_active))
        .route("/externalscaler.ExternalScaler/StreamIsActive", post(stream_is_active))
        .route("/externalscaler.ExternalScaler/GetMetricSpec", post(metric_spec))
        .route("/externalscaler.ExternalScaler/GetMetrics", post(metrics))
        .fallback(nothing_there)
        .with_state(board)
        .layer(from_fn_with_state(Arc::new(Guard::new(access)), guard))
}

async fn nothing_there() -> Response {
    Status::unimplemented("this is an externalscaler.ExternalScaler and has no such call").into_http()
}

async fn guard(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            let code = match refusal.status() {
                StatusCode::UNAUTHORIZED => Code::Unauthenticated,
                StatusCode::FORBIDDEN => Code::PermissionDenied,
                _ => Code::InvalidArgument,
            };
            Status::new(code, refusal.message()).into_http()
        }
    }
}

async fn is_active(State(board): State<Board>, request: Request) -> Response {
    unary(request, move |asked: ScaledObjectRef| {
        let (name, standing) = of(&board, &asked)?;
        Ok(IsActiveResponse { result: decided(name, &standing.borrow(), &board)? > 0 })
    })
    .await
}

async fn metric_spec(State(board): State<Board>, request: Request) -> Response {
    unary(request, move |asked: ScaledObjectRef| {
        let metric_name = metric(of(&board, &asked)?.0);
        Ok(GetMetricSpecResponse {
            metric_specs: vec![MetricSpec { metric_name, target_size: 1, target_size_float: 1.0 }],
        })
    })
    .await
}

async fn metrics(State(board): State<Board>, request: Request) -> Response {
    unary(request, move |asked: GetMetricsRequest| {
        let object = asked.scaled_object_ref.unwrap_or_default();
        let (name, standing) = of(&board, &object)?;
        let known = metric(name);
        if asked.metric_name != known {
            let message =
                format!("there is no metric `{}`; the one of scaler `{name}` is `{known}`", asked.metric_name);
            return Err(Status::not_found(message));
        }
        let replicas = decided(name, &standing.borrow(), &board)?;
        let (metric_value, metric_value_float) = (i64::from(replicas), f64::from(replicas));
        Ok(GetMetricsResponse {
            metric_values: vec![MetricValue { metric_name: known, metric_value, metric_value_float }],
        })
    })
    .await
}

async fn stream_is_active(State(board): State<Board>, request: Request) -> Response {
    let codec = ProstCodec::<IsActiveResponse, ScaledObjectRef>::default();
    let answer = tower::service_fn(move |asked: tonic::Request<ScaledObjectRef>| {
        let board = board.clone();
        async move {
            let (_, standing) = of(&board, asked.get_ref())?;
            Ok::<_, Status>(tonic::Response::new(changes(standing, board)))
        }
    });
    let answer = Grpc::new(codec).max_decoding_message_size(QUESTION_BYTES_MAX).server_streaming(answer, request).await;
    answer.map(Body::new)
}

/// Whether any replica was decided: now, and whenever that changes. It ends with the scaler.
fn changes(standing: watch::Receiver<Standing>, board: Board) -> BoxStream<'static, Result<IsActiveResponse, Status>> {
    let start = Some((standing, board, None));
    let changes = futures::stream::unfold(start, |state| async move {
        let (mut standing, board, mut last) = state?;
        loop {
            let active = standing.borrow_and_update().replicas(board.now()).map(|replicas| replicas > 0);
            match active {
                Ok(active) if last != Some(active) => {
                    last = Some(active);
                    return Some((Ok(IsActiveResponse { result: active }), Some((standing, board, last))));
                }
                Ok(_) | Err(_) => {}
            }
            if standing.changed().await.is_err() {
                return Some((Err(Status::unavailable("tidemill is stopping")), None));
            }
        }
    });
    changes.boxed()
}

/// One question, one answer.
async fn unary<Q, A>(request: Request, answer: impl Fn(Q) -> Result<A, Status>) -> Response
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let service = tower::service_fn(|asked: tonic::Request<Q>| {
        let answered = answer(asked.into_inner()).map(tonic::Response::new);
        async move { answered }
    });
    let codec = ProstCodec::<A, Q>::default();
    Grpc::new(codec).max_decoding_message_size(QUESTION_BYTES_MAX).unary(service, request).await.map(Body::new)
}

/// The scaler that a ScaledObject names.
fn of<'a>(board: &'a Board, asked: &'a ScaledObjectRef) -> Result<(&'a str, watch::Receiver<Standing>), Status> {
    let known = || board.names().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let Some(name) = asked.scaler_metadata.get("scaler") else {
        let message = format!("`metadata` of the trigger names no scaler; write `scaler: NAME`, one of {}", known());
        return Err(Status::invalid_argument(message));
    };
    let found = board.follow(name).map(|standing| (name.as_str(), standing));
    found.ok_or_else(|| Status::not_found(format!("there is no scaler `{name}`; there are {}", known())))
}

fn metric(scaler: &str) -> String {
    format!("tidemill-{scaler}")
}

/// How many replicas were decided, from evidence.
fn decided(name: &str, standing: &Standing, board: &Board) -> Result<u32, Status> {
    standing.replicas(board.now()).map_err(|why| Status::unavailable(format!("scaler `{name}`: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::net::Listen;
    use axum::http::uri::PathAndQuery;
    use bytes::Bytes;
    use std::time::Duration;
    use tower::{Service, ServiceExt};

    /// A client of the router without a connection between.
    #[derive(Clone)]
    struct Here(Router);

    impl Service<axum::http::Request<tonic::body::Body>> for Here {
        type Response = Response;
        type Error = std::convert::Infallible;
        type Future = futures::future::BoxFuture<'static, Result<Response, Self::Error>>;

        fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: axum::http::Request<tonic::body::Body>) -> Self::Future {
            Box::pin(self.0.clone().oneshot(request.map(Body::new)))
        }
    }

    fn client(board: Board, listen: &str) -> tonic::client::Grpc<Here> {
        let access = toml::from_str::<Listen>(listen).unwrap().open().unwrap();
        tonic::client::Grpc::with_origin(Here(router(board, &access)), "http://localhost".parse().unwrap())
    }

    async fn ask<Q: Message + Default + 'static, A: Message + Default + 'static>(
        board: &Board,
        listen: &str,
        call: &str,
        asked: Q,
    ) -> Result<A, Status> {
        let mut client = client(board.clone(), listen);
        client.ready().await.unwrap();
        let path = PathAndQuery::try_from(format!("/externalscaler.ExternalScaler/{call}")).unwrap();
        let codec = ProstCodec::<Q, A>::default();
        client.unary(tonic::Request::new(asked), path, codec).await.map(tonic::Response::into_inner)
    }

    const NOW: i64 = 1_000_000_000_000;

    fn standing(tick: i64, decided: u32, doubt: &str) -> Standing {
        let every = Duration::from_secs(5);
        Standing { workload: "shop".to_owned(), tick, every, decided, doubt: doubt.to_owned(), signals: Vec::new() }
    }

    fn board(standing: Standing) -> (Board, watch::Sender<Standing>) {
        let (sender, receiver) = watch::channel(standing);
        (Board::new([("web".to_owned(), receiver)].into(), Clock::held(NOW)), sender)
    }

    fn named(scaler: &str) -> ScaledObjectRef {
        ScaledObjectRef {
            scaler_metadata: [("scaler".to_owned(), scaler.to_owned())].into(),
            ..ScaledObjectRef::default()
        }
    }

    fn asked(metric_name: &str) -> GetMetricsRequest {
        GetMetricsRequest { scaled_object_ref: Some(named("web")), metric_name: metric_name.to_owned() }
    }

    #[tokio::test]
    async fn what_was_decided_is_answered_and_nothing_without_evidence() {
        for (decided, active) in [(5, true), (0, false)] {
            let (board, _scaler) = board(standing(NOW, decided, ""));
            let spec: GetMetricSpecResponse = ask(&board, "", "GetMetricSpec", named("web")).await.unwrap();
            let expected =
                MetricSpec { metric_name: "tidemill-web".to_owned(), target_size: 1, target_size_float: 1.0 };
            assert_eq!(spec.metric_specs, [expected]);
            let values: GetMetricsResponse = ask(&board, "", "GetMetrics", asked("tidemill-web")).await.unwrap();
            let value = &values.metric_values[0];
            assert_eq!((value.metric_value, value.metric_value_float), (i64::from(decided), f64::from(decided)));
            assert_eq!(ask::<_, IsActiveResponse>(&board, "", "IsActive", named("web")).await.unwrap().result, active);
        }
        for doubtful in [standing(0, 0, "not yet"), standing(NOW, 5, "held"), standing(NOW - 60_000_000_000, 5, "")] {
            let (board, _scaler) = board(doubtful);
            let values =
                ask::<_, GetMetricsResponse>(&board, "", "GetMetrics", asked("tidemill-web")).await.unwrap_err();
            let active = ask::<_, IsActiveResponse>(&board, "", "IsActive", named("web")).await.unwrap_err();
            assert_eq!((values.code(), active.code()), (Code::Unavailable, Code::Unavailable), "{values}");
            assert!(values.message().starts_with("scaler `web`: "), "{values}");
        }
    }

    #[tokio::test]
    async fn mistakes_are_told() {
        let (board, _scaler) = board(standing(NOW, 5, ""));
        let active =
            async |listen: &'static str, asked| ask::<_, IsActiveResponse>(&board, listen, "IsActive", asked).await;
        let none = active("", ScaledObjectRef::default()).await.unwrap_err();
        assert_eq!((none.code(), none.message().contains("one of `web`")), (Code::InvalidArgument, true), "{none}");
        assert_eq!(active("", named("wep")).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(active("token = 's3cret'", named("web")).await.unwrap_err().code(), Code::Unauthenticated);
        let metrics = ask::<_, GetMetricsResponse>(&board, "", "GetMetrics", asked("other")).await.unwrap_err();
        assert_eq!(metrics.code(), Code::NotFound);
        let call = ask::<_, IsActiveResponse>(&board, "", "IsInactive", named("web")).await.unwrap_err();
        assert_eq!(call.code(), Code::Unimplemented);
        let access = toml::from_str::<Listen>("").unwrap().open().unwrap();
        let body = Body::from(Bytes::from_static(b"\x00\x00\x00\x00\x02\xff\xff"));
        let garbage = axum::http::Request::post("/externalscaler.ExternalScaler/IsActive").header("host", "localhost");
        let garbage = garbage.header("content-type", "application/grpc").body(body).unwrap();
        let answer = router(board.clone(), &access).oneshot(garbage).await.unwrap();
        assert_ne!(answer.headers().get("grpc-status").unwrap(), "0");
    }

    #[tokio::test]
    async fn a_stream_tells_changes_and_ends_with_the_scaler() {
        let (board, scaler) = board(standing(0, 0, "not yet"));
        let mut client = client(board, "");
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/externalscaler.ExternalScaler/StreamIsActive");
        let codec = ProstCodec::<ScaledObjectRef, IsActiveResponse>::default();
        let request = tonic::Request::new(named("web"));
        let mut stream = client.server_streaming(request, path, codec).await.unwrap().into_inner();
        let mut next = async || tokio::time::timeout(Duration::from_millis(100), stream.message()).await;
        assert!(next().await.is_err(), "nothing is known yet");
        scaler.send_replace(standing(NOW, 3, ""));
        assert!(next().await.unwrap().unwrap().unwrap().result);
        scaler.send_replace(standing(NOW, 4, ""));
        scaler.send_replace(standing(NOW, 0, "held"));
        assert!(next().await.is_err(), "no change, and then no evidence");
        scaler.send_replace(standing(NOW, 0, ""));
        assert!(!next().await.unwrap().unwrap().unwrap().result);
        drop(scaler);
        assert_eq!(next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    }
}
