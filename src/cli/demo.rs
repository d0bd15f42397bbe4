//! `tidemill demo`, and the server it scales

use super::{runtime, stop};
use crate::app::{self, App};
use crate::clock::Clock;
use crate::config::{self, Mistake};
use crate::demo::{self, Machine, Replicas, Screen, server};
use crate::error::{Error, Result};
use arrow::record_batch::RecordBatch;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

const ABOUT: &str = "\
A password service answers one request at a time, each replica with a fifth of a core. A load generator asks it more than one replica
can answer. The pipeline reads the service's access log and metrics through WebAssembly plugins into tables; a SQL query says how many
requests come in; the autoscaler plugin `hpa` says how many replicas that needs; the workload gets them. Watch replicas rise and
latency fall, then ask why:

  tidemill query \"SELECT timestamp, replicas, decided, reason FROM tidemill.decisions WHERE decided <> replicas\"";

/// The rows of an answer that the demo looks at.
const ROWS_MAX: u64 = 1000;

/// The scrypt example.
#[derive(clap::Args)]
#[command(long_about = ABOUT)]
pub struct Demo {
    #[command(flatten)]
    options: demo::Options,
}

/// The scrypt server.
#[derive(clap::Args)]
pub struct DemoServer {
    #[command(flatten)]
    options: server::Options,
}

/// The running pipeline, as the demo sees it.
struct Mill<'a> {
    app: &'a App,
    balancer: SocketAddr,
}

impl Demo {
    pub(super) fn run(self, level: &str, json: bool) -> Result<ExitCode> {
        runtime()?.block_on(async {
            let stop = stop::on_signals()?;
            let clock = Clock::system();
            let mut screen = Screen::stdout();
            screen.say("measuring how fast this machine hashes");
            let setup = demo::prepare(&self.options, &clock).await?;
            screen.say(&setup.measured);
            let app = start(&setup, level, json, &stop).await?;
            let Some(app) = app else { return Ok(ExitCode::SUCCESS) };
            let mill = Mill { app: &app, balancer: setup.place.balancer };
            let shown = demo::run(&mill, &setup.plan, &clock, &mut screen, stop).await;
            drop(screen);
            let stopped = app.stop().await;
            let summary = shown?;
            for line in summary.lines() {
                say!("{line}");
            }
            match setup.place.temporary() {
                true => say!("its data are removed; keep them with `--keep` or `--data DIR`"),
                false => say!("its data are in {}", setup.place.dir.display()),
            }
            stopped.map(|()| ExitCode::SUCCESS)
        })
    }
}

/// Starts the demo's pipeline; `None` when it was stopped meanwhile.
async fn start(setup: &demo::Setup, level: &str, json: bool, stop: &CancellationToken) -> Result<Option<App>> {
    let variables: BTreeMap<String, String> = setup.variables.iter().cloned().collect();
    // A warning would tear the view apart; whoever wants to see more says so.
    let level = if level == super::LEVEL { "error".to_owned() } else { level.to_owned() };
    let mut mistakes = Vec::new();
    let text = [(PathBuf::from(demo::place::PIPELINE_NAME), demo::place::PIPELINE.to_owned())];
    let config = config::read_texts(&text, &|name| variables.get(name).cloned(), &mut mistakes);
    let starting = async {
        let checked = tokio::task::spawn_blocking(move || {
            let library = super::library()?;
            let system = app::system_schemas()?;
            let checked = app::check((config, mistakes), &library, &system).map_err(|mistakes| broken(&mistakes))?;
            Ok::<_, Error>((checked, library))
        });
        let (checked, library) = checked.await.map_err(|error| Error::internal(format!("checking: {error}")))??;
        let options = app::Options { log_level: level, log_json: json, ..app::Options::default() };
        App::start(checked, library, options).await
    };
    tokio::select! {
        () = stop.cancelled() => Ok(None),
        app = starting => app.map(Some),
    }
}

fn broken(mistakes: &[Mistake]) -> Error {
    let lines: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    Error::invalid(format!("the demo's pipeline cannot run here: {}", lines.join("; ")))
}

impl Machine for Mill<'_> {
    fn url(&self) -> String {
        self.app.url()
    }

    fn replicas(&self) -> Replicas {
        let status = self.app.workload("scrypt").map(|workload| workload.status()).unwrap_or_default();
        Replicas { asked: status.asked, ready: status.ready }
    }

    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RecordBatch>> {
        Box::pin(app::ask(self.app.engine(), sql, ROWS_MAX))
    }

    fn notes(&self) -> Vec<String> {
        self.app.notes().to_vec()
    }

    fn balancer(&self) -> SocketAddr {
        self.balancer
    }
}

impl DemoServer {
    pub(super) fn run(self) -> Result<ExitCode> {
        runtime()?.block_on(server::serve(self.options))?;
        Ok(ExitCode::SUCCESS)
    }
}
