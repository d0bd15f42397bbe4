//! log files that grow, are rotated, and are read once
//!
//!     pass (on a blocking thread): find, know again, read ─► chunks ─► deliveries ─ ack ─► next pass
//!
//! **Always:** a position moves only in the delivery of the lines before it, so each line is stored once however we are stopped.
//! **Always:** where lines are joined, the position stays before the first line of what is held until that is handed over.
//! **Never:** a line that has not ended is read, except when its file was rotated away and stayed quiet for `rotate_wait`.

mod pattern;
mod print;
mod tail;
mod tailer;

use super::Outlet;
use crate::codec::{Codec, multiline};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::event::{Accepted, Ack, Batch, Delivery, Kind};
use crate::units::{ByteSize, DAY, HOUR, MIB, Span, within};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, future};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use tail::Key;
use tailer::{Chunk, Tailer};

/// The word after `type =`.
pub const NAME: &str = "file";
/// In one line.
pub const ABOUT: &str = "log files that grow and are rotated, each line once";
/// A table that works.
pub const EXAMPLE: &str = r#"type = "file"
include = ["/var/log/nginx/access.log*"]
"#;

/// How long to wait for answers when stopping; what has none is read again after the next start.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// A source that tails files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Patterns of files, such as `/var/log/nginx/access.log*`; packed files (`.gz`, `.zst`, …) are left out.
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How lines are read: `lines` or `ndjson`.
    #[serde(default)]
    pub codec: Codec,
    /// Which lines belong together: languages of stack traces, or patterns.
    pub multiline: Option<multiline::Config>,
    /// Where to start in files that are there at the first start: `beginning` or `end`. Files that come later are read whole.
    #[serde(default)]
    pub start: Start,
    /// How often files are looked at.
    #[serde(default = "poll", deserialize_with = "within::<1, HOUR, _, _>")]
    pub poll: Span,
    /// How long a file that was rotated away must be quiet before it counts as finished.
    #[serde(default = "rotate_wait", deserialize_with = "within::<100, DAY, _, _>")]
    pub rotate_wait: Span,
    /// Bytes a line may have; a longer one is a dead letter with its start.
    #[serde(default = "line_bytes_max", deserialize_with = "within::<1, { 64 * MIB }, _, _>")]
    pub line_bytes_max: ByteSize,
    /// Files that may be open at once.
    #[serde(default = "files_max", deserialize_with = "within::<1, 100_000, _, _>")]
    pub files_max: usize,
}

fn poll() -> Span {
    Span(Duration::from_millis(100))
}

fn rotate_wait() -> Span {
    Span(Duration::from_secs(30))
}

pub(super) fn line_bytes_max() -> ByteSize {
    ByteSize(1 << 20)
}

fn files_max() -> usize {
    1000
}

/// Where to start in a file never seen before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With its first line.
    #[default]
    Beginning,
    /// With the next line that is written.
    End,
}

impl Config {
    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.include.is_empty() {
            faults.push(Fault::new("include", "`include` is empty; name at least one file"));
        }
        for (key, patterns) in [("include", &self.include), ("exclude", &self.exclude)] {
            for (at, text) in patterns.iter().enumerate() {
                let wrong = match glob::Pattern::new(text) {
                    Err(error) => Some(format!("`{text}` is no pattern of files: {error}")),
                    // A pattern may find other things than files; a path that is written out must be one.
                    Ok(_) if key == "include" => pattern::odd(Path::new(text)),
                    Ok(_) => None,
                };
                faults.extend(wrong.map(|message| Fault::new(format!("{key}.{at}"), message)));
            }
        }
        faults
    }
}

type Answers = FuturesUnordered<BoxFuture<'static, (Option<Key>, Result<Accepted>)>>;

/// Tails until told to stop. `positions` are those of this source, as the store has them. `once` says that nobody waits for more:
/// what stands behind the last line end is a line too.
pub async fn run(config: Config, outlet: Outlet, positions: Vec<(String, Vec<u8>)>, once: bool) -> Result<()> {
    let poll = config.poll.0;
    let mut tailer = Tailer::new(config, &outlet, positions, once);
    let mut answers = Answers::new();
    while !outlet.stop.is_cancelled() {
        let passed = tokio::task::spawn_blocking(move || {
            let chunks = tailer.pass();
            (tailer, chunks)
        });
        let (back, chunks) = passed.await.map_err(|error| Error::internal(format!("reading files failed: {error}")))?;
        tailer = back;
        let chunks = chunks?;
        let busy = !chunks.is_empty();
        for chunk in chunks {
            let answer = tokio::select! {
                () = outlet.stop.cancelled() => break,
                sent = send(&outlet, chunk) => sent?,
            };
            answers.push(answer);
        }
        while let Some(Some((key, answer))) = answers.next().now_or_never() {
            took(&mut tailer, key, answer, &outlet)?;
        }
        if busy {
            continue;
        }
        let next = async { if answers.is_empty() { future::pending().await } else { answers.next().await } };
        tokio::select! {
            () = outlet.stop.cancelled() => {}
            () = tokio::time::sleep(poll) => {}
            Some((key, answer)) = next => took(&mut tailer, key, answer, &outlet)?,
        }
    }
    let rest = async { while answers.next().await.is_some() {} };
    // What is not answered by then is read again after the next start, unless it was stored: then its position was too.
    let _ = tokio::time::timeout(STOP_WAIT, rest).await;
    Ok(())
}

async fn send(outlet: &Outlet, chunk: Chunk) -> Result<BoxFuture<'static, (Option<Key>, Result<Accepted>)>> {
    let (ack, safe) = Ack::new();
    let key = chunk.key;
    let delivery = Delivery {
        source: outlet.name.clone(),
        batch: Batch { kind: Kind::Logs, columns: chunk.decoded.columns },
        dead: chunk.decoded.dead,
        positions: chunk.positions,
        key: None,
        patient: true,
        replay: None,
        ack,
    };
    outlet.send(delivery).await?;
    let lost = || Err(Error::new(ErrorKind::Unavailable, "the pipeline is gone"));
    Ok(async move { (key, safe.await.unwrap_or_else(|_| lost())) }.boxed())
}

/// A delivery that waits for the disk is only refused when the pipeline ends or is broken; going on would leave a gap.
fn took(tailer: &mut Tailer, key: Option<Key>, answer: Result<Accepted>, outlet: &Outlet) -> Result<()> {
    match answer {
        Ok(_) => {
            tailer.answered(key);
            Ok(())
        }
        Err(_) if outlet.stop.is_cancelled() => Ok(()),
        Err(error) => Err(error.within("lines were not stored; they are read again after a restart")),
    }
}

#[cfg(test)]
mod tests;
