//! runs a plugin's `cases/*.toml` natively, as the host runs them through wasm
//!
//! ```text
//! file ─► settings ─► configure ─► rows as one batch ─► the plugin ─► each row against `out`, `keep` or `error`
//!                         ▲                │ state, where there are several `batches`
//!                         └────────────────┘
//! ```
//!
//! The format is described in `plugins/README.md`. A failure says which file and row, and shows what came out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use crate::builders::{Binaries, Booleans, Build, Floats, Ints, Texts, Timestamps};
use crate::{
    Advice, Autoscaler, Batch, Context, Contract, DataType, Decision, Enriched, Enricher, Filter, Freshness, Kept,
    Parsed, Parser,
};
use crate::{Plugin, Replica, Request, Signal, Workload, cut_out, tables, time, wire};

/// Runs every case of a parser.
pub fn parser<P: Parser>(directory: &str) {
    each_batch::<P>(directory, |case, mut plugin, contract, state| {
        let input = case.batch(&contract)?;
        let mut output = Parsed::new(input.rows());
        plugin.parse(&input, &case.context(state)?, &mut output)?;
        let answer = output.into_wire()?;
        check_columns(&answer.columns, answer.rows as usize, &contract)?;
        let errors = by_row(&answer.errors);
        let origin = answer
            .origin
            .unwrap_or_else(|| (0..input.rows() as u32).filter(|row| !errors.contains_key(&(*row as usize))).collect());
        let shown = shown_rows(answer.columns, &input, answer.rows as usize)?;
        case.check_rows(&errors, |row| {
            let came_from_here = origin.iter().zip(&shown).filter(|(origin, _)| **origin as usize == row);
            came_from_here.map(|(_, shown)| shown.clone()).collect()
        })?;
        Ok(answer.state)
    });
}

/// Runs every case of an enricher.
pub fn enricher<P: Enricher>(directory: &str) {
    each_batch::<P>(directory, |case, mut plugin, contract, state| {
        let input = case.batch(&contract)?;
        let mut output = Enriched::new(input.rows());
        plugin.enrich(&input, &case.context(state)?, &mut output)?;
        let (columns, errors, state) = output.into_wire()?;
        check_columns(&columns, input.rows(), &contract)?;
        let shown = shown_rows(columns, &input, input.rows())?;
        case.check_rows(&by_row(&errors), |row| vec![shown[row].clone()])?;
        Ok(state)
    });
}

/// Runs every case of a filter.
pub fn filter<P: Filter>(directory: &str) {
    each_batch::<P>(directory, |case, mut plugin, contract, state| {
        let input = case.batch(&contract)?;
        let mut output = Kept::new(input.rows());
        plugin.keep(&input, &case.context(state)?, &mut output)?;
        let (keep, errors, state) = output.into_wire();
        let errors = by_row(&errors);
        for (row, expected) in case.rows()?.iter().enumerate() {
            if check_error(row, expected, &errors)? {
                continue;
            }
            let wanted =
                expected.get("keep").and_then(Value::as_bool).ok_or(format!("row {row}: `keep` is missing"))?;
            if (keep[row] == 1) != wanted {
                return Err(format!("row {row}: keep is {}, expected {wanted}", keep[row] == 1));
            }
        }
        Ok(state)
    });
}

/// Runs every case of an autoscaler.
pub fn autoscaler<P: Autoscaler>(directory: &str) {
    each_case::<P>(directory, |case, mut plugin, _| {
        let mut state = Vec::new();
        for (number, tick) in case.list("ticks")?.iter().enumerate() {
            let request =
                request(table(tick, "request")?, state.clone()).map_err(|error| format!("tick {number}: {error}"))?;
            let proposed = plugin.decide(&request);
            if let Some(part) = tick.get("error").and_then(Value::as_str) {
                match proposed {
                    Err(message) if message.contains(part) => continue,
                    other => return Err(format!("tick {number}: expected the error `{part}`, got {other:?}")),
                }
            }
            let proposed = proposed.map_err(|error| format!("tick {number}: {error}"))?;
            let expected = table(tick, "proposal")?;
            let replicas = expected.get("replicas").and_then(Value::as_integer);
            let reason = expected.get("reason").and_then(Value::as_str).unwrap_or_default();
            if replicas != Some(i64::from(proposed.replicas)) || !proposed.reason.contains(reason) {
                return Err(format!("tick {number}: proposed {} because `{}`", proposed.replicas, proposed.reason));
            }
            state = proposed.state;
        }
        Ok(())
    });
}

