//! the list of codecs: bytes in, columns and dead letters out
//!
//! A codec is a pure function over bytes: it reads no clock, no file and no socket. What it cannot make an event of comes back as
//! a dead letter with the original bytes, and the lines around it are fine.
//!
//! **Always:** every line that is not empty is in the columns or in the dead letters.
//! **Never:** a codec holds more of one line than its limit.

mod field;
pub mod json;
pub mod lines;
pub mod metrics;
pub mod multiline;
pub mod ndjson;
pub mod prometheus;
pub mod time;

use crate::error::Result;
use crate::event::DeadLetter;
use crate::event::dead_letter::CODEC;
use arrow::record_batch::RecordBatch;
use serde::Deserialize;
use std::sync::Arc;

/// Where and when the bytes were received.
#[derive(Clone, Debug)]
pub struct Received {
    /// the source's name
    pub source: Arc<str>,
    /// when, ns UTC
    pub at: i64,
}

/// What became of some bytes.
#[derive(Debug)]
pub struct Decoded {
    /// the events
    pub columns: RecordBatch,
    /// what could not become an event
    pub dead: Vec<DeadLetter>,
    /// the same again for the client that sent it, a line each; at most [`BAD_LINES_MAX`]
    pub bad: Vec<BadLine>,
}

/// The most bad lines that are told to a client; all of them are dead letters.
pub const BAD_LINES_MAX: usize = 100;

/// A line that could not become an event.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BadLine {
    /// which one, from 1; in a JSON array, which element
    pub line: u64,
    /// why, with the column where there is one
    pub reason: String,
}

/// How logs are written in a file or on standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// An event a line; the line is its `body`.
    #[default]
    Lines,
    /// A JSON object a line; its fields are columns.
    Ndjson,
}

impl Codec {
    /// Makes columns of lines.
    pub fn decode(self, taken: lines::Taken, received: &Received) -> Result<Decoded> {
        match self {
            Codec::Lines => lines::decode(taken, received),
            Codec::Ndjson => ndjson::decode(taken, received),
        }
    }
}

impl Received {
    /// A dead letter of something received here and now.
    pub fn dead(&self, reason: String, raw: Vec<u8>) -> DeadLetter {
        DeadLetter {
            timestamp: self.at,
            source: self.source.clone(),
            stage: CODEC.into(),
            plugin: "".into(),
            reason,
            raw,
            backtrace: None,
            event: None,
            replay_of: None,
        }
    }
}
