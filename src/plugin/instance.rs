//! a configured plugin at work: one call at a time, within its limits
//!
//!     columns ─ only what it reads ─► call ─ checked ─► columns
//!                                      │
//!                                      └─ trap, limit, malformed ─► Fault; the instance is thrown away, the next call makes a new one
//!
//! **Always:** a fault says what happened and nothing of the batch is lost: the caller still has it.

use super::boundary::{self as wit, BatchIn, ContextIn, RequestIn, SignalIn, WorkloadIn};
use super::engine::first_line;
use super::host::Host;
pub use super::host::cpu_time;
use super::lookup::Lookup;
use super::write::Ready;
use super::{Account, Engine, Freshness, Limits, Plugin, Proposal, Request, World, read};
use crate::error::{Error, Result};
use crate::event::{Kind, Type};
use arrow::array::{ArrayRef, RecordBatch};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{ComponentNamedList, Func, Lift, Lower, TypedFunc};
use wasmtime::{Store, Trap, UpdateDeadline};

/// The plugin's own interface, which every world exports.
const PLUGIN: &str = "tidemill:plugin/plugin@0.1.0";
/// Time to say who it is and to take its settings: a language runtime may start in it.
const CONFIGURE_TIME_MAX: Duration = Duration::from_secs(10);

/// A plugin with its settings: all that is needed to make instances of it.
#[derive(Clone)]
pub struct Configured {
    /// what is run
    pub plugin: Plugin,
    /// the stage or scaler it runs for
    pub stage: Arc<str>,
    /// the settings as JSON text
    pub settings: String,
    /// what a call may use
    pub limits: Limits,
    /// the lookup tables it may ask
    pub tables: Arc<BTreeMap<String, Lookup>>,
    /// where its use is counted
    pub account: Arc<Account>,
}

/// What a configured plugin reads and makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// columns to hand over; `prefix.*` and `*` stand for many
    pub reads: Vec<String>,
    /// columns that come back, with their types
    pub writes: Vec<(String, Type)>,
    /// columns beyond `writes` may come back
    pub open_schema: bool,
    /// state goes in and comes back
    pub keeps_state: bool,
    /// what a parser makes
    pub produces: Kind,
}

/// A call that gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// what sort
    pub kind: FaultKind,
    /// in words, for the dead letter
    pub message: String,
}

/// What sort of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// it trapped: a panic, a stack overflow, an access out of bounds
    Trap,
    /// it needed more processor time than it may use
    Time,
    /// it needed more memory or tables than it may use
    Memory,
    /// its answer is not one that the interface allows
    Malformed,
    /// it answered that it cannot handle the batch
    Refused,
}

/// A row that the plugin itself could not handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// which row of the input
    pub row: usize,
    /// why
    pub message: String,
}

/// What comes out of a parser.
#[derive(Debug)]
pub struct Parsed {
    /// rows that come out
    pub rows: usize,
    /// the columns it made
    pub columns: Vec<(String, ArrayRef)>,
    /// for each row that comes out the row it came from; none = the rows not in `errors`, in order
    pub origin: Option<Vec<u32>>,
    /// rows that could not be handled
    pub errors: Vec<RowError>,
    /// for the next call
    pub state: Option<Vec<u8>>,
}

/// What comes out of a filter.
#[derive(Debug)]
pub struct Kept {
    /// one a row: whether it goes on
    pub keep: arrow::buffer::BooleanBuffer,
    /// rows that could not be handled
    pub errors: Vec<RowError>,
    /// for the next call
    pub state: Option<Vec<u8>>,
}

/// What comes out of an enricher.
#[derive(Debug)]
pub struct Enriched {
    /// the columns it made, as long as the input
    pub columns: Vec<(String, ArrayRef)>,
    /// rows that could not be handled
    pub errors: Vec<RowError>,
    /// for the next call
    pub state: Option<Vec<u8>>,
}

/// What a call is handed beside its rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// the time, where granted
    pub now: Option<i64>,
    /// what the call before handed back
    pub state: Option<&'a [u8]>,
}

type Answer<T> = (std::result::Result<T, String>,);

struct Live {
    store: Store<Host>,
    instance: wasmtime::component::Instance,
    /// the function that every call is for, once it was looked up
    function: Option<Func>,
    contract: Contract,
}

