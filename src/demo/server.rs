//! the scrypt server of the demo: one hash at a time, an access log, metrics
//!
//!     POST / ─► queue (500, beyond: 503) ─► one thread: scrypt, then rest ─► hex digest
//!     GET / explains   GET /healthz and /metrics answer at once, because they never wait for the queue
//!
//! **Always:** a line of the access log is one write to a file opened for appending, so several replicas can share the file; a
//! client that leaves is logged as 499 and its password is not hashed.
//! **Never:** it listens beyond this machine.

use super::cost::{Cost, processor_time};
use super::metrics::{CONTENT_TYPE, Metrics};
use super::share::Share;
use crate::clock::Clock;
use crate::error::{Error, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How many passwords may wait.
const QUEUE_MAX: usize = 500;
/// A longer password is refused.
const PASSWORD_BYTES_MAX: usize = 1024;
/// How long a stopping server works on what it has taken in.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// How the server is started: `tidemill demo-server --port 9100 --log access.log --cost '2^13'`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long)]
    pub port: u16,
    /// File that the access log is appended to (combined format, then seconds)
    #[arg(long)]
    pub log: PathBuf,
    /// What a hash costs: scrypt's N, and p after a star
    #[arg(long, default_value = "2^13")]
    pub cost: Cost,
}

/// Serves until SIGTERM or SIGINT, then finishes what it has taken in.
pub async fn serve(options: Options) -> Result<()> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Error::io("listening for SIGTERM", error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Error::io("listening for SIGINT", error))?;
    let stopping = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
    });
    let share = Share::from_environment(|name| std::env::var(name).ok());
    // On its own standard error, so that it is read where the server was started: tidemill logs what its replicas write there.
    if let Some(note) = share.note() {
        let _ = writeln!(std::io::stderr(), "demo-server: {note}");
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Error::io(format_args!("{address} cannot be listened on; stop who uses it or take another `--port`"), error)
    })?;
    serve_on(listener, options, share, Clock::system(), stop).await
}

/// Serves on this listener until `stop`, then finishes what it has taken in, for DRAIN_MAX at most.
pub async fn serve_on(
    listener: TcpListener,
    options: Options,
    share: Share,
    clock: Clock,
    stop: CancellationToken,
) -> Result<()> {
    let log = File::options().append(true).create(true).open(&options.log).map_err(|error| {
        Error::io(format_args!("{}: the access log cannot be opened", options.log.display()), error)
    })?;
    let metrics = Arc::new(Metrics::default());
    let (jobs, waiting) = mpsc::channel(QUEUE_MAX);
    let worker = Worker { cost: options.cost, share, clock: clock.clone(), metrics: metrics.clone() };
    std::thread::Builder::new()
        .name("scrypt".to_owned())
        .spawn(move || worker.run(waiting))
        .map_err(|error| Error::io("starting the thread that hashes", error))?;
    let site = Arc::new(Site { jobs, metrics, log, clock, cost: options.cost, share });
    let service = Router::new().fallback(answer).with_state(site).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        ended = async { serving.await } => ended.map_err(|error| Error::io("serving HTTP", error)),
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN_MAX).await } => Ok(()),
    }
}

/// What every request sees.
struct Site {
    /// closed when the site is dropped, which ends the thread
    jobs: mpsc::Sender<Job>,
    metrics: Arc<Metrics>,
    log: File,
    clock: Clock,
    cost: Cost,
    share: Share,
}

/// A password and where its digest goes.
struct Job {
    password: Bytes,
    reply: oneshot::Sender<Result<[u8; 32]>>,
}

/// The one thread that hashes.
struct Worker {
    cost: Cost,
    share: Share,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Worker {
    fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            if job.reply.is_closed() {
                continue;
            }
            let (begun, used) = (self.clock.now(), processor_time());
            let digest = self.cost.hash(&job.password);
            let used = processor_time().saturating_sub(used);
            let took = since(&self.clock, begun);
            self.metrics.hashed(used);
            std::thread::sleep(self.share.rest(used, took));
            // Who left meanwhile does not need the digest.
            let _ = job.reply.send(digest);
        }
    }
}

/// One request on its way; dropping it without an answer means that the client has left.
struct Visit {
    site: Arc<Site>,
    peer: SocketAddr,
    method: Method,
    uri: Uri,
    referer: String,
    agent: String,
    begun: i64,
    answer: (u16, usize),
}

