//! what another program pipes in
//!
//! A thread of its own reads, because reading standard input cannot be interrupted. The source ends when its input does and all of
//! it is stored.

use super::Outlet;
use crate::codec::lines::{Limits, Lines};
use crate::codec::{Codec, Received, multiline};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Accepted, Ack, Batch, Delivery, Kind};
use crate::units::{ByteSize, MIB, within};
use bytes::Bytes;
use serde::Deserialize;
use std::collections::VecDeque;
use std::io::Read;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The word after `type =`.
pub const NAME: &str = "stdin";
/// In one line.
pub const ABOUT: &str = "what another program pipes in; the source ends when its input does";
/// A table that works.
pub const EXAMPLE: &str = r#"type = "stdin"
codec = "lines"
"#;

/// Deliveries without an answer.
const IN_FLIGHT_MAX: usize = 4;
/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A source that reads standard input.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How lines are read: `lines` or `ndjson`.
    #[serde(default)]
    pub codec: Codec,
    /// Which lines belong together: languages of stack traces, or patterns.
    pub multiline: Option<multiline::Config>,
    /// Bytes a line may have; a longer one is a dead letter with its start.
    #[serde(default = "super::file::line_bytes_max", deserialize_with = "within::<1, { 64 * MIB }, _, _>")]
    pub line_bytes_max: ByteSize,
}

/// Reads standard input to its end.
pub async fn run(config: Config, outlet: Outlet) -> Result<()> {
    run_with(config, outlet, std::io::stdin()).await
}

/// Reads anything to its end.
pub async fn run_with(config: Config, outlet: Outlet, input: impl Read + Send + 'static) -> Result<()> {
    let limits = Limits { line: config.line_bytes_max.as_usize(), ..Limits::default() };
    let joiner = config.multiline.as_ref().map(multiline::Config::joiner);
    let timeout = config.multiline.map_or(Duration::MAX, |multiline| multiline.timeout.0);
    let lines = Lines::joined(limits, joiner);
    let mut pipe = Pipe { codec: config.codec, outlet, lines, answers: VecDeque::new() };
    let (sender, mut came) = mpsc::channel(2);
    std::thread::Builder::new()
        .name("stdin".into())
        .spawn(move || read(input, &sender))
        .map_err(|error| Error::io("a thread to read standard input", error))?;
    loop {
        let bytes = tokio::select! {
            // In this order: what has come already comes before the end of a wait.
            biased;
            () = pipe.outlet.stop.cancelled() => return pipe.release().await,
            bytes = came.recv() => bytes,
            () = tokio::time::sleep(timeout), if pipe.lines.held().is_some() => Some(Ok(Bytes::new())),
        };
        match bytes {
            Some(Ok(bytes)) if bytes.is_empty() => pipe.release().await?,
            Some(Ok(bytes)) => pipe.feed(&bytes).await?,
            Some(Err(error)) => return Err(Error::io("standard input cannot be read", error)),
            None => break,
        }
    }
    pipe.lines.end_partial();
    pipe.deliver().await?;
    while pipe.answer().await? {}
    pipe.outlet.progress.caught_up("");
    Ok(())
}

fn read(mut input: impl Read, sender: &mpsc::Sender<std::io::Result<Bytes>>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => Ok(Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default())),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = read.is_err();
        if sender.blocking_send(read).is_err() || failed {
            return;
        }
    }
}

struct Pipe {
    codec: Codec,
    outlet: Outlet,
    lines: Lines,
    answers: VecDeque<oneshot::Receiver<Result<Accepted>>>,
}

