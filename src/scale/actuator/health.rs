//! whether a replica answers: it takes a connection, or a GET of a path with a status from 200 to 399

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// The longest that one check may take.
const CHECK_MAX: Duration = Duration::from_secs(2);

/// Checks a replica; an error says what it answered instead. `path` is none where a connection is enough.
pub async fn check(address: SocketAddr, path: Option<&str>) -> Result<(), String> {
    let checked = async {
        let stream = TcpStream::connect(address).await.map_err(|error| format!("no connection: {error}"))?;
        match path {
            None => Ok(()),
            Some(path) => get(stream, address, path).await,
        }
    };
    match tokio::time::timeout(CHECK_MAX, checked).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(CHECK_MAX))),
    }
}

async fn get(stream: TcpStream, address: SocketAddr, path: &str) -> Result<(), String> {
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::USER_AGENT, "tidemill-health")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("GET {path} cannot be asked: {error}"))?;
    let told = |error: hyper::Error| format!("GET {path} was not answered: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
    let answer = sender.send_request(request);
    tokio::pin!(connection, answer);
    // The connection only moves while it is polled; both end with this check.
    let response = tokio::select! {
        biased;
        response = &mut answer => response.map_err(told)?,
        ended = &mut connection => {
            ended.map_err(told)?;
            answer.await.map_err(told)?
        }
    };
    match response.status() {
        status if status.is_success() || status.is_redirection() => Ok(()),
        status => Err(format!("GET {path} answered {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn answers(answer: &'static str, path: Option<&str>) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1000];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        let outcome = check(address, path).await;
        server.abort();
        outcome
    }

    #[tokio::test]
    async fn statuses() {
        let ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        assert_eq!(answers(ok, Some("/healthz")).await, Ok(()));
        assert_eq!(answers("HTTP/1.0 204 No Content\r\n\r\n", Some("/healthz")).await, Ok(()));
        assert_eq!(answers("", None).await, Ok(()));
        for wrong in ["HTTP/1.1 503 No\r\n\r\n", "hello\r\n\r\n", ""] {
            assert!(answers(wrong, Some("/healthz")).await.is_err(), "{wrong}");
        }
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(check(nobody, None).await.is_err());
    }
}
