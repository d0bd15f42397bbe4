//! `tidemill scale …`: why it has as many replicas as it has, what it would have done, and what operators say to it

mod backtest;
mod candidate;
mod compare;
mod explain;
mod grid;
mod hpa;
mod import;
mod manifest;
mod object;
mod outcome;
mod picture;
mod replay;
mod scaled_object;

use super::runtime;
use super::server::Server;
use crate::error::{Error, Result};
use serde_json::json;
use std::process::ExitCode;

/// Ask scalers why, replay what they did, and tell them what to do.
#[derive(clap::Args)]
pub struct Scale {
    #[command(subcommand)]
    command: ScaleCommand,
    /// Where Tidemill listens.
    #[arg(long, global = true, env = "TIDEMILL_URL", default_value = "http://127.0.0.1:7070")]
    url: String,
}

#[derive(clap::Subcommand)]
enum ScaleCommand {
    /// Try deciders on a load as it was: what would it have cost, and who would have waited?
    Backtest(Box<backtest::Backtest>),
    /// Tell in sentences why a scaler decided as it did.
    Explain(explain::Explain),
    /// Decide recorded ticks again, and tell where the answer is not the same to the last bit.
    Replay(replay::Replay),
    /// Hold the shadow's proposals against what was decided.
    Compare(compare::Compare),
    /// So many replicas for a while, whatever the plugin says; `min` and `max` stay in force.
    Order(Order),
    /// Take an order back: the plugin decides again.
    Release(Name),
    /// Write HorizontalPodAutoscalers and KEDA's ScaledObjects as scalers of a pipeline file.
    Import(import::Import),
    /// Let the shadow decide from now on; the plugin that did becomes the shadow.
    Promote(Name),
}

#[derive(clap::Args)]
struct Order {
    /// The scaler.
    name: String,
    /// How many replicas.
    #[arg(long)]
    replicas: u32,
    /// For how long, such as `1h`.
    #[arg(long, value_name = "SPAN")]
    r#for: String,
    /// Why, for whoever reads the decisions.
    #[arg(long, default_value = "")]
    why: String,
}

#[derive(clap::Args)]
struct Name {
    /// The scaler.
    name: String,
}

impl Scale {
    pub(super) fn run(self) -> Result<ExitCode> {
        if let ScaleCommand::Import(import) = &self.command {
            return import.run();
        }
        let server = Server::new(&self.url)?;
        runtime()?.block_on(async {
            match self.command {
                ScaleCommand::Backtest(backtest) => backtest.run(&server).await,
                ScaleCommand::Explain(explain) => explain.run(&server).await,
                ScaleCommand::Replay(replay) => replay.run(&server).await,
                ScaleCommand::Compare(compare) => compare.run(&server).await,
                ScaleCommand::Import(import) => import.run(),
                ScaleCommand::Order(Order { name, replicas, r#for, why }) => {
                    tell(&server, &name, "order", &json!({ "replicas": replicas, "for": r#for, "why": why })).await
                }
                ScaleCommand::Release(Name { name }) => tell(&server, &name, "release", &json!({})).await,
                ScaleCommand::Promote(Name { name }) => tell(&server, &name, "promote", &json!({})).await,
            }
        })
    }
}

async fn tell(server: &Server, scaler: &str, what: &str, body: &serde_json::Value) -> Result<ExitCode> {
    let told = server.tell(&format!("/v1/admin/scalers/{scaler}/{what}"), body).await?;
    say!("{}", told.get("told").and_then(serde_json::Value::as_str).unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

/// A name as SQL text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Which decisions: of this scaler, of the last while.
fn since(last: &str) -> Result<String> {
    let span = crate::units::Span::parse(last).map_err(Error::invalid)?;
    Ok(format!("timestamp > now() - INTERVAL '{} seconds'", span.0.as_secs().max(1)))
}

/// There is no decision; perhaps the scaler's name is another.
async fn nothing(server: &Server, scaler: &str, did: &str) -> Error {
    let names = server.objects("SELECT DISTINCT scaler FROM tidemill.decisions").await.unwrap_or_default();
    let names: Vec<&str> = names.iter().filter_map(|row| row.get("scaler")?.as_str()).collect();
    let hint = crate::error::did_you_mean(scaler, names.iter().copied());
    match names.is_empty() {
        true => Error::invalid("there is no decision yet: no scaler has run here"),
        false if names.contains(&scaler) => Error::invalid(format!("`{scaler}` has {did} nothing in that time")),
        false => Error::invalid(format!(
            "there is no such decision of a scaler `{scaler}`{hint} (there are: {})",
            names.join(", ")
        )),
    }
}
