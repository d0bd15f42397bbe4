//! the sources at work: a task each, a lane each, and what they tell of themselves

use super::check::Checked;
use super::figures::Figures;
use super::ledger::Ledger;
use super::reload::Slots;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Ack, Delivery, TableName};
use crate::net::{self, Client};
use crate::pipeline::{Lane, Node, Plan, Stage, lane};
use crate::plugin::{Instance, Library};
use crate::scale::Actuator;
use crate::scale::actuator::{Publish, Replica};
use crate::server::ingest::IngestDoor;
use crate::source::http::Inlet;
use crate::source::processes::{self, Running};
use crate::source::scrape::{self, Fetch, Fetched, Targets};
use crate::source::{self, Outlet, Progress, internal};
use crate::store::{Append, Store};
use crate::telemetry::{Logs, Metrics};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Deliveries that may wait for a lane.
const WAITING_MAX: usize = 8;
/// A source is stale when it was not caught up for this long, or for three of its rounds if that is longer.
const STALE_AFTER: Duration = Duration::from_secs(5);
/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(25);
/// Looks after which `--once` no longer waits for files that are not there.
const LOOKS_MAX: u32 = 80;

/// Every source at work.
pub(super) struct Sources {
    /// end when every file is read to its end
    once: bool,
    running: BTreeMap<String, At>,
    inlets: BTreeMap<String, Arc<dyn IngestDoor>>,
    tasks: JoinSet<()>,
    lanes: Vec<JoinHandle<()>>,
    doors: Doors,
    stop: CancellationToken,
    /// the first failure that must end everything
    failed: watch::Receiver<Option<Error>>,
    /// sources that have not come to their end
    open: watch::Receiver<usize>,
    pub figures: Figures,
}

/// The ways into the lanes, for events that come again. Cloning shares them.
#[derive(Clone, Default)]
pub(super) struct Doors(Arc<Mutex<BTreeMap<String, Door>>>);

/// The way into a lane, and the stages in it.
struct Door {
    deliveries: mpsc::Sender<Delivery>,
    stages: Vec<String>,
    /// the tables that events reach after each of them
    tables: BTreeMap<String, BTreeSet<String>>,
}

impl Doors {
    /// The sources whose lane has this stage.
    pub fn reaching(&self, stage: &str) -> Vec<String> {
        let doors = self.lock();
        let reaching = doors.iter().filter(|(_, door)| door.stages.iter().any(|name| name == stage));
        reaching.map(|(source, _)| source.clone()).collect()
    }

    /// The tables that events reach after a stage, in any lane.
    pub fn tables_after(&self, stage: &str) -> BTreeSet<String> {
        let doors = self.lock();
        doors.values().filter_map(|door| door.tables.get(stage)).flatten().cloned().collect()
    }

    /// Hands a delivery to the lane of a source.
    pub async fn send(&self, source: &str, delivery: Delivery) -> Result<()> {
        let gone = || Error::new(ErrorKind::Unavailable, format!("the source `{source}` has stopped"));
        let deliveries = self.lock().get(source).map(|door| door.deliveries.clone()).ok_or_else(gone)?;
        deliveries.send(delivery).await.map_err(|_| gone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A source's place.
struct At {
    progress: Arc<Progress>,
    stale_after: Duration,
    /// it has an end that `--once` waits for
    is_file: bool,
}

/// What sources are given to start with.
pub(super) struct Parts<'a> {
    pub checked: &'a Checked,
    pub slots: &'a Slots,
    pub ledger: &'a Ledger,
    pub library: &'a Library,
    pub store: &'a Store,
    pub workloads: &'a BTreeMap<String, Arc<dyn Actuator>>,
    pub running: Running,
    pub client: Client,
    pub logs: Logs,
    pub clock: &'a Clock,
}

/// What starting a source needs.
struct Starting<'a> {
    checked: &'a Checked,
    slots: &'a Slots,
    library: &'a Library,
    store: &'a Store,
    workloads: &'a BTreeMap<String, Arc<dyn Actuator>>,
    running: Running,
    fetch: Arc<dyn Fetch>,
    clock: &'a Clock,
    failed: watch::Sender<Option<Error>>,
    open: Arc<watch::Sender<usize>>,
}

impl Sources {
    /// Starts every source of the config, and those of our own logs and metrics.
    pub fn start(parts: Parts<'_>, once: bool) -> Result<Sources> {
        let Parts { checked, slots, ledger, library, store, workloads, running, client, logs, clock } = parts;
        let (failed, failures) = watch::channel(None);
        let (open, still_open) = watch::channel(0);
        let open = Arc::new(open);
        let mut sources = Sources {
            once,
            running: BTreeMap::new(),
            inlets: BTreeMap::new(),
            tasks: JoinSet::new(),
            lanes: Vec::new(),
            doors: Doors::default(),
            stop: CancellationToken::new(),
            failed: failures,
            open: still_open,
            figures: Figures::new(Metrics::default(), store.clone(), ledger.clone(), logs.clone(), clock.clone()),
        };
        let fetch = Arc::new(Fetcher(client));
        let starting = Starting { checked, slots, library, store, workloads, running, fetch, clock, failed, open };
        for source in &checked.config.sources {
            let outlet = sources.lane(&starting, &source.name, checked.graph.feeds(&source.name).to_vec())?;
            sources.source(&starting, &source.name, source.config.clone(), outlet)?;
        }
        sources.ourselves(&starting, logs)?;
        let progress = sources.progress();
        sources.figures.watch(progress);
        let (figures, stop) = (sources.figures.clone(), sources.stop.clone());
        sources.tasks.spawn(async move { figures.run(stop).await });
        Ok(sources)
    }

