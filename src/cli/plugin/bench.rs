//! `tidemill plugin bench [DIR|FILE.wasm]`

use super::inspect::bytes;
use super::measured::{Cost, Measured, Tables};
use super::{found, settings};
use crate::case::Case;
use crate::cli::query::print;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Batch, Kind};
use crate::plugin::{Library, Plugin, World};
use arrow::array::{ArrayRef, BinaryArray, RecordBatch, TimestampNanosecondArray};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The most of an input file that is read, in bytes.
const INPUT_BYTES_MAX: u64 = 256 << 20;
/// Batches that run before anything is timed.
const WARM: usize = 3;
/// The fewest and the most rounds.
const ROUNDS: std::ops::RangeInclusive<usize> = 11..=20_000;

const ABOUT: &str = "\
Times are processor time of one thread, by event. `best` and `median` are of all rounds; with --against both plugins take turns, a
batch each, and the ratio is of their best. `boundary` is what is not the plugin's own work: picking and handing over the columns it
reads, taking the answer back, checking it and putting it beside the event's columns. Handing over is measured as a call of a plugin
that does nothing with the same columns, taking back as one copy of as many bytes.";

/// Measures a plugin: events and bytes a second, time and memory, and what the boundary takes. A folder is built first.
#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub struct Bench {
    /// The plugin's folder, a .wasm file, or the name of a bundled plugin.
    #[arg(value_name = "DIR|FILE", default_value = ".")]
    from: PathBuf,
    /// A file whose lines are the events' bodies, also packed with gzip; without it the plugin's largest case, again and again.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Settings, as JSON or TOML; without them those of the case, or none.
    #[arg(long, value_name = "SETTINGS")]
    settings: Option<String>,
    /// Events a call.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: u32,
    /// How long each plugin is measured, in seconds.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,
    /// Another plugin to take turns with.
    #[arg(long, value_name = "DIR|FILE")]
    against: Option<PathBuf>,
    /// The folder with the cases; `cases` in the plugin's folder if not given.
    #[arg(long, value_name = "DIR")]
    cases: Option<PathBuf>,
}

/// What is run, and from where it is.
struct Input {
    batches: Vec<Batch>,
    settings: String,
    tables: Tables,
    told: String,
}

impl Bench {
    pub(super) fn run(self) -> Result<ExitCode> {
        let library = crate::cli::library()?;
        let plugin = found::open(&library, &self.from)?;
        timed(&plugin)?;
        let mut plugins = vec![plugin];
        if let Some(against) = &self.against {
            let other = found::open(&library, against)?;
            timed(&other)?;
            plugins.push(other);
        }
        let input = self.input()?;
        let measured = plugins.iter().map(|plugin| Measured::new(&library, plugin, &input.settings, &input.tables));
        let mut measured = measured.collect::<Result<Vec<_>>>()?;
        let costs = rounds(&mut measured, &input.batches, self.seconds)?;
        print(&heading(&library, &plugins, &input)?);
        print(&report(&measured, &costs));
        Ok(ExitCode::SUCCESS)
    }

    fn input(&self) -> Result<Input> {
        let rows = self.batch as usize;
        if let Some(file) = &self.input {
            let batches = lines(file, rows)?;
            let settings = settings::json(self.settings.as_deref())?;
            let told = format!("the lines of {}", file.display());
            return Ok(Input { batches, settings, tables: Tables::default(), told });
        }
        let mut best: Option<(usize, PathBuf, Case)> = None;
        for path in found::cases(&self.from, self.cases.as_deref())? {
            let (_, case) = Case::open(&path)?;
            let events = case.events();
            if events > best.as_ref().map_or(0, |(most, ..)| *most) {
                best = Some((events, path, case));
            }
        }
        let none =
            || Error::new(ErrorKind::Missing, "no case has rows that come through; give it lines with --input FILE");
        let (_, path, case) = best.ok_or_else(none)?;
        let batch = case.repeated(rows)?.ok_or_else(none)?;
        let settings = match &self.settings {
            Some(settings) => settings::json(Some(settings))?,
            None => case.settings().to_owned(),
        };
        let told = format!("the rows of {}, again and again", path.display());
        Ok(Input { batches: vec![batch], settings, tables: case.tables(), told })
    }
}

/// An autoscaler is asked once in a while: what a tick takes is in `tidemill.plugins`.
fn timed(plugin: &Plugin) -> Result<()> {
    match plugin.world() {
        World::Parser | World::Filter | World::Enricher => Ok(()),
        World::Autoscaler => Err(Error::invalid(format!(
            "{} is an autoscaler, which is asked every few seconds; events are measured of parsers, filters and enrichers",
            plugin.name()
        ))),
    }
}

/// The file's lines as batches of so many events.
fn lines(file: &Path, rows: usize) -> Result<Vec<Batch>> {
    let text = content(file)?;
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err(Error::invalid(format!("{} has no lines", file.display())));
    }
    // A short file is repeated, so that calls are as large as they are said to be.
    let count = lines.len().max(rows);
    let lines: Vec<&[u8]> = lines.into_iter().cycle().take(count).collect();
    let now = Clock::system().now();
    let batch = |lines: &[&[u8]]| {
        let times = TimestampNanosecondArray::from(vec![now; lines.len()]).with_timezone("UTC");
        let columns: [(&str, ArrayRef); 2] =
            [("body", Arc::new(BinaryArray::from_iter_values(lines))), ("timestamp", Arc::new(times))];
        Ok(Batch { kind: Kind::Logs, columns: RecordBatch::try_from_iter(columns)? })
    };
    lines.chunks_exact(rows).map(batch).collect()
}

