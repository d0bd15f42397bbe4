//! `plugin_rows('access-log', raw)`: the rows of a table or subquery, through a plugin
//!
//!     FROM plugin_rows('json', raw, last => '1h') ─► the source's plan ─► a table in the statement's own catalog
//!                                                                          └─ scan: source ─ columns read or asked for ─► plugin ─► rows
//!
//! Rows come out as a stage would make them: none, one or many of each. A row that the plugin could not handle comes out as it went in,
//! with its `error`. A plugin that keeps state sees the rows one batch after the other, in the order of the source.

use super::catalog::{PUBLIC, Shelf};
use super::names::{unknown_table, written};
use super::plan::logical;
use super::plugin_call::{NAME, Source, Written, is_called, usage};
use super::plugins::{Bench, Made, Opened, Shape, failed, joined, told};
use super::{Place, QueryError, door};
use crate::event::columns::{BODY, LABELS, SOURCE, TIMESTAMP};
use crate::event::{Kind, TableName, arrived};
use crate::plugin::World;
use crate::units::Span;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Column;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties, execute_stream,
};
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Statement as SqlStatement, TableAlias, TableFactor, TableFunctionArgs, VisitMut, VisitorMut,
};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The schema in which the tables of one statement stand.
pub const SCHEMA: &str = "plugin_rows";
/// The tables of one statement, by their names in [`SCHEMA`].
pub type Through = BTreeMap<String, Arc<dyn TableProvider>>;

/// Puts a table of the statement's own in the place of each call.
pub fn expand(
    statement: &mut Statement,
    state: &SessionState,
    shelf: &Arc<dyn Shelf>,
    bench: &Arc<Bench>,
) -> Result<Through> {
    let mut expander = Expander { state, shelf, bench, made: Through::new() };
    let Some(query) = door::query_of_mut(statement) else { return Ok(Through::new()) };
    match VisitMut::visit(query, &mut expander) {
        ControlFlow::Break(error) => Err(*error),
        ControlFlow::Continue(()) => Ok(expander.made),
    }
}

struct Expander<'a> {
    state: &'a SessionState,
    shelf: &'a Arc<dyn Shelf>,
    bench: &'a Arc<Bench>,
    made: Through,
}

impl VisitorMut for Expander<'_> {
    type Break = Box<DataFusionError>;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        let TableFactor::Table { name, alias, args: args @ Some(_), .. } = factor else {
            return ControlFlow::Continue(());
        };
        if !is_called(name) {
            return ControlFlow::Continue(());
        }
        let made = args.as_ref().map_or_else(|| Err(usage("")), |args| self.table(args, place(name)));
        let table = match made {
            Ok(table) => table,
            Err(error) => return ControlFlow::Break(Box::new(error)),
        };
        let own = format!("{NAME}_{}", self.made.len() + 1);
        self.made.insert(own.clone(), table);
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('"', NAME),
            columns: Vec::new(),
            at: None,
        });
        *name = ObjectName::from(vec![Ident::with_quote('"', SCHEMA), Ident::with_quote('"', own)]);
        *args = None;
        ControlFlow::Continue(())
    }
}

impl Expander<'_> {
    fn table(&self, args: &TableFunctionArgs, place: Option<Place>) -> Result<Arc<dyn TableProvider>> {
        let written = Written::read(args)?;
        let input = self.input(&written)?;
        let opened = self.bench.open(&written.plugin, written.settings.as_deref()).map_err(|error| at(error, place))?;
        Ok(Arc::new(Rows::new(input, opened, self.bench.clone()).map_err(|error| at(error, place))?))
    }

    /// The plan of the source.
    fn input(&self, written: &Written) -> Result<LogicalPlan> {
        let statement = match &written.source {
            Source::Table(name) => {
                let text = written_out(name, self.shelf.as_ref(), written.last)?;
                DFParser::parse_sql(&text)?.pop_front().ok_or_else(|| usage("the source is empty"))?
            }
            Source::Subquery(_) if written.last.is_some() => {
                return Err(usage(
                    "`last` goes with a table; in a subquery write WHERE timestamp > now() - INTERVAL '1 hour'",
                ));
            }
            Source::Subquery(query) => Statement::Statement(Box::new(SqlStatement::Query(query.clone()))),
        };
        logical(statement, self.state, self.shelf, self.bench)
    }
}

