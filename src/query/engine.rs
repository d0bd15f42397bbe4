//! plans and runs queries on threads of its own
//!
//!     query ─► admit ─► plan (blocking thread) ─► drive ─► batches, two ahead ─► answer
//!                │                                  │
//!                └─ waits for a place               └─ ends at the time limit, at the row limit, or when nobody listens
//!
//! **Always:** a query that nobody waits for any more stops at the next batch boundary; one that is still being planned keeps its
//! place among the running ones until it is through.

use super::catalog::{CATALOG, Catalog, PUBLIC, Shelf, Stored};
use super::door::{self, Question};
use super::names::{Mentions, settle, unknown_table, written};
use super::plugin_parse::PluginParse;
use super::plugin_rows;
use super::plugins::{self, Bench, Plugins};
use super::sort::SortThroughUnion;
use super::stop::{Stop, StopOnDrop, Stoppable};
use super::{Answer, Limits, Query, QueryError, SystemTable, fault, functions, output};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{TableName, Type};
use crate::store::View;
use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::ObjectName;
use futures::{FutureExt, StreamExt, stream};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How long after the limit the caller still waits for the engine's own word on it.
const GRACE: Duration = Duration::from_millis(500);
/// Rows the engine works on at a time.
const BATCH_ROWS: usize = 8192;
/// Footers and page indexes of segments that are kept.
const FOOTERS_BYTES_MAX: usize = 128 << 20;
/// The stack of each thread: plans are walked recursively.
const STACK_BYTES: usize = 32 << 20;

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
        Question::Tables => tables(shelf.as_ref()).map(Outcome::Rows),
        Question::Columns(name) => columns(&name, shelf.as_ref()).map(Outcome::Rows),
        Question::Rows(statement) => {
            let now = DateTime::<Utc>::from_timestamp_nanos(inner.clock.now());
            let state = inner.base()?.clone();
            let bench = Arc::new(Bench::new(inner.plugins.get().cloned(), &state.runtime_env().memory_pool));
            let (plan, state, mentions) = planned(*statement, state, &shelf, &bench, now)?;
            Ok(Outcome::Run(Box::new(Planned { plan, state, mentions, bench, shelf })))
        }
    }
}

/// The plan of a statement over a shelf.
fn planned(
    statement: Statement,
    mut state: SessionState,
    shelf: &Arc<dyn Shelf>,
    bench: &Arc<Bench>,
    now: DateTime<Utc>,
) -> Result<(Arc<dyn ExecutionPlan>, SessionState, Mentions), QueryError> {
    lend(&mut state, bench)?;
    let mentions = Mentions::of(&statement).with_functions(functions::names(&state));
    mentions.tables(shelf.as_ref())?;
    if let Some(query) = door::query_of(&statement) {
        functions::share(&mut state, query);
    }
    let options = state.config().options().clone();
    let props = state.execution_props_mut();
    props.mark_start_execution(options);
    props.query_execution_start_time = Some(now);
    let plan = logical(statement, &state, shelf, bench)
        .and_then(|logical| futures::executor::block_on(state.create_physical_plan(&logical)));
    match plan {
        Ok(plan) => Ok((plan, state, mentions)),
        Err(error) => Err(fault::told(&error, &mentions)),
    }
}

/// Gives a query its plugins.
pub fn lend(state: &mut SessionState, bench: &Arc<Bench>) -> Result<(), QueryError> {
    let function = Arc::new(ScalarUDF::new_from_impl(PluginParse::new(bench.clone())));
    let registered = state.register_udf(function);
    registered.map(drop).map_err(|error| fault::told(&error, &Mentions::default()))
}

/// The logical plan of a statement over a shelf; what it reads through plugins is planned on the way.
pub fn logical(
    mut statement: Statement,
    state: &SessionState,
    shelf: &Arc<dyn Shelf>,
    bench: &Arc<Bench>,
) -> datafusion::error::Result<LogicalPlan> {
    let mentions = Mentions::of(&statement);
    let mut known = BTreeSet::new();
    for table in mentions.tables(shelf.as_ref()).map_err(plugins::told)? {
        known.extend(shelf.columns(&table).iter().flat_map(|schema| names(schema)));
    }
    let through = plugin_rows::expand(&mut statement, state, shelf, bench)?;
    known.extend(through.values().flat_map(|table| names(&table.schema())));
    settle(&mut statement, &mentions, &known);
    let mut state = state.clone();
    state.register_catalog_list(Arc::new(Catalog { shelf: shelf.clone(), through: Arc::new(through) }));
    futures::executor::block_on(state.statement_to_plan(statement))
}

fn names(schema: &Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// `SHOW TABLES`
fn tables(shelf: &dyn Shelf) -> Result<RecordBatch, QueryError> {
    let names = shelf.names();
    let columns = names.iter().map(|name| shelf.columns(name).map_or(0, |schema| schema.fields().len() as i64));
    let columns: ArrayRef = Arc::new(Int64Array::from_iter_values(columns));
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names.iter().map(TableName::as_str)));
    known_rows(vec![("table", names), ("columns", columns)])
}

/// `DESCRIBE t`
fn columns(name: &ObjectName, shelf: &dyn Shelf) -> Result<RecordBatch, QueryError> {
    let text = written(name);
    let schema = TableName::parse(&text).ok().and_then(|name| shelf.columns(&name));
    let schema = schema.ok_or_else(|| unknown_table(&text, name, shelf))?;
    let types = schema.fields().iter().map(|field| match Type::of(field.data_type()) {
        Ok(r#type) => r#type.word().to_owned(),
        Err(_) => field.data_type().to_string().to_lowercase(),
    });
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(names));
    let types: ArrayRef = Arc::new(StringArray::from_iter_values(types));
    known_rows(vec![("column", names), ("type", types)])
}

fn known_rows(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, QueryError> {
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), false)).collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| Error::from(error).into())
}

/// What every query starts from.
pub fn session(limits: &Limits) -> datafusion::error::Result<SessionState> {
    let mut config = SessionConfig::new()
        .with_target_partitions(limits.threads.max(1))
        .with_batch_size(BATCH_ROWS)
        .with_default_catalog_and_schema(CATALOG, PUBLIC)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.collect_spans = true;
    options.execution.enable_recursive_ctes = false;
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.optimizer.repartition_file_min_size = 4 << 20;
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory_bytes_max)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .with_metadata_cache_limit(FOOTERS_BYTES_MAX)
        .build_arc()?;
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = Vec::new();
    for rule in PhysicalOptimizer::new().rules {
        let sorts = rule.name() == "PushdownSort";
        rules.push(rule);
        if sorts {
            rules.push(Arc::new(SortThroughUnion));
            rules.push(Arc::new(Stoppable));
        }
    }
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rules(rules)
        .build();
    functions::hold(&mut state)?;
    Ok(state)
}

/// Does something that goes as deep as a query's text, on a stack that is deep enough.
pub fn deep<T: Send>(work: impl FnOnce() -> Result<T, QueryError> + Send) -> Result<T, QueryError> {
    let failed = || QueryError::new(ErrorKind::Internal, "no thread could be started for the query");
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("query".into()).stack_size(STACK_BYTES).spawn_scoped(scope, work);
        thread.map_err(|_| failed())?.join().map_err(|_| failed())?
    })
}
