//! asks other HTTP servers: scrapes, health checks, the command line
//!
//! **Always:** an answer has a time and a size it may not exceed, the size counted after decompression and while it arrives.
//! **Never:** a redirect is followed (the address in the config is the address that is asked), a secret stands in an error.

use super::body::{Coding, Gather, gather};
use super::secret::Secret;
use super::tls;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body_util::{BodyStream, Full};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::io;
use std::path::Path;
use std::time::Duration;

/// Answers of [`Client::get`] may have so many bytes if nothing else is said.
pub const BODY_MAX: u64 = 16 << 20;
/// How long a connection that is not used is kept.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Asks other servers, keeping connections for the next time. Cloning shares them.
#[derive(Clone)]
pub struct Client(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// What to get.
#[derive(Clone, Debug)]
pub struct Get {
    /// `http://` or `https://`
    pub url: String,
    /// how long the whole answer may take
    pub wait_max: Duration,
    /// how large it may be, decompressed
    pub bytes_max: u64,
    /// what kind of answer is wanted: the header `Accept`; none if empty
    pub accept: String,
    /// who asks
    pub auth: Option<Auth>,
    /// more headers
    pub headers: Vec<(String, String)>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Auth {
    /// `Authorization: Bearer …`
    Bearer(Secret),
    /// `Authorization: Basic …`
    Basic {
        /// the user's name
        user: String,
        /// and password
        password: Secret,
    },
}

/// A whole answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Page {
    /// such as 200
    pub status: u16,
    /// the header `Content-Type`; empty if there is none
    pub content_type: String,
    /// the body, decompressed
    pub body: Bytes,
}

/// What to post.
#[derive(Clone, Debug)]
pub struct Post {
    /// `http://` or `https://`
    pub url: String,
    /// how long the answer's head, and then each part of its body, may take
    pub wait_max: Duration,
    /// who asks
    pub auth: Option<Auth>,
    /// headers, `Content-Type` and `Accept` among them
    pub headers: Vec<(String, String)>,
    /// what to send
    pub body: Bytes,
}

/// An answer whose body is still coming.
pub struct Reply {
    /// such as 200
    pub status: u16,
    /// the header `Content-Type`; empty if there is none
    pub content_type: String,
    /// the header `Retry-After` in seconds, if there is one
    pub retry_after: Option<u64>,
    /// the same where it is a date, ns UTC
    pub retry_at: Option<i64>,
    /// the parts of the body
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl Get {
    /// Gets this URL, within 10 s and 16 MiB.
    pub fn new(url: impl Into<String>) -> Get {
        Get {
            url: url.into(),
            wait_max: Duration::from_secs(10),
            bytes_max: BODY_MAX,
            accept: String::new(),
            auth: None,
            headers: Vec::new(),
        }
    }
}

impl Reply {
    /// How long to wait before asking again, where the answer says so.
    pub fn retry_after(&self, clock: &Clock) -> Option<Duration> {
        let left = |at: i64| Duration::from_nanos(u64::try_from(at.saturating_sub(clock.now())).unwrap_or(0));
        self.retry_after.map(Duration::from_secs).or(self.retry_at.map(left))
    }
}

impl Client {
    /// A client that trusts the public certificate authorities, or only those in a PEM file.
    pub fn new(roots: Option<&Path>) -> Result<Client> {
        let connectors = HttpsConnectorBuilder::new();
        let connectors = match roots {
            Some(roots) => connectors.with_tls_config(tls::client(roots)?),
            None => connectors
                .with_provider_and_webpki_roots(tls::provider())
                .map_err(|error| Error::internal(format!("TLS cannot be set up: {error}")))?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(2)
            .build(connectors.https_or_http().enable_http1().wrap_connector(tcp));
        Ok(Client(client))
    }

    /// Gets a whole answer. A status such as 404 is an answer, not an error.
    pub async fn get(&self, get: &Get) -> Result<Page> {
        let answer = async {
            let mut request = request(Method::GET, &get.url, &get.headers, get.auth.as_ref(), Bytes::new())?;
            let headers = request.headers_mut();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            if !get.accept.is_empty() {
                headers.insert(ACCEPT, value("accept", &get.accept)?);
            }
            let response = self.0.request(request).await.map_err(failed)?;
            page(response, get).await
        };
        let answer = tokio::time::timeout(get.wait_max, answer).await;
        answer
            .unwrap_or_else(|_| Err(too_late(get.wait_max)))
            .map_err(|error| error.within(format_args!("`{}`", shown(&get.url))))
    }

    /// Posts, and returns when the answer's head is there.
    pub async fn post(&self, post: Post) -> Result<Reply> {
        let (url, wait_max) = (shown(&post.url).to_owned(), post.wait_max);
        let told = move |error: Error| error.within(format_args!("`{url}`"));
        let request = request(Method::POST, &post.url, &post.headers, post.auth.as_ref(), post.body).map_err(&told)?;
        let answer = tokio::time::timeout(wait_max, self.0.request(request)).await;
        let response = answer.map_err(|_| told(too_late(wait_max)))?.map_err(|error| told(failed(error)))?;
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get("retry-after").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Reply {
            status: head.status.as_u16(),
            content_type: header(&head.headers, &CONTENT_TYPE),
            retry_after: retry_after.parse().ok(),
            retry_at: chrono::DateTime::parse_from_rfc2822(retry_after).ok().and_then(|at| at.timestamp_nanos_opt()),
            body: parts(body, wait_max, told),
        })
    }
}

/// The parts of a body as they come, ending after the first error.
fn parts(
    body: Incoming,
    wait_max: Duration,
    told: impl Fn(Error) -> Error + Send + 'static,
) -> BoxStream<'static, Result<Bytes>> {
    let start = Some((BodyStream::new(body), told));
    let parts = futures::stream::unfold(start, move |state| async move {
        let (mut body, told) = state?;
        loop {
            let error = match tokio::time::timeout(wait_max, body.next()).await {
                Ok(None) => return None,
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(part) => return Some((Ok(part), Some((body, told)))),
                    // trailers
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => Error::new(ErrorKind::Io, format!("the answer broke off: {}", root(&error))),
                Err(_) => too_late(wait_max),
            };
            return Some((Err(told(error)), None));
        }
    });
    parts.boxed()
}

fn request(
    method: Method,
    url: &str,
    headers: &[(String, String)],
    auth: Option<&Auth>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = address(url)?;
    for (name, text) in headers {
        let name: HeaderName =
            name.parse().map_err(|_| Error::invalid(format!("`{name}` cannot be the name of an HTTP header")))?;
        let text = value(name.as_str(), text)?;
        request.headers_mut().append(name, text);
    }
    if let Some(auth) = auth {
        let text = match auth {
            Auth::Bearer(token) => format!("Bearer {}", token.reveal()),
            Auth::Basic { user, password } => {
                format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{}", password.reveal())))
            }
        };
        let mut text = value("authorization", &text)?;
        text.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, text);
    }
    Ok(request)
}

