//! SQL over hot rows and segments
//!
//!     text ─► door ─► names ─► plan ─► batches ─► format
//!              │       │        │         │
//!              │       │        │         └─ at most so long, so much memory, so many rows
//!              │       │        └─ one view of the store: all tables as they were at one moment
//!              │       └─ `http.status` and `Status` find their columns; an unknown one is told with the nearest known
//!              └─ size, nesting, one statement, nothing that writes
//!
//! **Always:** planning and execution run on the engine's own threads; dropping an answer stops its query; an answer that was cut
//! ends with an error.
//! **Never:** a query writes, or reads a file that no table has; a type of DataFusion leaves this room.

pub mod arithmetic;
pub mod catalog;
pub mod check;
pub mod concat;
pub mod door;
pub mod engine;
pub mod fault;
pub mod format;
pub mod functions;
pub mod names;
pub mod output;
pub mod plan;
pub mod plugin_call;
pub mod plugin_parse;
pub mod plugin_rows;
pub mod plugins;
pub mod rows;
pub mod shown;
pub mod sort;
pub mod stop;
pub mod sum;
pub mod terminal;
pub mod text;
pub mod weigh;
#[cfg(test)]
mod tests;

pub use check::{Checked, Known, check};
pub use engine::Engine;
pub use plugins::{Made, Plugin, Plugins};
pub use terminal::table;

use crate::error::{Error, ErrorKind};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::stream::BoxStream;
use std::fmt;
use std::time::Duration;

/// A question.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// what is asked
    pub sql: String,
    /// give up after this time; the engine's own limit if that is shorter
    pub time_max: Option<Duration>,
    /// fail when there are more rows than this; the engine's own limit if that is smaller
    pub rows_max: Option<u64>,
}

/// What comes back, while it is being worked out. Dropping it stops the work.
pub struct Answer {
    /// the columns; timestamps carry a time zone, no two have the same name
    pub schema: SchemaRef,
    /// the rows; an error is the last item, and means that the rows before it are not the whole answer
    pub batches: BoxStream<'static, Result<RecordBatch, QueryError>>,
}

/// What queries may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// the longest text, in bytes
    pub text_bytes_max: usize,
    /// the most expressions, sources and subqueries in one text
    pub nodes_max: usize,
    /// the deepest nesting of parentheses, brackets and `CASE`
    pub nesting_max: usize,
    /// the longest a query may take, waiting, planning and sending included
    pub time_max: Duration,
    /// what all running queries may hold together
    pub memory_bytes_max: usize,
    /// the most rows of one answer
    pub rows_max: u64,
    /// how many queries run at a time; four times as many may wait
    pub concurrent_max: usize,
    /// how many threads work on queries
    pub threads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            text_bytes_max: 64 << 10,
            nodes_max: 1000,
            nesting_max: 50,
            time_max: Duration::from_secs(30),
            memory_bytes_max: 1 << 30,
            rows_max: 1_000_000,
            concurrent_max: 8,
            threads: std::thread::available_parallelism().map_or(2, |cores| cores.get()),
        }
    }
}

/// A table that is made when it is asked for: `tidemill.targets`. Where the store keeps rows under the same name, they are rows of it, too.
pub trait SystemTable: Send + Sync {
    /// its name, without `tidemill.`
    fn name(&self) -> &str;
    /// its columns
    fn schema(&self) -> SchemaRef;
    /// its rows now, beside those that the store keeps; it must not wait for anything
    fn rows(&self, stored: Option<&crate::store::TableView>) -> crate::error::Result<RecordBatch>;
}

/// A place in the text of a query; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// the line
    pub line: u64,
    /// the column
    pub column: u64,
}

/// Why a query has no answer, or not the whole one.
#[derive(Clone, Debug)]
pub struct QueryError {
    /// what sort of failure
    pub kind: ErrorKind,
    /// the sentence
    pub message: String,
    /// where in the text, if it is about a place in it
    pub place: Option<Place>,
    /// what to write instead
    pub hint: Option<String>,
}

impl QueryError {
    /// An error of this kind with this sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        QueryError { kind, message: message.into(), place: None, hint: None }
    }

    /// The text is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        QueryError::new(ErrorKind::Invalid, message)
    }

    /// The same, at a place in the text.
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = self.place.or(place);
        self
    }

    /// The same, with what to write instead.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = self.place {
            write!(f, "line {}, column {}: ", place.line, place.column)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for QueryError {}

impl From<QueryError> for Error {
    fn from(error: QueryError) -> Self {
        Error::new(error.kind, error.to_string())
    }
}

impl From<Error> for QueryError {
    fn from(error: Error) -> Self {
        QueryError::new(error.kind(), error.message())
    }
}