impl Pipe {
    async fn feed(&mut self, bytes: &[u8]) -> Result<()> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            at += self.lines.feed(rest);
            self.deliver().await?;
        }
        Ok(())
    }

    /// Hands over what no further line has come for.
    async fn release(&mut self) -> Result<()> {
        self.lines.release();
        self.deliver().await
    }

    /// Hands over the events that are complete.
    async fn deliver(&mut self) -> Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let taken = self.lines.take()?;
        let (bytes, cuts) = (taken.bytes, taken.cuts());
        let received = Received { source: self.outlet.name.clone(), at: self.outlet.clock.now() };
        let decoded = self.codec.decode(taken, &received)?;
        if decoded.columns.num_rows() == 0 && decoded.dead.is_empty() {
            return Ok(());
        }
        while self.answers.len() >= IN_FLIGHT_MAX {
            self.answer().await?;
        }
        self.outlet.progress.read("", decoded.columns.num_rows() as u64, bytes);
        self.outlet.progress.cut("", cuts);
        let (ack, safe) = Ack::new();
        let batch = Batch { kind: Kind::Logs, columns: decoded.columns };
        let source = self.outlet.name.clone();
        let delivery = Delivery {
            source,
            batch,
            dead: decoded.dead,
            positions: vec![],
            key: None,
            patient: true,
            replay: None,
            ack,
        };
        self.outlet.send(delivery).await?;
        self.answers.push_back(safe);
        Ok(())
    }

    /// Waits for the oldest answer; false if none is awaited.
    async fn answer(&mut self) -> Result<bool> {
        let Some(safe) = self.answers.pop_front() else { return Ok(false) };
        let gone = || Err(Error::new(ErrorKind::Unavailable, "the pipeline is gone"));
        safe.await.unwrap_or_else(|_| gone()).map_err(|error| error.within("standard input was not stored"))?;
        if self.answers.is_empty() {
            self.outlet.progress.caught_up("");
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Pipeline;

    #[tokio::test]
    async fn input_is_read_to_its_end() {
        let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect::<String>() + "the last";
        let pipeline = Pipeline::start("in");
        let config = Config { codec: Codec::Lines, multiline: None, line_bytes_max: ByteSize(100) };
        run_with(config, pipeline.outlet.clone(), std::io::Cursor::new(text.clone())).await.unwrap();
        assert_eq!(pipeline.lines().join("\n"), text);
        assert!(pipeline.outlet.progress.caught_up_at() > 0);
    }

    /// An input that waits before each of its pieces.
    struct Slow(VecDeque<(u64, &'static str)>);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some((wait, piece)) = self.0.pop_front() else { return Ok(0) };
            std::thread::sleep(Duration::from_millis(wait));
            buffer[..piece.len()].copy_from_slice(piece.as_bytes());
            Ok(piece.len())
        }
    }

    #[tokio::test]
    async fn an_event_of_several_lines_goes_out_in_time() {
        let pieces = [(0, "one\n  a\n"), (5, "  b\ntwo\n"), (600, "  late\n"), (0, "three\n"), (1000, "")];
        let pipeline = Pipeline::start("in");
        let config: Config = toml::from_str("multiline = { continue = '^ ', timeout = \"150ms\" }").unwrap();
        let running = tokio::spawn(run_with(config, pipeline.outlet.clone(), Slow(pieces.into())));
        pipeline.wait_lines(2).await;
        assert_eq!(pipeline.lines(), ["one\n  a\n  b", "two"], "the last one waits no longer than it must");
        pipeline.wait_lines(4).await;
        assert_eq!(pipeline.lines()[2..], ["  late", "three"]);
        running.await.unwrap().unwrap();
        assert_eq!(pipeline.outlet.progress.standings()[0].1.cuts, 1);
    }

    #[tokio::test]
    async fn json_and_long_lines() {
        let text = format!("{{\"a\":1}}\n{}\nnonsense\n{{\"a\":2}}\n", "x".repeat(1000));
        let pipeline = Pipeline::start("in");
        let config = Config { codec: Codec::Ndjson, multiline: None, line_bytes_max: ByteSize(100) };
        run_with(config, pipeline.outlet.clone(), std::io::Cursor::new(text)).await.unwrap();
        assert_eq!(pipeline.lines(), [r#"{"a":1}"#, r#"{"a":2}"#]);
        let dead = pipeline.dead();
        assert_eq!((dead[0].raw.len(), dead[1].raw.as_slice()), (100, b"nonsense".as_slice()));
    }
}
