//! metrics pulled from `/metrics` addresses
//!
//!     every target: wait ─► fetch ─► parse ─► samples + up, duration, count ─► deliver ─► wait
//!
//! Each target has its own place in the interval, so that many are not asked at once. A target is asked again only after the last
//! answer was handed over. A scrape that fails, or has a mistake anywhere, gives `up` 0 and none of its samples.

mod address;

use super::Outlet;
use crate::codec::metrics::Samples;
use crate::codec::prometheus::{self, Sample};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::event::{Ack, Batch, Delivery, Kind};
use crate::units::{ByteSize, DAY, GIB, Span, within};
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Deserialize;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The word after `type =`.
pub const NAME: &str = "scrape";
/// In one line.
pub const ABOUT: &str = "metrics pulled from Prometheus or OpenMetrics addresses";
/// A table that works.
pub const EXAMPLE: &str = r#"type = "scrape"
targets = ["http://127.0.0.1:9100/metrics"]
every = "15s"
"#;

/// What we ask for: OpenMetrics first, because it says when it is cut off.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
/// Targets of one source, given or found.
const TARGETS_MAX: usize = 10_000;
/// How often the list of targets is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A source that pulls metrics.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses to ask, such as `http://127.0.0.1:9100/metrics`.
    #[serde(default)]
    pub targets: Vec<String>,
    /// A workload of this pipeline whose replicas are asked too, at `path`.
    #[serde(default)]
    pub workload: Option<String>,
    /// Where a workload's replicas serve their metrics.
    #[serde(default = "path")]
    pub path: String,
    /// How often each target is asked.
    #[serde(default = "every", deserialize_with = "within::<100, DAY, _, _>")]
    pub every: Span,
    /// How long an answer may take; not longer than `every`, which it is unless `every` is longer than 10 s.
    #[serde(default, deserialize_with = "within::<1, DAY, _, _>")]
    pub timeout: Option<Span>,
    /// The label `job` of all samples; the source's name unless set.
    #[serde(default)]
    pub job: Option<String>,
    /// Labels that all samples get.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether labels that a target exposes win over ours of the same name; otherwise they become `exported_<name>`.
    #[serde(default)]
    pub honor_labels: bool,
    /// A token to show to the targets; write it as `${NAME}`.
    #[serde(default)]
    pub bearer: Option<Secret>,
    /// Samples one answer may have.
    #[serde(default = "samples_max", deserialize_with = "within::<1, 100_000_000, _, _>")]
    pub samples_max: usize,
    /// Bytes one answer may have.
    #[serde(default = "bytes_max", deserialize_with = "within::<1, GIB, _, _>")]
    pub bytes_max: ByteSize,
}

fn path() -> String {
    "/metrics".into()
}

fn every() -> Span {
    Span(Duration::from_secs(15))
}

fn samples_max() -> usize {
    50_000
}

fn bytes_max() -> ByteSize {
    ByteSize(16 << 20)
}

/// A text that is never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"…\"")
    }
}

/// One address to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// where
    pub url: String,
    /// labels of its samples, such as the replica's name; they win over the source's own
    pub labels: BTreeMap<String, String>,
}

/// Targets that come and go, such as a workload's replicas. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct Targets(Arc<RwLock<Vec<Target>>>);

/// What to fetch.
#[derive(Clone, Debug)]
pub struct Get {
    /// where
    pub url: String,
    /// how long it may take in all
    pub timeout: Duration,
    /// how much an answer may have
    pub bytes_max: usize,
    /// the header `Accept`
    pub accept: &'static str,
    /// a token to show
    pub bearer: Option<Secret>,
}

/// What was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// the HTTP status
    pub status: u16,
    /// the header `Content-Type`
    pub content_type: Option<String>,
    /// the body, unpacked
    pub body: Bytes,
}

/// Who fetches: the HTTP client, or a test.
pub trait Fetch: Send + Sync {
    /// Fetches; an answer of any status is an answer.
    fn fetch(&self, get: Get) -> BoxFuture<'_, Result<Fetched>>;
}

impl Targets {
    /// Replaces the list.
    pub fn set(&self, targets: Vec<Target>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = targets;
    }

