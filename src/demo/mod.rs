//! the scrypt example: a server, a load, a view
//!
//!     prepare ─► (the app starts pipelines/scrypt.toml) ─► run: wait for a replica ─► load ─► samples ─► scene ─► summary
//!
//! The machine behind it is an ordinary tidemill, seen through [`Machine`]; replicas are this same program as `demo-server`.
//!
//! **Always:** a stop ends every wait here within a second or two, also while it is still starting.
//! **Never:** the demo knows how many replicas would be right; it offers load and watches.

pub mod aligned;
pub mod cost;
pub mod latency;
pub mod load;
pub mod metrics;
pub mod place;
pub mod plan;
pub mod record;
pub mod screen;
pub mod server;
pub mod share;
pub mod summary;
pub mod view;

pub use cost::Cost;
pub use place::Place;
pub use plan::Plan;
pub use record::Replicas;
pub use screen::Screen;
pub use summary::Summary;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::units::Span;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampNanosecondType};
use futures::future::BoxFuture;
use load::{Load, Sample};
use record::Record;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use view::{Decision, Scene};

/// How long the first replica may take.
const START_MAX: Duration = Duration::from_secs(120);
/// How long the question for the latest decisions may take.
const ASK_MAX: Duration = Duration::from_millis(900);
/// A request without an answer after this has timed out.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// The most requests that are open at a time.
const OUTSTANDING_MAX: usize = 2000;
/// The latest ticks of the scaler; a change among them is not missed when an answer takes its time.
const DECISIONS: &str = "SELECT timestamp, replicas, decided, reason FROM tidemill.decisions WHERE event = 'decision' ORDER BY timestamp DESC LIMIT 10";

/// How the demo is asked for: `tidemill demo --for 60s`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Options {
    /// End by itself after this long, with a summary; until Ctrl-C if not given
    #[arg(long = "for", value_name = "SPAN", value_parser = Span::parse)]
    pub span: Option<Span>,
    /// Work in this directory and leave it; a temporary one is taken if not given
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Leave the temporary directory when it ends
    #[arg(long)]
    pub keep: bool,
}

/// The tidemill that runs the demo's pipeline.
pub trait Machine: Send + Sync {
    /// Where its HTTP API is: `http://127.0.0.1:7070`.
    fn url(&self) -> String;
    /// The scrypt servers that there are.
    fn replicas(&self) -> Replicas;
    /// The rows of an answer, in one batch.
    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RecordBatch>>;
    /// What the visitor should know: how a share of the processor is held, for example.
    fn notes(&self) -> Vec<String>;
    /// Where requests go.
    fn balancer(&self) -> SocketAddr;
}

/// A demo before it starts.
#[derive(Debug)]
pub struct Setup {
    /// its directory and ports
    pub place: Place,
    /// what the load will be
    pub plan: Plan,
    /// what the pipeline file's `${…}` stand for
    pub variables: Vec<(String, String)>,
    /// what was measured, in words
    pub measured: String,
}

/// Takes a place and measures how fast this machine hashes: about a tenth of a second.
pub async fn prepare(options: &Options, clock: &Clock) -> Result<Setup> {
    let place = Place::take(options.data.as_deref(), options.keep, clock)?;
    let program = std::env::current_exe().map_err(|error| Error::io("finding this program's own file", error))?;
    let unit = tokio::task::spawn_blocking(|| Cost::UNIT.measure())
        .await
        .map_err(|error| Error::internal(format!("measuring scrypt: {error}")))??;
    let cost = Cost::choose(unit, plan::SHARE, plan::REPLICA_PER_SECOND);
    let took = cost.estimate(unit);
    let measured = format!(
        "one hash (scrypt N and p {cost}, r 8) takes {:.0} ms of this processor, so a replica with {}m of a core does about {:.1} a second",
        took.as_secs_f64() * 1e3,
        plan::SHARE.millis,
        f64::from(plan::SHARE.millis) / 1e3 / took.as_secs_f64()
    );
    let variables = place.variables(&program, cost);
    Ok(Setup { plan: Plan::new(options.span.map(|span| span.0)), place, variables, measured })
}

