//! the table `tidemill.swaps`: what became of each change while everything ran
//!
//! | column | |
//! |---|---|
//! | `timestamp` | when |
//! | `stage` | a stage's name, or the scaler's that must be restarted; empty where the files as a whole are meant |
//! | `event` | `swapped`, `canary`, `promoted`, `rolled_back`, `refused` |
//! | `old_sha256`, `new_sha256` | the plugin that ran, and the one that came; the latter is empty where it could not be read |
//! | `settings_changed`, `changed` | whether settings did, and every key that did: `plugin, settings` |
//! | `reason` | in a sentence, with the figures |
//! | `events` | events that both versions were given, where there was a trial |

use crate::error::Result;
use crate::event::columns::{TIMESTAMP, field};
use crate::event::{Kind, TableName, Type};
use crate::pipeline::slot::{Change, Event, Tell};
use crate::store::{Append, Store};
use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Changes that may wait for a disk that takes nothing; the oldest are forgotten beyond that.
const WAITING_MAX: usize = 4096;

/// Changes on their way into the table. Cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Swaps(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    changes: Mutex<VecDeque<Change>>,
    more: Notify,
}

/// The table's full name.
pub(super) fn table() -> TableName {
    TableName::system("swaps")
}

/// The columns of the table.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        field(TIMESTAMP, Type::Timestamp),
        field("stage", Type::Utf8),
        field("event", Type::Utf8),
        field("old_sha256", Type::Utf8),
        field("new_sha256", Type::Utf8),
        field("settings_changed", Type::Boolean),
        field("changed", Type::Utf8),
        field("reason", Type::Utf8),
        field("events", Type::Int64),
    ]))
}

impl Swaps {
    /// Takes a change, tells it in the log, and does not wait.
    pub fn tell(&self, change: Change) {
        let Change { stage, reason, .. } = &change;
        match change.event {
            Event::Swapped => tracing::info!(stage, reason, "a change was taken"),
            Event::Canary => tracing::info!(stage, reason, "a change is on trial"),
            Event::Promoted => tracing::info!(stage, reason, "a change stood its trial and was taken"),
            Event::RolledBack => tracing::warn!(stage, reason, "a change was rolled back"),
            Event::Refused => tracing::warn!(stage, reason, "a change was refused; what ran goes on"),
        }
        let mut changes = self.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.len() == WAITING_MAX {
            changes.pop_front();
        }
        changes.push_back(change);
        self.0.more.notify_one();
    }

    /// The same, for those who need not know more.
    pub fn teller(&self) -> Tell {
        let swaps = self.clone();
        Arc::new(move |change| swaps.tell(change))
    }

    /// Stores changes as they come.
    pub async fn run(self, store: Store, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.more.notified() => self.write(&store).await,
            }
        }
    }

    /// Stores those that wait; what cannot be stored now waits for the next one.
    pub async fn write(&self, store: &Store) {
        let waiting: Vec<Change> = {
            let mut changes = self.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
            changes.drain(..).collect()
        };
        if waiting.is_empty() {
            return;
        }
        let stored = match rows(&waiting) {
            Ok(rows) => store.append(Append { tables: vec![(table(), Kind::Logs, rows)], ..Append::default() }).await,
            Err(error) => return tracing::error!(%error, "changes cannot be written down"),
        };
        if let Err(error) = stored {
            tracing::warn!(%error, "changes wait to be stored");
            let mut changes = self.0.changes.lock().unwrap_or_else(PoisonError::into_inner);
            let room = WAITING_MAX.saturating_sub(changes.len());
            let surplus = waiting.len().saturating_sub(room);
            waiting.into_iter().skip(surplus).rev().for_each(|change| changes.push_front(change));
        }
    }
}

fn rows(changes: &[Change]) -> Result<RecordBatch> {
    let text = |get: &dyn Fn(&Change) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(changes.iter().map(get)))
    };
    let times = TimestampNanosecondArray::from_iter_values(changes.iter().map(|change| change.timestamp));
    let settings = changes.iter().map(|change| Some(change.changed.contains(&"settings")));
    let events = changes.iter().map(|change| change.events.map(|events| i64::try_from(events).unwrap_or(i64::MAX)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        text(&|change| change.stage.clone()),
        text(&|change| change.event.word().to_owned()),
        text(&|change| change.old_sha256.clone()),
        text(&|change| change.new_sha256.clone()),
        Arc::new(BooleanArray::from_iter(settings)),
        text(&|change| change.changed.join(", ")),
        text(&|change| change.reason.clone()),
        Arc::new(Int64Array::from_iter(events)),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}
