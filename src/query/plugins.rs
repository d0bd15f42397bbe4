//! plugins that queries run: opened while a query is planned, run while it is answered
//!
//!     plugin_parse('regex', body, '{…}') ─► Bench ─► Opened: what it reads and makes ─► the plan's columns
//!                                                     └─ run ─► rows of events ─► rows, and errors by row ─► columns again
//!
//! **Always:** what a plugin cannot handle, traps included, is an error of its row; between `SLICE_ROWS` rows a query that is over
//! stops, and what the instances hold counts as the query's memory.

use super::QueryError;
use crate::error::{ErrorKind, Result};
use crate::event::columns::{KIND, LABELS, LETTER, NAME, RAW, SOURCE, TIMESTAMP, Type, VALUE};
use crate::event::labels::{self, LabelsBuilder};
use crate::event::{Batch, Kind, mixed};
use crate::plugin::{Contract, World};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::{DataFusionError, Result as Planned};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::ExecutionPlan;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Events a plugin is handed before the query looks whether it goes on.
const SLICE_ROWS: usize = 1024;
/// Plugins that one query can open, each setting of one counted: each takes time and memory while the query is planned.
const OPENED_MAX: usize = 16;
/// Answers that are kept for a moment: a few for each thread.
const RECENT_MAX: usize = 8;
/// What a plugin may make of one batch of the engine's.
const MADE_BYTES_MAX: usize = 256 << 20;

/// The plugins that queries may run.
pub trait Plugins: Send + Sync {
    /// Opens one by the name that a query has for it, with these settings (a JSON object), or with its own where it has any. Fails
    /// with a sentence that says which there are, or which setting is wrong.
    fn open(&self, name: &str, settings: Option<&str>) -> Result<Arc<dyn Plugin>>;
}

/// A plugin with its settings, opened for one query.
pub trait Plugin: Send + Sync {
    /// what it is
    fn world(&self) -> World;
    /// what it reads and makes
    fn contract(&self) -> &Contract;
    /// Runs events that are numbered in their column `__letter` (see [`numbered`]). Several threads may call at a time, unless the
    /// plugin keeps state: then calls come one after the other, and each goes on where the one before ended.
    fn run(&self, events: &Batch) -> Result<Made>;
    /// what its instances may hold by now, in bytes
    fn memory_bytes(&self) -> usize;
}

/// What became of some events.
#[derive(Debug, Default)]
pub struct Made {
    /// rows that came out, and the number of the event that each of them came from
    pub batches: Vec<(RecordBatch, Vec<u32>)>,
    /// events that it could not handle, and why
    pub errors: Vec<(u32, String)>,
}

/// Events that each have their number. The column is one that plugins never see and rows carry along.
pub fn numbered(events: Batch) -> Result<Batch> {
    let rows = u32::try_from(events.columns.num_rows()).unwrap_or(u32::MAX);
    let mut fields: Vec<Field> =
        events.columns.schema_ref().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns = events.columns.columns().to_vec();
    fields.push(Field::new(LETTER, DataType::UInt32, true));
    columns.push(Arc::new(UInt32Array::from_iter_values(0..rows)));
    Ok(Batch { kind: events.kind, columns: RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)? })
}

/// The numbers of rows that came out.
pub fn numbers(rows: &RecordBatch) -> Vec<u32> {
    let column = rows.column_by_name(LETTER);
    let column = column.and_then(|column| column.as_primitive_opt::<arrow::datatypes::UInt32Type>());
    column.map(|column| column.values().to_vec()).unwrap_or_default()
}

/// A plugin's name, and the settings that a query has for it.
type Asked = (String, Option<String>);

/// What one query has opened.
pub struct Bench {
    plugins: Option<Arc<dyn Plugins>>,
    /// by name and settings
    opened: Mutex<BTreeMap<Asked, Arc<Opened>>>,
    memory: MemoryReservation,
    /// set when the query is over
    pub stop: Arc<AtomicBool>,
    /// plans that run within the query's own
    inner: Mutex<Vec<Arc<dyn ExecutionPlan>>>,
}

/// A plugin on the bench.
pub struct Opened {
    /// the name it was asked for by
    pub name: String,
    /// the plugin
    pub plugin: Arc<dyn Plugin>,
    /// values it was handed last, and what came of them
    recent: Mutex<VecDeque<(ArrayRef, ArrayRef)>>,
}

