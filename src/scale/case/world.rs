//! what a case puts in the place of queries, workload, disk and clock

use super::super::actuator::{Actuator, Outcome, Status};
use super::super::backtest::plant::Plant;
use super::super::backtest::signals::Signals;
use super::super::backtest::{Form, Setup, Trace, Variable};
use super::super::deciders::{Decide, Decider, Deciders};
use super::super::evidence::{Ask, Fresh};
use super::super::policy::{Decision, History, Order};
use super::super::scaler::{Ledger, Parts, Scaler};
use super::super::{Adviser, Command};
use super::super::{Config, Memory};
use super::written::Step;
use super::{Came, Case, came};
use crate::case;
use crate::clock::{Clock, nanos};
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::event::{Position, TableName};
use crate::plugin::{Account, Configured, Instance, Library, Limits, Plugin, Proposal, Request, World as Made};
use arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use toml::{Table, Value};

/// A step of the plant, in ns, unless ticks are shorter.
const STEP: i64 = 1_000_000_000;
/// Signals that show the load are means of this while, in ns.
const WINDOW: i64 = 30_000_000_000;
/// The signal that shows the past: buckets of this length, so far back, in ns.
const BUCKET: i64 = 15 * 60 * 1_000_000_000;
const MEMORY: i64 = 8 * 24 * 3600 * 1_000_000_000;

/// How the tables are called that stand for the sources of signals; a number follows.
const TABLE: &str = "signal_";

/// What the made-up parts share.
#[derive(Default)]
struct State {
    /// the tick's time, ns UTC
    now: i64,
    /// the signals, in the order of the tables that stand for their sources
    names: Vec<String>,
    /// what each signal says
    shown: BTreeMap<String, Shown>,
    plant: Option<Plant>,
    /// replicas that were asked for
    asked: u32,
    /// since the first tick, ns: it goes on evenly, whatever the clock does
    passed: i64,
    plugin_fails: String,
    actuator_fails: String,
    memory: Option<Position>,
}

/// What a signal says.
#[derive(Clone)]
enum Shown {
    Rows { rows: RecordBatch, stale: Option<String> },
    Fails(String),
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

/// A scaler in a world that is made up.
pub(super) struct World<'a> {
    config: Config,
    every: i64,
    /// the plugins, ready to be put to work again after a restart
    plugins: Plugins<'a>,
    shared: Shared,
    clock: Clock,
    scaler: Scaler,
    /// requests a second; nobody knows before a step says
    load: Option<f64>,
    signals: Signals,
}

/// Opens a scaler's plugins.
struct Plugins<'a> {
    library: &'a Library,
    folder: &'a Path,
}

