//! a configured plugin at work: one call at a time, within its limits
//!
//!     columns ─ only what it reads ─► call ─ checked ─► columns
//!                                      │
//!                                      └─ trap, limit, malformed ─► Fault; the instance is thrown away, the next call makes a new one
//!
//! **Always:** a fault says what happened and nothing of the batch is lost: the caller still has it.

use super::answer::{self, Flaw, Weight};
pub use super::answer::{Contract, Enriched, Kept, Parsed, RowError};
use super::boundary::{self as wit, BatchIn, ContextIn, RequestIn, SignalIn, WorkloadIn};
use super::engine::first_line;
pub use super::fault::{Fault, FaultKind};
use super::host::Host;
pub use super::host::cpu_time;
use super::lookup::Lookup;
use super::write::Ready;
use super::{Account, Engine, Freshness, Limits, Plugin, Proposal, Request, World};
use crate::error::{Error, Result};
use arrow::array::RecordBatch;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::{ComponentNamedList, Func, Lift, Lower, TypedFunc};
use wasmtime::{Store, UpdateDeadline};

/// The plugin's own interface, which every world exports.
const PLUGIN: &str = "tidemill:plugin/plugin@0.1.0";

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
    /// it is not kept once its memory has grown beyond this
    memory_kept: usize,
}

/// What a call is handed, for the account.
#[derive(Clone, Copy)]
struct Handed {
    rows: usize,
    bytes: usize,
}

/// A configured plugin that can be called. It belongs to one thread at a time.
pub struct Instance {
    engine: Engine,
    configured: Configured,
    contract: Contract,
    live: Option<Live>,
    /// processor time inside calls
    spent: Duration,
}

impl Instance {
    /// Makes the first instance: checks the settings, and learns what the plugin reads and makes.
    pub fn new(engine: &Engine, configured: Configured) -> Result<Instance> {
        let live = instantiate(engine, &configured).map_err(|fault| Error::invalid(fault.message))?;
        let contract = live.contract.clone();
        Ok(Instance { engine: engine.clone(), configured, contract, live: Some(live), spent: Duration::ZERO })
    }

    /// Processor time that its calls have taken so far.
    pub fn spent(&self) -> Duration {
        self.spent
    }

    /// Another one by the same engine.
    pub fn with(&self, configured: Configured) -> Result<Instance> {
        Instance::new(&self.engine, configured)
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
        let found: wit::Parsed = self.call(World::Parser, rows, context, time_max)?;
        let checked = answer::parsed(found, rows, &self.contract, &self.configured.limits);
        checked.map_err(|flaw| self.disbelieve(flaw))
    }

    /// Calls a filter with the columns it reads.
    pub fn keep(&mut self, rows: &RecordBatch, context: Context<'_>, time_max: Duration) -> Result<Kept, Fault> {
        let found: wit::Kept = self.call(World::Filter, rows, context, time_max)?;
        let checked = answer::kept(found, rows.num_rows(), &self.configured.limits);
        checked.map_err(|flaw| self.disbelieve(flaw))
    }

    /// Calls an enricher with the columns it reads.
    pub fn enrich(&mut self, rows: &RecordBatch, context: Context<'_>, time_max: Duration) -> Result<Enriched, Fault> {
        let found: wit::Enriched = self.call(World::Enricher, rows, context, time_max)?;
        let checked = answer::enriched(found, rows, &self.contract, &self.configured.limits);
        checked.map_err(|flaw| self.disbelieve(flaw))
    }

    /// Asks an autoscaler.
    pub fn decide(&mut self, request: &Request) -> Result<Proposal, Fault> {
        let tables: Vec<Vec<Ready<'_>>> = request
            .signals
            .iter()
            .map(|signal| ready(&signal.table))
            .collect::<Result<_>>()
            .map_err(Fault::malformed)?;
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
        let bytes = tables.iter().flatten().map(Ready::bytes).sum();
        let handed = Handed { rows: request.signals.len(), bytes };
        let found: wit::ProposalOut = self.invoke(World::Autoscaler, (input,), handed, time_max)?;
        answer::proposal(found, &self.configured.limits).map_err(|flaw| self.disbelieve(flaw))
    }

