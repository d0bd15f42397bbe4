//! events that are pushed over HTTP: a body is one delivery, stored whole or not at all
//!
//!     server ─ push(body) ─► Inlet: decode ─► one delivery ─ ack ─► Pushed ─► the answer
//!
//! **Never:** nothing here knows HTTP; the server fills the inlet and turns the result into a status.

use super::Outlet;
use crate::codec::lines::{Limits, Lines};
use crate::codec::multiline::{self, Joiner};
use crate::codec::{BadLine, Decoded, Received, lines, ndjson};
use crate::error::{Error, ErrorKind, Result};
use crate::event::dead_letter::Loss;
use crate::event::{Ack, Batch, Delivery, Key, Kind};
use crate::units::{ByteSize, GIB, HOUR, MIB, Span, within};
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The word after `type =`.
pub const NAME: &str = "http";
/// In one line.
pub const ABOUT: &str = "events pushed to /v1/ingest/<source> as NDJSON, a JSON array or lines";
/// A table that works.
pub const EXAMPLE: &str = r#"type = "http"
body_bytes_max = "16MiB"
"#;

/// Bodies of this size are decoded where they are; larger ones on a thread for it.
const SMALL_BYTES: usize = 64 << 10;
/// Events one body may have.
const EVENTS_MAX: usize = 1_000_000;
/// How often an idle source says that nothing waits.
const TELL: Duration = Duration::from_millis(500);
/// The longest `Idempotency-Key`.
pub const KEY_BYTES_MAX: usize = 255;

/// A source that is pushed to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bytes a body may have, unpacked.
    #[serde(default = "body_bytes_max", deserialize_with = "within::<1, GIB, _, _>")]
    pub body_bytes_max: ByteSize,
    /// Bytes a line may have; a longer one is a dead letter with its start.
    #[serde(default = "super::file::line_bytes_max", deserialize_with = "within::<1, { 64 * MIB }, _, _>")]
    pub line_bytes_max: ByteSize,
    /// Which lines of a body of lines belong together: languages of stack traces, or patterns.
    pub multiline: Option<multiline::Config>,
    /// How long a push waits to be stored before it is answered with 503.
    #[serde(default = "wait_max", deserialize_with = "within::<10, HOUR, _, _>")]
    pub wait_max: Span,
}

fn body_bytes_max() -> ByteSize {
    ByteSize(64 << 20)
}

fn wait_max() -> Span {
    Span(Duration::from_secs(30))
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// a JSON object a line
    Ndjson,
    /// a JSON array of objects, or one object
    JsonArray,
    /// an event a line
    Lines,
    /// as its first letter tells: `[` an array, `{` objects, anything else lines
    Auto,
}

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Push {
    /// the body, unpacked
    pub body: Bytes,
    /// how it is written
    pub content: Content,
    /// the client's name for it, by which a second try is known
    pub key: Option<String>,
}

/// What became of it; all of it is safe.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pushed {
    /// events that were read from the body and that no stage gave up: stored, or left out by a filter. One that goes several ways
    /// and is given up on one of them is not among them.
    pub accepted: u64,
    /// events in `tidemill.dead_letters`
    pub dead: u64,
    /// a push of the same key had been stored before; this one was not stored again
    pub repeated: bool,
    /// what could not become an event; at most 100 of them
    pub errors: Vec<BadLine>,
    /// what stages gave up; at most 100 of them
    pub losses: Vec<Loss>,
}

/// Where the server puts what it is sent. Cloning shares it.
#[derive(Clone)]
pub struct Inlet {
    config: Arc<Config>,
    /// for each body
    joiner: Option<Joiner>,
    outlet: Outlet,
    waiting: Arc<AtomicUsize>,
}

/// Counts a push while it waits.
struct Waiting<'a>(&'a Inlet);

impl<'a> Waiting<'a> {
    fn new(inlet: &'a Inlet) -> Waiting<'a> {
        let before = inlet.waiting.fetch_add(1, Ordering::SeqCst);
        inlet.outlet.progress.behind("", before as u64 + 1);
        Waiting(inlet)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let before = self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.outlet.progress.behind("", (before as u64).saturating_sub(1));
    }
}

impl Inlet {
    /// The inlet of one source.
    pub fn new(config: Config, outlet: Outlet) -> Self {
        let joiner = config.multiline.as_ref().map(multiline::Config::joiner);
        Inlet { config: Arc::new(config), joiner, outlet, waiting: Arc::default() }
    }

    /// Bytes a body may have, unpacked.
    pub fn body_bytes_max(&self) -> usize {
        self.config.body_bytes_max.as_usize()
    }