/// A configured plugin that can be called. It belongs to one thread at a time.
pub struct Instance {
    engine: Engine,
    configured: Configured,
    contract: Contract,
    live: Option<Live>,
}

impl Instance {
    /// Makes the first instance: checks the settings, and learns what the plugin reads and makes.
    pub fn new(engine: &Engine, configured: Configured) -> Result<Instance> {
        let live = instantiate(engine, &configured).map_err(|fault| Error::invalid(fault.message))?;
        let contract = live.contract.clone();
        Ok(Instance { engine: engine.clone(), configured, contract, live: Some(live) })
    }

    /// What it reads and makes.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// What it is.
    pub fn configured(&self) -> &Configured {
        &self.configured
    }

    /// Calls a parser with the columns it reads. `time_max` may be less than the limit while a fault is looked for.
    pub fn parse(&mut self, rows: &RecordBatch, context: Context<'_>, time_max: Duration) -> Result<Parsed, Fault> {
        let answer: wit::Parsed = self.call(World::Parser, rows, context, time_max)?;
        let checked = check_parsed(answer, rows, &self.contract);
        checked.map_err(|message| self.malformed(message))
    }

    /// Calls a filter with the columns it reads.
    pub fn keep(&mut self, rows: &RecordBatch, context: Context<'_>, time_max: Duration) -> Result<Kept, Fault> {
        let answer: wit::Kept = self.call(World::Filter, rows, context, time_max)?;
        let errors = row_errors(answer.errors, rows.num_rows()).map_err(|message| self.malformed(message))?;
        if answer.keep.len() != rows.num_rows() {
            let message = format!("its mask has {} entries for {} rows", answer.keep.len(), rows.num_rows());
            return Err(self.malformed(message));
        }
        Ok(Kept { keep: read::bits(&answer.keep), errors, state: answer.state })
    }

    /// Calls an enricher with the columns it reads.
    pub fn enrich(&mut self, rows: &RecordBatch, context: Context<'_>, time_max: Duration) -> Result<Enriched, Fault> {
        let answer: wit::Enriched = self.call(World::Enricher, rows, context, time_max)?;
        let errors = row_errors(answer.errors, rows.num_rows()).map_err(|message| self.malformed(message))?;
        let columns = columns(answer.columns, rows.num_rows(), rows, &self.contract)
            .map_err(|message| self.malformed(message))?;
        Ok(Enriched { columns, errors, state: answer.state })
    }

    /// Asks an autoscaler.
    pub fn decide(&mut self, request: &Request) -> Result<Proposal, Fault> {
        let tables: Vec<Vec<Ready<'_>>> = request
            .signals
            .iter()
            .map(|signal| ready(&signal.table))
            .collect::<Result<_>>()
            .map_err(|error| malformed(error.to_string()))?;
        let lowered: Vec<Vec<wit::ColumnIn<'_>>> =
            tables.iter().map(|table| table.iter().map(Ready::lower).collect()).collect();
        let signals: Vec<SignalIn<'_>> = request
            .signals
            .iter()
            .zip(&lowered)
            .map(|(signal, columns)| SignalIn {
                name: &signal.name,
                freshness: freshness(signal.freshness),
                table: BatchIn { rows: signal.table.num_rows() as u32, columns },
                message: &signal.message,
                caught_up_at: signal.caught_up_at,
            })
            .collect();
        let members: Vec<wit::ReplicaIn<'_>> = request
            .members
            .iter()
            .map(|member| wit::ReplicaIn {
                name: &member.name,
                ready: member.ready,
                started_at: member.started_at,
                changed_at: member.changed_at,
            })
            .collect();
        let decisions: Vec<wit::DecisionIn<'_>> = request
            .decisions
            .iter()
            .map(|earlier| wit::DecisionIn {
                at: earlier.at,
                replicas: earlier.replicas,
                proposed: earlier.proposed,
                decided: earlier.decided,
                reason: &earlier.reason,
            })
            .collect();
        let advice: Vec<wit::AdviceIn<'_>> = request
            .advice
            .iter()
            .map(|advice| wit::AdviceIn { name: &advice.name, replicas: advice.replicas, reason: &advice.reason })
            .collect();
        let workload = WorkloadIn {
            name: &request.workload,
            replicas: request.replicas,
            ready: request.ready,
            min: request.min,
            max: request.max,
            members: &members,
        };
        let input = RequestIn {
            now: request.now,
            workload,
            signals: &signals,
            decisions: &decisions,
            advice: &advice,
            state: &request.state,
        };
        let time_max = self.configured.limits.time.0;
        let answer: wit::ProposalOut = self.invoke(World::Autoscaler, (input,), request.signals.len(), time_max)?;
        Ok(Proposal { replicas: answer.replicas, reason: answer.reason, state: answer.state })
    }