    /// The list as it is now.
    pub fn get(&self) -> Vec<Target> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Config {
    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.targets.is_empty() && self.workload.is_none() {
            faults.push(Fault::new("", "a scrape needs `targets` or a `workload`"));
        }
        for (at, url) in self.targets.iter().enumerate() {
            let before = self.targets.iter().take(at);
            let wrong = address::fault(url).or_else(|| address::twin(url, before));
            faults.extend(wrong.map(|message| Fault::new(format!("targets.{at}"), message)));
        }
        if let Some(timeout) = self.timeout.filter(|timeout| timeout.0 > self.every.0) {
            let message = format!("`{timeout}` is longer than `every = \"{}\"`; write at most that", self.every);
            faults.push(Fault::new("timeout", message));
        }
        if !self.path.starts_with('/') {
            faults.push(Fault::new("path", format!("`path = \"{}\"` must start with `/`", self.path)));
        }
        faults
    }

    fn timeout(&self) -> Duration {
        self.timeout.map_or(self.every.0.min(Duration::from_secs(10)), |timeout| timeout.0)
    }

    fn all(&self, found: &Targets) -> BTreeMap<String, Target> {
        let given = self.targets.iter().map(|url| Target { url: url.clone(), labels: BTreeMap::new() });
        given.chain(found.get()).take(TARGETS_MAX).map(|target| (target.url.clone(), target)).collect()
    }
}