    /// Says that nothing waits, while nothing does, until told to stop.
    pub async fn run(self) -> Result<()> {
        while !self.outlet.stop.is_cancelled() {
            if self.waiting.load(Ordering::SeqCst) == 0 {
                self.outlet.progress.caught_up("");
            }
            tokio::select! {
                () = self.outlet.stop.cancelled() => {}
                () = tokio::time::sleep(TELL) => {}
            }
        }
        Ok(())
    }

    /// Stores a body and answers when it is safe. `Invalid`: it cannot be read; `Limit`: it is too large; `Unavailable`: try again.
    pub async fn push(&self, push: Push) -> Result<Pushed> {
        let _waiting = Waiting::new(self);
        if push.body.len() > self.body_bytes_max() {
            let message =
                format!("the body is larger than {} (`body_bytes_max`); send less at once", self.config.body_bytes_max);
            return Err(Error::new(ErrorKind::Limit, message));
        }
        if push.key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            return Err(Error::invalid(format!("an idempotency key must have 1 to {KEY_BYTES_MAX} bytes")));
        }
        let bytes = push.body.len() as u64;
        let ((decoded, cuts), key) = self.decoded(push).await?;
        let (read, unread) = (decoded.columns.num_rows() as u64, decoded.dead.len() as u64);
        if read == 0 && unread == 0 {
            return Ok(Pushed { accepted: 0, dead: 0, repeated: false, errors: Vec::new(), losses: Vec::new() });
        }
        self.outlet.progress.read("", read, bytes);
        self.outlet.progress.cut("", cuts);
        let (ack, safe, mut losses) = Ack::with_losses();
        let delivery = Delivery {
            source: self.outlet.name.clone(),
            batch: Batch { kind: Kind::Logs, columns: decoded.columns },
            dead: decoded.dead,
            positions: vec![],
            key,
            patient: false,
            replay: None,
            ack,
        };
        let late =
            |_| Error::new(ErrorKind::Unavailable, "not stored in time; send it again, with the same Idempotency-Key");
        let stored = async {
            self.outlet.send(delivery).await?;
            safe.await.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Unavailable, "tidemill is stopping; send it again later"))
            })
        };
        let stored = tokio::time::timeout(self.config.wait_max.0, stored).await.map_err(late)??;
        Ok(Pushed {
            accepted: read.saturating_sub(stored.dead.saturating_sub(unread)),
            dead: stored.dead,
            repeated: stored.repeated,
            errors: decoded.bad,
            losses: losses.try_recv().unwrap_or_default(),
        })
    }

    /// The events with how often one was cut, and the key with the digest of the body.
    async fn decoded(&self, push: Push) -> Result<((Decoded, u64), Option<Key>)> {
        let received = Received { source: self.outlet.name.clone(), at: self.outlet.clock.now() };
        let line = self.config.line_bytes_max.as_usize();
        let joiner = self.joiner.clone();
        let is_small = push.body.len() <= SMALL_BYTES;
        let read = move || {
            let name = push.key.map(|key| format!("{}:{key}", received.source));
            let key = name.map(|name| Key { name, digest: Sha256::digest(&push.body).into() });
            Ok((decode(&push.body, push.content, (line, joiner), &received)?, key))
        };
        if is_small {
            return read();
        }
        let task = tokio::task::spawn_blocking(read);
        task.await.map_err(|error| Error::internal(format!("reading a body failed: {error}")))?
    }
}

