//! what it costs that a plugin is WebAssembly: the bundled ones against the same code native, in one run
//!
//!     access-log    wasm │ without limits │ a fresh instance each call │ native      and each language of TIDEMILL_BENCH_LANGUAGES
//!     drop-where    wasm │ without limits │ native                                   on integers and on text
//!
//! Contenders of one table take turns, round by round. Times are the thread's processor time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench that fails may panic"
)]

use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tidemill::plugin::compile::Compiler;
use tidemill::plugin::instance::Context;
use tidemill::plugin::{Account, Configured, Instance, Library, Limits};
use tidemill::units::{ByteSize, Span};
use tidemill_benches::{Random, access_log, arrow_of, cache, only_tested, per, print_table, rounds};
use tidemill_plugin::{Filter, Kept, Parsed, Parser, wire};

/// A call may take this long: languages with an interpreter need it for a large batch.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Calls of a filter that are timed as one: a single one is too quick.
const CALLS: usize = 20;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let count = if only_tested() { 3 } else { 201 };
    let limited = tidemill::app::library(Some(&cache())).expect("the engine starts");
    let free = tidemill::app::library_compiled_by(Compiler::Unwatched, Some(&cache())).expect("the engine starts");
    let mut rows = Vec::new();
    for batch in [1024, 8192] {
        rows.extend(parser(&limited, &free, batch, count));
    }
    for batch in [1024, 8192] {
        for column in filtered() {
            rows.extend(filter(&limited, &free, &column, batch, count));
        }
    }
    println!("nanoseconds of processor time for an event; best and median of {count} rounds, taken in turn\n");
    print_table(&["", "batch", "best", "median", "native / it", "of medians"], &rows);
    if let Ok(folder) = std::env::var("TIDEMILL_BENCH_LANGUAGES") {
        languages(&limited, Path::new(&folder), if only_tested() { 3 } else { 41 });
    }
}

fn instance(library: &Library, plugin: &str, settings: &str) -> Instance {
    Instance::new(library.engine(), configured(library, plugin, settings)).expect("it takes its settings")
}

fn configured(library: &Library, plugin: &str, settings: &str) -> Configured {
    // Whatever language it is in: what is measured is time, not whether it stays within the usual limits.
    let limits = Limits { time: Span(TIME_MAX), memory: ByteSize(1 << 30), ..Limits::default() };
    Configured {
        plugin: library.open(plugin, Path::new(".")).expect("it is bundled, or there"),
        stage: plugin.into(),
        settings: settings.to_owned(),
        limits,
        tables: Arc::new(BTreeMap::new()),
        account: Arc::new(Account::default()),
    }
}

/// The bundled one, or one of the same name in the folder `TIDEMILL_BENCH_PLUGINS`.
fn plugin(name: &str) -> String {
    match std::env::var("TIDEMILL_BENCH_PLUGINS") {
        Ok(folder) => format!("{folder}/{}.wasm", name.replace('-', "_")),
        Err(_) => name.to_owned(),
    }
}

/// Lines, as a plugin in wasm and one called natively get them.
struct Lines {
    columns: RecordBatch,
    native: tidemill_plugin::Batch,
    bytes: usize,
}

impl Lines {
    fn new(batch: usize) -> Lines {
        let text = access_log(batch, 7);
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        let body = BinaryArray::from_iter_values(&lines);
        let offsets = body.value_offsets().iter().map(|offset| *offset as u32).collect();
        let values = wire::Values::Binary(wire::VarBytes { offsets, data: body.value_data().to_vec() });
        let column = wire::Column { name: "body".into(), values, validity: None };
        let native = tidemill_plugin::Batch::new(batch, vec![column]);
        Lines { columns: one_column("body", Arc::new(body)), native, bytes: text.len() }
    }

    /// Through WebAssembly.
    fn through(&self, instance: &mut Instance) {
        let parsed = instance.parse(&self.columns, Context::default(), TIME_MAX).expect("the lines parse");
        assert_eq!((parsed.rows, parsed.errors.len()), (self.columns.num_rows(), 0));
        black_box(parsed);
    }

