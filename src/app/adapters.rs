//! small pieces that fit one part's socket to another part's plug

use super::capture::Captor;
use super::reload::Reload;
use super::replay::Replayer;
use crate::clock::{self, Clock};
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::event::{Kind, Position, TableName};
use crate::plugin::{Instance, Proposal, Request};
use crate::query;
use crate::scale::{Ask, Command, DECISIONS, Decide, Desk, Ledger, Order};
use crate::server;
use crate::server::admin::Admin;
use crate::server::capture::{self, Captured};
use crate::server::health::Health;
use crate::server::replay::{Asked, Report};
use crate::server::replay_table;
use crate::server::tail::{Rows, TailDoor};
use crate::store::{Append, Store, adapt};
use crate::units::Span;
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use futures::future::BoxFuture;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, TryLockError};

/// A scaler's questions to the query engine.
pub(super) struct Asker {
    pub engine: query::Engine,
    pub rows_max: u64,
}

impl Ask for Asker {
    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RecordBatch>> {
        Box::pin(ask(&self.engine, sql, self.rows_max))
    }
}

/// The first rows of an answer, in one batch.
pub async fn ask(engine: &query::Engine, sql: &str, rows_max: u64) -> Result<RecordBatch> {
    let query = query::Query { sql: sql.to_owned(), time_max: None, rows_max: None };
    let mut answer = engine.query(query).await?;
    let mut batches = Vec::new();
    let mut rows = 0;
    while let Some(batch) = answer.batches.next().await {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        batches.push(batch);
        if rows >= rows_max {
            break;
        }
    }
    let all = concat_batches(&answer.schema, &batches)?;
    Ok(all.slice(0, all.num_rows().min(usize::try_from(rows_max).unwrap_or(usize::MAX))))
}

/// A scaler's plugin, called on a thread for blocking work. Where nobody waits for its answer any longer it works on, and is free for a
/// later tick.
pub(super) struct PluginDecider {
    instance: Arc<Mutex<Instance>>,
    hash: String,
    reads_time: bool,
}

impl PluginDecider {
    pub fn new(instance: Instance) -> PluginDecider {
        let hash = instance.configured().plugin.sha256().to_owned();
        let reads_time = instance.contract().reads_time;
        PluginDecider { hash, reads_time, instance: Arc::new(Mutex::new(instance)) }
    }
}

impl Decide for PluginDecider {
    fn decide(&mut self, request: Request) -> BoxFuture<'_, Result<Proposal>> {
        let instance = self.instance.clone();
        let busy = || Error::new(ErrorKind::Unavailable, "the plugin is still busy with the tick before");
        let work = tokio::task::spawn_blocking(move || {
            let mut instance = match instance.try_lock() {
                Ok(instance) => instance,
                Err(TryLockError::Poisoned(instance)) => instance.into_inner(),
                Err(TryLockError::WouldBlock) => return Err(busy()),
            };
            instance.decide(&request).map_err(|fault| Error::new(ErrorKind::Foreign, fault.message))
        });
        Box::pin(async move { work.await.map_err(|error| Error::internal(format!("a decision was lost: {error}")))? })
    }

    fn plugin_hash(&self) -> &str {
        &self.hash
    }

    fn reads_time(&self) -> bool {
        self.reads_time
    }
}

/// The table of decisions.
pub(super) struct Recorder {
    pub store: Store,
}

impl Ledger for Recorder {
    fn record(&self, rows: RecordBatch, memory: Option<Position>) -> BoxFuture<'_, Result<()>> {
        let append = Append {
            tables: vec![(TableName::system(DECISIONS), Kind::Logs, rows)],
            positions: memory.into_iter().collect(),
            ..Append::default()
        };
        Box::pin(async move { self.store.append(append).await.map(drop) })
    }
}

/// Where operators reach the scalers.
pub(super) struct ScaleDoor {
    pub desks: BTreeMap<String, Desk>,
    pub clock: Clock,
}

impl ScaleDoor {
    fn desk(&self, scaler: &str) -> Result<&Desk> {
        self.desks.get(scaler).ok_or_else(|| {
            let hint = did_you_mean(scaler, self.desks.keys().map(String::as_str));
            Error::new(ErrorKind::Missing, format!("there is no scaler `{scaler}`{hint}"))
        })
    }
}

impl server::scale::ScaleDoor for ScaleDoor {
    fn order<'a>(&'a self, scaler: &'a str, replicas: u32, lasts: Span, why: String) -> BoxFuture<'a, Result<String>> {
        let until = self.clock.now().saturating_add(clock::nanos(lasts.0));
        Box::pin(async move { self.desk(scaler)?.hand(Command::Order(Order { replicas, until, why })).await })
    }

    fn release<'a>(&'a self, scaler: &'a str) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move { self.desk(scaler)?.hand(Command::Release).await })
    }

    fn promote<'a>(&'a self, scaler: &'a str) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move { self.desk(scaler)?.hand(Command::Promote).await })
    }
}

/// What operators ask for.
pub(super) struct AdminDoor {
    store: Store,
    replayer: Replayer,
    reload: Arc<Reload>,
    captor: Captor,
}

impl AdminDoor {
    pub fn new(store: Store, replayer: Replayer, reload: Arc<Reload>, captor: Captor) -> AdminDoor {
        AdminDoor { store, replayer, reload, captor }
    }
}