struct Case(Table);

/// One batch after the other, each with a new instance and the state that the one before left: whatever a plugin keeps
/// in its fields only is gone, as it is where an instance vanishes. `check` gives back the state.
fn each_batch<P: Plugin>(
    directory: &str,
    check: impl Fn(&Case, P, Contract, Option<Vec<u8>>) -> Result<Option<Vec<u8>>, String>,
) {
    each_case::<P>(directory, |case, plugin, contract| {
        let Some(batches) = case.0.get("batches").and_then(Value::as_array) else {
            return check(case, plugin, contract, None).map(drop);
        };
        drop(plugin);
        let mut state = None;
        for (number, batch) in batches.iter().enumerate() {
            let (plugin, contract) = crate::configure::<P>(&case.settings()?)?;
            let batch = Case(batch.as_table().cloned().ok_or(format!("batch {number} is no table"))?);
            // A plugin that says nothing about its state keeps the one it has.
            let kept = state.clone().filter(|_| contract.keeps_state);
            let left = check(&batch, plugin, contract, kept).map_err(|error| format!("batch {number}: {error}"))?;
            state = left.or(state);
        }
        Ok(())
    });
}

fn each_case<P: Plugin>(directory: &str, run: impl Fn(&Case, P, Contract) -> Result<(), String>) {
    let files = files(Path::new(directory));
    assert!(!files.is_empty(), "{directory}: there are no cases");
    let mut failures = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let result =
            text.parse::<Table>().map_err(|error| error.to_string()).and_then(|case| run_case(&Case(case), &run));
        if let Err(error) = result {
            failures.push(format!("{}: {error}", file.display()));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "toml")).collect();
    files.sort();
    files
}

fn run_case<P: Plugin>(case: &Case, run: impl Fn(&Case, P, Contract) -> Result<(), String>) -> Result<(), String> {
    tables::forget();
    for (name, table) in case.0.get("tables").and_then(Value::as_table).into_iter().flatten() {
        let csv = table.get("csv").and_then(Value::as_str).ok_or(format!("tables.{name}: `csv` is missing"))?;
        let mut lines = csv.trim().lines().map(|line| line.split(',').map(str::to_owned).collect());
        tables::provide(name, lines.next().unwrap_or_default(), lines.collect());
    }
    let configured = crate::configure::<P>(&case.settings()?);
    match (case.0.get("refused").and_then(Value::as_str), configured) {
        (None, Ok((plugin, contract))) => run(case, plugin, contract),
        (None, Err(error)) => Err(format!("settings refused: {error}")),
        (Some(part), Err(error)) if error.contains(part) => Ok(()),
        (Some(part), Err(error)) => Err(format!("refused with `{error}`, expected `{part}`")),
        (Some(part), Ok(_)) => Err(format!("settings taken, expected to be refused with `{part}`")),
    }
}

impl Case {
    fn list(&self, key: &str) -> Result<&Vec<Value>, String> {
        self.0.get(key).and_then(Value::as_array).ok_or(format!("`[[{key}]]` is missing"))
    }

    fn rows(&self) -> Result<&Vec<Value>, String> {
        self.list("rows")
    }

    /// The stage's `settings` as JSON text.
    fn settings(&self) -> Result<String, String> {
        let settings = self.0.get("settings").cloned().unwrap_or(Value::Table(Table::new()));
        serde_json::to_string(&settings).map_err(|error| error.to_string())
    }

    fn context(&self, state: Option<Vec<u8>>) -> Result<Context, String> {
        let now = self.0.get("now").and_then(Value::as_str).map(time::parse_rfc3339).transpose()?;
        Ok(Context { now, state })
    }

