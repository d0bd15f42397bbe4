//! what every plugin costs, minute by minute: the table `tidemill.plugins`
//!
//!     accounts ─► the open minute, shown at once ─ the minute ends, or Tidemill stops ─► waiting ─ append ─► stored
//!
//! A row's `timestamp` is when its span began: a full minute, or the start of Tidemill; so no two spans of a plugin have the same one,
//! over restarts too. A span in which a plugin did nothing is not stored.
//!
//! **Always:** a query sees each span once: what waits is left out as soon as the store shows it.

use super::check::{Checked, CheckedPlugin};
use super::reload::Slots;
use crate::clock::Clock;
use crate::error::Result;
use crate::event::columns::{TIMESTAMP, field};
use crate::event::{Kind, TableName, Type};
use crate::pipeline::Slot;
use crate::pipeline::breaker::Standing;
use crate::plugin::account::Totals;
use crate::plugin::{Account, Configured, World};
use crate::query::SystemTable;
use crate::store::{Append, Store, TableView};
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The table's name, after `tidemill.`.
const NAME: &str = "plugins";
/// A span, in nanoseconds.
const MINUTE: i64 = 60_000_000_000;
/// Spans that may wait for a disk that takes nothing; the oldest are forgotten beyond that.
const WAITING_MAX: usize = 1440;

/// A column that counts: its name, and where the count is.
type Counted = (&'static str, fn(&Totals) -> u64);

const COUNTED: &[Counted] = &[
    ("calls", |totals| totals.calls),
    ("events_in", |totals| totals.events_in),
    ("events_out", |totals| totals.events_out),
    ("bytes_in", |totals| totals.bytes_in),
    ("bytes_out", |totals| totals.bytes_out),
    ("dead", |totals| totals.dead),
    ("faults", Totals::faults),
    ("traps", |totals| totals.traps),
    ("time_limits", |totals| totals.time_limits),
    ("memory_limits", |totals| totals.memory_limits),
    ("output_limits", |totals| totals.output_limits),
    ("host_call_limits", |totals| totals.host_call_limits),
    ("malformed", |totals| totals.malformed),
    ("refused", |totals| totals.refused),
    ("memory_bytes_max", |totals| totals.memory_bytes_max),
    ("instances", |totals| totals.instances),
    ("recycled", |totals| totals.recycled),
];

/// The accounts of all plugins. Cloning shares it.
#[derive(Clone)]
pub(super) struct Ledger {
    clock: Clock,
    slots: Slots,
    book: Arc<Mutex<Book>>,
}

#[derive(Default)]
struct Book {
    /// when the open span began, ns UTC
    began: i64,
    entries: Vec<Entry>,
    /// what versions that nobody runs any more have done, by stage
    past: BTreeMap<String, Totals>,
    /// spans that are over and not known to be stored
    waiting: Vec<Span>,
}

/// The rows of a span that is over.
#[derive(Clone)]
struct Span {
    began: i64,
    rows: RecordBatch,
}

/// A plugin in its place.
struct Entry {
    stage: String,
    plugin: String,
    world: &'static str,
    origin: String,
    sha256: String,
    account: Arc<Account>,
    /// the stage's place
    slot: Option<Arc<Slot>>,
    /// its account when the open span began
    before: Totals,
}

/// An entry's row of a span.
struct Row<'a> {
    entry: &'a Entry,
    totals: Totals,
}

/// The columns of the table.
pub(super) fn schema() -> SchemaRef {
    let texts = ["stage", "plugin", "world", "origin", "sha256"].map(|name| field(name, Type::Utf8));
    let counts = COUNTED.iter().map(|(name, _)| field(name, Type::Int64));
    let fields = std::iter::once(field(TIMESTAMP, Type::Timestamp)).chain(texts).chain(counts);
    let breaker = [
        field("cpu_seconds", Type::Float64),
        field("breaker", Type::Utf8),
        field("breaker_since", Type::Timestamp),
        field("breaker_until", Type::Timestamp),
        field("breaker_openings", Type::Int64),
        field("breaker_reason", Type::Utf8),
    ];
    Arc::new(Schema::new(fields.chain(breaker).collect::<Vec<_>>()))
}