    /// Hands the columns over and waits for the answer.
    fn call<T: Lift + Weight + 'static>(
        &mut self,
        world: World,
        rows: &RecordBatch,
        context: Context<'_>,
        time_max: Duration,
    ) -> Result<T, Fault> {
        let ready = ready(rows).map_err(Fault::malformed)?;
        let columns: Vec<wit::ColumnIn<'_>> = ready.iter().map(Ready::lower).collect();
        let batch = BatchIn { rows: rows.num_rows() as u32, columns: &columns };
        let handed = Handed { rows: rows.num_rows(), bytes: ready.iter().map(Ready::bytes).sum() };
        let context = ContextIn { now: context.now, state: context.state };
        self.invoke(world, (batch, context), handed, time_max)
    }

    fn invoke<Input, T>(&mut self, world: World, input: Input, handed: Handed, time_max: Duration) -> Result<T, Fault>
    where
        Input: ComponentNamedList + Lower,
        T: Lift + Weight + 'static,
    {
        let answered = self.attempt(world, input, handed, time_max);
        if let Err(fault) = &answered {
            self.configured.account.failed(fault.kind);
        }
        answered
    }

    fn attempt<Input, T>(&mut self, world: World, input: Input, handed: Handed, time_max: Duration) -> Result<T, Fault>
    where
        Input: ComponentNamedList + Lower,
        T: Lift + Weight + 'static,
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
        let typed = function.typed::<Input, Answer<T>>(&live.store);
        let function = typed.map_err(|error| Fault::malformed(first_line(&error)))?;
        let ticking = self.engine.ticking();
        begin(&mut live.store, time_max);
        let answered = function.call(&mut live.store, input);
        drop(ticking);
        let host = live.store.data();
        let cpu = cpu_time().saturating_sub(host.began);
        self.spent += cpu;
        let account = self.configured.account.clone();
        account.called(handed.rows, handed.bytes, cpu, host.memory_bytes);
        let answer = match answered {
            Ok((answer,)) => answer,
            // It trapped, or we gave up on it in the middle: what its memory holds now is anybody's guess.
            Err(error) => return Err(Fault::of(&error, host)),
        };
        match host.memory_bytes > live.memory_kept {
            true => account.recycled(),
            false => self.live = Some(live),
        }
        match answer {
            Ok(answer) => {
                account.answered(answer.bytes());
                Ok(answer)
            }
            Err(message) => Err(Fault::new(FaultKind::Refused, answer::cut(message))),
        }
    }

    /// A malformed answer costs the instance too: nobody knows what it would say next.
    fn disbelieve(&mut self, flaw: Flaw) -> Fault {
        self.live = None;
        let fault = Fault::from(flaw);
        self.configured.account.failed(fault.kind);
        fault
    }
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
    begin(&mut store, configured.limits.start_time.0);
    let (about,) = function.call(&mut store, ()).map_err(|error| Error::invalid(first_line(&error)))?;
    drop(ticking);
    Ok((about.name, about.version, about.about))
}

fn store(engine: &Engine, configured: &Configured) -> Store<Host> {
    let host = Host::new(configured.stage.clone(), configured.tables.clone(), configured.limits);
    let mut store = Store::new(engine.wasmtime(), host);
    store.limiter(|host| host);
    store.set_hostcall_fuel(configured.limits.output.as_usize());
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|store| match store.data().is_late() {
        true => Ok(UpdateDeadline::Interrupt),
        false => Ok(UpdateDeadline::Continue(1)),
    });
    store
}

/// The clock of a call starts.
fn begin(store: &mut Store<Host>, time_max: Duration) {
    store.set_epoch_deadline(1);
    store.data_mut().begin(time_max);
}

fn start(
    engine: &Engine,
    configured: &Configured,
    store: &mut Store<Host>,
) -> Result<wasmtime::component::Instance, Fault> {
    let ticking = engine.ticking();
    begin(store, configured.limits.start_time.0);
    let instance = engine.linker().instantiate(&mut *store, configured.plugin.component());
    drop(ticking);
    instance.map_err(|error| started_badly(&error, store.data()))
}

/// A fresh instance with its settings. What that costs is on its account, too.
fn instantiate(engine: &Engine, configured: &Configured) -> Result<Live, Fault> {
    let began = cpu_time();
    let mut store = store(engine, configured);
    let made = start(engine, configured, &mut store).and_then(|instance| {
        let contract = configure(engine, configured, &mut store, &instance)?;
        Ok((instance, contract))
    });
    let memory = store.data().memory_bytes;
    configured.account.instantiated(cpu_time().saturating_sub(began), memory);
    let (instance, contract) = made?;
    let memory_kept = configured.limits.memory_kept(memory);
    Ok(Live { store, instance, function: None, contract, memory_kept })
}

fn configure(
    engine: &Engine,
    configured: &Configured,
    store: &mut Store<Host>,
    instance: &wasmtime::component::Instance,
) -> Result<Contract, Fault> {
    let function = function_of::<(String,), Answer<wit::ContractOut>>(store, instance, PLUGIN, "configure")?;
    let ticking = engine.ticking();
    begin(store, configured.limits.start_time.0);
    let answer = function.call(&mut *store, (configured.settings.clone(),));
    drop(ticking);
    match answer {
        Ok((Ok(contract),)) => Ok(answer::contract(contract, configured.plugin.world())?),
        Ok((Err(message),)) => Err(Fault::new(FaultKind::Refused, answer::cut(message))),
        Err(error) => Err(started_badly(&error, store.data())),
    }
}

/// As any fault, except that there was no answer yet which could be malformed.
fn started_badly(error: &wasmtime::Error, host: &Host) -> Fault {
    let fault = Fault::of(error, host);
    match fault.kind {
        FaultKind::Malformed => Fault::new(FaultKind::Malformed, format!("it does not start: {}", first_line(error))),
        FaultKind::Time => {
            let given = host.time_max.as_millis();
            Fault { message: format!("it used more than {given}ms of processor time to start"), ..fault }
        }
        FaultKind::Trap | FaultKind::Memory | FaultKind::Output | FaultKind::HostCalls | FaultKind::Refused => fault,
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
    function.typed(&*store).map_err(|error| Fault::malformed(first_line(&error)))
}

fn export(
    store: &mut Store<Host>,
    instance: &wasmtime::component::Instance,
    interface: &str,
    function: &str,
) -> Result<Func, Fault> {
    let missing = || Fault::malformed(format!("it does not export `{interface}#{function}`"));
    let outer = instance.get_export_index(&mut *store, None, interface).ok_or_else(missing)?;
    let inner = instance.get_export_index(&mut *store, Some(&outer), function).ok_or_else(missing)?;
    instance.get_func(&mut *store, inner).ok_or_else(missing)
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