    /// Hands the columns over and waits for the answer.
    fn call<T: Lift + 'static>(
        &mut self,
        world: World,
        rows: &RecordBatch,
        context: Context<'_>,
        time_max: Duration,
    ) -> Result<T, Fault> {
        let ready = ready(rows).map_err(|error| malformed(error.to_string()))?;
        let columns: Vec<wit::ColumnIn<'_>> = ready.iter().map(Ready::lower).collect();
        let batch = BatchIn { rows: rows.num_rows() as u32, columns: &columns };
        let context = ContextIn { now: context.now, state: context.state };
        self.invoke(world, (batch, context), rows.num_rows(), time_max)
    }

    fn invoke<Input, T>(&mut self, world: World, input: Input, rows: usize, time_max: Duration) -> Result<T, Fault>
    where
        Input: ComponentNamedList + Lower,
        T: Lift + 'static,
    {
        let mut live = match self.live.take() {
            Some(live) => live,
            None => instantiate(&self.engine, &self.configured)?,
        };
        let function = match live.function {
            Some(function) => function,
            None => {
                let (interface, function) = world.export();
                *live.function.insert(export(&mut live.store, &live.instance, interface, function)?)
            }
        };
        let function =
            function.typed::<Input, Answer<T>>(&live.store).map_err(|error| malformed(first_line(&error)))?;
        let ticking = self.engine.ticking();
        begin(&mut live.store, time_max);
        let answer = function.call(&mut live.store, input);
        drop(ticking);
        let host = live.store.data();
        let (cpu, memory) = (cpu_time().saturating_sub(host.began), host.memory_bytes);
        let fault = answer.as_ref().err().map(|error| fault_of(error, &self.configured.limits, live.store.data()));
        self.configured.account.called(rows, cpu, memory, fault.is_some());
        match (answer, fault) {
            (Ok((Ok(answer),)), _) => {
                self.live = Some(live);
                Ok(answer)
            }
            (Ok((Err(message),)), _) => {
                self.live = Some(live);
                Err(Fault { kind: FaultKind::Refused, message })
            }
            (Err(_), Some(fault)) => Err(fault),
            (Err(error), None) => Err(malformed(first_line(&error))),
        }
    }

    /// A malformed answer costs the instance too: nobody knows what it would say next.
    fn malformed(&mut self, message: String) -> Fault {
        self.live = None;
        malformed(message)
    }
}

fn malformed(message: String) -> Fault {
    Fault { kind: FaultKind::Malformed, message: format!("its answer is malformed: {message}") }
}

/// What the plugin says of itself, without settings: name, version, about.
pub(super) fn describe(engine: &Engine, plugin: &Plugin) -> Result<(String, String, String)> {
    let configured = Configured {
        plugin: plugin.clone(),
        stage: plugin.name().into(),
        settings: String::new(),
        limits: Limits::default(),
        tables: Arc::default(),
        account: Arc::default(),
    };
    let mut store = store(engine, &configured);
    let instance = start(engine, &configured, &mut store).map_err(|fault| Error::invalid(fault.message))?;
    let function = function_of::<(), (wit::Descriptor,)>(&mut store, &instance, PLUGIN, "describe");
    let function = function.map_err(|fault| Error::invalid(fault.message))?;
    let ticking = engine.ticking();
    begin(&mut store, CONFIGURE_TIME_MAX);
    let (about,) = function.call(&mut store, ()).map_err(|error| Error::invalid(first_line(&error)))?;
    drop(ticking);
    Ok((about.name, about.version, about.about))
}

