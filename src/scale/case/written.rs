//! a scaling case as it is written, checked key by key

use super::super::Config;
use super::super::backtest::{Model, Variable};
use super::super::policy::replicas;
use crate::clock::nanos;
use crate::error::{Error, Result, did_you_mean};
use crate::units::{DAY, Span, within};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Value;

/// The most a file may have, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The longest case, in ticks.
const TICKS_MAX: i64 = 1_000_000;

/// One file: what happens when, and what has to be decided.
pub struct Case {
    /// what the case shows
    pub about: String,
    /// whose decisions
    pub scaler: Named,
    /// the first tick, ns UTC
    pub(super) now: i64,
    /// replicas that were decided last; a first start if not given
    pub(super) replicas: Option<u32>,
    pub(super) model: Model,
    /// what a signal shows of the workload, where its name does not say
    pub(super) shows: BTreeMap<String, Variable>,
    /// in order of their time
    pub(super) steps: Vec<Step>,
}

/// Whose decisions a case is about.
pub enum Named {
    /// of a scaler in a pipeline file
    InFile {
        /// the file, from the case's folder
        file: PathBuf,
        /// the scaler; the only one if not given
        scaler: Option<String>,
    },
    /// written in the case
    Here(Box<Config>),
}

/// What happens at a time, before the tick of that time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// since the first tick, in ns
    #[serde(default, deserialize_with = "since")]
    pub at: i64,
    /// what signals say from now on
    #[serde(default)]
    pub signals: BTreeMap<String, Value>,
    /// requests a second from now on
    pub load: Option<f64>,
    /// how long a replica that is started from now on takes until it is ready
    pub start: Option<Span>,
    /// what the plugin fails with from now on; empty: it works again
    pub plugin_fails: Option<String>,
    /// why decisions cannot be applied from now on; empty: they can again
    pub actuator_fails: Option<String>,
    /// the machine's clock is set: forth, or back with a minus
    #[serde(default, deserialize_with = "jump")]
    pub clock: Option<i64>,
    /// tidemill is killed and starts again
    #[serde(default)]
    pub restart: bool,
    /// an operator's order
    pub order: Option<Ordered>,
    /// the operator's order is taken back
    #[serde(default)]
    pub release: bool,
    #[serde(rename = "expect")]
    pub expected: Option<Expected>,
}

/// `order = { replicas = 4, for = "10m", why = "a sale" }`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ordered {
    pub replicas: u32,
    #[serde(default = "hour", deserialize_with = "within::<1, { 30 * DAY }, _, _>")]
    pub r#for: Span,
    #[serde(default)]
    pub why: String,
}

fn hour() -> Span {
    Span(Duration::from_secs(3600))
}

/// What the tick of a step has to decide.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    pub replicas: Option<u32>,
    pub ready: Option<u32>,
    pub proposed: Option<u32>,
    /// parts of the reason, all of which have to be there
    #[serde(default, deserialize_with = "one_or_more")]
    pub reason: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    about: String,
    pipeline: Option<PathBuf>,
    scaler: Option<Value>,
    now: Option<Value>,
    replicas: Option<u32>,
    #[serde(default)]
    workload: Workload,
    #[serde(default)]
    shows: BTreeMap<String, String>,
    steps: Vec<Step>,
}

/// `[workload]`: what a replica can do, for signals that show the load.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Workload {
    capacity: f64,
    service_time: Span,
    start: Span,
    timeout: Span,
}

impl Default for Workload {
    fn default() -> Self {
        let (service_time, start) = (Span(Duration::from_millis(100)), Span(Duration::ZERO));
        Workload { capacity: 10.0, service_time, start, timeout: Span(Duration::from_secs(30)) }
    }
}

