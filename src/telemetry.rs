//! our own logs and metrics
//!
//!     tracing event ─► stderr, and ─► Logs (bounded, the oldest go first) ─► the source `internal`
//!     counter.add(1) ─► Metrics ─► /metrics, and ─► the source `internal`
//!
//! **Never:** what we say while storing what we said is stored again: events inside [`quiet`], and events with a field `source` or
//! `table` that names one of ours, go to stderr only.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::clock::Clock;
use crate::error::{Error, Result};

/// Log events that wait to be stored; beyond it the oldest are dropped and counted.
const LOGS_MAX: usize = 4096;
/// Series in all; beyond it a new one counts nothing that anybody sees.
const SERIES_MAX: usize = 10_000;
/// The name of the span that is not fed back.
const QUIET: &str = "quiet";

/// How we log.
#[derive(Clone, Debug)]
pub struct Options {
    /// what to log, as `info` or `tidemill=debug,warn`
    pub level: String,
    /// JSON lines on stderr, for other programs
    pub json: bool,
}

/// One event of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// when, ns UTC
    pub timestamp: i64,
    /// `error`, `warn`, `info`
    pub level: &'static str,
    /// the part of the program that said it
    pub target: String,
    /// the fixed message
    pub message: String,
    /// the fields, in the order they were given
    pub fields: Vec<(String, String)>,
}

/// Our own log events on their way to the source `internal`. Cloning shares them.
#[derive(Clone)]
pub struct Logs(Arc<LogsInner>);

struct LogsInner {
    clock: Clock,
    waiting: Mutex<VecDeque<Log>>,
    came: Notify,
    dropped: AtomicU64,
}

/// Starts logging to stderr and to the returned [`Logs`]. Once per process.
pub fn start(options: &Options, clock: Clock) -> Result<Logs> {
    let filter = EnvFilter::try_new(&options.level).map_err(|error| {
        Error::invalid(format!("`{}` is no log level: {error}; write `info` or `tidemill=debug`", options.level))
    })?;
    let logs = Logs::new(clock);
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let stderr: Box<dyn Layer<_> + Send + Sync> = match options.json {
        true => stderr.json().flatten_event(true).boxed(),
        false => stderr.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(stderr)
        .with(Feed(logs.clone()))
        .try_init()
        .map_err(|error| Error::internal(format!("logging cannot be started: {error}")))?;
    Ok(logs)
}

/// A span whose events go to stderr only: around the work that stores our own logs and metrics.
pub fn quiet() -> tracing::Span {
    tracing::error_span!(QUIET)
}

impl Logs {
    /// Nothing said yet.
    pub fn new(clock: Clock) -> Self {
        Logs(Arc::new(LogsInner { clock, waiting: Mutex::default(), came: Notify::new(), dropped: AtomicU64::new(0) }))
    }

    /// Waits until there is something, then takes at most `max`.
    pub async fn take(&self, max: usize) -> Vec<Log> {
        loop {
            let came = self.0.came.notified();
            let taken = self.take_now(max);
            if !taken.is_empty() {
                return taken;
            }
            came.await;
        }
    }

    /// Takes at most `max` of what is there.
    pub fn take_now(&self, max: usize) -> Vec<Log> {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(max);
        waiting.drain(..count).collect()
    }

    /// How many were dropped because nobody took them in time.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn push(&self, log: Log) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= LOGS_MAX {
            waiting.pop_front();
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        waiting.push_back(log);
        drop(waiting);
        self.0.came.notify_one();
    }
}

/// The layer that keeps events of level info and above.
struct Feed(Logs);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Feed {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO {
            return;
        }
        let quiet = context.event_scope(event).is_some_and(|scope| scope.into_iter().any(|span| span.name() == QUIET));
        let mut words = Words::default();
        event.record(&mut words);
        if quiet || words.is_about_ourselves() {
            return;
        }
        self.0.push(Log {
            timestamp: self.0.0.clock.now(),
            level: match *metadata.level() {
                Level::ERROR => "error",
                Level::WARN => "warn",
                _ => "info",
            },
            target: metadata.target().to_owned(),
            message: words.message,
            fields: words.fields,
        });
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: Vec<(String, String)>,
}

