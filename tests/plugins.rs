//! Every plugin's cases through the real WebAssembly in the host; files that are no plugin for it.

use crate::mill::stderr;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch};
use arrow::array::{StringArray, TimestampNanosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimestampNanosecondType};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tidemill::app;
use tidemill::clock::Clock;
use tidemill::event::labels::{LabelsBuilder, PREFIX, map, of_row};
use tidemill::event::{Batch, Kind};
use tidemill::pipeline::Stage;
use tidemill::pipeline::config::OnError;
use tidemill::plugin::{
    Account, Configured, Freshness, Instance, Library, Limits, Lookup, Plugin, Request, Signal, World, component,
};
use toml::{Table, Value};

/// Which row of a case an event is: its source.
const ROW: &str = "source";

/// The examples and the zoo, as files.
pub fn test_plugin(name: &str) -> PathBuf {
    Path::new(env!("TIDEMILL_TEST_PLUGINS")).join(format!("{name}.wasm"))
}

pub fn library() -> Library {
    app::library(app::cache_folder().as_deref()).unwrap()
}

/// A plugin with settings, in a place of its own.
pub fn configured(plugin: Plugin, settings: &str) -> Configured {
    Configured {
        stage: "tested".into(),
        plugin,
        settings: settings.to_owned(),
        limits: Limits::default(),
        tables: Arc::default(),
        account: Arc::new(Account::default()),
    }
}

/// Rows as one batch, each column of the type that its values have.
fn batch(rows: &[&Table]) -> RecordBatch {
    let mut names: Vec<&String> = rows.iter().flat_map(|row| row.keys()).collect();
    names.sort();
    names.dedup();
    let columns = names.into_iter().map(|name| {
        let values: Vec<Option<&Value>> = rows.iter().map(|row| row.get(name)).collect();
        (name.clone(), column(name, &values))
    });
    named(columns.collect(), rows.len())
}

fn named(columns: Vec<(String, ArrayRef)>, rows: usize) -> RecordBatch {
    let fields: Vec<_> =
        columns.iter().map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(rows));
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap()
}

fn column(name: &str, values: &[Option<&Value>]) -> ArrayRef {
    let all = |is: fn(&Value) -> bool| values.iter().flatten().all(|value| is(value));
    if name == "timestamp" {
        let times = values.iter().map(|value| value.map(|value| nanos(value.as_str().unwrap())));
        return Arc::new(TimestampNanosecondArray::from_iter(times).with_timezone("UTC"));
    }
    if name != "body" && all(Value::is_str) {
        return Arc::new(StringArray::from_iter(values.iter().map(|value| value.and_then(Value::as_str))));
    }
    if name != "body" && all(Value::is_integer) {
        return Arc::new(Int64Array::from_iter(values.iter().map(|value| value.and_then(Value::as_integer))));
    }
    if all(|value| value.is_integer() || value.is_float()) && name != "body" {
        let float = |value: &Value| value.as_float().or(value.as_integer().map(|value| value as f64));
        return Arc::new(Float64Array::from_iter(values.iter().map(|value| value.and_then(float))));
    }
    if name != "body" && all(Value::is_bool) {
        return Arc::new(BooleanArray::from_iter(values.iter().map(|value| value.and_then(Value::as_bool))));
    }
    Arc::new(BinaryArray::from_iter(values.iter().map(|value| value.map(bytes))))
}

/// `{ hex = "ff 00" }`, or text.
fn bytes(value: &Value) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    let digits: String = value["hex"].as_str().unwrap().split_whitespace().collect();
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn nanos(text: &str) -> i64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap()
}

/// A row of a batch: what is not null, by name, with labels as columns.
fn shown(batch: &RecordBatch, row: usize) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if let DataType::Map(_, _) = column.data_type() {
            let labels = of_row(map(column).unwrap(), row);
            shown.extend(labels.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), format!("{value:?}"))));
        } else if column.is_valid(row) {
            shown.insert(field.name().clone(), cell(column, row));
        }
    }
    shown
}

fn cell(column: &ArrayRef, row: usize) -> String {
    match column.data_type() {
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Timestamp(_, _) => format!("at {}", column.as_primitive::<TimestampNanosecondType>().value(row)),
        DataType::Binary => format!("bytes {:02x?}", column.as_binary::<i32>().value(row)),
        _ => format!("{:?}", cast(column, &DataType::Utf8).unwrap().as_string::<i32>().value(row)),
    }
}

/// What a case expects, as [`shown`] would show it.
fn wanted(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) if name == "timestamp" => format!("at {}", nanos(text)),
        Value::String(text) => format!("{text:?}"),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(yes) => yes.to_string(),
        other => format!("bytes {:02x?}", bytes(other)),
    }
}

