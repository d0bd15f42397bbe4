//! what Tidemill says and measures of itself, as logs and metrics like any other
//!
//! Two sources, [`LOGS`] and [`METRICS`]; the app routes them to the tables `tidemill.logs` and `tidemill.metrics`.

use super::Outlet;
use crate::codec::lines::{Limits, Lines};
use crate::codec::metrics::Samples;
use crate::codec::{Received, ndjson};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Ack, Batch, Delivery, Kind};
use crate::telemetry::{self, Log, Logs, Metrics};
use crate::units::{DAY, Span, within};
use serde::Deserialize;
use std::time::Duration;
use tracing::Instrument;

/// The word after `type =`.
pub const NAME: &str = "internal";
/// In one line.
pub const ABOUT: &str = "Tidemill's own metrics; its logs and metrics are always in tidemill.logs and tidemill.metrics";
/// A table that works.
pub const EXAMPLE: &str = r#"type = "internal"
every = "10s"
"#;

/// The name of the source of our logs.
pub const LOGS: &str = "tidemill_logs";
/// The name of the source of our metrics.
pub const METRICS: &str = "tidemill_metrics";

/// Log events of one delivery.
const LOGS_MAX: usize = 1024;
/// How long log events are gathered after the first.
const GATHER: Duration = Duration::from_millis(200);

/// A source of our own metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How often metrics are taken.
    #[serde(default = "every", deserialize_with = "within::<100, DAY, _, _>")]
    pub every: Span,
}

fn every() -> Span {
    Span(Duration::from_secs(10))
}

impl Default for Config {
    fn default() -> Self {
        Config { every: every() }
    }
}

/// Delivers our metrics until told to stop.
pub async fn run_metrics(config: Config, outlet: Outlet, metrics: Metrics) -> Result<()> {
    let mut ticks = tokio::time::interval(config.every.0);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let work = async {
        loop {
            tokio::select! {
                () = outlet.stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let now = outlet.clock.now();
            let mut samples = Samples::new();
            for sample in metrics.samples() {
                let labels = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                samples.push(now, &sample.name, sample.kind, sample.value, labels)?;
            }
            if !samples.is_empty() {
                let batch = Batch { kind: Kind::Metrics, columns: samples.finish(&outlet.name)? };
                tell(&outlet, deliver(&outlet, batch).await);
            }
        }
    };
    work.instrument(telemetry::quiet()).await
}

/// Delivers our log events until told to stop.
pub async fn run_logs(outlet: Outlet, logs: Logs) -> Result<()> {
    let work = async {
        loop {
            let mut taken = tokio::select! {
                () = outlet.stop.cancelled() => return Ok(()),
                taken = logs.take(LOGS_MAX) => taken,
            };
            tokio::time::sleep(GATHER).await;
            taken.extend(logs.take_now(LOGS_MAX));
            let batch = Batch { kind: Kind::Logs, columns: columns(&taken, &outlet)? };
            tell(&outlet, deliver(&outlet, batch).await);
        }
    };
    work.instrument(telemetry::quiet()).await
}

/// `body` is the message; `level` and `target` are columns, and each field is one, `fields.<name>`, always text.
fn columns(logs: &[Log], outlet: &Outlet) -> Result<arrow::record_batch::RecordBatch> {
    let mut lines = Lines::new(Limits { rows: usize::MAX, bytes: usize::MAX, line: usize::MAX, long: 1 });
    for log in logs {
        let fields: serde_json::Map<String, serde_json::Value> =
            log.fields.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let line = serde_json::json!({
            "timestamp": log.timestamp, "body": log.message, "level": log.level, "target": log.target, "fields": fields,
        });
        lines.feed(line.to_string().as_bytes());
        lines.feed(b"\n");
    }
    let received = Received { source: outlet.name.clone(), at: outlet.clock.now() };
    Ok(ndjson::decode(lines.take()?, &received)?.columns)
}

/// Not patient: what cannot be stored at once is on stderr, and in the next sample.
async fn deliver(outlet: &Outlet, batch: Batch) -> Result<()> {
    outlet.progress.read("", batch.columns.num_rows() as u64, 0);
    let (ack, safe) = Ack::new();
    let source = outlet.name.clone();
    outlet
        .send(Delivery { source, batch, dead: vec![], positions: vec![], key: None, patient: false, replay: None, ack })
        .await?;
    let gone = || Err(Error::new(ErrorKind::Unavailable, "the pipeline is gone"));
    safe.await.unwrap_or_else(|_| gone()).map(|_| ())
}

fn tell(outlet: &Outlet, done: Result<()>) {
    match done {
        Ok(()) => outlet.progress.caught_up(""),
        Err(error) => outlet.progress.failed("", error.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Pipeline;
    use arrow::util::display::array_value_to_string;

    #[tokio::test]
    async fn metrics_and_logs_are_delivered() {
        let pipeline = Pipeline::start(METRICS);
        let metrics = Metrics::default();
        metrics.counter("a_total", "a", &[("b", "c")]).add(3);
        let running = tokio::spawn(run_metrics(
            Config { every: Span(Duration::from_millis(100)) },
            pipeline.outlet.clone(),
            metrics,
        ));
        pipeline.wait(|batches| batches.len() > 1).await;
        let shown = pipeline.metrics();
        assert_eq!(shown[0].0, "counter a_total{b=c} 3");
        pipeline.outlet.stop.cancel();
        running.await.unwrap().unwrap();

        let log = Log {
            timestamp: 1_700_000_000_000_000_000,
            level: "warn",
            target: "tidemill::x".into(),
            message: "file is gone".into(),
            fields: vec![("path".into(), "/x\"".into())],
        };
        let batch = columns(&[log], &pipeline.outlet).unwrap();
        let value = |name: &str| array_value_to_string(batch.column_by_name(name).unwrap(), 0).unwrap();
        assert_eq!(value("timestamp"), "2023-11-14T22:13:20Z");
        assert_eq!((value("level"), value("fields.path")), ("warn".into(), "/x\"".into()));
        assert_eq!(value("body"), "66696c6520697320676f6e65");
    }
}