/// What a file holds, unpacked if it is packed with gzip.
fn content(file: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io(format!("cannot read {}", file.display()), error);
    let mut opened = BufReader::new(File::open(file).map_err(failed)?);
    let is_packed = opened.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]);
    let mut text = Vec::new();
    let most = INPUT_BYTES_MAX + 1;
    let read = match is_packed {
        true => MultiGzDecoder::new(opened).take(most).read_to_end(&mut text),
        false => opened.take(most).read_to_end(&mut text),
    };
    match read.map_err(failed)? as u64 > INPUT_BYTES_MAX {
        true => Err(Error::new(
            ErrorKind::Limit,
            format!("{} is too large: at most {INPUT_BYTES_MAX} bytes are measured", file.display()),
        )),
        false => Ok(text),
    }
}

/// The plugins take turns, a batch each, until each had its time.
fn rounds(measured: &mut [Measured], batches: &[Batch], seconds: f64) -> Result<Vec<Vec<Cost>>> {
    let spent_max = Duration::try_from_secs_f64(seconds)
        .map_err(|_| Error::invalid("--seconds is a number of seconds, such as 2 or 0.5"))?;
    let mut costs: Vec<Vec<Cost>> = measured.iter().map(|_| Vec::new()).collect();
    let mut spent = Duration::ZERO;
    for (round, batch) in batches.iter().cycle().take(WARM + ROUNDS.end()).enumerate() {
        for (measured, costs) in measured.iter_mut().zip(&mut costs) {
            let (cost, outcome) = measured.run(batch)?;
            if measured.first_reason.is_none() {
                measured.first_reason = outcome.casualties.into_iter().next().map(|casualty| casualty.reason);
            }
            if round >= WARM {
                costs.push(cost);
                spent += cost.whole;
            }
        }
        if round >= WARM + ROUNDS.start() && spent > spent_max * measured.len() as u32 {
            break;
        }
    }
    Ok(costs)
}

fn heading(library: &Library, plugins: &[Plugin], input: &Input) -> Result<String> {
    let mut text = String::new();
    for plugin in plugins {
        let (name, version, _) = library.describe(plugin)?;
        text.push_str(&format!("{}: {} {name} {version}\n", plugin.name(), plugin.world().word()));
    }
    let rows = input.batches.first().map_or(0, |batch| batch.columns.num_rows());
    text.push_str(&format!("input: {}; {rows} events a call; settings {}\n\n", input.told, input.settings));
    Ok(text)
}

/// A plugin's figures, by event.
struct Figures {
    best: f64,
    median: f64,
    boundary: f64,
    bytes: f64,
}

impl Figures {
    fn of(costs: &[Cost]) -> Figures {
        let nanos = |span: Duration, rows: usize| span.as_nanos() as f64 / rows.max(1) as f64;
        let mut whole: Vec<f64> = costs.iter().map(|cost| nanos(cost.whole, cost.rows)).collect();
        let mut boundary: Vec<f64> = costs.iter().map(|cost| nanos(cost.boundary, cost.rows)).collect();
        whole.sort_by(f64::total_cmp);
        boundary.sort_by(f64::total_cmp);
        let middle = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        let rows: usize = costs.iter().map(|cost| cost.rows).sum();
        let bytes: u64 = costs.iter().map(|cost| cost.bytes).sum();
        Figures {
            best: whole.first().copied().unwrap_or_default(),
            median: middle(&whole),
            boundary: middle(&boundary),
            bytes: bytes as f64 / rows.max(1) as f64,
        }
    }
}

fn report(measured: &[Measured], costs: &[Vec<Cost>]) -> String {
    let figures: Vec<Figures> = costs.iter().map(|costs| Figures::of(costs)).collect();
    let width = measured.iter().map(|one| one.name.chars().count()).max().unwrap_or(0).max(6);
    let head = ["events/s", "MB/s", "ns best", "ns median", "boundary", "of median", "memory", "rounds"];
    let mut text = format!("{:width$}", "plugin");
    head.iter().for_each(|name| text.push_str(&format!("{name:>12}")));
    text.push('\n');
    for ((measured, costs), figures) in measured.iter().zip(costs).zip(&figures) {
        let memory = measured.account.totals().memory_bytes_max as usize;
        let cells = [
            format!("{:.0}", 1e9 / figures.best),
            format!("{:.1}", figures.bytes * 1e3 / figures.best),
            format!("{:.1}", figures.best),
            format!("{:.1}", figures.median),
            format!("{:.1}", figures.boundary),
            format!("{:.0} %", 100.0 * figures.boundary / figures.median),
            bytes(memory),
            costs.len().to_string(),
        ];
        text.push_str(&format!("{:width$}", measured.name));
        cells.iter().for_each(|cell| text.push_str(&format!("{cell:>12}")));
        text.push('\n');
    }
    if let [one, other] = figures.as_slice() {
        text.push_str(&format!("\nthe first takes {:.2} times as long as the second\n", one.best / other.best));
    }
    for (measured, costs) in measured.iter().zip(costs) {
        let (rows, out, failed) = costs
            .iter()
            .fold((0, 0, 0), |sums, cost| (sums.0 + cost.rows, sums.1 + cost.rows_out, sums.2 + cost.failed));
        let share = |part: usize| 100.0 * part as f64 / rows.max(1) as f64;
        text.push_str(&format!("{}: {:.1} % came out, {:.1} % failed\n", measured.name, share(out), share(failed)));
        if let Some(reason) = &measured.first_reason {
            text.push_str(&format!("  the first that failed: {reason}\n"));
        }
    }
    text
}