    /// The rows as one batch, with the columns that the contract reads and at least one row has.
    fn batch(&self, contract: &Contract) -> Result<Batch, String> {
        let rows = self.rows()?.iter().map(|row| table(row, "in")).collect::<Result<Vec<_>, _>>()?;
        batch(&rows, |name| contract.reads.iter().any(|read| reads(read, name)))
    }

    fn check_rows(
        &self,
        errors: &BTreeMap<usize, String>,
        came_out: impl Fn(usize) -> Vec<Table>,
    ) -> Result<(), String> {
        for (row, expected) in self.rows()?.iter().enumerate() {
            if check_error(row, expected, errors)? {
                continue;
            }
            let wanted: Vec<Table> = match (expected.get("out"), expected.get("outs")) {
                (Some(Value::Table(out)), None) => vec![out.clone()],
                (None, Some(Value::Array(outs))) => outs.iter().filter_map(|out| out.as_table().cloned()).collect(),
                _ => return Err(format!("row {row}: one of `out`, `outs` and `error` is wanted")),
            };
            let got = came_out(row);
            if !same(&got, &wanted) {
                let shown: Vec<String> = got.iter().map(|out| Value::Table(out.clone()).to_string()).collect();
                return Err(format!("row {row}: came out as [{}]", shown.join(", ")));
            }
        }
        Ok(())
    }
}

/// Whether the row is one that has to fail, and does.
fn check_error(row: usize, expected: &Value, errors: &BTreeMap<usize, String>) -> Result<bool, String> {
    match (expected.get("error").and_then(Value::as_str), errors.get(&row)) {
        (None, None) => Ok(false),
        (None, Some(message)) => Err(format!("row {row}: failed: {message}")),
        (Some(part), None) => Err(format!("row {row}: did not fail, expected `{part}`")),
        (Some(part), Some(message)) if message.contains(part) => Ok(true),
        (Some(part), Some(message)) => Err(format!("row {row}: failed with `{message}`, expected `{part}`")),
    }
}

fn same(got: &[Table], wanted: &[Table]) -> bool {
    // Through text, so that NaN equals NaN.
    let text = |rows: &[Table]| rows.iter().map(|row| Value::Table(row.clone()).to_string()).collect::<Vec<_>>();
    text(got) == text(wanted)
}

fn by_row(errors: &[wire::RowError]) -> BTreeMap<usize, String> {
    errors.iter().map(|error| (error.row as usize, error.message.clone())).collect()
}

fn table<'v>(value: &'v Value, key: &str) -> Result<&'v Table, String> {
    value.get(key).and_then(Value::as_table).ok_or(format!("`{key}` is missing"))
}

fn reads(pattern: &str, column: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => column.starts_with(start),
        None => pattern == column,
    }
}

fn batch(rows: &[&Table], is_read: impl Fn(&str) -> bool) -> Result<Batch, String> {
    let mut names: Vec<&String> = rows.iter().flat_map(|row| row.keys()).filter(|name| is_read(name)).collect();
    names.sort();
    names.dedup();
    let columns = names.into_iter().map(|name| {
        let values: Vec<Option<&Value>> = rows.iter().map(|row| row.get(name)).collect();
        let (values, validity) = column(name, &values).map_err(|error| format!("`{name}`: {error}"))?;
        Ok(wire::Column { name: name.clone(), values, validity })
    });
    Ok(Batch::new(rows.len(), columns.collect::<Result<_, String>>()?))
}