/// `SELECT *` of a table that exists, of its last rows by time if it is asked for these.
fn written_out(name: &ObjectName, shelf: &dyn Shelf, last: Option<Span>) -> Result<String> {
    let text = written(name);
    let table = TableName::parse(&text).ok().filter(|table| shelf.columns(table).is_some());
    let table = table.ok_or_else(|| told(unknown_table(&text, name, shelf)))?;
    let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
    let (schema, own) = table.parts();
    let source = format!("{}.{}", quoted(schema.unwrap_or(PUBLIC)), quoted(own));
    Ok(match last {
        Some(last) => {
            let millis = last.0.as_millis();
            format!("SELECT * FROM {source} WHERE \"timestamp\" > now() - INTERVAL '{millis} milliseconds'")
        }
        None => format!("SELECT * FROM {source}"),
    })
}

fn place(name: &ObjectName) -> Option<Place> {
    name.0.first().and_then(|part| part.as_ident()).and_then(|ident| door::place(ident.span.start))
}

/// An error of ours, at a place.
fn at(error: DataFusionError, place: Option<Place>) -> DataFusionError {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<QueryError>() {
            Ok(ours) => told(ours.at(place)),
            Err(other) => DataFusionError::External(other),
        },
        other => other,
    }
}

/// A source with its plugin.
#[derive(Clone)]
struct Rows {
    input: LogicalPlan,
    opened: Arc<Opened>,
    bench: Arc<Bench>,
    shape: Shape,
    schema: SchemaRef,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin_rows('{}')", self.opened.name)
    }
}

impl Rows {
    fn new(input: LogicalPlan, opened: Arc<Opened>, bench: Arc<Bench>) -> Result<Rows> {
        let fields = input.schema().fields().clone();
        for (at, field) in fields.iter().enumerate() {
            if fields.iter().take(at).any(|other| other.name() == field.name()) {
                return Err(usage(format!(
                    "its source has two columns `{}`; give one another name with AS",
                    field.name()
                )));
            }
        }
        let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let kind =
            match fields.iter().any(|field| field.name() == LABELS && matches!(field.data_type(), DataType::Map(_, _)))
            {
                true => Kind::Metrics,
                false => Kind::Logs,
            };
        let plugin = opened.plugin.as_ref();
        let reads = &plugin.contract().reads;
        if !reads.is_empty() && !names.iter().any(|name| plugin.contract().hands_over(name)) {
            let message =
                format!("plugin `{}` reads {}, and its source has none of that", opened.name, reads.join(", "));
            let hint = match reads.iter().any(|name| name == BODY) {
                true => {
                    "a table with `body = false` keeps no lines; a subquery can give a column its name: (SELECT raw AS body FROM …)"
                }
                false => "a subquery can give a column its name: (SELECT agent AS user_agent FROM …)",
            };
            return Err(told(QueryError::invalid(message).hint(hint)));
        }
        let shape = Shape::of(plugin, kind, &names);
        let turned = plugin.world() == World::Parser && plugin.contract().produces != kind;
        let mut columns: Vec<Field> = Vec::new();
        for field in &fields {
            let made = shape.columns.iter().find(|made| made.name() == field.name());
            // What becomes another kind of event keeps its time and its source.
            if turned && made.is_none() && ![TIMESTAMP, SOURCE].contains(&field.name().as_str()) {
                continue;
            }
            let r#type = made.map_or(field.data_type(), |made| made.data_type());
            columns.push(Field::new(field.name(), r#type.clone(), true));
        }
        let new = shape.fields().into_iter().filter(|field| !names.contains(&field.name().as_str()));
        columns.extend(new.collect::<Vec<_>>());
        Ok(Rows { input, opened, bench, shape, schema: Arc::new(Schema::new(columns)) })
    }

    /// The source, with the columns that the plugin reads or somebody asks for.
    fn needed(&self, wanted: &Schema) -> Result<LogicalPlan> {
        let contract = self.opened.plugin.contract();
        let needed = |field: &Field| {
            let name = field.name().as_str();
            name == LABELS || wanted.field_with_name(name).is_ok() || contract.hands_over(name)
        };
        let mut columns: Vec<Expr> = Vec::new();
        for (qualifier, field) in self.input.schema().iter() {
            if needed(field) {
                columns.push(Expr::Column(Column::new(qualifier.cloned(), field.name())));
            }
        }
        if columns.is_empty() {
            let first = self.input.schema().iter().next();
            columns.extend(first.map(|(qualifier, field)| Expr::Column(Column::new(qualifier.cloned(), field.name()))));
        }
        LogicalPlanBuilder::from(self.input.clone()).project(columns)?.build()
    }
}

#[async_trait]
impl TableProvider for Rows {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let input = session.create_physical_plan(&self.needed(&schema)?).await?;
        self.bench.keep(&input);
        let in_turn = self.opened.plugin.contract().keeps_state;
        let partitions = if in_turn { 1 } else { input.output_partitioning().partition_count() };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Arc::new(Run { rows: self.clone(), input, in_turn, schema, properties: Arc::new(properties) }))
    }
}