impl Opened {
    /// What came of exactly these values, if they are among the last: several fields of one answer are asked for one by one.
    pub fn recall(&self, values: &ArrayRef) -> Option<ArrayRef> {
        let data = values.to_data();
        lock(&self.recent).iter().find(|(known, _)| known.to_data().ptr_eq(&data)).map(|(_, answer)| answer.clone())
    }

    /// Remembers an answer for a moment.
    pub fn remember(&self, values: &ArrayRef, answer: &ArrayRef) {
        let mut recent = lock(&self.recent);
        recent.truncate(RECENT_MAX - 1);
        recent.push_front((values.clone(), answer.clone()));
    }
}

impl Bench {
    /// A bench with these plugins, if there are any, whose instances count against `pool`.
    pub fn new(plugins: Option<Arc<dyn Plugins>>, pool: &Arc<dyn MemoryPool>) -> Bench {
        let memory = MemoryConsumer::new("plugins").register(pool);
        Bench { plugins, opened: Mutex::default(), memory, stop: Arc::default(), inner: Mutex::default() }
    }

    /// A plugin by name; the same one for the same settings.
    pub fn open(&self, name: &str, settings: Option<&str>) -> Planned<Arc<Opened>> {
        let key = (name.to_owned(), settings.map(str::to_owned));
        if let Some(opened) = lock(&self.opened).get(&key) {
            return Ok(opened.clone());
        }
        if lock(&self.opened).len() >= OPENED_MAX {
            let message = format!("the query runs more than {OPENED_MAX} plugins, or one with as many settings");
            return Err(told(QueryError::new(ErrorKind::Limit, message)));
        }
        let missing = || told(QueryError::new(ErrorKind::Missing, "there are no plugins here"));
        let plugins = self.plugins.as_ref().ok_or_else(missing)?;
        let plugin = plugins.open(name, settings).map_err(|error| told(QueryError::from(error)))?;
        if plugin.world() == World::Autoscaler {
            let refusal = format!("plugin `{name}` is an autoscaler; a query runs parsers, filters and enrichers");
            return Err(told(QueryError::invalid(refusal)));
        }
        let opened = Arc::new(Opened { name: name.to_owned(), plugin, recent: Mutex::default() });
        Ok(lock(&self.opened).entry(key).or_insert(opened).clone())
    }

    /// Runs events, slice by slice.
    pub fn run(&self, opened: &Opened, events: Batch) -> Planned<Made> {
        let events = numbered(events).map_err(failed)?;
        let (mut made, mut bytes, rows) = (Made::default(), 0, events.columns.num_rows());
        for from in (0..rows).step_by(SLICE_ROWS) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(told(QueryError::new(ErrorKind::Limit, "the query was stopped")));
            }
            let slice = events.columns.slice(from, SLICE_ROWS.min(rows - from));
            let part = opened.plugin.run(&Batch { kind: events.kind, columns: slice }).map_err(failed)?;
            bytes += part.batches.iter().map(|(batch, _)| batch.get_array_memory_size()).sum::<usize>();
            if bytes > MADE_BYTES_MAX {
                let message = format!("plugin `{}` makes more of some rows than a query may hold", opened.name);
                return Err(told(QueryError::new(ErrorKind::Limit, message)));
            }
            made.batches.extend(part.batches);
            made.errors.extend(part.errors);
            self.weigh()?;
        }
        Ok(made)
    }

    /// A plan that runs within the query's own, to be stopped with it.
    pub fn keep(&self, plan: &Arc<dyn ExecutionPlan>) {
        lock(&self.inner).push(plan.clone());
    }

    /// The plans that run within the query's own.
    pub fn inner(&self) -> Vec<Arc<dyn ExecutionPlan>> {
        lock(&self.inner).clone()
    }

    fn weigh(&self) -> Planned<()> {
        let bytes = lock(&self.opened).values().map(|opened| opened.plugin.memory_bytes()).sum();
        self.memory.try_resize(bytes)
    }
}

/// The columns that a plugin makes, as a query sees them.
#[derive(Clone, Debug)]
pub struct Shape {
    /// the columns of the contract; those of metrics where logs become metrics
    pub columns: Vec<Field>,
    /// the column for what the events themselves name, if there can be any: a map of texts
    pub more: Option<String>,
    /// the column that says why a row could not be handled
    pub error: String,
}

