//! what Tidemill counts about itself, brought up to date before anybody looks

use super::ledger::Ledger;
use crate::clock::Clock;
use crate::source::{Progress, processes};
use crate::store::Store;
use crate::telemetry::{Logs, Metrics};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often they are brought up to date by themselves.
const EVERY: Duration = Duration::from_secs(5);

/// Sources by name, and how far each is.
type Followed = Vec<(String, Arc<Progress>)>;

/// Our own metrics and where they come from. Cloning shares them.
#[derive(Clone)]
pub(super) struct Figures {
    metrics: Metrics,
    store: Store,
    ledger: Ledger,
    sources: Arc<Mutex<Followed>>,
    logs: Logs,
    clock: Clock,
}

impl Figures {
    pub fn new(metrics: Metrics, store: Store, ledger: Ledger, logs: Logs, clock: Clock) -> Figures {
        Figures { metrics, store, ledger, sources: Arc::default(), logs, clock }
    }

    /// The sources to tell of.
    pub fn watch(&self, sources: Followed) {
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// The registry.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Keeps the figures up to date.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.refresh();
            tokio::select! {
                () = stop.cancelled() => (),
                () = tokio::time::sleep(EVERY) => (),
            }
        }
    }

    /// All of it in Prometheus' text format.
    pub fn render(&self) -> String {
        self.refresh();
        self.metrics.render()
    }

    fn refresh(&self) {
        self.store_figures();
        for (stage, totals) in self.ledger.totals() {
            let labels = [("stage", stage.as_str())];
            self.count("tidemill_plugin_calls_total", "calls of a stage's plugin", &labels, totals.calls);
            self.count(
                "tidemill_plugin_events_in_total",
                "events handed to a stage's plugin",
                &labels,
                totals.events_in,
            );
            self.count(
                "tidemill_plugin_events_out_total",
                "events that came out of a stage",
                &labels,
                totals.events_out,
            );
            self.count(
                "tidemill_plugin_faults_total",
                "calls that trapped, exceeded a limit or answered malformed",
                &labels,
                totals.faults(),
            );
            self.count("tidemill_plugin_dead_total", "events that a stage gave up", &labels, totals.dead);
            let cpu = self.metrics.gauge("tidemill_plugin_cpu_seconds", "processor time in a stage's plugin", &labels);
            cpu.set(totals.cpu_nanos as f64 / 1e9);
            let memory =
                self.metrics.gauge("tidemill_plugin_memory_max_bytes", "largest memory of a stage's plugin", &labels);
            memory.set(totals.memory_bytes_max as f64);
        }
        self.own_figures();
        let now = self.clock.now();
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, progress) in &sources {
            let labels = [("source", name.as_str())];
            let standings = progress.standings();
            let sum =
                |of: fn(&crate::source::Standing) -> u64| standings.iter().map(|(_, standing)| of(standing)).sum();
            self.count("tidemill_source_events_total", "events a source has handed over", &labels, sum(|s| s.events));
            self.count("tidemill_source_bytes_total", "bytes a source has read", &labels, sum(|s| s.bytes));
            self.count(
                "tidemill_source_cuts_total",
                "places where an event of several lines was cut",
                &labels,
                sum(|s| s.cuts),
            );
            let behind =
                self.metrics.gauge("tidemill_source_behind", "bytes, samples or pushes known to wait", &labels);
            behind.set(sum(|s| s.behind) as f64);
            let lag = standings.iter().map(|(_, standing)| standing.lag_seconds(now)).fold(0.0, f64::max);
            let help = "since when a source has not been caught up, in seconds";
            self.metrics.gauge("tidemill_source_lag_seconds", help, &labels).set(lag);
        }
        self.count(
            "tidemill_logs_dropped_total",
            "log lines of ours that nobody took in time",
            &[],
            self.logs.dropped(),
        );
    }

    /// What this very process has used.
    fn own_figures(&self) {
        let Some(used) = processes::used_by_us() else { return };
        let cpu = self.metrics.total("process_cpu_seconds_total", "processor time of this process, in seconds", &[]);
        cpu.set(used.cpu_seconds);
        let memory = self.metrics.gauge("process_resident_memory_bytes", "resident memory of this process", &[]);
        memory.set(used.memory_bytes);
    }

    fn store_figures(&self) {
        let stats = self.store.stats();
        let gauges = [
            ("tidemill_store_wal_bytes", "bytes in the WAL", stats.wal_bytes),
            ("tidemill_store_hot_bytes", "bytes of rows that no segment has yet", stats.hot_bytes),
            ("tidemill_store_hot_rows", "rows that no segment has yet", stats.hot_rows),
        ];
        for (name, help, value) in gauges {
            self.metrics.gauge(name, help, &[]).set(value as f64);
        }
        self.count("tidemill_store_rows_total", "rows stored", &[], stats.rows);
        self.count("tidemill_store_fsyncs_total", "syncs of the WAL", &[], stats.wal_fsyncs);
        self.count("tidemill_store_refused_total", "appends the disk could not take", &[], stats.refused);
        self.count("tidemill_store_segments_total", "segments written", &[], stats.segments_written);
        self.count("tidemill_store_flush_failures_total", "flushes that failed", &[], stats.flush_failures);
    }

    /// A counter that somebody else counts.
    fn count(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], total: u64) {
        let counter = self.metrics.counter(name, help, labels);
        counter.add(total.saturating_sub(counter.get()));
    }
}
