//! `tidemill scale backtest FILE…`
//!
//!     trace or query ─► each candidate (as it is, another plugin, each point of the grid) ─► table, picture, SVG

use super::candidate::{Candidate, Tried};
use super::outcome::{table, time};
use super::picture;
use crate::cli::check::{environment, tell};
use crate::cli::query::print;
use crate::cli::server::Server;
use crate::clock::nanos;
use crate::config::{self, Named};
use crate::error::{Error, Result, did_you_mean};
use crate::scale::Config as ScalerConfig;
use crate::scale::backtest::{self, Form, Model, Report, Setup, Trace};
use crate::units::Span;
use arrow::array::AsArray;
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampNanosecondType};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs that are drawn over each other.
const DRAWN_MAX: usize = 4;

/// Lets a scaler's plugins decide about a load as it was, with a workload made of numbers, and tells what it would have cost.
#[derive(clap::Args)]
pub(super) struct Backtest {
    /// Pipeline files; several are read as one.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The scaler; the only one if not given.
    #[arg(long)]
    scaler: Option<String>,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    form: FormArguments,
    /// The first moment (RFC 3339), or a share of the trace such as `50%`.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// The first moment after it, written the same way.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Begin so long before, which is not counted; not at all if --initial is given.
    #[arg(long, default_value = "30m", value_name = "SPAN")]
    warm_up: String,
    #[command(flatten)]
    tried: Tried,
    /// Time between two decisions; the scaler's if not given.
    #[arg(long, value_name = "SPAN")]
    every: Option<String>,
    #[command(flatten)]
    plant: PlantArguments,
    /// Show the last changes and why.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    show: usize,
    /// Write a picture.
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    /// Print the outcomes as JSON, a line a run.
    #[arg(long)]
    json: bool,
}

/// Where the load is: one of the two.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct LoadArguments {
    /// The load: CSV, also packed with gzip, a time and a value in each line.
    #[arg(long, value_name = "FILE.csv[.gz]")]
    trace: Option<PathBuf>,
    /// The load: a query of a running Tidemill that answers a time and a value in each row.
    #[arg(long, value_name = "SQL")]
    load: Option<String>,
}

/// How the load is to be understood.
#[derive(clap::Args)]
struct FormArguments {
    /// The column of times; the first if not given.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// The column of values; the second if not given.
    #[arg(long, value_name = "COLUMN")]
    value: Option<String>,
    /// Values are rates a second, not counts of the time until the next row.
    #[arg(long)]
    rates: bool,
    /// Each row is one request; they are counted in buckets of this length.
    #[arg(long, value_name = "SPAN")]
    count: Option<String>,
    /// Where rows are left out there was no load; if not given, nobody knows, and signals are missing.
    #[arg(long)]
    quiet_gaps: bool,
    /// The highest rate becomes so many requests a second, and all others in proportion.
    #[arg(long, value_name = "RATE")]
    peak: Option<f64>,
}

/// The workload made of numbers.
#[derive(clap::Args)]
struct PlantArguments {
    /// Requests a second that one replica serves.
    #[arg(long, default_value_t = 10.0, value_name = "RATE")]
    capacity: f64,
    /// How long one request takes when nobody else is there.
    #[arg(long, default_value = "100ms", value_name = "SPAN")]
    service_time: String,
    /// How long a replica takes until it serves.
    #[arg(long, default_value = "60s", value_name = "SPAN")]
    start: String,
    /// How long a request may take.
    #[arg(long, default_value = "500ms", value_name = "SPAN")]
    objective: String,
    /// How long a request waits before it goes away.
    #[arg(long, default_value = "30s", value_name = "SPAN")]
    timeout: String,
    /// What a replica costs an hour.
    #[arg(long, default_value_t = 0.04, value_name = "MONEY")]
    cost: f64,
    /// Replicas at first; enough for the first load if not given.
    #[arg(long)]
    initial: Option<u32>,
    /// Least replicas; the scaler's if not given.
    #[arg(long)]
    min: Option<u32>,
    /// Most replicas; the scaler's if not given.
    #[arg(long)]
    max: Option<u32>,
    /// Signals are means of this while.
    #[arg(long, default_value = "30s", value_name = "SPAN")]
    window: String,
    /// The length of a bucket of the signal `history`.
    #[arg(long, default_value = "15m", value_name = "SPAN")]
    bucket: String,
    /// How far the signal `history` goes back.
    #[arg(long, default_value = "8d", value_name = "SPAN")]
    memory: String,
}

