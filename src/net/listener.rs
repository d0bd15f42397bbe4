//! accepts connections, as many as it may, until it is told to stop
//!
//!     bind ─► accept ─► seat ─► connection ─┐
//!               ▲                          │
//!               └────────── stop ──────────┴─► finish what is in flight ─► the drain is over ─► close the rest
//!
//! **Always:** when [`Listener::serve`] returns, no connection of it is left.
//! **Never:** running out of file descriptors ends it; it waits and tries again.

use super::connection::{self, Answers, Rules};
use super::crowd::{Counts, Crowd};
use super::limits::Limits;
use super::listen::Access;
use super::port_holder::port_holder;
use crate::error::{Error, ErrorKind, Result};
use rustix::process::{Resource, getrlimit};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The first wait after the system refused to accept; doubled up to [`BACK_OFF_MAX`].
const BACK_OFF_MIN: Duration = Duration::from_millis(20);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// A bound address that nobody is served on yet.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    counts: Arc<Counts>,
}

impl Listener {
    /// Binds the address; from now on connections wait in the system's queue.
    pub async fn bind(access: &Access) -> Result<Listener> {
        let socket = TcpListener::bind(access.address).await.map_err(|error| refused(access.address, error))?;
        let address = socket.local_addr().map_err(|error| refused(access.address, error))?;
        let mut limits = access.limits.clone();
        limits.connections_max = limits.connections_max.min(descriptors() / 2).max(1);
        let tls = access.tls.clone().map(TlsAcceptor::from);
        Ok(Listener { socket, address, tls, limits, counts: Arc::default() })
    }

    /// Where it listens, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections come and go.
    pub fn counts(&self) -> Arc<Counts> {
        self.counts.clone()
    }

    /// Serves until `stop`; then what is in flight has `drain` to finish.
    pub async fn serve<S: Answers>(self, service: S, stop: CancellationToken, drain: Duration) {
        let tasks = TaskTracker::new();
        let rules = Rules { limits: self.limits.clone(), tls: self.tls.clone(), stop, kill: CancellationToken::new() };
        tokio::select! {
            () = self.accept(&tasks, &rules, service) => {}
            () = rules.stop.cancelled() => {}
        }
        drop(self);
        tasks.close();
        if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
            tracing::warn!(connections = tasks.len(), "requests did not finish in time and were cut off");
            rules.kill.cancel();
            tasks.wait().await;
        }
    }

    async fn accept<S: Answers>(&self, tasks: &TaskTracker, rules: &Rules, service: S) {
        let crowd = Crowd::new(self.limits.connections_max, self.counts.clone());
        loop {
            let (stream, peer) = self.next().await;
            let Some(seat) = crowd.seat().await else { return };
            tasks.spawn(connection::run(stream, peer, seat, rules.clone(), service.clone()));
        }
    }

    /// The next connection, however long the system refuses to give one.
    async fn next(&self) -> (TcpStream, SocketAddr) {
        let mut wait = BACK_OFF_MIN;
        loop {
            match self.socket.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if of_one_peer(&error) => {}
                Err(error) => {
                    if wait == BACK_OFF_MIN {
                        tracing::warn!(address = %self.address, %error, "cannot accept connections; trying again");
                    }
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACK_OFF_MAX);
                }
            }
        }
    }
}

/// Whether only the connection that was about to be accepted is gone.
fn of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// How many files the process may have open.
fn descriptors() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX))
}