impl<'a> World<'a> {
    /// As it is before the first step.
    pub async fn new(case: &Case, config: &Config, library: &'a Library, folder: &'a Path) -> Result<World<'a>> {
        case.check(config)?;
        let mut config = config.clone();
        // Whoever answers knows a signal by its name.
        config.signals = config.signals.keys().map(|name| (name.clone(), name.clone())).collect();
        let every = nanos(config.every.0);
        let shared = Shared::default();
        let running = case.replicas.unwrap_or(0);
        {
            let mut state = shared.lock();
            state.plant = Some(Plant::new(case.model, running));
            state.asked = running;
            state.names = config.signals.keys().cloned().collect();
        }
        let last = case.replicas.map(|decided| Memory {
            decided,
            history: History::begin(case.now, decided),
            ..Memory::default()
        });
        let goes_on = last.is_some();
        let plugins = Plugins { library, folder };
        let clock = Clock::held(if goes_on { case.now - every } else { case.now });
        let signals = signals(case, &config, every)?;
        let scaler = begin(&config, &plugins, &shared, &clock, last)?;
        let mut world = World { config, every, plugins, shared, clock, scaler, load: None, signals };
        if goes_on {
            // The first tick of a life only takes up the number that was decided last.
            world.tick().await?;
            world.clock.jump(every);
        }
        Ok(world)
    }

    /// What a step says.
    pub async fn change(&mut self, step: &Step) -> Result<()> {
        self.load = step.load.or(self.load);
        for (name, value) in &step.signals {
            let shown = Shown::read(value).map_err(|error| error.within(format!("signals.{name}")))?;
            self.shared.lock().shown.insert(name.clone(), shown);
        }
        {
            let mut state = self.shared.lock();
            if let (Some(start), Some(plant)) = (step.start, state.plant.as_mut()) {
                plant.start_takes(start.0.as_secs_f64());
            }
            if let Some(message) = &step.plugin_fails {
                state.plugin_fails.clone_from(message);
            }
            if let Some(message) = &step.actuator_fails {
                state.actuator_fails.clone_from(message);
            }
        }
        if let Some(jump) = step.clock {
            self.clock.jump(jump);
        }
        if step.restart {
            let written = self.shared.lock().memory.clone();
            let last = written.map(|position| Memory::read(&position.value)).transpose()?;
            self.scaler = begin(&self.config, &self.plugins, &self.shared, &self.clock, last)?;
        }
        if let Some(order) = &step.order {
            let until = self.clock.now().saturating_add(nanos(order.r#for.0));
            let order = Order { replicas: order.replicas, until, why: order.why.clone() };
            self.scaler.obey(Command::Order(order)).await?;
        }
        if step.release {
            self.scaler.obey(Command::Release).await?;
        }
        Ok(())
    }

    /// Replicas that are asked for.
    pub fn replicas(&self) -> u32 {
        self.shared.lock().asked
    }

    /// One turn of the loop, with what came of it done.
    pub async fn tick(&mut self) -> Result<Decision> {
        self.shared.lock().now = self.clock.now();
        if !self.signals.is_empty() {
            let state = &mut *self.shared.lock();
            if let Some(plant) = &state.plant {
                for signal in self.signals.at(self.clock.now(), self.load, plant)? {
                    let stale = None;
                    state.shown.insert(signal.name, Shown::Rows { rows: signal.table, stale });
                }
            }
        }
        let decision = self.scaler.tick().await;
        self.scaler.settle().await;
        decision.ok_or_else(|| Error::internal("a made-up disk did not take a decision"))
    }

    /// What came of the tick.
    pub fn came(&self, decision: &Decision) -> Came {
        came(decision, self.shared.lock().plant.as_ref().map_or(0, Plant::ready))
    }

    /// Lets time go by until the next tick.
    pub fn pass(&mut self) {
        let until = self.shared.lock().passed + self.every;
        let state = &mut *self.shared.lock();
        while state.passed < until {
            let length = STEP.min(until - state.passed);
            let seconds = length as f64 / 1e9;
            if let Some(plant) = &mut state.plant {
                // Replicas that are ready by the end of the step are ready in the tick there.
                let done = plant.step(state.passed + length, self.load.unwrap_or_default(), seconds);
                self.signals.note(&done, seconds, self.load.is_some());
            }
            state.passed += length;
        }
        self.clock.advance(Duration::from_nanos(u64::try_from(self.every).unwrap_or(0)));
    }
}

/// A life of the scaler.
fn begin(
    config: &Config,
    plugins: &Plugins<'_>,
    shared: &Shared,
    clock: &Clock,
    last: Option<Memory>,
) -> Result<Scaler> {
    let parts = Parts {
        ask: Arc::new(shared.clone()),
        fresh: Arc::new(shared.clone()),
        deciders: plugins.deciders(config, shared)?,
        record: Arc::new(shared.clone()),
        actuator: Arc::new(shared.clone()),
        clock: clock.clone(),
    };
    let tables = config.signals.keys().enumerate().map(|(at, name)| Ok((name.clone(), vec![table(at)?])));
    Ok(Scaler::new("case", config, &tables.collect::<Result<_>>()?, last, parts).0)
}

/// The table that stands for a signal's sources.
fn table(signal: usize) -> Result<TableName> {
    TableName::user(&format!("{TABLE}{signal}"))
}

/// What signals show of the load.
fn signals(case: &Case, config: &Config, every: i64) -> Result<Signals> {
    let loaded = case.steps.iter().any(|step| step.load.is_some());
    let told = |name: &str| case.steps.iter().any(|step| step.signals.contains_key(name));
    let variable = |name: &String| {
        let variable = case.shows.get(name).copied().or_else(|| Variable::of(name).filter(|_| !told(name)))?;
        loaded.then(|| (name.clone(), variable))
    };
    let until = case.now + case.steps.last().map_or(0, |step| step.at) + every;
    let setup = Setup {
        workload: config.workload.clone(),
        policy: config.policy(),
        every,
        from: case.now,
        warm_up: 0,
        until,
        initial: None,
        model: case.model,
        signals: config.signals.keys().filter_map(variable).collect(),
        window: WINDOW,
        bucket: BUCKET,
        memory: MEMORY,
    };
    let length = every.max(STEP);
    let mut load = 0.0;
    let mut steps = case.steps.iter().peekable();
    let mut rows = Vec::new();
    let mut at = case.now;
    while at < until + length {
        while let Some(step) = steps.next_if(|step| case.now + step.at <= at) {
            load = step.load.unwrap_or(load);
        }
        rows.push((at, load));
        at += length;
    }
    let trace = Trace::of(rows, &Form { rates: true, ..Form::default() })?;
    Ok(Signals::new(&setup, &trace, every.min(STEP)))
}

impl Plugins<'_> {
    fn deciders(&self, config: &Config, shared: &Shared) -> Result<Deciders> {
        let live = self.decider(&config.plugin, config.limits, &config.settings, shared)?;
        let beside =
            |adviser: &Adviser| self.decider(&adviser.plugin, adviser.limits, &adviser.settings, &Shared::default());
        let advisers = config.advisers.iter().map(|(name, adviser)| Ok((name.clone(), beside(adviser)?)));
        Ok(Deciders {
            live,
            advisers: advisers.collect::<Result<_>>()?,
            shadow: config.shadow.as_ref().map(beside).transpose()?,
        })
    }

    fn decider(
        &self,
        name: &str,
        limits: Limits,
        settings: &serde_json::Map<String, serde_json::Value>,
        shared: &Shared,
    ) -> Result<Decider> {
        let plugin: Plugin = self.library.open(name, self.folder)?;
        if plugin.world() != Made::Autoscaler {
            return Err(Error::invalid(format!("`{name}` is no autoscaler plugin")));
        }
        let settings = serde_json::Value::Object(settings.clone()).to_string();
        let configured = Configured {
            stage: "case".into(),
            plugin: plugin.clone(),
            settings: settings.clone(),
            limits,
            tables: Arc::default(),
            account: Arc::new(Account::default()),
        };
        let instance = Instance::new(self.library.engine(), configured)
            .map_err(|error| error.within(format!("plugin `{}`", plugin.name())))?;
        let decide = Asked { instance, hash: plugin.sha256().to_owned(), shared: shared.clone() };
        Ok(Decider { plugin: name.to_owned(), settings, decide: Box::new(decide) })
    }
}