/// Asks all targets until told to stop.
pub async fn run(config: Config, outlet: Outlet, found: Targets, fetch: Arc<dyn Fetch>) -> Result<()> {
    let mut running: HashMap<String, (Target, CancellationToken)> = HashMap::new();
    let mut tasks = JoinSet::new();
    loop {
        let wanted = config.all(&found);
        running.retain(|url, (target, stop)| {
            let kept = wanted.get(url) == Some(target);
            if !kept {
                stop.cancel();
                outlet.progress.gone(url);
            }
            kept
        });
        for (url, target) in wanted {
            let Entry::Vacant(place) = running.entry(url) else { continue };
            let (config, outlet, fetch) = (config.clone(), outlet.clone(), fetch.clone());
            let stop = outlet.stop.child_token();
            // Known from now on: it is not caught up before its first scrape.
            outlet.progress.behind(place.key(), 0);
            tasks.spawn(One { config, outlet, fetch, target: target.clone() }.run(stop.clone()));
            place.insert((target, stop));
        }
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = outlet.stop.cancelled() => break,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// One target and all that is needed to ask it.
struct One {
    config: Config,
    outlet: Outlet,
    fetch: Arc<dyn Fetch>,
    target: Target,
}

impl One {
    async fn run(self, stop: CancellationToken) {
        let every = self.config.every.0;
        let mut next = Instant::now() + place(&self.outlet.name, &self.target.url, every);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                done = self.scrape() => self.tell(done, &stop),
            }
            let now = Instant::now();
            while next <= now {
                next += every;
            }
        }
    }

    fn tell(&self, done: Result<()>, stop: &CancellationToken) {
        match done {
            // A target that was taken off the list meanwhile is not put on it again.
            _ if stop.is_cancelled() => {}
            Ok(()) => self.outlet.progress.caught_up(&self.target.url),
            Err(error) => {
                let failed_before = self.outlet.progress.is_failed(&self.target.url);
                if failed_before {
                    tracing::debug!(source = &*self.outlet.name, target = self.target.url, %error, "scrape failed again");
                } else {
                    tracing::warn!(source = &*self.outlet.name, target = self.target.url, %error, "scrape failed");
                }
                self.outlet.progress.failed(&self.target.url, error.message());
            }
        }
    }

    /// Fetches, and hands over what came of it; fails if either does.
    async fn scrape(&self) -> Result<()> {
        let at = self.outlet.clock.now();
        let started = Instant::now();
        let get = Get {
            url: self.target.url.clone(),
            timeout: self.config.timeout(),
            bytes_max: self.config.bytes_max.as_usize(),
            accept: ACCEPT,
            bearer: self.config.bearer.clone(),
        };
        let fetched = match tokio::time::timeout(self.config.timeout(), self.fetch.fetch(get)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(Error::new(
                ErrorKind::Limit,
                format!("no answer within {} (`timeout`)", Span(self.config.timeout())),
            )),
        };
        let took = started.elapsed();
        let bytes = fetched.as_ref().map_or(0, |fetched| fetched.body.len() as u64);
        let (columns, result) = {
            let parsed = fetched.as_ref().map_err(Error::clone).and_then(|fetched| self.parsed(fetched));
            let columns = self.columns(parsed.as_deref().unwrap_or_default(), parsed.is_ok(), at, took)?;
            (columns, parsed.map(|_| ()))
        };
        self.outlet.progress.read(&self.target.url, columns.num_rows() as u64, bytes);
        let (ack, safe) = Ack::new();
        let batch = Batch { kind: Kind::Metrics, columns };
        let source = self.outlet.name.clone();
        let delivery =
            Delivery { source, batch, dead: vec![], positions: vec![], key: None, patient: false, replay: None, ack };
        self.outlet.send(delivery).await?;
        match safe.await {
            Ok(stored) => stored?,
            Err(_) => return Err(Error::new(ErrorKind::Unavailable, "tidemill is stopping")),
        };
        result
    }

    fn parsed<'a>(&self, fetched: &'a Fetched) -> Result<Vec<Sample<'a>>> {
        if fetched.status != 200 {
            return Err(Error::new(ErrorKind::Foreign, format!("answered with status {}", fetched.status)));
        }
        let content_type = fetched.content_type.as_deref();
        prometheus::parse(&fetched.body, content_type, self.config.samples_max).map_err(|error| match error.kind() {
            ErrorKind::Limit => error,
            _ => error.within(answered(content_type)),
        })
    }

    fn columns(
        &self,
        exposed: &[Sample<'_>],
        up: bool,
        at: i64,
        took: Duration,
    ) -> Result<arrow::record_batch::RecordBatch> {
        let ours = self.labels();
        let mut samples = Samples::new();
        for sample in exposed {
            let theirs = sample.labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
            let labels = merged(&ours, theirs, self.config.honor_labels);
            let labels = labels.iter().map(|(name, value)| (name.as_str(), *value));
            samples.push(sample.timestamp.unwrap_or(at), &sample.name, sample.kind, sample.value, labels)?;
        }
        let about = [
            ("up", if up { 1.0 } else { 0.0 }),
            ("scrape_duration_seconds", took.as_secs_f64()),
            ("scrape_samples_scraped", exposed.len() as f64),
        ];
        for (name, value) in about {
            samples.push(at, name, "gauge", value, ours.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        }
        samples.finish(&self.outlet.name)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let job = self.config.job.as_deref().unwrap_or(&self.outlet.name);
        let mut labels = BTreeMap::from([
            ("job".to_owned(), job.to_owned()),
            ("instance".to_owned(), address::instance(&self.target.url).to_owned()),
        ]);
        labels.extend(self.config.labels.clone());
        labels.extend(self.target.labels.clone());
        labels.retain(|_, value| !value.is_empty());
        labels
    }
}

/// What an answer was that holds no metrics.
fn answered(content_type: Option<&str>) -> String {
    let Some(shown) = content_type else {
        return "the answer, without a content type, is not in the Prometheus text format".to_owned();
    };
    let format = match shown.split(';').next().unwrap_or_default().trim() {
        "text/plain" => "in the Prometheus text format",
        "application/openmetrics-text" => "OpenMetrics",
        _ => {
            return format!(
                "the answer is `{shown}`, not metrics; name the address that serves them, often `/metrics`"
            );
        }
    };
    format!("the answer (`{shown}`) is not {format}")
}

/// A target's own place in the interval, the same after each restart.
fn place(source: &str, url: &str, every: Duration) -> Duration {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((source, url));
    let nanos = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX).max(1);
    Duration::from_nanos(hash % nanos)
}

/// Exposed labels beside ours: the one that loses a clash is renamed (theirs) or left out (ours). An empty value is no label.
fn merged<'a>(
    ours: &'a BTreeMap<String, String>,
    theirs: impl Iterator<Item = (&'a str, &'a str)>,
    theirs_win: bool,
) -> Vec<(String, &'a str)> {
    let mut labels: BTreeMap<String, &str> = BTreeMap::new();
    for (name, value) in theirs.filter(|(_, value)| !value.is_empty()) {
        let mut name = name.to_owned();
        while !theirs_win && (ours.contains_key(&name) || labels.contains_key(&name)) {
            name.insert_str(0, "exported_");
        }
        labels.insert(name, value);
    }
    for (name, value) in ours {
        labels.entry(name.clone()).or_insert(value);
    }
    labels.into_iter().collect()
}

#[cfg(test)]
mod tests;
