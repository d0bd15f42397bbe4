//! a request's body, which is read on for a moment after nobody wants it any more
//!
//! A connection that is closed while the peer still sends is reset, and the peer never reads the answer that says why its body
//! was refused. So what is left of a body is thrown away as it comes, up to a size and a time; meanwhile the answer is on its way.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Version};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;

/// How much of an unwanted body is read, and for how long.
const BYTES_MAX: u64 = 128 << 20;
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A request's body as it comes from a connection.
#[derive(Debug)]
pub struct Arriving {
    body: Option<Incoming>,
    lingers: bool,
}

impl Arriving {
    /// The request with such a body.
    pub(super) fn from(request: Request<Incoming>) -> Request<Arriving> {
        // HTTP/2 can refuse a body without closing the connection, and who expects a `100 Continue` has not begun to send.
        let lingers = request.version() < Version::HTTP_2 && !request.headers().contains_key("expect");
        request.map(|body| Arriving { body: Some(body), lingers })
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| self.lingers && !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (left, Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(WAIT_MAX, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        left = left.saturating_sub(frame.data_ref().map_or(0, |chunk| chunk.len() as u64));
        if left == 0 {
            return;
        }
    }
}
