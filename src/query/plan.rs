//! from a statement to a plan, on a stack that is deep enough
//!
//!     statement ─ names settled, plugins lent ─► logical plan ─► physical plan

use super::catalog::{CATALOG, Catalog, PUBLIC, Shelf};
use super::names::{Mentions, settle};
use super::plugin_parse::PluginParse;
use super::plugin_rows;
use super::plugins::{self, Bench};
use super::sort::SortThroughUnion;
use super::stop::Stoppable;
use super::{Limits, QueryError, door, fault, functions};
use crate::error::ErrorKind;
use arrow::datatypes::Schema;
use chrono::{DateTime, Utc};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SessionConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Rows the engine works on at a time.
const BATCH_ROWS: usize = 8192;
/// Footers and page indexes of segments that are kept.
const FOOTERS_BYTES_MAX: usize = 128 << 20;
/// The stack of each thread that plans: plans are walked recursively.
pub const STACK_BYTES: usize = 32 << 20;

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

/// The plan of a statement over a shelf.
pub fn planned(
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
