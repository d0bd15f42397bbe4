//! plans and runs queries on threads of its own
//!
//!     query ─► admit ─► plan (blocking thread) ─► drive ─► batches, two ahead ─► answer
//!                │                                  │
//!                └─ waits for a place               └─ ends at the time limit, at the row limit, or when nobody listens
//!
//! **Always:** a query that nobody waits for any more stops at the next batch boundary; one that is still being planned keeps its
//! place among the running ones until it is through.

use super::catalog::{Shelf, Stored};
use super::door::{self, Question};
use super::names::{Mentions, written};
use super::plan::{STACK_BYTES, deep, planned, session};
use super::plugins::{Bench, Plugins};
use super::stop::{Stop, StopOnDrop};
use super::{Answer, Limits, Query, QueryError, SystemTable, fault, output, shown};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::TableName;
use crate::store::View;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{FutureExt, StreamExt, stream};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How long after the limit the caller still waits for the engine's own word on it.
const GRACE: Duration = Duration::from_millis(500);

/// Answers queries. Cloning shares it; the last one dropped stops what runs.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    /// only taken when the engine is dropped
    runtime: Option<Runtime>,
    /// keeps time while all threads of the other are busy
    watch: Option<Runtime>,
    /// made when the first query comes: until then the pages of the planner need no memory
    base: OnceLock<SessionState>,
    view: Arc<dyn Fn() -> Arc<View> + Send + Sync>,
    system: Arc<[Arc<dyn SystemTable>]>,
    /// the plugins that queries may run, once there are any
    plugins: OnceLock<Arc<dyn Plugins>>,
    limits: Limits,
    clock: Clock,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// says that no query goes on
    stopping: CancellationToken,
}

