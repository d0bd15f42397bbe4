//! a batch on its way, with the promise to say when it is safe
//!
//!     source ─ Delivery ─► pipeline ─► store ─ fsync ─► Ack ─► source
//!
//! **Always:** an [`Ack`] answers exactly once; one that is dropped unanswered says that the work was given up.

use super::dead_letter::{self, Loss};
use super::{DeadLetter, Kind, TableName};
use crate::error::{Error, ErrorKind, Result};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Events of one kind.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Logs or metrics.
    pub kind: Kind,
    /// The events, a row each.
    pub columns: RecordBatch,
}

/// Where a source stands after a delivery. It is committed in the same record as the delivery's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// What stands there: unique over all sources, such as `access:8:1234` for one file of the source `access`.
    pub name: String,
    /// The source's own encoding; empty to forget the position.
    pub value: Vec<u8>,
}

/// What a source hands to the pipeline.
#[derive(Debug)]
pub struct Delivery {
    /// The name of the source.
    pub source: Arc<str>,
    /// What arrived.
    pub batch: Batch,
    /// What arrived and could not even become an event.
    pub dead: Vec<DeadLetter>,
    /// Where the source stands once this is safe.
    pub positions: Vec<Position>,
    /// The client's name for this delivery: a second one of the same name is answered and not stored again.
    pub key: Option<Key>,
    /// Whether the source can wait for a full disk to become free (it keeps its place), or wants to hear of it at once.
    pub patient: bool,
    /// Set where these events are dead letters that a stage takes again.
    pub replay: Option<Replay>,
    /// Who wants to know when it is safe.
    pub ack: Ack,
}

/// Events on their way again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Dead letters: the column [`super::columns::LETTER`] says which.
    Letters {
        /// the stage that takes them
        stage: String,
        /// the name of the replay, for `tidemill.replays`
        run: String,
    },
    /// Rows of a table.
    Rows {
        /// the stage that takes them
        stage: String,
        /// the one table that all it makes goes into; else it goes on as the pipeline says
        into: Option<TableName>,
    },
}

impl Replay {
    /// The stage that takes them.
    pub fn stage(&self) -> &str {
        match self {
            Replay::Letters { stage, .. } | Replay::Rows { stage, .. } => stage,
        }
    }
}

/// A client's name for a delivery, by which a second try is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name, unique over all sources.
    pub name: String,
    /// SHA-256 of what was sent under it: something else under the same name is refused.
    pub digest: [u8; 32],
}

/// What is safe now: written and fsynced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Accepted {
    /// events in tables (an event in two tables counts twice)
    pub rows: u64,
    /// events in `tidemill.dead_letters`
    pub dead: u64,
    /// A delivery of the same key had been accepted before: this one was not stored again.
    #[serde(skip)]
    pub repeated: bool,
}

/// The promise of one answer.
#[derive(Debug)]
pub struct Ack {
    answer: Option<oneshot::Sender<Result<Accepted>>>,
    losses: Option<oneshot::Sender<Vec<Loss>>>,
}

impl Ack {
    /// A promise, and where its answer arrives.
    pub fn new() -> (Ack, oneshot::Receiver<Result<Accepted>>) {
        let (answer, receiver) = oneshot::channel();
        (Ack { answer: Some(answer), losses: None }, receiver)
    }

    /// The same for one who wants to know, before the answer, which events were given up on the way.
    pub fn with_losses() -> (Ack, oneshot::Receiver<Result<Accepted>>, oneshot::Receiver<Vec<Loss>>) {
        let (mut ack, receiver) = Ack::new();
        let (losses, lost) = oneshot::channel();
        ack.losses = Some(losses);
        (ack, receiver, lost)
    }

    /// Nobody waits.
    pub fn nobody() -> Ack {
        Ack { answer: None, losses: None }
    }

    /// Says what was given up on the way, to one who wants to know.
    pub fn tell(&mut self, given_up: &[DeadLetter]) {
        if let Some(sender) = self.losses.take() {
            // The one who asked may have gone away.
            let _ = sender.send(dead_letter::losses(given_up));
        }
    }

    /// Answers.
    pub fn answer(mut self, answer: Result<Accepted>) {
        if let Some(sender) = self.answer.take() {
            // The one who asked may have gone away; the rows are where they are either way.
            let _ = sender.send(answer);
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(sender) = self.answer.take() {
            let _ = sender.send(Err(Error::new(ErrorKind::Unavailable, "tidemill is stopping; send it again later")));
        }
    }
}