impl Backtest {
    pub(super) async fn run(self, server: &Server) -> Result<ExitCode> {
        let (config, mistakes) = config::read(&self.files, &environment);
        if !mistakes.is_empty() {
            return Ok(tell(&mistakes));
        }
        let scaler = chosen(&config.scalers, self.scaler.as_deref())?;
        if !(self.plant.cost.is_finite() && self.plant.cost >= 0.0) {
            return Err(Error::invalid(format!("--cost is {}; it is an amount of money", self.plant.cost)));
        }
        let trace = self.trace(server).await?;
        let setup = self.setup(&scaler.config, &trace)?;
        let library = crate::cli::library()?;
        let candidates = self.tried.candidates(&library, scaler)?;
        if let Some(path) = &self.svg {
            // A picture that cannot be written is told before the work, not after it.
            let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
            file.map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        }
        // Plugins run on a thread that may block.
        let outcomes = tokio::task::block_in_place(|| {
            let run = |candidate: Candidate| {
                let setup = Setup { signals: candidate.signals.clone(), ..setup.clone() };
                let report = backtest::run(&setup, &trace, &mut candidate.panel(&library)?)?;
                Ok((candidate.name, report))
            };
            candidates.into_iter().map(run).collect::<Result<Vec<(String, Report)>>>()
        })?;
        self.tell(&scaler.name, &setup, &outcomes)
    }

    async fn trace(&self, server: &Server) -> Result<Trace> {
        let form = Form {
            time: self.form.time.clone(),
            value: self.form.value.clone(),
            rates: self.form.rates,
            count: self.form.count.as_deref().map(|text| span("count", text)).transpose()?,
            quiet_gaps: self.form.quiet_gaps,
            peak: self.form.peak,
        };
        if let Some(path) = &self.load.trace {
            let shown = path.display().to_string();
            let file = std::fs::File::open(path).map_err(|error| Error::io(format!("cannot read {shown}"), error))?;
            let packed = path.extension().is_some_and(|extension| extension == "gz");
            let read = match packed {
                true => Trace::read(flate2::read::MultiGzDecoder::new(file), &form),
                false => Trace::read(std::io::BufReader::new(file), &form),
            };
            return read.map_err(|error| error.within(shown));
        }
        let (_, batches) = server.batches(self.load.load.as_deref().unwrap_or_default(), None).await?;
        let mut rows = Vec::new();
        for batch in &batches {
            let column = |name: &Option<String>, otherwise: &str, place: usize| {
                let found = batch.column_by_name(name.as_deref().unwrap_or(otherwise));
                let found = found.cloned().or_else(|| batch.columns().get(place).cloned().filter(|_| name.is_none()));
                found.ok_or_else(|| {
                    Error::invalid(format!("the answer has no column `{}`", name.as_deref().unwrap_or(otherwise)))
                })
            };
            let times = DataType::Timestamp(TimeUnit::Nanosecond, None);
            let times = arrow::compute::cast(&column(&form.time, "timestamp", 0)?, &times)?;
            let values = arrow::compute::cast(&column(&form.value, "value", 1)?, &DataType::Float64)?;
            let pairs =
                times.as_primitive::<TimestampNanosecondType>().iter().zip(values.as_primitive::<Float64Type>().iter());
            rows.extend(pairs.filter_map(|(at, value)| Some((at?, value.filter(|value| value.is_finite())?))));
        }
        Trace::of(rows, &form).map_err(|error| error.within("the answer"))
    }

    fn setup(&self, scaler: &ScalerConfig, trace: &Trace) -> Result<Setup> {
        let plant = &self.plant;
        let seconds = |key: &str, text: &str| span(key, text).map(|nanos| nanos as f64 / 1e9);
        let mut policy = scaler.policy();
        policy.min = plant.min.unwrap_or(policy.min);
        policy.max = plant.max.unwrap_or(policy.max);
        if policy.min > policy.max {
            return Err(Error::invalid(format!(
                "min is {} and max is {}; min cannot be above max",
                policy.min, policy.max
            )));
        }
        Ok(Setup {
            workload: scaler.workload.clone(),
            policy,
            every: self.every.as_deref().map_or(Ok(nanos(scaler.every.0)), |text| span("every", text))?,
            from: moment(self.from.as_deref(), trace, trace.begin())?,
            warm_up: if plant.initial.is_some() { 0 } else { span("warm-up", &self.warm_up)? },
            until: moment(self.to.as_deref(), trace, trace.end())?,
            initial: plant.initial,
            model: Model {
                capacity: plant.capacity,
                service_time: seconds("service-time", &plant.service_time)?,
                start: seconds("start", &plant.start)?,
                objective: seconds("objective", &plant.objective)?,
                timeout: seconds("timeout", &plant.timeout)?,
            },
            signals: BTreeMap::new(),
            window: span("window", &plant.window)?,
            bucket: span("bucket", &plant.bucket)?,
            memory: span("memory", &plant.memory)?,
        })
    }