    /// The same code in this program, to Arrow as well.
    fn natively(&self, native: &mut access_log::AccessLog) {
        let mut parsed = Parsed::new(self.columns.num_rows());
        native.parse(&self.native, &tidemill_plugin::Context::default(), &mut parsed).expect("the lines parse");
        let parsed = parsed.into_wire().expect("the columns are as long as the batch");
        assert_eq!((parsed.rows as usize, parsed.errors.len()), (self.columns.num_rows(), 0));
        let arrow = |column: wire::Column| (column.name.clone(), arrow_of(column, &self.native));
        black_box(parsed.columns.into_iter().map(arrow).collect::<Vec<(String, ArrayRef)>>());
    }
}

fn native_parser() -> access_log::AccessLog {
    tidemill_plugin::configure::<access_log::AccessLog>("{}").expect("no settings are fine").0
}

/// Lines in, eleven columns out.
fn parser(limited: &Library, free: &Library, batch: usize, count: usize) -> Vec<Vec<String>> {
    let lines = Lines::new(batch);
    let mut wasm = instance(limited, &plugin("access-log"), "{}");
    let mut unwatched = instance(free, &plugin("access-log"), "{}");
    let fresh = configured(limited, &plugin("access-log"), "{}");
    let mut native = native_parser();
    let times = rounds(
        count,
        &mut [
            &mut || lines.natively(&mut native),
            &mut || lines.through(&mut wasm),
            &mut || lines.through(&mut unwatched),
            &mut || {
                let mut once = Instance::new(limited.engine(), fresh.clone()).expect("it takes its settings");
                lines.through(&mut once);
            },
        ],
    );
    let name = format!("access-log, {} B a line", lines.bytes / batch);
    let names = ["native", "wasm, within limits", "wasm, calls not watched", "wasm, a fresh instance each call"];
    table(&name, &names, batch, 1, &times)
}

/// A column that a filter looks at.
struct Filtered {
    name: &'static str,
    field: &'static str,
    settings: &'static str,
    column: fn(usize) -> (ArrayRef, wire::Values),
}

fn filtered() -> Vec<Filtered> {
    vec![
        Filtered {
            name: "drop-where, integers",
            field: "status",
            settings: r#"{"field": "status", "at_least": 500}"#,
            column: |rows| {
                let mut random = Random::new(3);
                let status: Vec<i64> =
                    (0..rows).map(|_| [200, 200, 200, 304, 404, 500][random.below(6) as usize]).collect();
                (Arc::new(Int64Array::from(status.clone())), wire::Values::Int64(status))
            },
        },
        Filtered {
            name: "drop-where, text begins with",
            field: "path",
            settings: r#"{"field": "path", "starts_with": "/static/"}"#,
            column: paths,
        },
        Filtered {
            name: "drop-where, text contains",
            field: "path",
            settings: r#"{"field": "path", "contains": "orange"}"#,
            column: paths,
        },
    ]
}

/// The paths of an access log.
fn paths(rows: usize) -> (ArrayRef, wire::Values) {
    let text = access_log(rows, 5);
    let text = String::from_utf8(text).expect("it is text");
    let paths: Vec<&str> = text.lines().map(|line| line.split(' ').nth(6).unwrap_or_default()).collect();
    let paths = StringArray::from_iter_values(paths);
    let offsets = paths.value_offsets().iter().map(|offset| *offset as u32).collect();
    let values = wire::Values::Utf8(wire::VarBytes { offsets, data: paths.value_data().to_vec() });
    (Arc::new(paths), values)
}