struct Case {
    table: Table,
    world: World,
    configured: Configured,
}

impl Case {
    fn rows(&self) -> Vec<&Table> {
        self.table["rows"].as_array().unwrap().iter().map(|row| row.as_table().unwrap()).collect()
    }

    /// The events as they would come from a source: labels in their map, each with its number as source.
    fn events(&self) -> Batch {
        let rows = self.rows();
        let ins: Vec<&Table> = rows.iter().map(|row| row["in"].as_table().unwrap()).collect();
        let flat = batch(&ins);
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        let mut kind = Kind::Logs;
        for (field, column) in flat.schema_ref().fields().iter().zip(flat.columns()) {
            match field.name().starts_with(PREFIX) {
                true => kind = Kind::Metrics,
                false => columns.push((field.name().clone(), column.clone())),
            }
        }
        if kind == Kind::Metrics {
            let mut labels = LabelsBuilder::new();
            for row in &ins {
                let of_row = row.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str()?)));
                labels.push(of_row).unwrap();
            }
            columns.push(("labels".into(), labels.finish()));
        }
        let numbers = (0..rows.len()).map(|row| Some(row.to_string()));
        columns.push((ROW.into(), Arc::new(StringArray::from_iter(numbers))));
        Batch { kind, columns: named(columns, rows.len()) }
    }

    fn stage(&self, library: &Library) -> Result<(), String> {
        let instance = Instance::new(library.engine(), self.configured.clone()).map_err(|error| error.to_string())?;
        let contract = instance.contract().clone();
        let now = self.table.get("now").and_then(Value::as_str);
        let clock = Clock::held(now.map_or(0, nanos));
        let mut stage = Stage::new("tested", OnError::DeadLetter, instance, clock, now.is_some(), None);
        let events = self.events();
        let outcome = stage.run(&events).map_err(|error| error.to_string())?;
        let mut came: BTreeMap<usize, Vec<BTreeMap<String, String>>> = BTreeMap::new();
        let number = |shown: &mut BTreeMap<String, String>| -> usize {
            shown.remove(ROW).unwrap().trim_matches('"').parse().unwrap()
        };
        for batch in &outcome.batches {
            if batch.kind != if self.world == World::Parser { contract.produces } else { events.kind } {
                return Err(format!("it made {:?}", batch.kind));
            }
            for row in 0..batch.columns.num_rows() {
                let mut shown = shown(&batch.columns, row);
                came.entry(number(&mut shown)).or_default().push(shown);
            }
        }
        let mut died = BTreeMap::new();
        for casualty in outcome.casualties {
            died.insert(number(&mut shown(&casualty.row, 0)), casualty.reason);
        }
        for (row, case) in self.rows().into_iter().enumerate() {
            let came = came.remove(&row).unwrap_or_default();
            let died = died.get(&row);
            let expected = self.expected(case, &events, row, &contract);
            let error = case.get("error").and_then(Value::as_str);
            let right = match (error, died) {
                (Some(part), Some(reason)) => reason.contains(part) && came.is_empty(),
                (None, None) => came == expected,
                _ => false,
            };
            if !right {
                let wanted = error.map_or_else(|| format!("{expected:?}"), str::to_owned);
                return Err(format!("row {row}: wanted {wanted}, came out as {came:?}, died of {died:?}"));
            }
        }
        Ok(())
    }

    /// The rows that must come of one: its own columns, under those that the plugin makes.
    fn expected(
        &self,
        case: &Table,
        events: &Batch,
        row: usize,
        contract: &tidemill::plugin::Contract,
    ) -> Vec<BTreeMap<String, String>> {
        let mut own = shown(&events.columns, row);
        own.remove(ROW);
        if self.world == World::Filter {
            return if case["keep"].as_bool().unwrap() { vec![own] } else { Vec::new() };
        }
        if self.world == World::Parser && contract.produces != events.kind {
            own.retain(|name, _| name == "body" || name == "timestamp");
            if let Some(body) = own.remove("body") {
                own.insert("__raw".into(), body);
            }
        }
        // A null in a column that the plugin makes is null, but an event keeps its time.
        own.retain(|name, _| name == "timestamp" || !contract.writes.iter().any(|(written, _)| written == name));
        let outs: Vec<&Table> = match (case.get("out"), case.get("outs")) {
            (Some(out), None) => vec![out.as_table().unwrap()],
            (None, Some(outs)) => outs.as_array().unwrap().iter().map(|out| out.as_table().unwrap()).collect(),
            _ => Vec::new(),
        };
        let with = |out: &Table| {
            let mut all = own.clone();
            all.extend(out.iter().map(|(name, value)| (name.clone(), wanted(name, value))));
            all
        };
        outs.into_iter().map(with).collect()
    }

    fn ticks(&self, library: &Library) -> Result<(), String> {
        let mut instance = Instance::new(library.engine(), self.configured.clone()).map_err(|e| e.to_string())?;
        let mut state = Vec::new();
        for (number, tick) in self.table["ticks"].as_array().unwrap().iter().enumerate() {
            let request = request(tick["request"].as_table().unwrap(), state.clone());
            let proposed = instance.decide(&request);
            if let Some(part) = tick.get("error").and_then(Value::as_str) {
                match proposed {
                    Err(fault) if fault.message.contains(part) => continue,
                    other => return Err(format!("tick {number}: wanted the error `{part}`, got {other:?}")),
                }
            }
            let proposed = proposed.map_err(|fault| format!("tick {number}: {}", fault.message))?;
            let reason = tick["proposal"].get("reason").and_then(Value::as_str).unwrap_or_default();
            let replicas = tick["proposal"]["replicas"].as_integer();
            if replicas != Some(i64::from(proposed.replicas)) || !proposed.reason.contains(reason) {
                return Err(format!("tick {number}: proposed {} because `{}`", proposed.replicas, proposed.reason));
            }
            state = proposed.state;
        }
        Ok(())
    }
}