/// A plugin at work, asked on this thread; it fails where the case says so.
struct Asked {
    instance: Instance,
    hash: String,
    shared: Shared,
}

impl Decide for Asked {
    fn decide(&mut self, request: Request) -> BoxFuture<'_, Result<Proposal>> {
        let fails = self.shared.lock().plugin_fails.clone();
        let answer = match fails.is_empty() {
            true => self.instance.decide(&request).map_err(|fault| Error::new(ErrorKind::Foreign, fault.message)),
            false => Err(Error::new(ErrorKind::Foreign, fails)),
        };
        Box::pin(async move { answer })
    }

    fn plugin_hash(&self) -> &str {
        &self.hash
    }

    fn reads_time(&self) -> bool {
        self.instance.contract().reads_time
    }
}

const SHOWN: &[&str] = &["value", "stale", "rows", "missing", "null", "failed"];

impl Shown {
    /// `1.0`, `"text"`, `{ stale = 1 }`, `{ missing = true }`, `{ null = true }`, `{ failed = "why" }` or `{ rows = [{..}] }`.
    fn read(value: &Value) -> Result<Shown> {
        let rows = |rows: RecordBatch, stale: Option<&str>| Shown::Rows { rows, stale: stale.map(str::to_owned) };
        let one = |value: &Value| case::table(&[&Table::from_iter([("value".to_owned(), value.clone())])]);
        let Value::Table(said) = value else { return Ok(rows(one(value)?, None)) };
        let hint = || Error::invalid(format!("write a value, or one of {} in a table", SHOWN.join(", ")));
        let mut each = said.iter();
        let (Some((key, value)), None) = (each.next(), each.next()) else { return Err(hint()) };
        Ok(match (key.as_str(), value) {
            ("value", value) => rows(one(value)?, None),
            ("stale", value) => rows(one(value)?, Some("a source behind it has not been read to its end")),
            ("missing", Value::Boolean(true)) => rows(case::table(&[])?, None),
            ("null", Value::Boolean(true)) => {
                let column: arrow::array::ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![None]));
                rows(RecordBatch::try_from_iter_with_nullable([("value", column, true)])?, None)
            }
            ("failed", Value::String(why)) => Shown::Fails(why.clone()),
            ("rows", Value::Array(list)) => {
                let list: Option<Vec<&Table>> = list.iter().map(Value::as_table).collect();
                rows(case::table(&list.ok_or_else(|| Error::invalid("`rows` is a list of tables"))?)?, None)
            }
            (other, _) if SHOWN.contains(&other) => return Err(hint()),
            (other, _) => {
                let near = did_you_mean(other, SHOWN.iter().copied());
                return Err(hint().within(format!("unknown key `{other}`{near}")));
            }
        })
    }
}