async fn answer(
    State(site): State<Arc<Site>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let mut visit = Visit::begin(site.clone(), peer, &request);
    let (status, kind, text) = site.reply(request).await;
    visit.answer = (status.as_u16(), text.len());
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

impl Site {
    async fn reply(&self, request: Request) -> (StatusCode, &'static str, String) {
        let plain = |status, text: &str| (status, "text/plain; charset=utf-8", format!("{text}\n"));
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/") => match self.digest(request).await {
                Ok(digest) => plain(StatusCode::OK, &digest),
                Err((status, message)) => plain(status, &message),
            },
            (&Method::GET, "/") => plain(StatusCode::OK, &self.explanation()),
            (&Method::GET, "/healthz") => plain(StatusCode::OK, "ok"),
            (&Method::GET, "/metrics") => {
                let waiting = self.jobs.max_capacity() - self.jobs.capacity();
                (StatusCode::OK, CONTENT_TYPE, self.metrics.text(waiting))
            }
            (_, "/" | "/healthz" | "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "try GET / to see how to ask"),
            _ => plain(StatusCode::NOT_FOUND, "there is /, /healthz and /metrics"),
        }
    }

    /// The digest of the password in the body, when its turn has come.
    async fn digest(&self, request: Request) -> Result<String, (StatusCode, String)> {
        let password = axum::body::to_bytes(request.into_body(), PASSWORD_BYTES_MAX).await.map_err(|_| {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("a password has at most {PASSWORD_BYTES_MAX} bytes"))
        })?;
        if password.is_empty() {
            return Err((StatusCode::BAD_REQUEST, "send the password as the body".to_owned()));
        }
        let (reply, digest) = oneshot::channel();
        self.jobs.try_send(Job { password, reply }).map_err(|_| {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{QUEUE_MAX} passwords are waiting; try again later"))
        })?;
        let gone = |_| (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping; try again".to_owned());
        let digest = digest.await.map_err(gone)?;
        let digest = digest.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        Ok(digest.iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    fn explanation(&self) -> String {
        format!(
            "POST a password here and get its scrypt digest (N and p {}, r 8), one at a time: curl --data 'open sesame' http://…/\n\
             This replica has {}. What it does: /metrics. Whether it lives: /healthz.",
            self.cost,
            self.share.words()
        )
    }
}

impl Visit {
    fn begin(site: Arc<Site>, peer: SocketAddr, request: &Request) -> Visit {
        site.metrics.received(request.method().as_str());
        let begun = site.clock.now();
        let (referer, agent) = (text(request.headers(), header::REFERER), text(request.headers(), header::USER_AGENT));
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Visit { site, peer, method, uri, referer, agent, begun, answer: (499, 0) }
    }

    /// A line in combined format, with the seconds it took at its end.
    fn line(&self, took: Duration) -> String {
        let time = chrono::DateTime::from_timestamp_nanos(self.site.clock.now());
        let (status, bytes) = self.answer;
        format!(
            "{} - - [{}] \"{} {} HTTP/1.1\" {status} {bytes} \"{}\" \"{}\" {:.3}\n",
            self.peer.ip(),
            time.format("%d/%b/%Y:%H:%M:%S +0000"),
            self.method,
            self.uri,
            self.referer,
            self.agent,
            took.as_secs_f64()
        )
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let took = since(&self.site.clock, self.begun);
        self.site.metrics.answered(self.method.as_str(), self.answer.0, took);
        // A full disk must not stop the hashing; the missing lines show in the table.
        let _ = (&self.site.log).write_all(self.line(took).as_bytes());
    }
}

/// A header as nginx would log it: `-` where there is none, quotes and what is not printable as \x22.
fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    let Some(value) = headers.get(name) else { return "-".to_owned() };
    value.as_bytes().iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'"' | b'\\' | 0..=31 | 127..=255 => {
                let _ = write!(text, "\\x{byte:02X}");
            }
            byte => text.push(char::from(*byte)),
        }
        text
    })
}