    /// How far each source is.
    pub fn progress(&self) -> Vec<(String, Arc<Progress>)> {
        self.running.iter().map(|(name, at)| (name.clone(), at.progress.clone())).collect()
    }

    /// How far one source is, and after how long it counts as stale.
    pub fn watched(&self, name: &str) -> Option<(Arc<Progress>, Duration)> {
        self.running.get(name).map(|at| (at.progress.clone(), at.stale_after))
    }

    /// Where the server puts what it is sent.
    pub fn inlets(&self) -> BTreeMap<String, Arc<dyn IngestDoor>> {
        self.inlets.clone()
    }

    /// The ways into the lanes.
    pub fn doors(&self) -> Doors {
        self.doors.clone()
    }

    /// Returns when nothing more will come in; an error when a source had to stop, or, where files are read once, could not be read.
    pub async fn ended(&self) -> Result<()> {
        let mut looks = 0;
        loop {
            if let Some(error) = self.failed.borrow().clone() {
                return Err(error);
            }
            if *self.open.borrow() == 0 && !self.running.is_empty() && self.has_ends() {
                return Ok(());
            }
            if self.once && self.files_are_read(looks > LOOKS_MAX) {
                return self.all_were_read();
            }
            looks += 1;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks sources to finish, ends those that take too long, and waits for the lanes to hand over what they have.
    pub async fn stop(mut self, patience: Duration) {
        self.stop.cancel();
        self.inlets.clear();
        self.doors.lock().clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, all).await.is_err() {
            self.tasks.shutdown().await;
        }
        let lanes = std::mem::take(&mut self.lanes);
        let joined = tokio::task::spawn_blocking(move || lanes.into_iter().for_each(|lane| drop(lane.join())));
        // A lane that a plugin holds up is left behind: what it had was not acknowledged.
        let _ = tokio::time::timeout(patience, joined).await;
    }

    /// Whether there was ever a source that can come to an end.
    fn has_ends(&self) -> bool {
        self.once || !self.tasks.is_empty()
    }

    /// Whether every file is read to its end. A pattern that nothing matches, or a file that cannot be read, holds up nobody; where
    /// there is nothing else, it is given a moment.
    fn files_are_read(&self, patience_over: bool) -> bool {
        let mut files = self.running.values().filter(|at| at.is_file).peekable();
        files.peek().is_some()
            && files.all(|at| {
                let standings = at.progress.standings();
                // Before its first look is over a source knows of nothing.
                let settled = !standings.is_empty()
                    && standings.iter().all(|(_, at)| at.caught_up_at > 0 || !at.error.is_empty());
                let some_read = standings.iter().any(|(_, at)| at.caught_up_at > 0);
                settled && (some_read || patience_over)
            })
    }

    /// An error that names what no source could read.
    fn all_were_read(&self) -> Result<()> {
        let files = self.running.iter().filter(|(_, at)| at.is_file);
        let told = files.flat_map(|(name, at)| {
            let standings = at.progress.standings().into_iter().filter(|(_, at)| !at.error.is_empty());
            standings.map(move |(target, at)| format!("source `{name}`: {target}: {}", at.error))
        });
        let told: Vec<String> = told.collect();
        match told.is_empty() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Io, format!("not everything was read: {}", told.join("; ")))),
        }
    }

    /// A lane for a source, and the outlet that leads into it.
    fn lane(&mut self, starting: &Starting<'_>, name: &str, first: Vec<Node>) -> Result<Outlet> {
        let (deliveries, waiting) = mpsc::channel::<Delivery>(WAITING_MAX);
        let progress = Arc::new(Progress::new(starting.clock.clone()));
        let plan = plan(starting, name, first)?;
        if !plan.stages.is_empty() {
            let stages: Vec<String> = plan.stages.keys().cloned().collect();
            let tables = stages.iter().map(|stage| (stage.clone(), plan.tables_after(stage))).collect();
            self.doors.lock().insert(name.to_owned(), Door { deliveries: deliveries.clone(), stages, tables });
        }
        let (store, runtime) = (starting.store.clone(), tokio::runtime::Handle::current());
        let submit = Arc::new(move |append: Append, ack: Ack| runtime.block_on(store.submit(append, ack)));
        let lane = Lane::new(plan, starting.clock.clone(), submit);
        let (failed, quiet) = (starting.failed.clone(), starting.is_ours(name));
        let work = move || {
            let _quiet = quiet.then(|| crate::telemetry::quiet().entered());
            let ran = std::panic::catch_unwind(AssertUnwindSafe(|| lane.run(waiting)));
            let ran = ran.unwrap_or_else(|_| {
                Err(Error::internal("a source's lane panicked; what was under way was not stored"))
            });
            if let Err(error) = ran {
                let _ = failed.send(Some(error));
            }
        };
        let thread = std::thread::Builder::new().name(format!("lane-{name}")).spawn(work);
        self.lanes.push(thread.map_err(|error| Error::io("cannot start a thread", error))?);
        let clock = starting.clock.clone();
        Ok(Outlet { name: name.into(), deliveries, progress, stop: self.stop.clone(), clock })
    }

    fn source(&mut self, starting: &Starting<'_>, name: &str, config: source::Config, outlet: Outlet) -> Result<()> {
        let every = every(&config);
        let is_file = matches!(config, source::Config::File(_));
        let stale_after = every.map_or(STALE_AFTER, |every| STALE_AFTER.max(every * 3));
        self.running.insert(name.to_owned(), At { progress: outlet.progress.clone(), stale_after, is_file });
        match config {
            source::Config::File(config) => {
                let positions = starting.store.positions(&format!("{name}:"));
                self.task(starting, name, source::file::run(config, outlet, positions, self.once));
            }
            source::Config::Stdin(config) => self.task(starting, name, source::stdin::run(config, outlet)),
            source::Config::Http(config) => {
                let inlet = Inlet::new(config, outlet);
                self.inlets.insert(name.to_owned(), Arc::new(inlet.clone()));
                self.task(starting, name, inlet.run());
            }
            source::Config::Scrape(config) => {
                let targets = Targets::default();
                if let Some(workload) = config.workload.as_ref().and_then(|name| starting.workloads.get(name)) {
                    self.follow(workload.clone(), &config.path, targets.clone());
                }
                self.task(starting, name, scrape::run(config, outlet, targets, starting.fetch.clone()));
            }
            source::Config::Internal(config) => {
                let metrics = self.figures.metrics().clone();
                self.task(starting, name, internal::run_metrics(config, outlet, metrics));
            }
            source::Config::Processes(config) => {
                self.task(starting, name, processes::run(config, outlet, starting.running.clone()));
            }
        }
        Ok(())
    }

    /// Our own logs and metrics, in tables of their own.
    fn ourselves(&mut self, starting: &Starting<'_>, logs: Logs) -> Result<()> {
        let into = |table: &str| vec![Node::Table(TableName::system(table).as_str().to_owned())];
        let outlet = self.lane(starting, internal::LOGS, into("logs"))?;
        self.tasks.spawn(async move { drop(internal::run_logs(outlet, logs).await) });
        let outlet = self.lane(starting, internal::METRICS, into("metrics"))?;
        let metrics = self.figures.metrics().clone();
        self.tasks
            .spawn(async move { drop(internal::run_metrics(internal::Config::default(), outlet, metrics).await) });
        Ok(())
    }

    /// Runs a source; when it fails, everything ends with its error.
    fn task(&mut self, starting: &Starting<'_>, name: &str, work: impl Future<Output = Result<()>> + Send + 'static) {
        let (failed, open, name) = (starting.failed.clone(), starting.open.clone(), name.to_owned());
        open.send_modify(|open| *open += 1);
        self.tasks.spawn(async move {
            match work.await {
                Ok(()) => (),
                Err(error) if error.kind() == ErrorKind::Unavailable => (),
                Err(error) => drop(failed.send(Some(error.within(format!("sources.{name}"))))),
            }
            open.send_modify(|open| *open -= 1);
        });
    }

    /// Keeps the list of a workload's replicas to scrape up to date.
    fn follow(&mut self, workload: Arc<dyn Actuator>, path: &str, targets: Targets) {
        let (path, stop) = (path.to_owned(), self.stop.clone());
        self.tasks.spawn(async move {
            loop {
                let urls = workload
                    .targets()
                    .into_iter()
                    .map(|address| scrape::Target { url: format!("http://{address}{path}"), labels: BTreeMap::new() });
                targets.set(urls.collect());
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(200)) => (),
                }
            }
        });
    }
}

