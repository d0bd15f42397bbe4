//! builds every part from the config, runs them, drains
//!
//!     check ─► open the store ─► lanes, sources ─► workloads, scalers ─► server
//!     stop:    scalers ─► server, workloads ─► sources ─► lanes ─► store
//!
//! **Always:** what stops first is what makes work for others, so that nothing which was taken in is left half-way.

mod adapters;
mod advisers;
mod capture;
mod check;
mod figures;
mod freshness;
mod ledger;
mod plugins;
mod replay;
mod replay_table;
mod reload;
mod sources;
mod spans;
mod swaps;
mod system;

pub use adapters::ask;
pub use check::{Checked, CheckedPlugin, check};
pub use reload::Variables;
pub use system::schemas as system_schemas;

use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::event::TableName;
use crate::net::{Access, Client, Listen, Listener};
use crate::plugin::{Compiler, Engine, Library};
use crate::query;
use crate::scale::actuator::{Actuator, Ground};
use crate::scale::standing::Board;
use crate::scale::{Desk, Memory, Scaler};
use crate::server;
use crate::source::processes::Running;
use crate::store::{self, Store, TableOptions};
use crate::telemetry;
use adapters::{AdminDoor, Asker, HealthDoor, Recorder, ScaleDoor, Tailer};
use capture::Captor;
use freshness::Watch;
use ledger::Ledger;
use reload::{Reload, Slots};
use replay::Replayer;
use sources::Sources;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use swaps::Swaps;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long requests that are under way may take at the end.
const SERVER_DRAIN: Duration = Duration::from_secs(3);
/// How long queries that are under way may take at the end; then they end with an error, so that nothing waits for them.
const QUERIES_DRAIN: Duration = Duration::from_millis(500);
/// How long sources may take to finish what they began.
const SOURCES_DRAIN: Duration = Duration::from_secs(3);
/// Rows of a signal's answer that a decider sees.
const SIGNAL_ROWS_MAX: u64 = 1000;

/// What the build script built.
mod bundled {
    include!(concat!(env!("OUT_DIR"), "/bundled.rs"));
}

/// What the command line adds to the config.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// the data directory, instead of the config's
    pub data: Option<PathBuf>,
    /// the address, instead of the config's
    pub listen: Option<String>,
    /// end when every file is read to its end
    pub once: bool,
    /// the files that were read, to be read again when they change
    pub files: Vec<PathBuf>,
    /// what fills in their `${NAME}`; without it only plugins and lookup tables are looked at again
    pub variables: Option<Variables>,
    /// what is logged on standard error
    pub log_level: String,
    /// as JSON
    pub log_json: bool,
}

/// A Tidemill that runs.
pub struct App {
    address: SocketAddr,
    url: String,
    data: PathBuf,
    store: Store,
    engine: query::Engine,
    sources: Sources,
    workloads: BTreeMap<String, Arc<dyn Actuator>>,
    notes: Vec<String>,
    scalers: Phase,
    server: Phase,
    ledger: Ledger,
    swaps: Swaps,
    reload: Arc<Reload>,
    reloading: Phase,
    keeping: Phase,
    draining: Arc<AtomicBool>,
}

/// Tasks that stop together.
struct Phase {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// The folder in which compiled plugins are kept.
pub fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("tidemill").join("plugins"))
}

/// The bundled plugins and whatever files are named, compiled in this process: for tests and benches, which are other programs.
pub fn library(cache: Option<&Path>) -> Result<Library> {
    library_compiled_by(Compiler::Here, cache)
}

/// The bundled plugins and whatever files are named, run by one engine.
pub fn library_compiled_by(compiler: Compiler, cache: Option<&Path>) -> Result<Library> {
    Ok(Library::new(Engine::new(compiler, cache)?, bundled::BUNDLED))
}