impl Inner {
    fn base(&self) -> Result<&SessionState, QueryError> {
        match self.base.get() {
            Some(base) => Ok(base),
            None => {
                let base = session(&self.limits).map_err(|error| fault::told(&error, &Mentions::default()))?;
                Ok(self.base.get_or_init(|| base))
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for runtime in [self.runtime.take(), self.watch.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}

/// A query ready to run.
struct Planned {
    plan: Arc<dyn ExecutionPlan>,
    state: SessionState,
    mentions: Mentions,
    bench: Arc<Bench>,
    /// keeps the segments that the plan reads
    shelf: Arc<dyn Shelf>,
}

/// What planning leads to: a plan, or rows that are known already.
enum Outcome {
    Run(Box<Planned>),
    Rows(RecordBatch),
}

/// What a running query is held to.
struct Bounds {
    time: Duration,
    rows: u64,
}

type Head = oneshot::Sender<Result<SchemaRef, QueryError>>;
type Late = Pin<Box<tokio::time::Sleep>>;
type Batches = mpsc::Sender<Result<RecordBatch, QueryError>>;

impl Engine {
    /// An engine over what `view` shows, with system tables beside the stored ones.
    pub fn new(
        view: Arc<dyn Fn() -> Arc<View> + Send + Sync>,
        system: Vec<Arc<dyn SystemTable>>,
        limits: Limits,
        clock: Clock,
    ) -> Result<Engine> {
        let threads = limits.threads.max(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(2))
            .max_blocking_threads(limits.concurrent_max.max(1) * 2 + threads * 4)
            .thread_stack_size(STACK_BYTES)
            .thread_name("query")
            .enable_all()
            .build()
            .map_err(|error| Error::io("starting the threads for queries", error))?;
        let watch = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("query-time")
            .enable_time()
            .build()
            .map_err(|error| Error::io("starting the thread that times queries", error))?;
        let places = Arc::new(Semaphore::new(limits.concurrent_max.max(1)));
        let waiting = AtomicUsize::new(0);
        let system = system.into();
        Ok(Engine(Arc::new(Inner {
            runtime: Some(runtime),
            watch: Some(watch),
            base: OnceLock::new(),
            view,
            system,
            plugins: OnceLock::new(),
            limits,
            clock,
            places,
            waiting,
            stopping: CancellationToken::new(),
        })))
    }

    /// Lets queries run these plugins; only the first ones count.
    pub fn lend(&self, plugins: Arc<dyn Plugins>) {
        let _ = self.0.plugins.set(plugins);
    }

    /// Starts a query and returns once its columns are known. It sees all tables as they are at this moment.
    pub async fn query(&self, query: Query) -> Result<Answer, QueryError> {
        let limits = &self.0.limits;
        let bounds = Bounds {
            time: query.time_max.unwrap_or(limits.time_max).min(limits.time_max),
            rows: query.rows_max.unwrap_or(limits.rows_max).min(limits.rows_max),
        };
        let time = bounds.time;
        let mut late = Box::pin(tokio::time::sleep(time.saturating_add(GRACE)));
        let (head, columns) = oneshot::channel();
        let (batches, rows) = mpsc::channel(2);
        let stop = Arc::new(Stop::default());
        let held = StopOnDrop(stop.clone());
        let started = async {
            let place = self.admit(time).await?;
            self.watch(stop.clone(), time)?;
            let inner = self.0.clone();
            self.runtime()?.spawn(drive(inner, query.sql, bounds, place, stop, (head, batches)));
            columns.await.unwrap_or_else(|_| Err(stopped()))
        };
        let schema = tokio::select! {
            biased;
            () = self.0.stopping.cancelled() => return Err(stopping()),
            schema = started => schema?,
            () = &mut late => return Err(too_late(time)),
        };
        let stopping = self.0.stopping.clone();
        Ok(Answer { schema, batches: delivered(rows, (late, held), time, stopping) })
    }

    /// Ends every query with an error that says so; further ones get the same.
    pub fn stop(&self) {
        self.0.stopping.cancel();
    }

    /// The tables that a query reads, whether they exist or not.
    pub fn tables_of(&self, sql: &str) -> Result<Vec<TableName>, QueryError> {
        let limits = self.0.limits.clone();
        deep(|| match door::read(sql, &limits)? {
            Question::Rows(statement) => Ok(Mentions::of(&statement).tables_written()),
            Question::Tables => Ok(Vec::new()),
            Question::Columns(name) => Ok(TableName::parse(&written(&name)).into_iter().collect()),
        })
    }

    /// Stops the query when its time is over, should its own thread be too busy to see to that.
    fn watch(&self, stop: Arc<Stop>, time: Duration) -> Result<(), QueryError> {
        let stop = Arc::downgrade(&stop);
        self.0.watch.as_ref().ok_or_else(stopped)?.spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(stop) = stop.upgrade() {
                stop.now();
            }
        });
        Ok(())
    }

    fn runtime(&self) -> Result<&Runtime, QueryError> {
        self.0.runtime.as_ref().ok_or_else(stopped)
    }

    /// A place among the running queries, or the news that there are too many waiting.
    async fn admit(&self, time: Duration) -> Result<OwnedSemaphorePermit, QueryError> {
        let busy = || {
            let limits = &self.0.limits;
            QueryError::new(
                ErrorKind::Unavailable,
                format!("{} queries are running and more are waiting", limits.concurrent_max),
            )
            .hint("try again in a moment")
        };
        let waiting = Waiting::new(&self.0.waiting);
        if waiting.before >= self.0.limits.concurrent_max.saturating_mul(4) {
            return Err(busy());
        }
        match tokio::time::timeout(time, self.0.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(busy()),
        }
    }

    /// Tasks alive on the engine's threads: for tests.
    #[cfg(test)]
    pub(crate) fn tasks(&self) -> usize {
        self.0.runtime.as_ref().map_or(0, |runtime| runtime.metrics().num_alive_tasks())
    }
}

/// Counts who waits, for as long as they do.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Waiting { count, before: count.fetch_add(1, Ordering::SeqCst) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }
}

fn stopped() -> QueryError {
    QueryError::new(ErrorKind::Unavailable, "the query was stopped")
}

fn stopping() -> QueryError {
    QueryError::new(ErrorKind::Unavailable, "tidemill is stopping, and the query with it; ask again later")
}

fn too_late(time: Duration) -> QueryError {
    QueryError::new(ErrorKind::Limit, format!("the query took longer than {}", crate::units::Span(time)))
        .hint("narrow the time range, or ask for less")
}

/// The batches for the caller, with a last word on time even if the engine's threads are all busy.
fn delivered(
    rows: mpsc::Receiver<Result<RecordBatch, QueryError>>,
    held: (Late, StopOnDrop),
    time: Duration,
    stopped: CancellationToken,
) -> stream::BoxStream<'static, Result<RecordBatch, QueryError>> {
    let next = move |state: Option<(mpsc::Receiver<_>, (Late, StopOnDrop))>| {
        let stopped = stopped.clone();
        async move {
            let (mut rows, (mut late, stop)) = state?;
            tokio::select! {
                biased;
                () = stopped.cancelled() => Some((Err(stopping()), None)),
                batch = rows.recv() => match batch {
                    Some(Ok(batch)) => Some((Ok(batch), Some((rows, (late, stop))))),
                    Some(Err(error)) => Some((Err(error), None)),
                    None => None,
                },
                () = &mut late => Some((Err(too_late(time)), None)),
            }
        }
    };
    stream::unfold(Some((rows, held)), next).boxed()
}