impl Admin for AdminDoor {
    fn flush(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.store.flush())
    }

    fn replay(&self, asked: Asked) -> BoxFuture<'_, Result<Report>> {
        Box::pin(self.replayer.replay(asked))
    }

    fn replay_table(&self, asked: replay_table::Asked) -> BoxFuture<'_, Result<replay_table::Report>> {
        Box::pin(self.replayer.replay_table(asked))
    }

    fn capture(&self, asked: capture::Asked) -> BoxFuture<'_, Result<Captured>> {
        Box::pin(self.captor.capture(asked))
    }

    fn reload(&self) -> BoxFuture<'_, Result<serde_json::Value>> {
        Box::pin(async move {
            let changes = self.reload.clone().now().await?;
            let told = changes.iter().map(|change| {
                json!({
                    "stage": change.stage,
                    "event": change.event.word(),
                    "changed": change.changed,
                    "old_sha256": change.old_sha256,
                    "new_sha256": change.new_sha256,
                    "reason": change.reason,
                })
            });
            Ok(json!({ "changes": told.collect::<Vec<_>>() }))
        })
    }

    fn status(&self) -> serde_json::Value {
        let stats = self.store.stats();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "store": {
                "wal_bytes": stats.wal_bytes,
                "hot_rows": stats.hot_rows,
                "hot_bytes": stats.hot_bytes,
                "last_error": stats.last_error,
            },
        })
    }
}

/// Whether the server should be sent work.
pub(super) struct HealthDoor {
    pub draining: Arc<AtomicBool>,
}

impl Health for HealthDoor {
    fn reasons(&self) -> Vec<String> {
        match self.draining.load(Ordering::SeqCst) {
            true => vec!["it is stopping".to_owned()],
            false => Vec::new(),
        }
    }
}

/// The newest rows of a table.
pub(super) struct Tailer {
    pub store: Store,
}

impl TailDoor for Tailer {
    fn rows(&self, table: &str, since: Option<u64>, last: u64) -> Result<Rows> {
        let view = self.store.view();
        let found = view.tables.iter().find(|(name, _)| name.as_str() == table);
        let Some((_, found)) = found else {
            let hint = did_you_mean(table, view.tables.keys().map(TableName::as_str));
            return Err(Error::new(ErrorKind::Missing, format!("there is no table `{table}`{hint}")));
        };
        let kept: u64 = found.segments.iter().map(|segment| segment.rows).sum();
        let hot: u64 = found.hot.iter().map(|batch| batch.num_rows() as u64).sum();
        let next = kept + hot;
        // Rows come one after the other, and the newest are hot: those in segments have been seen or went by.
        let fresh = since.map_or(next, |since| next.saturating_sub(since));
        let shown = fresh.min(last).min(hot);
        let skipped = since.map_or(0, |_| fresh - shown);
        let mut writer = arrow::json::ArrayWriter::new(Vec::new());
        let mut before = hot - shown;
        for batch in &found.hot {
            let rows = batch.num_rows() as u64;
            let from = before.min(rows);
            before -= from;
            if from < rows {
                let new = batch.slice(usize::try_from(from).unwrap_or(0), usize::try_from(rows - from).unwrap_or(0));
                writer.write(&adapt(&new, &found.schema)?)?;
            }
        }
        writer.finish()?;
        let rows = serde_json::from_slice(&writer.into_inner()).unwrap_or_default();
        Ok(Rows { next, skipped, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::{Account, Configured, Limits};
    use std::time::Duration;

    const PARSER: &str = include_str!("../../tests/zoo/parser.wat");

    /// An autoscaler that loops.
    fn looping() -> PluginDecider {
        let library = crate::app::library(None).unwrap();
        let (before, _) = PARSER.split_once("(func (export \"tidemill:plugin/parsing").unwrap();
        let decides = "(func (export \"tidemill:plugin/autoscaling@0.1.0#decide\") (param i32) (result i32)\n\
                       (loop $l (br $l)) unreachable))";
        let bytes = wat::parse_str(before.to_owned() + decides).unwrap();
        let configured = Configured {
            stage: "web".into(),
            plugin: library.load("looping", "test", &bytes).unwrap(),
            settings: "{}".to_owned(),
            limits: Limits { time: Span(Duration::from_millis(300)), ..Limits::default() },
            tables: Arc::default(),
            account: Arc::new(Account::default()),
        };
        PluginDecider::new(Instance::new(library.engine(), configured).unwrap())
    }

    #[tokio::test]
    async fn a_plugin_that_nobody_waits_for_is_free_again() {
        let mut decider = looping();
        let request = Request {
            now: 1,
            workload: "web".into(),
            replicas: 1,
            ready: 1,
            min: 1,
            max: 9,
            members: Vec::new(),
            signals: Vec::new(),
            decisions: Vec::new(),
            advice: Vec::new(),
            state: Vec::new(),
        };
        let given_up = tokio::time::timeout(Duration::from_millis(50), decider.decide(request.clone())).await;
        assert!(given_up.is_err());
        let busy = decider.decide(request.clone()).await.unwrap_err().to_string();
        assert!(busy.contains("still busy with the tick before"), "{busy}");
        let mut said = busy;
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            said = decider.decide(request.clone()).await.unwrap_err().to_string();
            if !said.contains("still busy") {
                break;
            }
        }
        assert!(said.contains("more than 300ms of processor time"), "{said}");
    }
}