/// Checks a URL: it has a scheme we speak and a host, and no password in it.
fn address(url: &str) -> Result<Uri> {
    let uri: Uri =
        url.parse().map_err(|_| Error::invalid("not a URL; write it like `http://127.0.0.1:9100/metrics`"))?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    match uri.scheme_str() {
        Some("http" | "https") if authority.contains('@') => {
            Err(Error::invalid("the URL has a user or password in it; say who asks beside the URL, not in it"))
        }
        Some("http" | "https") if !authority.is_empty() => Ok(uri),
        _ => Err(Error::invalid("not a URL that can be asked; write it like `http://127.0.0.1:9100/metrics`")),
    }
}

/// The URL for an error: without a user or password, and without a query (which may hold a token).
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (_, _) => url.to_owned(),
    }
}

fn value(name: &str, text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Error::invalid(format!("the HTTP header `{name}` has a character that a header cannot have")))
}

fn header(headers: &HeaderMap, name: &HeaderName) -> String {
    headers.get(name).and_then(|text| text.to_str().ok()).unwrap_or_default().to_owned()
}

async fn page(response: Response<Incoming>, get: &Get) -> Result<Page> {
    let (head, body) = response.into_parts();
    let coding = header(&head.headers, &CONTENT_ENCODING);
    let coding = Coding::parse(&coding).ok_or_else(|| {
        Error::new(ErrorKind::Foreign, format!("the answer is compressed as `{coding}`, which was not asked for"))
    })?;
    let rules = Gather { coding, bytes_max: get.bytes_max, wait_max: get.wait_max, room: None };
    let body = gather(body, &rules).await.map_err(|error| match error {
        super::BodyError::TooLarge(max) => {
            Error::new(ErrorKind::Limit, format!("the answer is larger than {}", crate::units::ByteSize(max)))
        }
        super::BodyError::Broken(coding, why) => {
            Error::new(ErrorKind::Foreign, format!("the answer is not correct {}: {why}", coding.word()))
        }
        super::BodyError::Gone(why) => Error::new(ErrorKind::Io, format!("the answer broke off: {why}")),
        super::BodyError::Slow | super::BodyError::Full => too_late(get.wait_max),
    })?;
    Ok(Page { status: head.status.as_u16(), content_type: header(&head.headers, &CONTENT_TYPE), body: body.bytes })
}

