//! `tidemill plugin diff OLD NEW --from TABLE --last 10m`
//!
//!     TABLE ─ SQL ─► columns that either reads ─┬─► OLD ─┐
//!                                               └─► NEW ─┴─► event by event: the columns that differ, errors, counts, time

use super::measured::{Cost, Measured, Tables};
use super::{found, settings};
use crate::case::{Outcome, numbered, outcomes};
use crate::cli::query::print;
use crate::cli::runtime;
use crate::cli::server::Server;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Batch, TableName, dead_letter};
use crate::plugin::{Contract, Lookup, World};
use crate::units::Span;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::array_value_to_string;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Events a call.
const BATCH: usize = 4096;
/// The longest piece of an event that is shown, in characters.
const SHOWN_MAX: usize = 160;

const ABOUT: &str = "\
What a table keeps of an event is what is run: its `body` and the other columns that the plugins read. A table with `body = false`
keeps none; `tidemill.dead_letters` has the bytes of what failed. Nothing is written. The exit code is 1 where anything differs.";

/// Runs two plugins on the recent events of a table, here, and shows where they differ.
#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub struct Diff {
    /// What runs now: a folder, a .wasm file, or the name of a bundled plugin.
    old: PathBuf,
    /// What would run instead.
    new: PathBuf,
    /// The table: `access`, or `tidemill.dead_letters` for the bytes of what failed.
    #[arg(long, value_name = "TABLE")]
    from: String,
    /// How far back.
    #[arg(long, default_value = "10m", value_name = "SPAN")]
    last: String,
    /// The most events, the newest of them.
    #[arg(long, default_value_t = 100_000)]
    limit: u32,
    /// Settings of both, as JSON or TOML.
    #[arg(long, value_name = "SETTINGS")]
    settings: Option<String>,
    /// Settings of the new one, if they are others.
    #[arg(long, value_name = "SETTINGS")]
    new_settings: Option<String>,
    /// A lookup table of both: its name and a CSV file. May be given again for another.
    #[arg(long = "table", value_name = "NAME=FILE")]
    tables: Vec<String>,
    /// How many events that differ are shown.
    #[arg(long, default_value_t = 10)]
    show: usize,
    /// Where Tidemill listens.
    #[arg(long, visible_alias = "url", env = "TIDEMILL_URL", default_value = "http://127.0.0.1:7070")]
    server: String,
}

/// What was found.
#[derive(Default)]
struct Found {
    events: usize,
    differ: usize,
    /// failed in the old one alone, in the new one alone, in both
    failed: [usize; 3],
    shown: String,
    costs: [Vec<Cost>; 2],
}