/// Runs one query from text to last batch. Everything it holds goes when it returns.
async fn drive(
    inner: Arc<Inner>,
    sql: String,
    bounds: Bounds,
    place: OwnedSemaphorePermit,
    stop: Arc<Stop>,
    (mut head, batches): (Head, Batches),
) {
    let late = tokio::time::sleep(bounds.time);
    tokio::pin!(late);
    let place = Arc::new(place);
    let held = place.clone();
    let planning = tokio::task::spawn_blocking(move || {
        let _held = held;
        let outcome = outcome(&inner, &sql);
        drop(inner);
        outcome
    });
    let outcome = tokio::select! {
        biased;
        outcome = planning => outcome.unwrap_or_else(|_| Err(QueryError::new(ErrorKind::Internal, "planning the query failed"))),
        () = &mut late => Err(too_late(bounds.time)),
        () = head.closed() => return,
    };
    let planned = match outcome {
        Ok(Outcome::Run(planned)) => planned,
        Ok(Outcome::Rows(batch)) => {
            let _ = head.send(Ok(batch.schema()));
            let _ = batches.send(Ok(batch)).await;
            return;
        }
        Err(error) => {
            let _ = head.send(Err(error));
            return;
        }
    };
    stop.watch(&planned.plan);
    planned.bench.inner().iter().for_each(|plan| stop.watch(plan));
    stop.hold(&planned.bench.stop);
    let stop = StopOnDrop(stop);
    let schema = output::schema(&planned.plan.schema());
    let stream = match execute_stream(planned.plan.clone(), planned.state.task_ctx()) {
        Ok(stream) => stream,
        Err(error) => {
            let _ = head.send(Err(fault::told(&error, &planned.mentions)));
            return;
        }
    };
    if head.send(Ok(schema.clone())).is_err() {
        return;
    }
    let failure = tokio::select! {
        biased;
        () = batches.closed() => return,
        () = &mut late => Err(too_late(bounds.time)),
        sent = std::panic::AssertUnwindSafe(send(stream, &schema, &planned.mentions, bounds.rows, &batches)).catch_unwind() => {
            sent.unwrap_or_else(|_| Err(QueryError::new(ErrorKind::Internal, "running the query failed")))
        }
    };
    drop((planned.shelf, place));
    if let Err(failure) = failure {
        // Whoever still listens did not stop it, so it was time that did.
        let failure = if stop.0.is_over() { too_late(bounds.time) } else { failure };
        let _ = batches.send(Err(failure)).await;
    }
}

/// Hands batches on until they end, or there are more rows than allowed.
async fn send(
    mut stream: SendableRecordBatchStream,
    schema: &SchemaRef,
    mentions: &Mentions,
    rows_max: u64,
    batches: &Batches,
) -> Result<(), QueryError> {
    let mut room = usize::try_from(rows_max).unwrap_or(usize::MAX);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| fault::told(&error, mentions))?;
        let batch = output::batch(&batch, schema).map_err(|error| fault::told(&error.into(), mentions))?;
        let rows = batch.num_rows();
        let kept = if rows > room { batch.slice(0, room) } else { batch };
        if kept.num_rows() > 0 && batches.send(Ok(kept)).await.is_err() {
            return Ok(());
        }
        if rows > room {
            return Err(QueryError::new(
                ErrorKind::Limit,
                format!("the answer has more than {rows_max} rows and was cut there"),
            )
            .hint("add LIMIT, or group the rows"));
        }
        room -= rows;
    }
    Ok(())
}

/// Plans a text on this thread, which must have a large stack.
fn outcome(inner: &Inner, sql: &str) -> Result<Outcome, QueryError> {
    let question = door::read(sql, &inner.limits)?;
    let shelf: Arc<dyn Shelf> = Arc::new(Stored { view: (inner.view)(), system: inner.system.clone() });
    match question {
        Question::Tables => shown::tables(shelf.as_ref()).map(Outcome::Rows),
        Question::Columns(name) => shown::columns(&name, shelf.as_ref()).map(Outcome::Rows),
        Question::Rows(statement) => {
            let now = DateTime::<Utc>::from_timestamp_nanos(inner.clock.now());
            let state = inner.base()?.clone();
            let bench = Arc::new(Bench::new(inner.plugins.get().cloned(), &state.runtime_env().memory_pool));
            let (plan, state, mentions) = planned(*statement, state, &shelf, &bench, now)?;
            Ok(Outcome::Run(Box::new(Planned { plan, state, mentions, bench, shelf })))
        }
    }
}