impl State {
    /// What the signal says that these tables stand for.
    fn of(&self, tables: &[TableName]) -> Option<&Shown> {
        let at = tables.first()?.as_str().strip_prefix(TABLE)?.parse::<usize>().ok()?;
        self.shown.get(self.names.get(at)?)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ask for Shared {
    fn ask<'a>(&'a self, signal: &'a str) -> BoxFuture<'a, Result<RecordBatch>> {
        let answer = match self.lock().shown.get(signal) {
            Some(Shown::Rows { rows, .. }) => Ok(rows.clone()),
            Some(Shown::Fails(why)) => Err(Error::new(ErrorKind::Unavailable, why.clone())),
            None => case::table(&[]),
        };
        Box::pin(async move { answer })
    }
}

impl Fresh for Shared {
    fn stale(&self, tables: &[TableName], _: i64) -> Option<String> {
        let state = self.lock();
        match state.of(tables) {
            Some(Shown::Rows { stale, .. }) => stale.clone(),
            Some(Shown::Fails(_)) | None => None,
        }
    }

    fn caught_up_at(&self, tables: &[TableName]) -> Option<i64> {
        let state = self.lock();
        match state.of(tables) {
            Some(Shown::Rows { stale: None, .. }) => Some(state.now),
            Some(_) | None => None,
        }
    }
}

impl Ledger for Shared {
    fn record(&self, _: RecordBatch, memory: Option<Position>) -> BoxFuture<'_, Result<()>> {
        let mut state = self.lock();
        state.memory = memory.or(state.memory.take());
        Box::pin(async { Ok(()) })
    }
}

impl Actuator for Shared {
    fn apply(&self, replicas: u32) -> BoxFuture<'_, Result<Outcome>> {
        let state = &mut *self.lock();
        let done = match state.actuator_fails.is_empty() {
            false => Err(Error::new(ErrorKind::Unavailable, state.actuator_fails.clone())),
            true => {
                state.asked = replicas;
                if let Some(plant) = &mut state.plant {
                    plant.scale(replicas, state.passed);
                }
                Ok(Outcome { reached: true, words: format!("{replicas} run") })
            }
        };
        Box::pin(async move { done })
    }

    fn status(&self) -> Status {
        let state = self.lock();
        let ready = state.plant.as_ref().map_or(0, Plant::ready);
        Status { asked: state.asked, running: state.asked, ready, ..Status::default() }
    }

    fn targets(&self) -> Vec<String> {
        Vec::new()
    }

    fn dry_run(&self) -> bool {
        false
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