fn request(written: &Table, state: Vec<u8>) -> Request {
    let number = |key: &str| written.get(key).and_then(Value::as_integer).map(|number| number as u32);
    let replicas = number("replicas").unwrap();
    let signals = written.get("signals").and_then(Value::as_table).into_iter().flatten();
    Request {
        now: nanos(written["now"].as_str().unwrap()),
        workload: "web".into(),
        replicas,
        ready: number("ready").unwrap_or(replicas),
        min: number("min").unwrap_or(1),
        max: number("max").unwrap_or(10),
        members: Vec::new(),
        signals: signals.map(|(name, written)| signal(name, written.as_table().unwrap())).collect(),
        decisions: Vec::new(),
        advice: Vec::new(),
        state,
    }
}

fn signal(name: &str, written: &Table) -> Signal {
    let (key, value) = written.iter().next().unwrap();
    let one = Table::from_iter([("value".to_owned(), value.clone())]);
    let (freshness, table) = match key.as_str() {
        "value" => (Freshness::Fresh, batch(&[&one])),
        "stale" => (Freshness::Stale, batch(&[&one])),
        "rows" => {
            let rows: Vec<&Table> = value.as_array().unwrap().iter().map(|row| row.as_table().unwrap()).collect();
            (Freshness::Fresh, batch(&rows))
        }
        "missing" => (Freshness::Missing, batch(&[])),
        "failed" => (Freshness::Failed, batch(&[])),
        other => panic!("signal `{name}` is `{other}`"),
    };
    let message = if key == "failed" { value.as_str().unwrap() } else { "" };
    Signal { name: name.to_owned(), freshness, table, message: message.to_owned(), caught_up_at: None }
}

fn run_case(library: &Library, plugin: &Plugin, file: &Path) -> Result<(), String> {
    let table: Table = std::fs::read_to_string(file).unwrap().parse().map_err(|error| format!("{error}"))?;
    let lookup = |(name, table): (&String, &Value)| {
        (name.clone(), Lookup::read(table["csv"].as_str().unwrap().as_bytes()).unwrap())
    };
    let tables = table.get("tables").and_then(Value::as_table).into_iter().flatten().map(lookup).collect();
    let settings = table.get("settings").cloned().unwrap_or(Value::Table(Table::new()));
    let settings = serde_json::to_string(&settings).unwrap();
    let configured = Configured { tables: Arc::new(tables), ..configured(plugin.clone(), &settings) };
    if let Some(part) = table.get("refused").and_then(Value::as_str) {
        return match Instance::new(library.engine(), configured) {
            Err(error) if error.message().contains(part) => Ok(()),
            Err(error) => Err(format!("refused with `{error}`, wanted `{part}`")),
            Ok(_) => Err(format!("its settings were taken, wanted `{part}`")),
        };
    }
    let case = Case { table, world: plugin.world(), configured };
    if case.world == World::Autoscaler { case.ticks(library) } else { case.stage(library) }
}