/// The table's full name.
pub(super) fn table() -> TableName {
    TableName::system(NAME)
}

impl Ledger {
    /// For the plugins of a config; the first span begins now.
    pub fn new(checked: &Checked, slots: &Slots, clock: &Clock) -> Ledger {
        let book = Book { began: clock.now(), ..Book::default() };
        let ledger = Ledger { clock: clock.clone(), slots: slots.clone(), book: Arc::new(Mutex::new(book)) };
        for CheckedPlugin { configured, .. } in checked.plugins() {
            ledger.follow(configured);
        }
        ledger
    }

    /// A plugin in its place, from now on. Answers where its use is to be counted: one that comes back goes on with its account.
    pub fn follow(&self, configured: &Configured) -> Arc<Account> {
        let plugin = &configured.plugin;
        let mut book = self.lock();
        let known = book.entries.iter().find(|entry| entry.is_of(configured));
        if let Some(known) = known {
            return known.account.clone();
        }
        let entry = Entry {
            stage: configured.stage.to_string(),
            plugin: plugin.name().to_owned(),
            world: plugin.world().word(),
            origin: plugin.origin().to_owned(),
            sha256: plugin.sha256().to_owned(),
            account: configured.account.clone(),
            slot: match plugin.world() {
                World::Autoscaler => None,
                World::Parser | World::Filter | World::Enricher => self.slots.stages.get(&*configured.stage).cloned(),
            },
            before: Totals::default(),
        };
        book.entries.push(entry);
        configured.account.clone()
    }

    /// What each stage's plugins have done and cost so far, all versions together.
    pub fn totals(&self) -> BTreeMap<String, Totals> {
        let book = self.lock();
        let mut all = book.past.clone();
        for entry in &book.entries {
            let sum = all.entry(entry.stage.clone()).or_default();
            *sum = sum.and(&entry.account.totals());
        }
        all
    }