impl Shape {
    /// Of this plugin; `taken` are names that `more` and `error` cannot have, because the rows have them already.
    pub fn of(plugin: &dyn Plugin, kind: Kind, taken: &[&str]) -> Shape {
        let contract = plugin.contract();
        let mut columns: Vec<Field> = Vec::new();
        let mut add = |name: &str, r#type: Type| {
            if !columns.iter().any(|field| field.name() == name) {
                columns.push(crate::event::columns::field(name, r#type));
            }
        };
        if plugin.world() == World::Parser && kind == Kind::Logs && contract.produces == Kind::Metrics {
            for (name, r#type) in [
                (TIMESTAMP, Type::Timestamp),
                (NAME, Type::Utf8),
                (KIND, Type::Utf8),
                (VALUE, Type::Float64),
                (LABELS, Type::Labels),
            ] {
                add(name, r#type);
            }
        }
        for (name, r#type) in &contract.writes {
            match name.starts_with(labels::PREFIX) {
                true => add(LABELS, Type::Labels),
                false => add(name, *r#type),
            }
        }
        let free = |name: &str| {
            let used = |name: &str| taken.contains(&name) || columns.iter().any(|field| field.name() == name);
            if used(name) { format!("plugin_{name}") } else { name.to_owned() }
        };
        let (more, error) = (contract.open_schema.then(|| free("more")), free("error"));
        Shape { columns, more, error }
    }

    /// Every column: `more` and `error` last.
    pub fn fields(&self) -> Vec<Field> {
        let more = self.more.iter().map(|name| Field::new(name, labels::data_type(), true));
        let error = Field::new(&self.error, DataType::Utf8, true);
        self.columns.iter().cloned().chain(more).chain([error]).collect()
    }
}

impl Made {
    /// How many rows came out.
    pub fn rows(&self) -> usize {
        self.batches.iter().map(|(batch, _)| batch.num_rows()).sum()
    }

    /// For each row that came out, the number of its event.
    pub fn origins(&self) -> Vec<u32> {
        self.batches.iter().flat_map(|(_, origins)| origins.iter().copied()).collect()
    }

    /// A column of all rows that came out, of this type: null where a row has none, or none that fits.
    pub fn column(&self, name: &str, r#type: &DataType) -> Planned<ArrayRef> {
        let parts = self.batches.iter().map(|(batch, _)| match batch.column_by_name(name) {
            Some(column) => as_type(column, r#type),
            None => Ok(new_null_array(r#type, batch.num_rows())),
        });
        joined(parts.collect::<Planned<Vec<_>>>()?, r#type)
    }

    /// Whether any row has such a column.
    pub fn has(&self, name: &str) -> bool {
        self.batches.iter().any(|(batch, _)| batch.column_by_name(name).is_some())
    }

    /// What the rows have beside these columns, as a map of texts.
    pub fn more(&self, known: &[&str]) -> Planned<ArrayRef> {
        let mut maps = LabelsBuilder::new();
        for (batch, _) in &self.batches {
            let (mut names, mut texts) = (Vec::new(), Vec::new());
            for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                let name = field.name().as_str();
                if !known.contains(&name) && ![LETTER, RAW, SOURCE].contains(&name) {
                    names.push(name);
                    texts.push(as_type(column, &DataType::Utf8)?);
                }
            }
            let texts: Vec<&StringArray> = texts.iter().map(|column| column.as_string::<i32>()).collect();
            for row in 0..batch.num_rows() {
                let pairs = names.iter().zip(&texts).filter(|(_, column)| column.is_valid(row));
                maps.push(pairs.map(|(name, column)| (*name, column.value(row)))).map_err(failed)?;
            }
        }
        Ok(maps.finish())
    }
}

/// Parts of a column as one.
pub fn joined(parts: Vec<ArrayRef>, r#type: &DataType) -> Planned<ArrayRef> {
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    match parts.is_empty() {
        true => Ok(new_null_array(r#type, 0)),
        false => Ok(concat(&parts)?),
    }
}

/// A column in the type it is declared to have; what does not fit is null.
fn as_type(column: &ArrayRef, r#type: &DataType) -> Planned<ArrayRef> {
    let column = match column.data_type() {
        DataType::Union(_, _) => mixed::plain(column).map_err(failed)?,
        DataType::Map(_, _) if !r#type.is_nested() => return Ok(new_null_array(r#type, column.len())),
        _ => column.clone(),
    };
    match column.data_type() == r#type {
        true => Ok(column),
        false => Ok(cast(&column, r#type)?),
    }
}

/// An error of ours on its way through the engine.
pub fn told(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The same of any error of ours.
pub fn failed(error: crate::error::Error) -> DataFusionError {
    told(error.into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