fn too_late(wait_max: Duration) -> Error {
    Error::new(ErrorKind::Limit, format!("no whole answer within {}", crate::units::Span(wait_max)))
}

/// Why a request got no answer, in the words that say what to look at.
fn failed(error: legacy::Error) -> Error {
    let system = chain(&error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let dns = chain(&error).any(|cause| cause.to_string().starts_with("dns error"));
    let tls = chain(&error).find_map(|cause| tls_error(cause));
    let (kind, why) = match (tls, system.map(io::Error::kind)) {
        (Some(tls), _) => (ErrorKind::Io, format!("no TLS connection: {tls}")),
        (None, _) if dns => (ErrorKind::Io, "the host's name cannot be resolved; is it spelled right?".to_owned()),
        (None, Some(io::ErrorKind::ConnectionRefused)) => {
            (ErrorKind::Unavailable, "connection refused; nothing listens there".to_owned())
        }
        (None, Some(io::ErrorKind::TimedOut)) => (ErrorKind::Unavailable, "no connection in time".to_owned()),
        (None, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)) => {
            (ErrorKind::Io, "the other side closed the connection before it answered".to_owned())
        }
        (None, Some(_) | None) => (ErrorKind::Io, root(&error)),
    };
    Error::new(kind, why)
}

/// A TLS error. It stands inside of I/O errors, which do not name what is inside them as their cause.
fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let inside = |cause: &&'a (dyn std::error::Error + 'static)| {
        let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
        Some(inner as &'a (dyn std::error::Error + 'static))
    };
    std::iter::successors(Some(cause), inside).find_map(|cause| cause.downcast_ref())
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The innermost cause: the one that says something.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that reads a request's head, says these bytes, waits, and closes. Returns the heads it read.
    async fn says(answer: Vec<u8>, wait: Duration) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, received) = tokio::sync::mpsc::channel(10);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 8192];
                let bytes = stream.read(&mut head).await.unwrap_or(0);
                let _ = heads.send(String::from_utf8_lossy(&head[..bytes]).to_lowercase()).await;
                let _ = stream.write_all(&answer).await;
                tokio::time::sleep(wait).await;
            }
        });
        (address, received)
    }

    fn ok(headers: &str, body: &[u8]) -> Vec<u8> {
        [format!("HTTP/1.1 200 OK\r\n{headers}\r\n").as_bytes(), body].concat()
    }

    async fn get(answer: Vec<u8>, change: impl FnOnce(&mut Get)) -> Result<Page> {
        let (address, _heads) = says(answer, Duration::ZERO).await;
        let mut get = Get::new(format!("http://{address}/metrics?token=hidden"));
        change(&mut get);
        Client::new(None)?.get(&get).await
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn gets_what_is_there() {
        let page = get(ok("content-type: text/plain\r\ncontent-length: 4\r\n", b"up 1"), |_| ()).await.unwrap();
        assert_eq!((page.status, page.content_type.as_str(), &page.body[..]), (200, "text/plain", &b"up 1"[..]));
        let page = get(ok("content-encoding: gzip\r\n", &gzip(b"up 1")), |_| ()).await.unwrap();
        assert_eq!(&page.body[..], b"up 1");
        let moved = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
        assert_eq!(get(moved, |_| ()).await.unwrap().status, 302);
    }

    #[tokio::test]
    async fn says_why_there_is_no_answer() {
        let zeros = vec![0; 1 << 20];
        let small = |get: &mut Get| get.bytes_max = 1000;
        for (answer, change, kind, says) in [
            (ok("", &zeros), Some(small), ErrorKind::Limit, "the answer is larger than 1000 B"),
            (ok("content-length: 5000\r\n", b""), Some(small), ErrorKind::Limit, "larger"),
            (ok("content-encoding: gzip\r\n", &gzip(&zeros)), Some(small), ErrorKind::Limit, "larger"),
            (ok("content-encoding: br\r\n", b"x"), None, ErrorKind::Foreign, "compressed as `br`"),
            (ok("content-encoding: gzip\r\n", b"x"), None, ErrorKind::Foreign, "not correct gzip"),
            (ok("content-length: 9\r\n", b"x"), None, ErrorKind::Io, "broke off"),
            (b"".to_vec(), None, ErrorKind::Io, "closed"),
            (b"SSH-2.0-OpenSSH\r\n".to_vec(), None, ErrorKind::Io, "invalid HTTP version"),
        ] {
            let error = get(answer, |get| change.into_iter().for_each(|change| change(get))).await.unwrap_err();
            assert!(error.message().contains(says), "{says}: {error}");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(!error.message().contains("hidden"), "{error}");
        }
        let (address, _heads) = says(Vec::new(), Duration::from_secs(9)).await;
        let slow = Get { wait_max: Duration::from_millis(100), ..Get::new(format!("http://{address}/")) };
        let error = Client::new(None).unwrap().get(&slow).await.unwrap_err();
        assert!(error.message().contains("no whole answer within 100ms"), "{error}");
    }

    #[tokio::test]
    async fn refuses_urls_that_cannot_be_asked() {
        for (url, says) in [
            ("localhost:9100/metrics", "not a URL"),
            ("ftp://x/", "not a URL that can be asked"),
            ("http://", "not a URL"),
            ("http://user:hidden@127.0.0.1:1/", "user or password"),
            ("http://no-such-host.invalid/", "cannot be resolved"),
        ] {
            let error = Client::new(None).unwrap().get(&Get::new(url)).await.unwrap_err();
            assert!(error.message().contains(says), "{url}: {error}");
            assert!(!error.message().contains("hidden"), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn says_who_asks() {
        let (address, mut heads) = says(ok("content-length: 0\r\n", b""), Duration::ZERO).await;
        let client = Client::new(None).unwrap();
        let basic = Auth::Basic { user: "me".to_owned(), password: Secret::new("hunter2") };
        let get = Get {
            auth: Some(basic),
            accept: "text/plain".to_owned(),
            headers: vec![("X-Scope".to_owned(), "a".to_owned())],
            ..Get::new(format!("http://{address}/"))
        };
        assert!(!format!("{get:?}").contains("hunter2"));
        client.get(&get).await.unwrap();
        let head = heads.recv().await.unwrap();
        for line in
            ["authorization: basic bwu6ahvudgvymg==", "accept: text/plain", "x-scope: a", "accept-encoding: gzip"]
        {
            assert!(head.contains(line), "{line} in {head}");
        }
        let bad = Get { headers: vec![("x".to_owned(), "a\nb".to_owned())], ..Get::new(format!("http://{address}/")) };
        assert!(client.get(&bad).await.unwrap_err().message().contains("`x` has a character"));
    }

    #[tokio::test]
    async fn posts_and_reads_as_it_comes() {
        let answer = ok("transfer-encoding: chunked\r\nretry-after: 2\r\n", b"3\r\none\r\n3\r\ntwo\r\n");
        let (address, mut heads) = says(answer, Duration::from_secs(5)).await;
        let post = Post {
            url: format!("http://{address}/v1/sql"),
            wait_max: Duration::from_millis(300),
            auth: Some(Auth::Bearer(Secret::new("t0ken"))),
            headers: vec![("Accept".to_owned(), "text/csv".to_owned())],
            body: Bytes::from_static(b"SELECT 1"),
        };
        let mut reply = Client::new(None).unwrap().post(post).await.unwrap();
        assert_eq!((reply.status, reply.retry_after), (200, Some(2)));
        let mut text = Vec::new();
        let error = loop {
            match reply.body.next().await.unwrap() {
                Ok(part) => text.extend_from_slice(&part),
                Err(error) => break error,
            }
        };
        assert_eq!(text, b"onetwo");
        assert!(error.message().contains("no whole answer within 300ms"), "{error}");
        assert!(reply.body.next().await.is_none());
        let head = heads.recv().await.unwrap();
        assert!(head.starts_with("post /v1/sql") && head.contains("authorization: bearer t0ken"), "{head}");
    }
}