impl Case {
    /// Reads a case from a file, with its text.
    pub fn open(path: &Path) -> Result<(String, Case)> {
        let failed = |error| Error::io(format!("cannot read {}", path.display()), error);
        let bytes = std::fs::metadata(path).map_err(failed)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(Error::invalid(format!("it has {bytes} bytes, and a case may have {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let case = Case::read(&text)?;
        Ok((text, case))
    }

    /// Whether a text is meant to be one of these cases, and not a pipeline, or a plugin's case. What cannot be read may be one.
    pub fn is_one(text: &str) -> bool {
        match text.parse::<toml::Table>() {
            Ok(table) => ["steps", "step", "pipeline"].iter().any(|key| table.contains_key(*key)),
            Err(_) => true,
        }
    }

    /// Reads a case from its text.
    pub fn read(text: &str) -> Result<Case> {
        let wrong = |error: toml::de::Error| Error::invalid(error.to_string().trim_end().to_owned());
        let written: Written = toml::from_str(text).map_err(wrong)?;
        let scaler = named(written.pipeline, written.scaler)?;
        let now = match written.now {
            None => 1_769_860_800_000_000_000,
            Some(value) => moment(&value)?,
        };
        let mut shows = BTreeMap::new();
        for (signal, shown) in written.shows {
            let variable = Variable::of(&shown).ok_or_else(|| {
                let near = did_you_mean(&shown, Variable::names());
                let names: Vec<&str> = Variable::names().collect();
                Error::invalid(format!(
                    "shows.{signal}: the workload does not show `{shown}`{near}; it shows {}",
                    names.join(", ")
                ))
            })?;
            shows.insert(signal, variable);
        }
        if !written.steps.is_sorted_by_key(|step| step.at) {
            return Err(Error::invalid(
                "steps stand in the order of their time; one is `at` an earlier time than the one before",
            ));
        }
        let Some(last) = written.steps.last() else {
            return Err(Error::invalid("there is nothing to run: write [[steps]]"));
        };
        if last.expected.is_none() {
            return Err(Error::invalid(
                "the last step expects nothing; write `expect = {}` in it, and `--update` fills it in",
            ));
        }
        let workload = written.workload;
        if !(workload.capacity > 0.0 && workload.capacity.is_finite()) {
            return Err(Error::invalid("workload.capacity: it must be more than 0 requests a second"));
        }
        let model = Model {
            capacity: workload.capacity,
            service_time: workload.service_time.0.as_secs_f64(),
            start: workload.start.0.as_secs_f64(),
            objective: 0.5,
            timeout: workload.timeout.0.as_secs_f64(),
        };
        Ok(Case { about: written.about, scaler, now, replicas: written.replicas, model, shows, steps: written.steps })
    }

    /// What cannot be said of this scaler.
    pub(super) fn check(&self, config: &Config) -> Result<()> {
        let every = nanos(config.every.0);
        let last = self.steps.last().map_or(0, |step| step.at);
        if last / every > TICKS_MAX {
            let message = format!("the case has {} ticks; at most {TICKS_MAX}: write a longer `every`", last / every);
            return Err(Error::invalid(message));
        }
        let loaded = self.steps.iter().any(|step| step.load.is_some());
        for (at, step) in self.steps.iter().enumerate() {
            let signals = || config.signals.keys().map(String::as_str);
            if let Some(name) = step.signals.keys().find(|name| !config.signals.contains_key(*name)) {
                let near = did_you_mean(name, signals());
                let all: Vec<&str> = signals().collect();
                let message = format!("the scaler has no signal `{name}`{near} (there are: {})", all.join(", "));
                return Err(Error::invalid(message).within(format!("step {}", at + 1)));
            }
        }
        if let Some(name) = self.shows.keys().find(|name| !config.signals.contains_key(*name)) {
            return Err(Error::invalid(format!("shows: the scaler has no signal `{name}`")));
        }
        let nowhere = |name: &&String| {
            let told = self.steps.iter().any(|step| step.signals.contains_key(*name));
            !told && !(loaded && (self.shows.contains_key(*name) || Variable::of(name).is_some()))
        };
        match config.signals.keys().find(nowhere) {
            None => Ok(()),
            Some(name) => Err(Error::invalid(format!(
                "no step says what the signal `{name}` is; write `signals.{name} = 1.0`, or a `load` and `shows.{name} = \"arrivals\"`"
            ))),
        }
    }
}

impl Expected {
    /// Whether nothing is expected yet.
    pub fn is_open(&self) -> bool {
        self.replicas.is_none() && self.ready.is_none() && self.proposed.is_none() && self.reason.is_empty()
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_open() {
            return f.write_str("(the case does not say)");
        }
        let mut parts = Vec::new();
        parts.extend(self.replicas.map(replicas));
        parts.extend(self.ready.map(|ready| format!("{ready} ready")));
        parts.extend(self.proposed.map(|proposed| format!("{proposed} proposed")));
        f.write_str(&parts.join(", "))?;
        match self.reason.is_empty() {
            true => Ok(()),
            false => write!(f, ": {}", self.reason.join(" … ")),
        }
    }
}

fn named(pipeline: Option<PathBuf>, scaler: Option<Value>) -> Result<Named> {
    match (pipeline, scaler) {
        (Some(file), None) => Ok(Named::InFile { file, scaler: None }),
        (Some(file), Some(Value::String(scaler))) => Ok(Named::InFile { file, scaler: Some(scaler) }),
        (None, Some(Value::Table(mut table))) => {
            table.entry("workload").or_insert_with(|| "web".into());
            let config: Config =
                table.try_into().map_err(|error: toml::de::Error| Error::invalid(error.message()).within("scaler"))?;
            match config.faults().into_iter().next() {
                None => Ok(Named::Here(Box::new(config))),
                Some(fault) => Err(fault.error.within(format!("scaler.{}", fault.key))),
            }
        }
        _ => Err(Error::invalid(
            "it says of no scaler; write `pipeline = \"../web.toml\"` and `scaler = \"web\"`, or a table [scaler]",
        )),
    }
}

fn moment(value: &Value) -> Result<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let wrong = || Error::invalid(format!("now: `{text}` is no time; write RFC 3339, as in `2026-01-31T12:00:00Z`"));
    chrono::DateTime::parse_from_rfc3339(&text).ok().and_then(|at| at.timestamp_nanos_opt()).ok_or_else(wrong)
}

fn since<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<i64, D::Error> {
    Span::deserialize(reader).map(|span| nanos(span.0))
}

/// `"10m"` or `"-10m"`.
fn jump<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(reader)?;
    let (sign, span) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
    Span::parse(span).map(|span| Some(sign * nanos(span.0))).map_err(serde::de::Error::custom)
}

fn one_or_more<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(reader)? {
        Value::String(part) => Ok(vec![part]),
        Value::Array(parts) => parts
            .into_iter()
            .map(|part| match part {
                Value::String(part) => Ok(part),
                other => Err(serde::de::Error::custom(format!("`{other}` is no part of a reason; write text"))),
            })
            .collect(),
        other => Err(serde::de::Error::custom(format!("`{other}` is no part of a reason; write text, or a list"))),
    }
}