impl Words {
    fn is_about_ourselves(&self) -> bool {
        self.fields.iter().any(|(name, value)| match name.as_str() {
            "source" => value == "tidemill_logs" || value == "tidemill_metrics",
            "table" => value.starts_with("tidemill."),
            _ => false,
        })
    }

    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// Our own metrics. Cloning shares them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Families>>);

type Families = BTreeMap<&'static str, Family>;
type SeriesLabels = Vec<(&'static str, String)>;

struct Family {
    help: &'static str,
    kind: &'static str,
    series: BTreeMap<SeriesLabels, Cell>,
}

enum Cell {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A number that only grows. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

/// A number that goes up and down. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

/// How often which sizes occurred. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<HistogramInner>);

#[derive(Debug)]
struct HistogramInner {
    bounds: Vec<f64>,
    /// one more than bounds: the last counts what is beyond all of them
    counts: Vec<AtomicU64>,
    sum: Gauge,
}

/// One sample of ours, as exposed.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// with `_bucket`, `_sum` or `_count` where it is a histogram's
    pub name: String,
    /// `counter`, `gauge` or `histogram`
    pub kind: &'static str,
    /// labels by name
    pub labels: Vec<(String, String)>,
    /// its value
    pub value: f64,
}

impl Counter {
    /// Counts on.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Changes it by so much.
    pub fn add(&self, by: f64) {
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, |bits| (f64::from_bits(bits) + by).to_bits());
    }

    /// Its value.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl Histogram {
    fn new(bounds: &[f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram(Arc::new(HistogramInner { bounds: bounds.to_vec(), counts, sum: Gauge::default() }))
    }

    /// One more of this size.
    pub fn observe(&self, value: f64) {
        let at = self.0.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.0.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.sum.add(value);
    }
}

impl Metrics {
    /// The counter of this name and these labels, made if it is new.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        let made = self.cell(
            name,
            help,
            "counter",
            labels,
            || Cell::Counter(Counter::default()),
            |cell| match cell {
                Cell::Counter(counter) => Some(counter.clone()),
                Cell::Gauge(_) | Cell::Histogram(_) => None,
            },
        );
        made.unwrap_or_default()
    }