#[test]
fn every_case_of_every_plugin() {
    let library = library();
    let mut failures = Vec::new();
    let mut cases = 0;
    for pattern in ["plugins/*/cases", "plugins/examples/*/*/cases"] {
        for folder in glob::glob(pattern).unwrap().flatten() {
            let name = folder.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
            let bundled = library.names().any(|known| known == name);
            let at = if bundled { name.clone() } else { test_plugin(&name).display().to_string() };
            let plugin = library.open(&at, Path::new("")).unwrap();
            for file in glob::glob(&format!("{}/*.toml", folder.display())).unwrap().flatten() {
                cases += 1;
                if let Err(error) = run_case(&library, &plugin, &file) {
                    failures.push(format!("{}: {error}", file.display()));
                }
            }
        }
    }
    assert!(cases > 60, "{cases} cases");
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn files_that_are_no_plugin_say_why() {
    let library = library();
    let zoo = std::fs::read(test_plugin("misbehave")).unwrap();
    let another_version = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let at: Vec<usize> = memchr::memmem::find_iter(&bytes, b"@0.1.0").collect();
        at.into_iter().for_each(|at| bytes[at..at + 6].copy_from_slice(b"@0.2.0"));
        bytes
    };
    let huge = [component(&zoo).unwrap(), vec![0; 64 << 20]].concat();
    let files: [(&str, Vec<u8>, &str); 8] = [
        ("empty", Vec::new(), "it is not a WebAssembly file"),
        ("text", b"fn main() {}".to_vec(), "it is not a WebAssembly file"),
        ("cut", component(&zoo).unwrap()[..5000].to_vec(), "it does not compile"),
        (
            "nothing",
            b"\0asm\x0d\0\x01\0".to_vec(),
            "it exports none of the worlds parser, filter, enricher, autoscaler",
        ),
        ("module", b"\0asm\x01\0\0\0".to_vec(), "the module exports no plugin function"),
        ("wasi", wat::parse_str(WASI).unwrap(), "it wants `wasi:cli/environment@0.2.0`, and plugins get no WASI"),
        ("version", another_version(&component(&zoo).unwrap()), "another version of the plugin interface"),
        ("huge", huge, "a plugin may have 67108864"),
    ];
    for (name, bytes, says) in files {
        let error = library.load(name, "memory", &bytes).err().unwrap_or_else(|| panic!("{name} was taken"));
        assert!(error.message().contains(says), "{name}: {error}");
        assert!(error.message().starts_with(&format!("plugin `{name}`: ")), "{name}: {error}");
    }
    let export_only = wat::parse_str(NEWER).unwrap();
    let error = library.load("newer", "memory", &export_only).err().unwrap();
    assert!(error.message().contains("built against version 0.2.0 of the plugin interface"), "{error}");
    assert!(error.message().contains("tidemill:plugin@0.1.0"), "{error}");
}

const WASI: &str = r#"(component (import "wasi:cli/environment@0.2.0" (instance)))"#;
const NEWER: &str = r#"(component (instance $none) (export "tidemill:plugin/parsing@0.2.0" (instance $none)))"#;

#[test]
fn a_plugin_is_built_from_a_file_and_runs_by_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let file = test_plugin("dedupe");
    let built = crate::mill::run(dir.path(), &["plugin", "build", file.to_str().unwrap()]);
    assert!(built.status.success(), "{}", stderr(&built));
    let said = crate::mill::stdout(&built);
    assert!(said.contains("dedupe.wasm: filter dedupe "), "{said}");
    let sha256 = said.split("sha256 = \"").nth(1).unwrap().split('"').next().unwrap();
    let pipeline = |hash: &str| {
        format!(
            "[sources.events]\ntype = \"http\"\n[stages.once]\ntype = \"filter\"\ninputs = [\"events\"]\n\
             plugin = \"dedupe.wasm\"\nsha256 = \"{hash}\"\n[tables.events]\ninputs = [\"once\"]\n"
        )
    };
    let mill = crate::mill::Mill::start(dir.path(), &pipeline(sha256));
    mill.push("events", "a\na\nb\n");
    assert_eq!(mill.number("SELECT count(*) FROM events"), 2);
    assert_eq!(mill.number(&format!("SELECT count(*) FROM tidemill.plugins WHERE sha256 = '{sha256}'")), 1);
    mill.stop();
    std::fs::write(dir.path().join("pipeline.toml"), pipeline(&"0".repeat(64))).unwrap();
    let refused = crate::mill::run(dir.path(), &["run", "pipeline.toml", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains(&format!("pipeline.toml:7: stages.once: plugin `dedupe.wasm` has the hash {sha256}"))
    );
    let broken = crate::mill::run(dir.path(), &["plugin", "build", "nothing"]);
    assert_eq!((broken.status.code(), stderr(&broken).trim()), (Some(1), "tidemill: there is no nothing"));
}