/// A source on its way through its plugin. To the planner it has no parts: the source is planned by itself, in its own order.
#[derive(Debug)]
struct Run {
    rows: Rows,
    input: Arc<dyn ExecutionPlan>,
    in_turn: bool,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for Run {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PluginRows: {}", self.rows.opened.name)
    }
}

impl ExecutionPlan for Run {
    fn name(&self) -> &str {
        "PluginRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = match self.in_turn {
            true => execute_stream(self.input.clone(), context)?,
            false => self.input.execute(partition, context)?,
        };
        let (rows, schema) = (self.rows.clone(), self.schema.clone());
        let made = input.map(move |batch| rows.run(&batch?, &schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), made)))
    }
}

impl Rows {
    fn run(&self, input: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let made = self.bench.run(&self.opened, arrived(input).map_err(failed)?)?;
        let (failures, mut origins) = (made.errors.len(), made.origins());
        let came = origins.len();
        origins.extend(made.errors.iter().map(|(row, _)| *row));
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            columns.push(self.column(field, input, &made, &origins, came, failures)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(origins.len()));
        let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
        if failures == 0 || came == 0 || rows.num_columns() == 0 {
            return Ok(rows);
        }
        // Rows with errors stand where their events stood.
        let mut order: Vec<u32> = (0..).take(origins.len()).collect();
        order.sort_by_key(|at| origins.get(*at as usize));
        Ok(arrow::compute::take_record_batch(&rows, &UInt32Array::from(order))?)
    }

    /// One column of what comes out: rows first, then events that failed.
    fn column(
        &self,
        field: &Field,
        input: &RecordBatch,
        made: &Made,
        origins: &[u32],
        came: usize,
        failures: usize,
    ) -> Result<ArrayRef> {
        let (name, r#type) = (field.name().as_str(), field.data_type());
        if *name == self.shape.error {
            let texts = made.errors.iter().map(|(_, error)| Some(error.as_str()));
            return Ok(Arc::new(StringArray::from_iter(std::iter::repeat_n(None, came).chain(texts))));
        }
        if self.shape.more.as_deref() == Some(name) {
            let own = self.schema.fields().iter().map(|field| field.name().as_str());
            let read = input.schema_ref().fields().iter().map(|field| field.name().as_str());
            let known: Vec<&str> = own.chain(read).collect();
            return joined(vec![made.more(&known)?, new_null_array(r#type, failures)], r#type);
        }
        let written = self.shape.columns.iter().any(|field| field.name() == name);
        let old = input.column_by_name(name).filter(|old| old.data_type() == r#type);
        let touched = written || self.shape.more.is_some() && made.has(name);
        match old {
            // What the plugin does not touch is what it was.
            Some(old) if !touched => Ok(take(old, &UInt32Array::from(origins.to_vec()), None)?),
            old => {
                let failed: Vec<u32> = made.errors.iter().map(|(row, _)| *row).collect();
                let kept = match old {
                    Some(old) => take(old, &UInt32Array::from(failed), None)?,
                    None => new_null_array(r#type, failures),
                };
                joined(vec![made.column(name, r#type)?, kept], r#type)
            }
        }
    }
}