fn store(engine: &Engine, configured: &Configured) -> Store<Host> {
    let host = Host {
        stage: configured.stage.clone(),
        tables: configured.tables.clone(),
        memory_bytes_max: configured.limits.memory.as_usize(),
        table_elements_max: configured.limits.table_elements as usize,
        memory_bytes: 0,
        refused_growth: false,
        lines: 0,
        began: Duration::ZERO,
        time_max: CONFIGURE_TIME_MAX,
    };
    let mut store = Store::new(engine.wasmtime(), host);
    store.limiter(|host| host);
    store.set_hostcall_fuel(configured.limits.output.as_usize());
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| {
        let host = store.data();
        match cpu_time().saturating_sub(host.began) > host.time_max {
            true => Ok(UpdateDeadline::Interrupt),
            false => Ok(UpdateDeadline::Continue(1)),
        }
    });
    store
}

/// The clock of a call starts.
fn begin(store: &mut Store<Host>, time_max: Duration) {
    store.set_epoch_deadline(1);
    let host = store.data_mut();
    host.began = cpu_time();
    host.time_max = time_max;
    host.lines = 0;
    host.refused_growth = false;
}

fn start(
    engine: &Engine,
    configured: &Configured,
    store: &mut Store<Host>,
) -> Result<wasmtime::component::Instance, Fault> {
    let ticking = engine.ticking();
    begin(store, CONFIGURE_TIME_MAX);
    let instance = engine.linker().instantiate(&mut *store, configured.plugin.component());
    drop(ticking);
    configured.account.instantiated();
    instance.map_err(|error| fault_of(&error, &configured.limits, store.data()))
}

/// A fresh instance with its settings.
fn instantiate(engine: &Engine, configured: &Configured) -> Result<Live, Fault> {
    let mut store = store(engine, configured);
    let instance = start(engine, configured, &mut store)?;
    let function = function_of::<(String,), Answer<wit::ContractOut>>(&mut store, &instance, PLUGIN, "configure")?;
    let ticking = engine.ticking();
    begin(&mut store, CONFIGURE_TIME_MAX);
    let answer = function.call(&mut store, (configured.settings.clone(),));
    drop(ticking);
    match answer {
        Ok((Ok(contract),)) => {
            let contract = contract_of(contract).map_err(malformed)?;
            Ok(Live { store, instance, function: None, contract })
        }
        Ok((Err(message),)) => Err(Fault { kind: FaultKind::Refused, message }),
        Err(error) => Err(fault_of(&error, &configured.limits, store.data())),
    }
}

fn function_of<Input, Output>(
    store: &mut Store<Host>,
    instance: &wasmtime::component::Instance,
    interface: &str,
    function: &str,
) -> Result<TypedFunc<Input, Output>, Fault>
where
    Input: ComponentNamedList + Lower,
    Output: ComponentNamedList + Lift,
{
    let function = export(store, instance, interface, function)?;
    function.typed(&*store).map_err(|error| malformed(first_line(&error)))
}

fn export(
    store: &mut Store<Host>,
    instance: &wasmtime::component::Instance,
    interface: &str,
    function: &str,
) -> Result<Func, Fault> {
    let missing = || malformed(format!("it does not export `{interface}#{function}`"));
    let outer = instance.get_export_index(&mut *store, None, interface).ok_or_else(missing)?;
    let inner = instance.get_export_index(&mut *store, Some(&outer), function).ok_or_else(missing)?;
    instance.get_func(&mut *store, inner).ok_or_else(missing)
}

/// What a failed call means, in words.
fn fault_of(error: &wasmtime::Error, limits: &Limits, host: &Host) -> Fault {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        let message = format!("it used more than {}ms of processor time", host.time_max.as_millis());
        return Fault { kind: FaultKind::Time, message };
    }
    if host.refused_growth {
        let message = format!(
            "it needed more than {} of memory (or its tables' {} entries)",
            limits.memory, limits.table_elements
        );
        return Fault { kind: FaultKind::Memory, message };
    }
    match trap {
        Some(Trap::StackOverflow) => {
            Fault { kind: FaultKind::Trap, message: "it trapped: the stack overflowed".into() }
        }
        Some(Trap::UnreachableCodeReached) => {
            Fault { kind: FaultKind::Trap, message: "it trapped: it panicked or aborted".into() }
        }
        // The stack of compiled Rust and C lies at the start of the memory, and an overflow of it looks like this.
        Some(Trap::MemoryOutOfBounds) => {
            let message =
                "it trapped: an access outside of its memory (is its stack too small for what it does?)".into();
            Fault { kind: FaultKind::Trap, message }
        }
        Some(trap) => Fault { kind: FaultKind::Trap, message: format!("it trapped: {trap}") },
        None => malformed(format!("{:#}", error).lines().last().unwrap_or_default().to_owned()),
    }
}