/// Offers the plan's load to the machine and shows what happens, until the plan is over or somebody stops it.
pub async fn run(
    machine: &dyn Machine,
    plan: &Plan,
    clock: &Clock,
    screen: &mut Screen,
    stop: CancellationToken,
) -> Result<Summary> {
    let mut record = Record::new(&plan.steps);
    if !started(machine, clock, screen, &stop).await? {
        return Ok(Summary::default());
    }
    let mut scene = Scene { span: plan.span(), url: machine.url(), notes: plan.notes.clone(), ..Scene::default() };
    scene.notes.extend(machine.notes());
    if !screen.live() {
        scene.notes.iter().for_each(|note| screen.say(note));
        screen.say(&format!("ask it: {}", view::curl(&scene.url, view::WHY_SHORT)));
    }
    let load = Load {
        target: machine.balancer(),
        steps: plan.steps.clone(),
        forever: plan.forever,
        timeout: REQUEST_MAX,
        outstanding_max: OUTSTANDING_MAX,
        clock: clock.clone(),
    };
    let begun = clock.now();
    let (sender, mut samples) = mpsc::channel::<Sample>(4);
    // However this ends, the load ends with it.
    let ending = stop.child_token();
    let _ended = ending.clone().drop_guard();
    let running = tokio::spawn(load.run(sender, ending));
    loop {
        let sample = tokio::select! {
            () = stop.cancelled() => break,
            sample = samples.recv() => match sample {
                Some(sample) => sample,
                None => break,
            },
        };
        let replicas = machine.replicas();
        record.take(&sample, replicas);
        tokio::select! {
            () = stop.cancelled() => break,
            () = decisions(machine, &mut scene, begun) => {}
        }
        set(&mut scene, &record, plan, replicas);
        screen.show(&scene);
    }
    screen.rest();
    if !stop.is_cancelled() && running.await.is_err() {
        return Err(Error::internal("the load generator broke off"));
    }
    Ok(Summary::of(&record, machine, screen.width()).await)
}

/// Waits for the first replica; false when stopped before.
async fn started(machine: &dyn Machine, clock: &Clock, screen: &mut Screen, stop: &CancellationToken) -> Result<bool> {
    let begun = clock.now();
    screen.say("waiting for the first replica");
    while machine.replicas().ready == 0 {
        if clock.now() - begun > crate::clock::nanos(START_MAX) {
            let why = format!("no replica was ready within {} s; {}", START_MAX.as_secs(), machine.notes().join("; "));
            return Err(Error::new(ErrorKind::Foreign, why));
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    Ok(!stop.is_cancelled())
}

/// Brings the figures of the scene up to date.
fn set(scene: &mut Scene, record: &Record, plan: &Plan, replicas: Replicas) {
    scene.second = record.second();
    scene.now = record.now();
    scene.replicas = replicas;
    scene.history = record.history().iter().copied().collect();
    let phase = record.phases().last();
    scene.phase = phase.map_or_else(String::new, |phase| phase.name.to_owned());
    if plan.span().is_some_and(|span| Duration::from_secs(scene.second) > span) {
        scene.phase = "waiting for the last answers".to_owned();
    }
}

/// Brings the decisions of the scene up to date; the last known ones stay when there is no answer.
async fn decisions(machine: &dyn Machine, scene: &mut Scene, begun: i64) {
    match tokio::time::timeout(ASK_MAX, machine.ask(DECISIONS)).await {
        Ok(Ok(batch)) => {
            let latest = read(&batch, begun);
            scene.change = latest.iter().find(|decision| decision.from != decision.to).cloned().or(scene.change.take());
            scene.latest = latest.into_iter().next().or(scene.latest.take());
            scene.trouble = None;
        }
        Ok(Err(error)) => scene.trouble = Some(format!("no decision yet: {error}")),
        Err(_) => scene.trouble = Some("no decision yet: the answer takes too long".to_owned()),
    }
}

/// The rows of [`DECISIONS`].
fn read(batch: &RecordBatch, begun: i64) -> Vec<Decision> {
    let number = |row: usize, name: &str| {
        let column = batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
        column.is_valid(row).then(|| u32::try_from(column.value(row)).unwrap_or(0))
    };
    let decision = |row: usize| {
        let time = batch.column_by_name("timestamp")?.as_primitive_opt::<TimestampNanosecondType>()?.value(row);
        let reason = batch.column_by_name("reason")?.as_string_opt::<i32>()?;
        Some(Decision {
            second: (time - begun).div_euclid(1_000_000_000),
            from: number(row, "replicas")?,
            to: number(row, "decided")?,
            reason: if reason.is_valid(row) { reason.value(row).to_owned() } else { String::new() },
        })
    };
    (0..batch.num_rows()).filter_map(decision).collect()
}

#[cfg(test)]
mod tests;