impl Starting<'_> {
    fn is_ours(&self, name: &str) -> bool {
        name == internal::LOGS || name == internal::METRICS
    }
}

/// Tells the registry of running processes about a workload's replicas.
pub(super) fn publisher(running: &Running, workload: &str) -> Publish {
    let (running, workload) = (running.clone(), workload.to_owned());
    Arc::new(move |replicas: Vec<Replica>| {
        let named = replicas.into_iter().map(|replica| processes::Replica {
            name: replica.replica,
            pid: i32::try_from(replica.pid).unwrap_or(0),
            address: replica.address,
            ready: true,
        });
        running.set(&workload, named.collect());
    })
}

/// How often a source looks by itself, if it does so in rounds.
fn every(config: &source::Config) -> Option<Duration> {
    match config {
        source::Config::Scrape(config) => Some(config.every.0),
        source::Config::Internal(config) => Some(config.every.0),
        source::Config::Processes(config) => Some(config.every.0),
        source::Config::File(_) | source::Config::Stdin(_) | source::Config::Http(_) => None,
    }
}

/// A source's way through the graph, with instances of its own of every plugin on it.
fn plan(starting: &Starting<'_>, source: &str, first: Vec<Node>) -> Result<Plan> {
    let graph = &starting.checked.graph;
    let mut plan =
        Plan { source: source.into(), first: first.clone(), stages: BTreeMap::new(), tables: BTreeMap::new() };
    let mut waiting = first;
    while let Some(node) = waiting.pop() {
        match node {
            Node::Table(name) => drop(plan.tables.insert(name.clone(), TableName::parse(&name)?)),
            Node::Stage(name) if plan.stages.contains_key(&name) => (),
            Node::Stage(name) => {
                let next = graph.feeds(&name).to_vec();
                let stage = stage(starting, source, &name)?;
                waiting.extend(next.clone());
                plan.stages.insert(name, (stage, next));
            }
        }
    }
    Ok(plan)
}