fn contract_of(contract: wit::ContractOut) -> Result<Contract, String> {
    let writes = contract.writes.into_iter().map(|field| {
        let r#type = match field.data_type {
            wit::DataType::Boolean => Type::Boolean,
            wit::DataType::Int64 => Type::Int64,
            wit::DataType::Float64 => Type::Float64,
            wit::DataType::Timestamp => Type::Timestamp,
            wit::DataType::Utf8 => Type::Utf8,
            wit::DataType::Binary => Type::Binary,
        };
        match field.name.is_empty() {
            true => Err("a column it makes has no name".to_owned()),
            false => Ok((field.name, r#type)),
        }
    });
    Ok(Contract {
        reads: contract.reads,
        writes: writes.collect::<Result<_, _>>()?,
        open_schema: contract.open_schema,
        keeps_state: contract.keeps_state,
        produces: match contract.produces {
            wit::EventKind::Logs => Kind::Logs,
            wit::EventKind::Metrics => Kind::Metrics,
        },
    })
}

fn ready(rows: &RecordBatch) -> Result<Vec<Ready<'_>>> {
    let schema = rows.schema_ref();
    let named = schema.fields().iter().zip(rows.columns());
    named.map(|(field, column)| Ready::new(Cow::Borrowed(field.name()), column)).collect()
}

fn freshness(freshness: Freshness) -> wit::FreshnessIn {
    match freshness {
        Freshness::Fresh => wit::FreshnessIn::Fresh,
        Freshness::Stale => wit::FreshnessIn::Stale,
        Freshness::Missing => wit::FreshnessIn::Missing,
        Freshness::Failed => wit::FreshnessIn::Failed,
    }
}

/// Each row at most once, none beyond the batch.
fn row_errors(errors: Vec<wit::RowErrorOut>, rows: usize) -> Result<Vec<RowError>, String> {
    let mut seen = vec![false; rows];
    let mut checked = Vec::with_capacity(errors.len());
    for error in errors {
        let row = error.row as usize;
        match seen.get_mut(row) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => continue,
            None => return Err(format!("it names row {row} of a batch of {rows}")),
        }
        checked.push(RowError { row, message: error.message });
    }
    checked.sort_by_key(|error| error.row);
    Ok(checked)
}

/// The columns an answer may hold: declared, or any where the schema is open; each name once, each of the type declared.
fn columns(
    answer: Vec<wit::Column>,
    rows: usize,
    input: &RecordBatch,
    contract: &Contract,
) -> Result<Vec<(String, ArrayRef)>, String> {
    let mut checked: Vec<(String, ArrayRef)> = Vec::with_capacity(answer.len());
    for column in answer {
        let declared = contract.writes.iter().find(|(name, _)| *name == column.name);
        let found = read::type_of(&column.values);
        match declared {
            Some((name, r#type)) if *r#type != found => {
                return Err(format!("column `{name}` is {}, and its contract says {}", found.word(), r#type.word()));
            }
            None if !contract.open_schema => {
                return Err(format!("column `{}` is not in its contract", column.name));
            }
            Some(_) | None => (),
        }
        if checked.iter().any(|(name, _)| *name == column.name) {
            return Err(format!("column `{}` comes twice", column.name));
        }
        checked.push(read::column(column, rows, input)?);
    }
    Ok(checked)
}

fn check_parsed(answer: wit::Parsed, input: &RecordBatch, contract: &Contract) -> Result<Parsed, String> {
    let rows = input.num_rows();
    let errors = row_errors(answer.errors, rows)?;
    let out = answer.rows as usize;
    match &answer.origin {
        Some(origin) if origin.len() != out => {
            return Err(format!("it says where {} rows came from, and has {out}", origin.len()));
        }
        Some(origin) => {
            if let Some(past) = origin.iter().find(|row| **row as usize >= rows) {
                return Err(format!("a row came from row {past} of a batch of {rows}"));
            }
        }
        None if out != rows - errors.len() => {
            return Err(format!("{rows} rows went in, {} of them are errors, and {out} came out", errors.len()));
        }
        None => (),
    }
    let columns = columns(answer.columns, out, input, contract)?;
    Ok(Parsed { rows: out, columns, origin: answer.origin, errors, state: answer.state })
}