/// One column, of the type that its values have in TOML.
fn column(name: &str, values: &[Option<&Value>]) -> Result<(wire::Values, Option<Vec<u8>>), String> {
    let all = |is: fn(&Value) -> bool| values.iter().flatten().all(|value| is(value));
    if name == "timestamp" {
        let mut built = Timestamps::default();
        for value in values {
            built.push_option(value.map(|value| time::parse_rfc3339(value.as_str().unwrap_or_default())).transpose()?);
        }
        return Ok(built.build());
    }
    if all(Value::is_str) {
        let mut built = Texts::default();
        values.iter().for_each(|value| built.push_option(value.and_then(Value::as_str)));
        return Ok(built.build());
    }
    if all(Value::is_integer) {
        let mut built = Ints::default();
        values.iter().for_each(|value| built.push_option(value.and_then(Value::as_integer)));
        return Ok(built.build());
    }
    if all(|value| value.is_integer() || value.is_float()) {
        let float = |value: &Value| value.as_float().or(value.as_integer().map(|value| value as f64));
        let mut built = Floats::default();
        values.iter().for_each(|value| built.push_option(value.and_then(float)));
        return Ok(built.build());
    }
    if all(Value::is_bool) {
        let mut built = Booleans::default();
        values.iter().for_each(|value| built.push_option(value.and_then(Value::as_bool)));
        return Ok(built.build());
    }
    let mut built = Binaries::default();
    for value in values {
        built.push_option(value.map(bytes).transpose()?);
    }
    Ok(built.build())
}

/// `{ hex = "ff 00" }`, or text.
fn bytes(value: &Value) -> Result<Vec<u8>, String> {
    if let Some(text) = value.as_str() {
        return Ok(text.as_bytes().to_vec());
    }
    let hex = value.get("hex").and_then(Value::as_str).ok_or("values of several types; bytes are { hex = \"ff\" }")?;
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

fn hex(bytes: &[u8]) -> Value {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Value::Table(Table::from_iter([("hex".to_owned(), Value::String(digits))]))
}

/// Every column declared with its type, of the right length and inside its own bounds.
pub(crate) fn check_columns(columns: &[wire::Column], rows: usize, contract: &Contract) -> Result<(), String> {
    for column in columns {
        let declared = contract.written().find(|(name, _)| *name == column.name).map(|(_, data_type)| data_type);
        match declared {
            None if !contract.open_schema => return Err(format!("column `{}` is not declared", column.name)),
            Some(declared) if declared != data_type(&column.values) => {
                return Err(format!("column `{}` is not {declared:?} as declared", column.name));
            }
            _ => {}
        }
        if column.validity.as_ref().is_some_and(|validity| validity.len() != rows) {
            return Err(format!("column `{}`: its validity is not {rows} long", column.name));
        }
        if let wire::Values::DictUtf8(dictionary) = &column.values {
            let distinct = dictionary.values.offsets.len() - 1;
            if dictionary.indices.iter().any(|index| *index as usize >= distinct) {
                return Err(format!("column `{}`: an index beyond its {distinct} values", column.name));
            }
        }
    }
    Ok(())
}

fn data_type(values: &wire::Values) -> DataType {
    match values {
        wire::Values::Boolean(_) => DataType::Boolean,
        wire::Values::Int64(_) => DataType::Int64,
        wire::Values::Float64(_) => DataType::Float64,
        wire::Values::Timestamp(_) => DataType::Timestamp,
        wire::Values::Utf8(_) | wire::Values::DictUtf8(_) | wire::Values::SlicedUtf8(_) => DataType::Utf8,
        wire::Values::Binary(_) => DataType::Binary,
    }
}

/// The rows as they stand in a case: what is not null, by name.
pub(crate) fn shown_rows(columns: Vec<wire::Column>, input: &Batch, rows: usize) -> Result<Vec<Table>, String> {
    let columns = columns.into_iter().map(|column| cut_out(column, input)).collect::<Result<_, _>>()?;
    let batch = Batch::new(rows, columns);
    let shown =
        |row| batch.columns().filter_map(|column| Some((column.name().to_owned(), shown(column, row)?))).collect();
    Ok((0..rows).map(shown).collect())
}

fn shown(column: crate::Column<'_>, row: usize) -> Option<Value> {
    if let Some(ints) = column.ints() {
        return ints.get(row).map(Value::Integer);
    }
    if let Some(floats) = column.floats() {
        return floats.get(row).map(Value::Float);
    }
    if let Some(booleans) = column.booleans() {
        return booleans.get(row).map(|value| Value::Boolean(value != 0));
    }
    let text = column.text_of(row)?;
    Some(match column.type_name() {
        "binary" => hex(&text),
        _ => Value::String(String::from_utf8(text.into_owned()).unwrap_or_else(|error| format!("NOT UTF-8: {error}"))),
    })
}

fn request(written: &Table, state: Vec<u8>) -> Result<Request, String> {
    let replicas = number(written, "replicas").ok_or("`replicas` is missing")?;
    let now = time_of(written, "now")?.ok_or("`now` is missing")?;
    let signals = written.get("signals").and_then(Value::as_table).into_iter().flatten();
    let each = |key: &str| written.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_table);
    Ok(Request {
        now,
        workload: Workload {
            name: text(written, "workload").unwrap_or_else(|| "web".to_owned()),
            replicas,
            ready: number(written, "ready").unwrap_or(replicas),
            min: number(written, "min").unwrap_or(1),
            max: number(written, "max").unwrap_or(10),
            members: each("members").map(|written| replica(written, now)).collect::<Result<_, _>>()?,
        },
        signals: signals.map(|(name, written)| signal(name, written)).collect::<Result<_, _>>()?,
        decisions: each("decisions").map(decision).collect::<Result<_, _>>()?,
        advice: each("advice").map(advice).collect(),
        state,
    })
}