fn stage(starting: &Starting<'_>, source: &str, name: &str) -> Result<Stage> {
    let missing = || Error::internal(format!("the stage `{name}` was not checked before it was started"));
    let checked = starting.checked.stages.get(name).ok_or_else(missing)?;
    let slot = starting.slots.stages.get(name).ok_or_else(missing)?.clone();
    let instance = Instance::new(starting.library.engine(), checked.configured.clone())?;
    let state = starting.store.position(&lane::state_name(name, source));
    let clock = starting.clock.clone();
    Ok(Stage::within(slot, source, instance, clock, state))
}

/// The HTTP client, as scrapes use it.
struct Fetcher(Client);

impl Fetch for Fetcher {
    fn fetch(&self, get: scrape::Get) -> BoxFuture<'_, Result<Fetched>> {
        Box::pin(async move {
            let mut request = net::Get::new(get.url);
            request.wait_max = get.timeout;
            request.bytes_max = get.bytes_max as u64;
            request.accept = get.accept.to_owned();
            request.auth = get.bearer.map(|bearer| net::Auth::Bearer(net::Secret::new(bearer.0)));
            let page = self.0.get(&request).await?;
            let content_type = Some(page.content_type).filter(|text| !text.is_empty());
            Ok(Fetched { status: page.status, content_type, body: page.body })
        })
    }
}