    /// The gauge of this name and these labels, made if it is new.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        let made = self.cell(
            name,
            help,
            "gauge",
            labels,
            || Cell::Gauge(Gauge::default()),
            |cell| match cell {
                Cell::Gauge(gauge) => Some(gauge.clone()),
                Cell::Counter(_) | Cell::Histogram(_) => None,
            },
        );
        made.unwrap_or_default()
    }

    /// The counter of this name and these labels that somebody else counts, in fractions too; made if it is new.
    pub fn total(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        let get = |cell: &Cell| match cell {
            Cell::Gauge(gauge) => Some(gauge.clone()),
            Cell::Counter(_) | Cell::Histogram(_) => None,
        };
        self.cell(name, help, "counter", labels, || Cell::Gauge(Gauge::default()), get).unwrap_or_default()
    }

    /// The histogram of this name and these labels, made with these ascending bounds if it is new.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        bounds: &[f64],
    ) -> Histogram {
        let make = || Cell::Histogram(Histogram::new(bounds));
        let made = self.cell(name, help, "histogram", labels, make, |cell| match cell {
            Cell::Histogram(histogram) => Some(histogram.clone()),
            Cell::Counter(_) | Cell::Gauge(_) => None,
        });
        made.unwrap_or_else(|| Histogram::new(bounds))
    }

    /// Stops exposing a series, such as that of a plugin that is gone.
    pub fn remove(&self, name: &'static str, labels: &[(&'static str, &str)]) {
        if let Some(family) = self.lock().get_mut(name) {
            family.series.remove(&key(labels));
        }
    }

    /// Every sample, sorted by name and labels.
    pub fn samples(&self) -> Vec<Sample> {
        let families = self.lock();
        let mut samples = Vec::new();
        for (name, family) in families.iter() {
            for (labels, cell) in &family.series {
                let labels: Vec<(String, String)> = labels.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
                cell.expose(name, family.kind, &labels, &mut samples);
            }
        }
        samples
    }

    /// The Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let about: BTreeMap<&str, (&str, &str)> =
            self.lock().iter().map(|(name, family)| (*name, (family.help, family.kind))).collect();
        let mut text = String::new();
        let mut family = "";
        for sample in self.samples() {
            let of = |name: &str| about.get_key_value(name).map(|(name, about)| (*name, *about));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end));
            let found = of(&sample.name).or_else(|| base.and_then(of));
            if let Some((name, (help, kind))) = found.filter(|(name, _)| *name != family) {
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "# HELP {name} {}\n# TYPE {name} {kind}",
                    help.replace('\\', "\\\\").replace('\n', "\\n")
                );
                family = name;
            }
            let _ = writeln!(text, "{}{} {}", sample.name, braces(&sample.labels), number(sample.value));
        }
        text
    }

    fn cell<T>(
        &self,
        name: &'static str,
        help: &'static str,
        kind: &'static str,
        labels: &[(&'static str, &str)],
        make: impl FnOnce() -> Cell,
        get: impl FnOnce(&Cell) -> Option<T>,
    ) -> Option<T> {
        let mut families = self.lock();
        let room = families.values().map(|family| family.series.len()).sum::<usize>() < SERIES_MAX;
        let family = families.entry(name).or_insert_with(|| Family { help, kind, series: BTreeMap::new() });
        let key = key(labels);
        if !family.series.contains_key(&key) {
            if !room {
                return None;
            }
            family.series.insert(key.clone(), make());
        }
        family.series.get(&key).and_then(get)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Families> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(labels: &[(&'static str, &str)]) -> SeriesLabels {
    let mut key: SeriesLabels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    key.sort();
    key
}

impl Cell {
    fn expose(&self, name: &str, kind: &'static str, labels: &[(String, String)], samples: &mut Vec<Sample>) {
        let mut push = |suffix: &str, extra: Option<String>, value: f64| {
            let extra = extra.map(|bound| ("le".to_owned(), bound));
            let labels = labels.iter().cloned().chain(extra).collect();
            samples.push(Sample { name: format!("{name}{suffix}"), kind, labels, value });
        };
        match self {
            Cell::Counter(counter) => push("", None, counter.get() as f64),
            Cell::Gauge(gauge) => push("", None, gauge.get()),
            Cell::Histogram(histogram) => {
                let bounds = histogram.0.bounds.iter().copied().chain([f64::INFINITY]);
                let mut total = 0;
                for (bound, count) in bounds.zip(&histogram.0.counts) {
                    total += count.load(Ordering::Relaxed);
                    push("_bucket", Some(number(bound)), total as f64);
                }
                push("_sum", None, histogram.0.sum.get());
                push("_count", None, total as f64);
            }
        }
    }
}

fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => value.to_string(),
    }
}

fn braces(labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.counter("b_total", "how many b", &[("kind", "x\"y\n")]).add(2);
        metrics.counter("b_total", "how many b", &[("kind", "x\"y\n")]).add(1);
        metrics.gauge("a", "how much a", &[]).set(1.5);
        let histogram = metrics.histogram("c_seconds", "how long c", &[("q", "1")], &[0.1, 1.0]);
        for value in [0.1, 0.5, 7.0] {
            histogram.observe(value);
        }
        let want = "# HELP a how much a\n# TYPE a gauge\na 1.5\n\
            # HELP b_total how many b\n# TYPE b_total counter\nb_total{kind=\"x\\\"y\\n\"} 3\n\
            # HELP c_seconds how long c\n# TYPE c_seconds histogram\n\
            c_seconds_bucket{q=\"1\",le=\"0.1\"} 1\nc_seconds_bucket{q=\"1\",le=\"1\"} 2\n\
            c_seconds_bucket{q=\"1\",le=\"+Inf\"} 3\nc_seconds_sum{q=\"1\"} 7.6\nc_seconds_count{q=\"1\"} 3\n";
        assert_eq!(metrics.render(), want);
        metrics.remove("a", &[]);
        assert!(!metrics.render().contains("a 1.5"));
    }

    #[test]
    fn series_have_an_end() {
        let metrics = Metrics::default();
        for n in 0..SERIES_MAX + 10 {
            metrics.counter("n_total", "n", &[("n", &n.to_string())]).add(1);
        }
        assert_eq!(metrics.samples().len(), SERIES_MAX);
        metrics.gauge("n_total", "of another kind", &[("n", "1")]).set(7.0);
        assert_eq!(metrics.counter("n_total", "n", &[("n", "1")]).get(), 1);
    }

    #[test]
    fn events_are_kept_once_and_never_about_ourselves() {
        let logs = Logs::new(Clock::held(5));
        let subscriber = tracing_subscriber::registry().with(Feed(logs.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(path = "/x", count = 3, "file is gone");
            tracing::debug!("too small");
            tracing::info!(table = "tidemill.logs", "segment is written");
            tracing::info!(source = "tidemill_logs", "delivery is stored");
            quiet().in_scope(|| tracing::error!("inside"));
        });
        let taken = logs.take_now(10);
        assert_eq!(taken.len(), 1);
        assert_eq!((taken[0].timestamp, taken[0].level, taken[0].message.as_str()), (5, "warn", "file is gone"));
        assert_eq!(taken[0].fields, [("path".to_owned(), "/x".to_owned()), ("count".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn the_oldest_logs_go_first() {
        let logs = Logs::new(Clock::held(0));
        for n in 0..LOGS_MAX + 3 {
            logs.push(Log {
                timestamp: 0,
                level: "info",
                target: String::new(),
                message: n.to_string(),
                fields: vec![],
            });
        }
        assert_eq!((logs.dropped(), logs.take_now(1)[0].message.as_str()), (3, "3"));
    }
}