impl Diff {
    pub(super) fn run(self) -> Result<ExitCode> {
        let library = crate::cli::library()?;
        let (old, new) = (found::open(&library, &self.old)?, found::open(&library, &self.new)?);
        let world = old.world();
        if world == World::Autoscaler || new.world() != world {
            return Err(Error::invalid(format!(
                "{} is made for the world {} and {} for {}; two parsers, filters or enrichers can be compared on events",
                self.old.display(),
                world.word(),
                self.new.display(),
                new.world().word()
            )));
        }
        let old_settings = settings::json(self.settings.as_deref())?;
        let new_settings = match &self.new_settings {
            Some(settings) => settings::json(Some(settings))?,
            None => old_settings.clone(),
        };
        let tables = tables(&self.tables)?;
        let mut both = [
            Measured::new(&library, &old, &old_settings, &tables)?,
            Measured::new(&library, &new, &new_settings, &tables)?,
        ];
        let contracts = both.each_ref().map(|one| one.contract.clone());
        let events = runtime()?.block_on(self.events(&contracts))?;
        let found = self.compare(&mut both, &events, world)?;
        print(&found.shown);
        print(&summary(&found, &both));
        Ok(if found.differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// The columns that either plugin reads, of the newest events in the span, oldest first.
    async fn events(&self, contracts: &[Contract]) -> Result<Batch> {
        let table = TableName::parse(&self.from)?;
        let span = Span::parse(&self.last).map_err(Error::invalid)?;
        let server = Server::new(&self.server)?;
        let (schema, _) = server.batches(&format!("SELECT * FROM {table} LIMIT 0"), None).await?;
        let columns = if table == dead_letter::table() {
            vec!["raw AS body".to_owned(), "timestamp".to_owned()]
        } else {
            read(&schema, contracts)
        };
        if columns.is_empty() {
            let reads: Vec<&str> = contracts.iter().flat_map(|contract| &contract.reads).map(String::as_str).collect();
            return Err(Error::new(
                ErrorKind::Missing,
                format!(
                    "table `{table}` has no column that the plugins read ({}); a table with `body = false` keeps no raw lines",
                    reads.join(", ")
                ),
            ));
        }
        let seconds = span.0.as_secs().max(1);
        let sql = format!(
            "SELECT {} FROM {table} WHERE timestamp > now() - INTERVAL '{seconds} seconds' ORDER BY timestamp DESC LIMIT {}",
            columns.join(", "),
            self.limit
        );
        let (schema, batches) = server.batches(&sql, None).await?;
        let all = concat_batches(&schema, &batches)?;
        if all.num_rows() == 0 {
            let (_, newest) = server.batches(&format!("SELECT max(timestamp) AS newest FROM {table}"), None).await?;
            let message = match newest.first().map(|batch| array_value_to_string(batch.column(0), 0)).transpose()? {
                Some(newest) if !newest.is_empty() => format!(
                    "table `{table}` has no event of the last {}: its newest is of {newest}; look that far back with --last",
                    self.last
                ),
                _ => format!("table `{table}` has no event yet"),
            };
            return Err(Error::new(ErrorKind::Missing, message));
        }
        crate::event::arrived(&all)
    }

    fn compare(&self, both: &mut [Measured; 2], events: &Batch, world: World) -> Result<Found> {
        let mut found = Found { events: events.columns.num_rows(), ..Found::default() };
        for at in (0..found.events).step_by(BATCH) {
            let rows = BATCH.min(found.events - at);
            let batch = numbered(Batch { kind: events.kind, columns: events.columns.slice(at, rows) })?;
            let mut came: Vec<BTreeMap<usize, Outcome>> = Vec::new();
            for (measured, costs) in both.iter_mut().zip(&mut found.costs) {
                let (cost, outcome) = measured.run(&batch)?;
                costs.push(cost);
                came.push(outcomes(outcome, world)?);
            }
            let nothing = if world == World::Filter { Outcome::Keep(false) } else { Outcome::Rows(Vec::new()) };
            for row in 0..rows {
                let of = |side: usize| came.get(side).and_then(|came| came.get(&row)).unwrap_or(&nothing);
                found.judge(of(0), of(1), at + row, &batch.columns.slice(row, 1), self.show);
            }
        }
        Ok(found)
    }
}

impl Found {
    fn judge(&mut self, old: &Outcome, new: &Outcome, number: usize, event: &RecordBatch, show: usize) {
        match (old, new) {
            (Outcome::Error(_), Outcome::Error(_)) => self.failed[2] += 1,
            (Outcome::Error(_), _) => self.failed[0] += 1,
            (_, Outcome::Error(_)) => self.failed[1] += 1,
            _ => (),
        }
        let differences = old.differences(new);
        if differences.is_empty() {
            return;
        }
        self.differ += 1;
        if self.differ > show {
            return;
        }
        self.shown.push_str(&format!("event {}: {}\n", number + 1, text(event)));
        let mut lines = vec![["column".to_owned(), "old".to_owned(), "new".to_owned()]];
        lines.extend(differences);
        let width =
            |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
        let (first, second) = (width(0).unwrap_or(0), width(1).unwrap_or(0));
        for [name, old, new] in &lines {
            self.shown.push_str(&format!("  {name:first$}  {old:second$}  {new}\n"));
        }
    }
}

/// The lookup tables that are named on the command line.
fn tables(written: &[String]) -> Result<Tables> {
    let table = |written: &String| {
        let wrong = || Error::invalid(format!("`{written}` is no lookup table; write --table users=users.csv"));
        let (name, file) = written.split_once('=').ok_or_else(wrong)?;
        Ok((name.to_owned(), Lookup::open(Path::new(file))?))
    };
    Ok(Arc::new(written.iter().map(table).collect::<Result<_>>()?))
}

/// The event as one line: its body, or the columns there are.
fn text(event: &RecordBatch) -> String {
    let text = match event.column_by_name("body").filter(|body| body.is_valid(0)) {
        Some(body) if *body.data_type() == DataType::Binary => {
            String::from_utf8_lossy(body.as_binary::<i32>().value(0)).into_owned()
        }
        _ => {
            let cells = crate::case::Cell::of_row(event, 0).unwrap_or_default();
            let cells = cells.iter().filter(|(name, _)| *name != "source");
            cells.map(|(name, cell)| format!("{name} = {cell}")).collect::<Vec<_>>().join(", ")
        }
    };
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(&text)),
        None => text,
    }
}

/// The table's columns that one of the contracts names.
fn read(schema: &SchemaRef, contracts: &[Contract]) -> Vec<String> {
    let wanted = |name: &str| contracts.iter().any(|contract| contract.hands_over(name));
    // Labels tell metrics from logs, and so does a value.
    let columns = schema.fields().iter().map(|field| field.name().as_str());
    columns.filter(|name| wanted(name)).map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect()
}

fn summary(found: &Found, both: &[Measured; 2]) -> String {
    let [old_only, new_only, in_both] = found.failed;
    let mut text = match found.differ {
        0 => format!("{} events: no difference\n", found.events),
        differ => format!("{} events: {differ} differ\n", found.events),
    };
    text.push_str(&format!(
        "failed: {old_only} in the old one alone, {new_only} in the new one alone, {in_both} in both\n"
    ));
    for (word, (measured, costs)) in ["old", "new"].iter().zip(both.iter().zip(&found.costs)) {
        let out: usize = costs.iter().map(|cost| cost.rows_out).sum();
        let rows: usize = costs.iter().map(|cost| cost.rows).sum();
        let whole: Duration = costs.iter().map(|cost| cost.whole).sum();
        let each = whole.as_nanos() as f64 / rows.max(1) as f64;
        text.push_str(&format!("{word}: {} made {out} rows, {each:.0} ns an event\n", measured.name));
    }
    text
}