impl App {
    /// Starts everything; when it returns, the server answers.
    pub async fn start(checked: Checked, library: Library, options: Options) -> Result<App> {
        let clock = Clock::system();
        let telemetry =
            telemetry::start(&telemetry::Options { level: options.log_level, json: options.log_json }, clock.clone())?;
        let mut listen = checked.config.server.clone();
        if let Some(address) = options.listen {
            listen.address = address;
        }
        let access = listen.open()?;
        let data = options.data.unwrap_or_else(|| checked.config.store.path.clone());
        // The address first: a second start of the same pipeline should say so before it touches the data.
        let listener = Listener::bind(&access).await?;
        let address = listener.address();
        let url = format!("{}://{address}", if access.tls.is_some() { "https" } else { "http" });
        let followers = Followers::bind(&checked.config).await?;
        let store = open_store(&data, &checked, clock.clone()).await?;
        let running = Running::default();
        let workloads = open_workloads(&checked.config, &clock, &running).await?;
        let library = Arc::new(library);
        let client = Client::new(None)?;
        let once = options.once;
        let swaps = Swaps::default();
        let slots = Slots::new(&checked, &swaps.teller());
        let ledger = Ledger::new(&checked, &slots, &clock);
        let sources = sources::Parts {
            checked: &checked,
            slots: &slots,
            ledger: &ledger,
            library: &library,
            store: &store,
            workloads: &workloads,
            running,
            client,
            logs: telemetry,
            clock: &clock,
        };
        let sources = Sources::start(sources, once)?;
        let engine = open_engine(&checked, &store, &sources, &ledger, &workloads, &clock)?;
        engine.lend(Arc::new(plugins::Lent {
            library: library.as_ref().clone(),
            stages: plugins::in_slots(slots.clone()),
            ledger: Some(ledger.clone()),
            clock: clock.clone(),
        }));
        let watch = Arc::new(Watch::new(&checked, &sources));
        let (scalers, desks) = start_scalers(&checked, &library, &store, &engine, &watch, &workloads, &clock)?;
        let standings = desks.iter().map(|(name, desk)| (name.clone(), desk.standing())).collect();
        let board = Board::new(standings, clock.clone());
        let captor = Captor {
            slots: slots.clone(),
            library: library.as_ref().clone(),
            filled: checked.config.filled.clone(),
            clock: clock.clone(),
        };
        let reload = Arc::new(Reload::new(reload::Parts {
            files: options.files,
            variables: options.variables,
            kinds: checked.tables.iter().map(|(name, (kind, _))| (name.clone(), *kind)).collect(),
            beside: checked.scalers.into_values().chain(checked.advisers.into_values()).collect(),
            config: checked.config,
            system: system::schemas()?,
            library,
            slots,
            swaps: swaps.clone(),
            ledger: ledger.clone(),
            clock: clock.clone(),
        }));
        let draining = Arc::new(AtomicBool::new(false));
        let figures = sources.figures.clone();
        let stages = checked.stages.keys().cloned().collect();
        let replayer = Replayer::new(engine.clone(), store.clone(), sources.doors(), stages, clock.clone());
        let parts = server::Parts {
            query: Arc::new(engine.clone()),
            inlets: sources.inlets(),
            tail: Arc::new(Tailer { store: store.clone() }),
            admin: Arc::new(AdminDoor::new(store.clone(), replayer, reload.clone(), captor)),
            scale: Arc::new(ScaleDoor { desks, clock: clock.clone() }),
            health: Arc::new(HealthDoor { draining: draining.clone() }),
            metrics: Arc::new(move || figures.render()),
            clock,
        };
        let router = server::router(parts, &access, listener.counts());
        let mut serving = Phase::new();
        let stop = serving.stop.clone();
        serving.tasks.spawn(async move { listener.serve(router, stop, SERVER_DRAIN).await });
        followers.serve(&board, &mut serving);
        let mut keeping = Phase::new();
        keeping.tasks.spawn(ledger.clone().run(store.clone(), keeping.stop.clone()));
        keeping.tasks.spawn(swaps.clone().run(store.clone(), keeping.stop.clone()));
        let mut reloading = Phase::new();
        reloading.tasks.spawn(reload.clone().run(reloading.stop.clone()));
        let notes = workloads.values().map(|workload| workload.status().cpu).filter(|note| !note.is_empty()).collect();
        let server = serving;
        Ok(App {
            address,
            url,
            data,
            store,
            engine,
            sources,
            workloads,
            notes,
            scalers,
            server,
            ledger,
            swaps,
            reload,
            reloading,
            keeping,
            draining,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as people write it.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// Where its data are.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Answers SQL.
    pub fn engine(&self) -> &query::Engine {
        &self.engine
    }

    /// A workload by name.
    pub fn workload(&self, name: &str) -> Option<&Arc<dyn Actuator>> {
        self.workloads.get(name)
    }

    /// What whoever looks at it should know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Looks at once whether files have changed, and takes what can be taken.
    pub async fn reload(&self) {
        if let Err(error) = self.reload.clone().now().await {
            tracing::error!(%error, "files were not read again");
        }
    }

    /// Returns when nothing more will come in; an error when a source had to stop.
    pub async fn ended(&self) -> Result<()> {
        self.sources.ended().await
    }

    /// Stops everything; what was taken in is stored.
    pub async fn stop(mut self) -> Result<()> {
        self.draining.store(true, std::sync::atomic::Ordering::SeqCst);
        let engine = self.engine.clone();
        tokio::spawn(async move {
            tokio::time::sleep(QUERIES_DRAIN).await;
            engine.stop();
        });
        self.reloading.end(Duration::from_secs(1)).await;
        self.scalers.end(Duration::from_secs(2)).await;
        let workloads = futures::future::join_all(self.workloads.values().map(|workload| workload.stop()));
        self.server.stop.cancel();
        let ending = futures::future::join(workloads, self.server.end(SERVER_DRAIN + Duration::from_secs(1)));
        // Replicas are ended within ten seconds by their own promise; the store must not wait longer than that for them.
        let _ = tokio::time::timeout(Duration::from_secs(6), ending).await;
        self.sources.stop(SOURCES_DRAIN).await;
        self.keeping.end(Duration::from_secs(1)).await;
        self.swaps.write(&self.store).await;
        self.ledger.write(&self.store).await;
        self.store.close().await
    }
}

impl Phase {
    fn new() -> Phase {
        Phase { stop: CancellationToken::new(), tasks: JoinSet::new() }
    }

    /// Asks the tasks to end, and ends those that take too long.
    async fn end(&mut self, patience: Duration) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// Listeners for those who follow our decisions, bound before the data are touched.
struct Followers {
    metrics: Option<(Access, Listener)>,
    scaler: Option<(Access, Listener)>,
}

impl Followers {
    async fn bind(config: &Config) -> Result<Followers> {
        let bind = async |listen: &Option<Listen>| -> Result<Option<(Access, Listener)>> {
            let Some(listen) = listen else { return Ok(None) };
            let access = listen.open()?;
            let listener = Listener::bind(&access).await.map_err(|error| error.within(listen.section.0))?;
            Ok(Some((access, listener)))
        };
        let (metrics, scaler) = (bind(&config.external_metrics).await?, bind(&config.external_scaler).await?);
        Ok(Followers { metrics, scaler })
    }

    fn serve(self, board: &Board, serving: &mut Phase) {
        let stop = serving.stop.clone();
        if let Some((access, listener)) = self.metrics {
            let router = server::external_metrics::router(board.clone(), &access);
            tracing::info!(address = %listener.address(), "external metrics are served");
            serving.tasks.spawn(listener.serve(router, stop.clone(), SERVER_DRAIN));
        }
        if let Some((access, listener)) = self.scaler {
            let router = server::external_scaler::router(board.clone(), &access);
            tracing::info!(address = %listener.address(), "an external scaler is served");
            serving.tasks.spawn(listener.serve(router, stop, SERVER_DRAIN));
        }
    }
}

async fn open_store(data: &Path, checked: &Checked, clock: Clock) -> Result<Store> {
    let said = &checked.config.store;
    let options = store::Options {
        flush_age: said.flush_age.0,
        flush_bytes: said.flush_bytes.as_usize(),
        ..store::Options::new(clock)
    };
    let folder = data.to_owned();
    let store = tokio::task::spawn_blocking(move || Store::open(&folder, options))
        .await
        .map_err(|error| Error::internal(format!("opening the store: {error}")))??;
    for table in &checked.config.tables {
        let (kind, columns) = checked.tables.get(&table.name).ok_or_else(|| unchecked(&table.name))?;
        let (kind, options) = (*kind, TableOptions { body: table.config.body, columns: Some(columns.clone()) });
        store.declare(&TableName::user(&table.name)?, kind, options).await?;
    }
    for (name, kind, schema) in system::stored()? {
        let options = TableOptions { body: true, columns: Some(schema) };
        store.declare(&name, kind, options).await?;
    }
    Ok(store)
}

async fn open_workloads(
    config: &Config,
    clock: &Clock,
    running: &Running,
) -> Result<BTreeMap<String, Arc<dyn Actuator>>> {
    let mut workloads: BTreeMap<String, Arc<dyn Actuator>> = BTreeMap::new();
    for workload in &config.workloads {
        let name = workload.name.clone();
        let publish = sources::publisher(running, &name);
        let ground = Ground { workload: name.clone(), clock: clock.clone(), publish };
        let opened = workload.config.clone().open(ground).await;
        workloads.insert(name, opened.map_err(|error| error.within(format!("workloads.{}", workload.name)))?);
    }
    Ok(workloads)
}

fn open_engine(
    checked: &Checked,
    store: &Store,
    sources: &Sources,
    ledger: &Ledger,
    workloads: &BTreeMap<String, Arc<dyn Actuator>>,
    clock: &Clock,
) -> Result<query::Engine> {
    let said = &checked.config.query;
    let limits = query::Limits {
        time_max: said.timeout.0,
        memory_bytes_max: said.memory.as_usize(),
        rows_max: said.rows_max,
        concurrent_max: said.concurrent,
        ..query::Limits::default()
    };
    let viewed = store.clone();
    let replicas = workloads.iter().map(|(name, workload)| (name.clone(), workload.clone())).collect();
    let system = system::tables(store, sources, ledger, replicas);
    query::Engine::new(Arc::new(move || viewed.view()), system, limits, clock.clone())
}

fn start_scalers(
    checked: &Checked,
    library: &Arc<Library>,
    store: &Store,
    engine: &query::Engine,
    watch: &Arc<Watch>,
    workloads: &BTreeMap<String, Arc<dyn Actuator>>,
    clock: &Clock,
) -> Result<(Phase, BTreeMap<String, Desk>)> {
    let mut phase = Phase::new();
    let mut desks = BTreeMap::new();
    for scaler in &checked.config.scalers {
        let workload = workloads.get(&scaler.config.workload).ok_or_else(|| unchecked(&scaler.config.workload))?;
        let last = store.position(&Memory::name(&scaler.name)).map(|value| Memory::read(&value)).transpose()?;
        let tables = checked
            .signals
            .iter()
            .filter(|((of, _), _)| *of == scaler.name)
            .map(|((_, signal), tables)| (signal.clone(), tables.clone()))
            .collect();
        let parts = crate::scale::Parts {
            ask: Arc::new(Asker { engine: engine.clone(), rows_max: SIGNAL_ROWS_MAX }),
            fresh: watch.clone(),
            deciders: advisers::deciders(checked, library, scaler)?,
            record: Arc::new(Recorder { store: store.clone() }),
            actuator: workload.clone(),
            clock: clock.clone(),
        };
        let (running, desk) = Scaler::new(&scaler.name, &scaler.config, &tables, last, parts);
        desks.insert(scaler.name.clone(), desk);
        let stop = phase.stop.clone();
        phase.tasks.spawn(running.run(stop));
    }
    for workload in &checked.config.workloads {
        // A workload that nothing scales runs once.
        if !checked.config.scalers.iter().any(|scaler| scaler.config.workload == workload.name) {
            let actuator = workloads.get(&workload.name).ok_or_else(|| unchecked(&workload.name))?.clone();
            // One that lives without us is left as it is.
            if actuator.shared() {
                continue;
            }
            phase.tasks.spawn(async move {
                if let Err(error) = actuator.apply(1).await {
                    tracing::error!(%error, "a workload did not start");
                }
            });
        }
    }
    Ok((phase, desks))
}

fn unchecked(name: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("`{name}` was not checked before it was started"))
}