    fn tell(&self, scaler: &str, setup: &Setup, outcomes: &[(String, Report)]) -> Result<ExitCode> {
        let edge = backtest::pareto(
            &outcomes
                .iter()
                .map(|(_, report)| match report.failures {
                    0 => (report.replica_hours, report.share_over),
                    // What failed beats nobody.
                    _ => (f64::INFINITY, f64::INFINITY),
                })
                .collect::<Vec<_>>(),
        );
        if self.json {
            for ((name, report), best) in outcomes.iter().zip(&edge) {
                let mut line = json!({ "run": name, "pareto": best, "cost": report.replica_hours * self.plant.cost });
                if let (Some(line), Ok(Value::Object(report))) = (line.as_object_mut(), serde_json::to_value(report)) {
                    line.extend(report);
                }
                say!("{line}");
            }
        } else {
            print(&table(outcomes, &edge, self.plant.cost, setup));
        }
        if let (false, Some((name, report))) = (self.json, outcomes.last()) {
            say!("\n{name}");
            print(&picture::blocks(report, setup.model.objective));
            for change in report.moves.iter().rev().take(self.show).rev() {
                say!("  {}  {} → {}  {}", time(change.at), change.from, change.to, change.reason);
            }
        }
        if let Some(path) = &self.svg {
            let runs: Vec<(String, &Report)> =
                outcomes.iter().take(DRAWN_MAX).map(|(name, report)| (name.clone(), report)).collect();
            let title = format!("{scaler}: {} to {}", time(setup.from), time(setup.until));
            let svg = picture::svg(&title, &runs, setup.model.capacity, setup.model.objective)?;
            std::fs::write(path, svg).map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        }
        let mut code = ExitCode::SUCCESS;
        for (name, report) in outcomes {
            if let Some(first) = &report.first_failure {
                eprintln!("{name}: a plugin failed at {} ticks, first at {first}", report.failures);
                code = ExitCode::FAILURE;
            }
        }
        Ok(code)
    }
}

fn chosen<'a>(scalers: &'a [Named<ScalerConfig>], name: Option<&str>) -> Result<&'a Named<ScalerConfig>> {
    let names: Vec<&str> = scalers.iter().map(|scaler| scaler.name.as_str()).collect();
    let found = match name {
        Some(name) => scalers.iter().find(|scaler| scaler.name == name),
        None => scalers.first().filter(|_| scalers.len() == 1),
    };
    found.ok_or_else(|| {
        Error::invalid(match name {
            _ if names.is_empty() => "these files have no scaler; write one: [scalers.<name>]".to_owned(),
            Some(name) => format!(
                "there is no scaler `{name}`{} (there are: {})",
                did_you_mean(name, names.iter().copied()),
                names.join(", ")
            ),
            None => format!("there are several scalers; choose one with --scaler: {}", names.join(", ")),
        })
    })
}

fn span(key: &str, text: &str) -> Result<i64> {
    Span::parse(text).map(|span| nanos(span.0)).map_err(|message| Error::invalid(format!("--{key}: {message}")))
}

fn moment(text: Option<&str>, trace: &Trace, otherwise: i64) -> Result<i64> {
    let Some(text) = text else { return Ok(otherwise) };
    let wrong = || {
        Error::invalid(format!(
            "`{text}` is no time; write it like `2026-11-24T18:00:00Z`, or as a share of the trace, `50%`"
        ))
    };
    if let Some(percent) = text.strip_suffix('%') {
        let share =
            percent.parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share)).ok_or_else(wrong)? / 100.0;
        return Ok(trace.begin() + ((trace.end() - trace.begin()) as f64 * share) as i64);
    }
    let at =
        chrono::DateTime::parse_from_rfc3339(text).ok().and_then(|at| at.timestamp_nanos_opt()).ok_or_else(wrong)?;
    match (trace.begin()..=trace.end()).contains(&at) {
        true => Ok(at),
        false => Err(Error::invalid(format!(
            "`{text}` is outside of the trace, which goes from {} to {}",
            time(trace.begin()),
            time(trace.end())
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_share() {
        let trace = Trace::read("2026-11-24 00:00,5\n2026-11-24 01:00,5\n".as_bytes(), &Form::default()).unwrap();
        let at = |text: &str| moment(Some(text), &trace, 0).map(time).map_err(|error| error.to_string());
        assert_eq!(at("50%").unwrap(), "2026-11-24T01:00:00Z");
        assert_eq!(at("2026-11-24T00:30:00Z").unwrap(), "2026-11-24T00:30:00Z");
        assert!(
            at("2027-01-01T00:00:00Z")
                .unwrap_err()
                .contains("is outside of the trace, which goes from 2026-11-24T00:00:00Z")
        );
        assert!(at("150%").unwrap_err().contains("is no time"));
    }
}