fn replica(written: &Table, now: i64) -> Result<Replica, String> {
    let started_at = time_of(written, "started_at")?.unwrap_or(now);
    Ok(Replica {
        name: text(written, "name").unwrap_or_default(),
        ready: written.get("ready").and_then(Value::as_bool).unwrap_or(true),
        started_at,
        changed_at: time_of(written, "changed_at")?.unwrap_or(started_at),
    })
}

fn decision(written: &Table) -> Result<Decision, String> {
    Ok(Decision {
        at: time_of(written, "at")?.ok_or("decisions: `at` is missing")?,
        replicas: number(written, "replicas").ok_or("decisions: `replicas` is missing")?,
        proposed: number(written, "proposed"),
        decided: number(written, "decided").ok_or("decisions: `decided` is missing")?,
        reason: text(written, "reason").unwrap_or_default(),
    })
}

fn advice(written: &Table) -> Advice {
    Advice {
        name: text(written, "name").unwrap_or_default(),
        replicas: number(written, "replicas"),
        reason: text(written, "reason").unwrap_or_default(),
    }
}

fn number(written: &Table, key: &str) -> Option<u32> {
    written.get(key).and_then(Value::as_integer).and_then(|number| u32::try_from(number).ok())
}

fn text(written: &Table, key: &str) -> Option<String> {
    written.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn time_of(written: &Table, key: &str) -> Result<Option<i64>, String> {
    written.get(key).and_then(Value::as_str).map(time::parse_rfc3339).transpose()
}

/// `{ value = 1 }`, `{ stale = 1 }`, `{ missing = true }`, `{ failed = "why" }` or `{ rows = [{ … }] }`, and `caught_up_at`.
fn signal(name: &str, written: &Value) -> Result<Signal, String> {
    let one = |value: &Value| vec![Table::from_iter([("value".to_owned(), value.clone())])];
    let tables =
        |rows: &Value| rows.as_array().into_iter().flatten().filter_map(|row| row.as_table().cloned()).collect();
    let said = written.as_table().and_then(|table| table.iter().find(|(key, _)| *key != "caught_up_at"));
    let (freshness, rows, message): (_, Vec<Table>, &str) = match said {
        Some((key, value)) if key == "value" => (Freshness::Fresh, one(value), ""),
        Some((key, value)) if key == "stale" => (Freshness::Stale, one(value), ""),
        Some((key, rows)) if key == "rows" => (Freshness::Fresh, tables(rows), ""),
        Some((key, _)) if key == "missing" => (Freshness::Missing, Vec::new(), ""),
        Some((key, why)) if key == "failed" => (Freshness::Failed, Vec::new(), why.as_str().unwrap_or_default()),
        _ => return Err(format!("signal `{name}` is none of value, stale, missing, failed, rows")),
    };
    let rows: Vec<&Table> = rows.iter().collect();
    let caught_up_at = written.as_table().map(|table| time_of(table, "caught_up_at")).transpose()?.flatten();
    let table = batch(&rows, |_| true)?;
    Ok(Signal { name: name.to_owned(), freshness, table, message: message.to_owned(), caught_up_at })
}
