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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// A scaler's plugin: called on a thread for blocking work, taken back afterwards.
pub(super) struct PluginDecider {
    instance: Option<Instance>,
    hash: String,
}

impl PluginDecider {
    pub fn new(instance: Instance) -> PluginDecider {
        PluginDecider { hash: instance.configured().plugin.sha256().to_owned(), instance: Some(instance) }
    }
}

impl Decide for PluginDecider {
    fn decide(&mut self, request: Request) -> BoxFuture<'_, Result<Proposal>> {
        Box::pin(async move {
            let mut instance = self
                .instance
                .take()
                .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the plugin is still busy with the tick before"))?;
            let (instance, proposal) = tokio::task::spawn_blocking(move || {
                let proposal = instance.decide(&request);
                (instance, proposal)
            })
            .await
            .map_err(|error| Error::internal(format!("a decision was lost: {error}")))?;
            self.instance = Some(instance);
            proposal.map_err(|fault| Error::new(ErrorKind::Foreign, fault.message))
        })
    }

    fn plugin_hash(&self) -> &str {
        &self.hash
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