/// One column in, a mask out.
fn filter(limited: &Library, free: &Library, filtered: &Filtered, batch: usize, count: usize) -> Vec<Vec<String>> {
    let (column, values) = (filtered.column)(batch);
    let input = one_column(filtered.field, column);
    let column = wire::Column { name: filtered.field.into(), values, validity: None };
    let native_input = tidemill_plugin::Batch::new(batch, vec![column]);
    let mut wasm = instance(limited, &plugin("drop-where"), filtered.settings);
    let mut unwatched = instance(free, &plugin("drop-where"), filtered.settings);
    let (mut native, _) =
        tidemill_plugin::configure::<drop_where::DropWhere>(filtered.settings).expect("the settings are fine");
    let through = |instance: &mut Instance| {
        for _ in 0..CALLS {
            black_box(instance.keep(&input, Context::default(), TIME_MAX).expect("the filter answers"));
        }
    };
    let times = rounds(
        count,
        &mut [
            &mut || {
                for _ in 0..CALLS {
                    let mut kept = Kept::new(batch);
                    let context = tidemill_plugin::Context::default();
                    native.keep(&native_input, &context, &mut kept).expect("the filter answers");
                    black_box(kept.into_wire());
                }
            },
            &mut || through(&mut wasm),
            &mut || through(&mut unwatched),
        ],
    );
    table(filtered.name, &["native", "wasm, within limits", "wasm, calls not watched"], batch, CALLS, &times)
}

/// The access log parser of every language in a folder, `<language>.wasm` each, against the native one; slow ones get fewer rounds.
fn languages(library: &Library, folder: &Path, count: usize) {
    const BATCH: usize = 4096;
    let pattern = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = pattern.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
    assert!(!files.is_empty(), "{}: there is no .wasm file", folder.display());
    let lines = Lines::new(BATCH);
    let mut native = native_parser();
    let mut instances: Vec<Instance> = Vec::new();
    for file in &files {
        instances.push(instance(library, &file.display().to_string(), "{}"));
    }
    let mut bundled = instance(library, &plugin("access-log"), "{}");
    let mut native_call = || lines.natively(&mut native);
    let mut bundled_call = || lines.through(&mut bundled);
    let mut calls: Vec<Box<dyn FnMut() + '_>> =
        instances.iter_mut().map(|instance| Box::new(|| lines.through(instance)) as Box<dyn FnMut()>).collect();
    let mut contenders: Vec<&mut dyn FnMut()> = vec![&mut native_call, &mut bundled_call];
    contenders.extend(calls.iter_mut().map(|call| &mut **call as &mut dyn FnMut()));
    let times = rounds(count, &mut contenders);
    let mut rows = Vec::new();
    let stems = files.iter().map(|file| file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
    let names = ["native Rust".to_owned(), "Rust".to_owned()].into_iter().chain(stems);
    for (name, (best, median)) in names.zip(&times) {
        rows.push(vec![
            name,
            format!("{:.0}", 1e6 / per(*best, BATCH)),
            format!("{:.0}", per(*best, BATCH)),
            format!("{:.0}", per(*median, BATCH)),
            format!("{:.3}", ratio(times[0].0, *best)),
            format!("{:.1}", ratio(*best, times[1].0)),
        ]);
    }
    println!(
        "access-log in each language, {BATCH} lines a call of {} B; best and median of {count} rounds, taken in turn\n",
        lines.bytes / BATCH
    );
    print_table(&["", "k events/s", "ns best", "ns median", "native / it", "it / Rust"], &rows);
}

fn one_column(name: &str, column: ArrayRef) -> RecordBatch {
    let field = Field::new(name, column.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).expect("one column is a batch")
}

/// A row for each contender; the first is the native one, which the others are held against.
fn table(what: &str, names: &[&str], batch: usize, calls: usize, times: &[(Duration, Duration)]) -> Vec<Vec<String>> {
    let each = |time: Duration| per(time, batch * calls);
    let row = |(name, (best, median)): (&&str, &(Duration, Duration))| {
        vec![
            format!("{what}: {name}"),
            batch.to_string(),
            format!("{:.1}", each(*best)),
            format!("{:.1}", each(*median)),
            format!("{:.2}", ratio(times[0].0, *best)),
            format!("{:.2}", ratio(times[0].1, *median)),
        ]
    };
    names.iter().zip(times).map(row).collect()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