    /// Stores each minute when it is over.
    pub async fn run(self, store: Store, stop: CancellationToken) {
        loop {
            let now = self.clock.now();
            let rest = MINUTE - now.rem_euclid(MINUTE);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_nanos(rest.unsigned_abs())) => (),
            }
            self.write(&store).await;
        }
    }

    /// Ends the open span and stores it, with all that could not be stored before. What cannot be stored now waits.
    pub async fn write(&self, store: &Store) {
        let waiting = match self.close() {
            Ok(waiting) if waiting.is_empty() => return,
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "what plugins cost cannot be written down");
                return;
            }
        };
        let tables = waiting.iter().map(|span| (table(), Kind::Logs, span.rows.clone())).collect();
        match store.append(Append { tables, ..Append::default() }).await {
            Ok(_) => {
                let last = waiting.iter().map(|span| span.began).max().unwrap_or(i64::MIN);
                self.lock().waiting.retain(|span| span.began > last);
            }
            Err(error) => tracing::warn!(%error, "what plugins cost waits to be stored"),
        }
    }

    /// Ends the open span; answers all that wait.
    fn close(&self) -> Result<Vec<Span>> {
        // A clock that was set back must not give two spans one name.
        let mut book = self.lock();
        let (began, now) = (book.began, self.clock.now().max(book.began + 1));
        let totals: Vec<Totals> = book.entries.iter().map(|entry| entry.account.totals()).collect();
        let all = book.entries.iter().zip(&totals).map(|(entry, totals)| entry.row(totals, true));
        let rows = batch(began, now, &all.filter(Row::is_worth_it).collect::<Vec<_>>())?;
        book.began = now;
        for (entry, totals) in book.entries.iter_mut().zip(totals) {
            entry.before = totals;
        }
        book.forget();
        if rows.num_rows() > 0 {
            book.waiting.push(Span { began, rows });
        }
        let surplus = book.waiting.len().saturating_sub(WAITING_MAX);
        book.waiting.drain(..surplus);
        Ok(book.waiting.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SystemTable for Ledger {
    fn name(&self) -> &str {
        NAME
    }

    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn rows(&self, stored: Option<&TableView>) -> Result<RecordBatch> {
        let seen = stored.and_then(TableView::times).map_or(i64::MIN, |(_, last)| last);
        let book = self.lock();
        let open: Vec<Row<'_>> = book.entries.iter().map(|entry| entry.row(&entry.account.totals(), false)).collect();
        let open = batch(book.began, self.clock.now(), &open)?;
        let waiting = book.waiting.iter().filter(|span| span.began > seen).map(|span| &span.rows);
        Ok(concat_batches(&schema(), waiting.chain([&open]))?)
    }
}

impl Book {
    /// Leaves out versions that nobody runs any more; what they did stays in the sums.
    fn forget(&mut self) {
        let (past, entries) = (&mut self.past, &mut self.entries);
        entries.retain(|entry| {
            let is_run = Arc::strong_count(&entry.account) > 1;
            if !is_run {
                let sum = past.entry(entry.stage.clone()).or_default();
                *sum = sum.and(&entry.account.totals());
            }
            is_run
        });
    }
}

impl Entry {
    fn is_of(&self, configured: &Configured) -> bool {
        let plugin = &configured.plugin;
        (&*self.stage, &*self.sha256, &*self.plugin, &*self.origin, self.world)
            == (&*configured.stage, plugin.sha256(), plugin.name(), plugin.origin(), plugin.world().word())
    }

    fn row(&self, now: &Totals, is_over: bool) -> Row<'_> {
        let totals = now.since(&self.before);
        let memory_bytes_max = self.account.memory_of_span(is_over);
        Row { entry: self, totals: Totals { memory_bytes_max, ..totals } }
    }
}

impl Row<'_> {
    fn is_worth_it(&self) -> bool {
        self.totals.calls + self.totals.instances + self.totals.dead + self.totals.events_out > 0
    }
}

fn batch(began: i64, now: i64, rows: &[Row<'_>]) -> Result<RecordBatch> {
    let text = |get: fn(&Entry) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| get(row.entry))))
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampNanosecondArray::from_value(began, rows.len()).with_timezone("UTC")),
        text(|entry| &entry.stage),
        text(|entry| &entry.plugin),
        text(|entry| entry.world),
        text(|entry| &entry.origin),
        text(|entry| &entry.sha256),
    ];
    for (_, get) in COUNTED {
        let counts = rows.iter().map(|row| i64::try_from(get(&row.totals)).unwrap_or(i64::MAX));
        columns.push(Arc::new(Int64Array::from_iter_values(counts)));
    }
    let standings: Vec<Option<Standing>> =
        rows.iter().map(|row| Some(row.entry.slot.as_ref()?.standing(now))).collect();
    let times = |get: fn(&Standing) -> i64| -> ArrayRef {
        let each = standings.iter().map(|standing| standing.as_ref().map(get).filter(|time| *time != 0));
        Arc::new(TimestampNanosecondArray::from_iter(each).with_timezone("UTC"))
    };
    columns.push(Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.totals.cpu_nanos as f64 / 1e9))));
    let words = standings.iter().map(|standing| standing.as_ref().map(|standing| standing.word(now)));
    columns.push(Arc::new(StringArray::from_iter(words)));
    columns.extend([times(|standing| standing.since), times(|standing| standing.until)]);
    let openings = standings.iter().map(|standing| standing.as_ref().map(|standing| i64::from(standing.openings)));
    columns.push(Arc::new(Int64Array::from_iter(openings)));
    let reasons = standings.iter().map(|standing| standing.as_ref().map(|s| &*s.reason).filter(|r| !r.is_empty()));
    columns.push(Arc::new(StringArray::from_iter(reasons)));
    Ok(RecordBatch::try_new(schema(), columns)?)
}
