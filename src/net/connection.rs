//! one connection: TLS, HTTP/1.1 or HTTP/2, and when it ends
//!
//! It ends when the peer closes it; when it brings no request in time; when it is silent, or does not take its answer; when
//! somebody else needs its seat; when the listener stops, after what is in flight; and at the latest when the drain is over.

use super::arriving::Arriving;
use super::crowd::{Activity, Seat, Turn};
use super::limits::Limits;
use bytes::Bytes;
use futures::future::BoxFuture;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

/// Who sent a request; in the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What all connections of a listener have in common.
#[derive(Clone)]
pub(super) struct Rules {
    pub limits: Limits,
    pub tls: Option<TlsAcceptor>,
    /// finish what is in flight, then close
    pub stop: CancellationToken,
    /// close now
    pub kill: CancellationToken,
}

/// An HTTP service that always answers, such as a router.
pub trait Answers:
    Service<Request<Arriving>, Response = Response<Self::Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// The body of its answers.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;
}

impl<S, B> Answers for S
where
    S: Service<Request<Arriving>, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    type Body = B;
}

/// Serves one connection to its end.
pub(super) async fn run<S: Answers>(stream: TcpStream, peer: SocketAddr, seat: Seat, rules: Rules, service: S) {
    // Answers are written whole; waiting for more to send would only delay them.
    let _ = stream.set_nodelay(true);
    let watched = Watched { service, activity: seat.activity.clone(), peer };
    match rules.tls.clone() {
        None => speak(stream, seat, &rules, watched).await,
        Some(tls) => {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(rules.limits.header_wait_max.0, tls.accept(stream)) => shaken,
                () = seat.activity.leave.cancelled() => return seat.evicted(),
                () = rules.stop.cancelled() => return,
            };
            match shaken {
                Ok(Ok(stream)) => speak(stream, seat, &rules, watched).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => seat.evicted(),
            }
        }
    }
}

async fn speak<I, S>(io: I, seat: Seat, rules: &Rules, service: Watched<S>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answers,
{
    let (peer, activity) = (service.peer, seat.activity.clone());
    let protocol = protocol(&rules.limits);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(io), service));
    let mut silent = pin!(silence(&activity, rules.limits.header_wait_max.0, rules.limits.idle_max.0));
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "connection broke");
                }
                return;
            }
            () = &mut silent => return seat.evicted(),
            () = activity.leave.cancelled() => return seat.evicted(),
            () = rules.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = rules.kill.cancelled() => return,
        }
    }
}

fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut protocol = auto::Builder::new(TokioExecutor::new());
    let head = limits.head_max.as_usize();
    protocol
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_max.0)
        .max_buf_size(head)
        .max_headers(100);
    protocol
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(head).unwrap_or(u32::MAX))
        .max_concurrent_streams(64)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(limits.idle_max.0)
        .keep_alive_timeout(Duration::from_secs(20));
    protocol
}

/// Ends when the peer has been waited for long enough.
async fn silence(activity: &Activity, first: Duration, between: Duration) {
    tokio::time::sleep(first).await;
    if activity.is_new() {
        return;
    }
    loop {
        let moved = activity.moved();
        tokio::time::sleep(between).await;
        if activity.is_theirs() && activity.moved() == moved {
            return;
        }
    }
}

/// A service whose requests are seen by the connection's [`Activity`].
struct Watched<S> {
    service: S,
    activity: Arc<Activity>,
    peer: SocketAddr,
}

impl<S: Answers> hyper::service::Service<Request<Incoming>> for Watched<S> {
    type Response = Response<Taken<S::Body>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(Peer(self.peer));
        let turn = self.activity.begin();
        let answer = self.service.clone().oneshot(Arriving::from(request));
        Box::pin(async move { Ok(answer.await?.map(|body| Taken { body: Box::pin(body), turn })) })
    }
}

/// An answer's body that tells whether it waits for us or for the peer to take it.
struct Taken<B> {
    body: Pin<Box<B>>,
    turn: Turn,
}

impl<B: Body<Data = Bytes>> Body for Taken<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = self.body.as_mut().poll_frame(context);
        self.turn.ours(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