fn refused(address: SocketAddr, error: io::Error) -> Error {
    let port = address.port();
    let (kind, why) = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = port_holder(port).map_or_else(|| "another process".to_owned(), |holder| format!("`{holder}`"));
            let advice = "stop it or choose another `address` in `[server]`";
            (ErrorKind::Unavailable, format!("{holder} already listens on port {port}; {advice}"))
        }
        io::ErrorKind::PermissionDenied if port < 1024 => {
            (ErrorKind::Forbidden, format!("port {port} is only for root; choose one above 1023 in `[server]`"))
        }
        io::ErrorKind::AddrNotAvailable => {
            (ErrorKind::Invalid, "this machine has no such address; `ip address` lists those it has".to_owned())
        }
        _ => (ErrorKind::Io, error.to_string()),
    };
    Error::new(kind, format!("cannot listen on `{address}`: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Arriving, Client, Get, Listen, Peer};
    use crate::units::Span;
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use http_body_util::{Full, StreamBody, combinators::BoxBody};
    use hyper::body::Frame;
    use hyper::{Request, Response};
    use std::convert::Infallible;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    /// For `localhost` and 127.0.0.1, valid for a hundred years, used for nothing else.
    const CERT: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBmDCCAT6gAwIBAgIUbDCNRRUkubvoVCl4JUwG8JAItNMwCgYIKoZIzj0EAwIw\n\
        FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjE1NDAyMloYDzIxMjYxMDI5\n\
        MTU0MDIyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n\
        PQMBBwNCAAThE2yBCK8+g09lUmSgjn6og0pBSNNAoSm9Ktemyl3MRq6XjbXwG6Au\n\
        +GFfg9J/XLkFiyUK1iQwxGaDTEU5xCzDo2wwajAdBgNVHQ4EFgQUpzzH4poPOjnD\n\
        eJZUrBiNfJ3OZ/8wHwYDVR0jBBgwFoAUpzzH4poPOjnDeJZUrBiNfJ3OZ/8wDAYD\n\
        VR0TAQH/BAIwADAaBgNVHREEEzARhwR/AAABgglsb2NhbGhvc3QwCgYIKoZIzj0E\n\
        AwIDSAAwRQIhAJ4Mo7U+2hqh0noAjcM4QXXlqJSrlcoHJkicrQ2M3jziAiBSgrT2\n\
        doXDy1I4gzBgbvbaojRjgXUWhyxUuRbwKxF5JA==\n\
        -----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgHSYmLR/CoC4bTHDD\n\
        0vCjD74dzDWOCtpeF7nx7k90zvWhRANCAAThE2yBCK8+g09lUmSgjn6og0pBSNNA\n\
        oSm9Ktemyl3MRq6XjbXwG6Au+GFfg9J/XLkFiyUK1iQwxGaDTEU5xCzD\n\
        -----END PRIVATE KEY-----\n";

    struct Running {
        address: SocketAddr,
        counts: Arc<Counts>,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    /// `/slow` answers after 300 ms, `/endless` for ever, anything else at once.
    async fn answer(request: Request<Arriving>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
        assert!(request.extensions().get::<Peer>().is_some());
        let body = match request.uri().path() {
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Full::new(Bytes::from_static(b"late")).boxed()
            }
            "/endless" => {
                let part = || Ok(Frame::data(Bytes::from(vec![b'x'; 64 << 10])));
                StreamBody::new(futures::stream::repeat_with(part)).boxed()
            }
            _ => Full::new(Bytes::from_static(b"here")).boxed(),
        };
        Ok(Response::new(body))
    }

    async fn run(listen: Listen, drain: Duration) -> Running {
        let listener = Listener::bind(&listen.open().unwrap()).await.unwrap();
        let (address, counts, stop) = (listener.address(), listener.counts(), CancellationToken::new());
        let task = tokio::spawn(listener.serve(tower::service_fn(answer), stop.clone(), drain));
        Running { address, counts, stop, task }
    }

    fn listen() -> Listen {
        Listen { address: "127.0.0.1:0".to_owned(), ..Listen::default() }
    }

    fn short(connections_max: usize, header_wait_max: u64, idle_max: u64) -> Listen {
        let mut listen = listen();
        listen.limits.connections_max = connections_max;
        listen.limits.header_wait_max = Span(Duration::from_millis(header_wait_max));
        listen.limits.idle_max = Span(Duration::from_millis(idle_max));
        listen
    }

    async fn get(url: String) -> Result<String> {
        let page = Client::new(None)?.get(&Get::new(url)).await?;
        Ok(String::from_utf8_lossy(&page.body).into_owned())
    }

    /// Whether the other side closes the connection within two seconds.
    async fn closes(mut stream: TcpStream) -> bool {
        let reading = async {
            let mut bytes = [0; 64 << 10];
            while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
        };
        tokio::time::timeout(Duration::from_secs(2), reading).await.is_ok()
    }

    #[tokio::test]
    async fn a_port_in_use_names_who_has_it() {
        let first = run(listen(), Duration::ZERO).await;
        let again = Listen { address: first.address.to_string(), ..Listen::default() };
        let error = Listener::bind(&again.open().unwrap()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains(&format!("(pid {})", std::process::id())), "{error}");
        let elsewhere = Listen { address: "192.0.2.1:0".to_owned(), insecure: true, ..Listen::default() };
        let error = Listener::bind(&elsewhere.open().unwrap()).await.err().unwrap();
        assert!(error.message().contains("no such address"), "{error}");
    }

    #[tokio::test]
    async fn silent_and_slow_connections_are_closed() {
        let server = run(short(100, 100, 300), Duration::ZERO).await;
        let silent = TcpStream::connect(server.address).await.unwrap();
        let mut half = TcpStream::connect(server.address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // Its answer never ends, and nobody reads it.
        let mut deaf = TcpStream::connect(server.address).await.unwrap();
        deaf.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        for (name, stream) in [("silent", silent), ("half", half), ("idle", idle)] {
            assert!(closes(stream).await, "{name}");
        }
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert_eq!(server.counts.open.load(std::sync::atomic::Ordering::Relaxed), 0, "deaf");
    }

    #[tokio::test]
    async fn many_silent_connections_keep_nobody_out() {
        let server = run(short(50, 60_000, 60_000), Duration::ZERO).await;
        let mut crowd = Vec::new();
        for _ in 0..300 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
            crowd.push(stream);
        }
        for _ in 0..20 {
            let answer = tokio::time::timeout(Duration::from_secs(2), get(format!("http://{}/", server.address))).await;
            assert_eq!(answer.unwrap().unwrap(), "here");
        }
        assert!(server.counts.open.load(std::sync::atomic::Ordering::Relaxed) <= 50);
        drop(crowd);
    }

    #[tokio::test]
    async fn what_is_in_flight_is_answered_before_it_stops() {
        let server = run(listen(), Duration::from_secs(5)).await;
        let idle = TcpStream::connect(server.address).await.unwrap();
        let slow = tokio::spawn(get(format!("http://{}/slow", server.address)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.stop.cancel();
        assert_eq!(slow.await.unwrap().unwrap(), "late");
        tokio::time::timeout(Duration::from_secs(1), server.task).await.unwrap().unwrap();
        assert!(closes(idle).await);
        let error = get(format!("http://{}/", server.address)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("connection refused"), "{error}");
    }

    #[tokio::test]
    async fn what_does_not_finish_is_cut_off() {
        let server = run(listen(), Duration::from_millis(100)).await;
        let mut endless = TcpStream::connect(server.address).await.unwrap();
        endless.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.stop.cancel();
        tokio::time::timeout(Duration::from_secs(2), server.task).await.unwrap().unwrap();
        assert_eq!(server.counts.open.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn who_sends_an_unwanted_body_reads_the_answer() {
        let server = run(listen(), Duration::ZERO).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n").await.unwrap();
        stream.write_all(&vec![b'x'; 50_000_000]).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    }

    #[tokio::test]
    async fn speaks_tls_and_http_2() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, CERT).unwrap();
        std::fs::write(&key, KEY).unwrap();
        let tls = crate::net::Tls { cert: cert.clone(), key: key.clone(), client_ca: None };
        let server = run(Listen { tls: Some(tls), ..short(10, 200, 60_000) }, Duration::ZERO).await;
        let url = format!("https://{}/", server.address);
        let page = Client::new(Some(&cert)).unwrap().get(&Get::new(&url)).await.unwrap();
        assert_eq!(&page.body[..], b"here");
        let error = get(url).await.unwrap_err();
        assert!(error.message().contains("no TLS connection: invalid peer certificate"), "{error}");
        assert!(closes(TcpStream::connect(server.address).await.unwrap()).await, "silent before the handshake");
        let wrong = Listen { tls: Some(crate::net::Tls { cert: key, key: cert, client_ca: None }), ..listen() };
        assert!(wrong.open().unwrap_err().message().contains("has no certificate"));
    }

    #[tokio::test]
    async fn speaks_http_2_without_tls() {
        let server = run(listen(), Duration::ZERO).await;
        let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .http2_only(true)
            .build_http::<Full<Bytes>>();
        let response = client.get(format!("http://{}/", server.address).parse().unwrap()).await.unwrap();
        assert_eq!(response.version(), hyper::Version::HTTP_2);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "here");
    }
}