fn since(clock: &Clock, begun: i64) -> Duration {
    Duration::from_nanos(u64::try_from(clock.now() - begun).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::load::{Load, Tally};
    use crate::demo::plan::Step;
    use crate::units::Cores;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    struct Server {
        address: SocketAddr,
        stop: CancellationToken,
        running: tokio::task::JoinHandle<Result<()>>,
        dir: tempfile::TempDir,
    }

    impl Server {
        async fn start(cost: &str, share: Share) -> Server {
            let dir = tempfile::tempdir().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let options = Options { port: 0, log: dir.path().join("access.log"), cost: cost.parse().unwrap() };
            let stop = CancellationToken::new();
            let running = tokio::spawn(serve_on(listener, options, share, Clock::system(), stop.clone()));
            Server { address, stop, running, dir }
        }

        async fn ask(&self, method: &str, path: &str, body: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            let length = body.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nuser-agent: a \"b\"\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }

        fn log(&self) -> Vec<String> {
            let text = std::fs::read_to_string(self.dir.path().join("access.log")).unwrap();
            text.lines().map(str::to_owned).collect()
        }
    }

    #[tokio::test]
    async fn each_request_is_answered_counted_and_logged() {
        let server = Server::start("2^4", Share::Whole).await;
        for (method, path, body, expected) in [
            ("POST", "/", "open sesame", "200 OK"),
            ("POST", "/", "", "400 Bad Request"),
            ("POST", "/", &"x".repeat(2000), "413 Payload Too Large"),
            ("GET", "/", "", "scrypt digest"),
            ("GET", "/healthz", "", "ok"),
            ("GET", "/other?a=b", "", "404 Not Found"),
            ("DELETE", "/", "", "405 Method Not Allowed"),
            ("GET", "/metrics", "", "http_requests_received_total{method=\"POST\"} 3"),
        ] {
            let answer = server.ask(method, path, body).await;
            assert!(answer.contains(expected), "{method} {path}: {answer}");
        }
        let log = server.log();
        assert_eq!(log.len(), 8);
        let first = log.first().unwrap();
        assert!(first.starts_with("127.0.0.1 - - ["), "{first}");
        assert!(first.contains("] \"POST / HTTP/1.1\" 200 65 \"-\" \"a \\x22b\\x22\" 0."), "{first}");
        server.stop.cancel();
        server.running.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_busy_server_says_that_it_lives_and_finishes_what_it_took_in() {
        // Six hashes of some milliseconds each, at a tenth of a core.
        let server = Server::start("2^10", Share::Paced(Cores { millis: 100 })).await;
        let mut asking: Vec<TcpStream> = Vec::new();
        for _ in 0..6 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            stream
                .write_all(b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx")
                .await
                .unwrap();
            asking.push(stream);
        }
        let clock = Clock::system();
        let begun = clock.now();
        assert!(server.ask("GET", "/healthz", "").await.contains("ok"));
        assert!(since(&clock, begun) < Duration::from_millis(500));
        let received = "http_requests_received_total{method=\"POST\"} 6";
        while !server.ask("GET", "/metrics", "").await.contains(received) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // One client leaves; the others get their digest although the server is stopping.
        drop(asking.pop());
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.stop.cancel();
        for mut stream in asking {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        server.running.await.unwrap().unwrap();
        let text = std::fs::read_to_string(server.dir.path().join("access.log")).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains("\" 499 0 ")).count(), 1, "{text}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_share_bounds_what_a_replica_does_and_the_load_sees_it() {
        let unit = Cost::UNIT.measure().unwrap();
        let share = Cores { millis: 200 };
        let cost = Cost::choose(unit, share, 20.0);
        let server = Server::start(&cost.to_string(), Share::Paced(share)).await;
        let load = Load {
            target: server.address,
            steps: vec![Step { name: "too much", per_second: 60.0, span: Duration::from_millis(1500) }],
            forever: false,
            timeout: Duration::from_secs(3),
            outstanding_max: 2000,
            clock: Clock::system(),
        };
        let (sender, mut samples) = mpsc::channel(8);
        tokio::spawn(load.run(sender, CancellationToken::new()));
        let mut total = Tally::default();
        while let Some(sample) = samples.recv().await {
            total.merge(&sample.total());
        }
        server.stop.cancel();
        assert_eq!(total.offered, 90);
        // About 3.5 s at 20 a second; a busy machine does fewer.
        assert!((10..90).contains(&total.completed), "{total:?}");
        assert!(total.latencies.quantile(0.95).unwrap() > Duration::from_secs(1), "{total:?}");
    }
}