fn decode(body: &[u8], content: Content, cut: (usize, Option<Joiner>), received: &Received) -> Result<(Decoded, u64)> {
    let body = body.strip_prefix(lines::BYTE_ORDER_MARK).unwrap_or(body);
    let (line, joiner) = cut;
    let cut = |joiner: Option<Joiner>| -> Result<lines::Taken> {
        let limits = Limits { rows: EVENTS_MAX + 1, bytes: usize::MAX, line, long: EVENTS_MAX };
        let mut lines = Lines::joined(limits, joiner);
        let used = lines.feed(body);
        if used == body.len() {
            lines.end_partial();
        }
        let taken = lines.take()?;
        if used < body.len() || taken.numbers.len() > EVENTS_MAX {
            let message = format!("a body may have at most {EVENTS_MAX} events; send less at once");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(taken)
    };
    let text = |joiner| {
        let taken = cut(joiner)?;
        let cuts = taken.cuts();
        Ok((lines::decode(taken, received)?, cuts))
    };
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let decoded = match (content, first) {
        (Content::Lines, _) => return text(joiner),
        (Content::JsonArray, Some(_)) | (Content::Auto, Some(b'[')) => ndjson::decode_array(body, received)?,
        (Content::Auto, Some(b'{')) => {
            let decoded = ndjson::decode(cut(None)?, received)?;
            // One object over several lines has no good line; as a whole it may be fine.
            match decoded.columns.num_rows() {
                0 => ndjson::decode_array(body, received).ok().filter(|whole| whole.bad.is_empty()).unwrap_or(decoded),
                _ => decoded,
            }
        }
        (Content::Ndjson, _) | (Content::JsonArray, None) => ndjson::decode(cut(None)?, received)?,
        (Content::Auto, _) => return text(joiner),
    };
    Ok((decoded, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Pipeline;

    fn push(body: &str, content: Content) -> Push {
        Push { body: Bytes::copy_from_slice(body.as_bytes()), content, key: None }
    }

    fn inlet(pipeline: &Pipeline) -> Inlet {
        Inlet::new(toml::from_str("wait_max = \"200ms\"").unwrap(), pipeline.outlet.clone())
    }

    #[tokio::test]
    async fn bodies_are_read_as_their_content_says() {
        let rows = [
            ("{\"a\":1}\n{\"a\":2}\n", Content::Ndjson, 2, 0),
            ("{\"a\":1}\n{\"a\":2}\n", Content::Auto, 2, 0),
            ("[{\"a\":1},{\"a\":2}]", Content::JsonArray, 2, 0),
            (" [{\"a\":1},\n2]", Content::Auto, 1, 1),
            ("{\"a\":\n1}", Content::Auto, 1, 0),
            ("{\"a\":1}\nx\n", Content::Auto, 1, 1),
            ("plain\nwords", Content::Auto, 2, 0),
            ("{\"a\":1}", Content::Lines, 1, 0),
            ("", Content::Auto, 0, 0),
            ("\n\n", Content::Ndjson, 0, 0),
            ("", Content::JsonArray, 0, 0),
            ("\u{feff}{\"a\":1}", Content::Auto, 1, 0),
        ];
        for (body, content, accepted, dead) in rows {
            let pipeline = Pipeline::start("web");
            let pushed = inlet(&pipeline).push(push(body, content)).await.unwrap();
            assert_eq!((pushed.accepted, pushed.errors.len()), (accepted, dead), "{body}");
            assert_eq!(pipeline.lines().len() as u64, accepted, "{body}");
            assert_eq!(pipeline.dead().len(), dead, "{body}");
            assert!(pipeline.deliveries() <= 1, "{body}");
        }
    }

    #[tokio::test]
    async fn lines_that_belong_together_are_one_event() {
        let pipeline = Pipeline::start("web");
        let config = toml::from_str("multiline = \"java\"").unwrap();
        let inlet = Inlet::new(config, pipeline.outlet.clone());
        let body =
            "12:00:00 ERROR no\njava.lang.Error: x\n\tat a.B.c(B.java:1)\n12:00:01 INFO yes\n\tat a.B.c(B.java:2)";
        for content in [Content::Lines, Content::Auto] {
            assert_eq!(inlet.push(push(body, content)).await.unwrap().accepted, 2);
        }
        assert_eq!(pipeline.lines()[1], "12:00:01 INFO yes\n\tat a.B.c(B.java:2)");
        assert_eq!(inlet.push(push("{\"a\":1}\n{\"a\":2}", Content::Auto)).await.unwrap().accepted, 2);
    }

    #[tokio::test]
    async fn a_large_body_is_one_delivery() {
        let body: String = (0..100_000).map(|n| format!("{{\"n\":{n},\"text\":\"some words\"}}\n")).collect();
        let pipeline = Pipeline::start("web");
        let pushed =
            inlet(&pipeline).push(Push { key: Some("k".into()), ..push(&body, Content::Ndjson) }).await.unwrap();
        assert_eq!((pushed.accepted, pipeline.deliveries()), (100_000, 1));
        assert_eq!(pipeline.keys(), [Some("web:k".to_owned())]);
    }

    #[tokio::test]
    async fn refusals_say_what_to_do() {
        let pipeline = Pipeline::start("web");
        let inlet = inlet(&pipeline);
        let error = inlet.push(push("[1,", Content::JsonArray)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Invalid, "line 1 column 4: expected a value, but the text ends")
        );
        let many = "x\n".repeat(EVENTS_MAX + 1);
        assert_eq!(inlet.push(push(&many, Content::Lines)).await.unwrap_err().kind(), ErrorKind::Limit);
        pipeline.hold(true);
        let error = inlet.push(push("x", Content::Lines)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(inlet.waiting.load(Ordering::SeqCst), 0);
    }
}
