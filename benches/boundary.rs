//! what it costs that a plugin is WebAssembly: the bundled ones against the same code native, in one run

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench that fails may panic"
)]

use arrow::array::{Array, ArrayRef, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{Field, Schema};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidemill::plugin::instance::Context;
use tidemill::plugin::{Account, Configured, Engine, Instance, Library, Limits};
use tidemill_benches::{Random, access_log, arrow_of, cache, only_tested, per, print_table, rounds};
use tidemill_plugin::{Filter, Kept, Parsed, Parser, wire};

const FILTER: &str = r#"{"field": "status", "at_least": 500}"#;
const TIME_MAX: Duration = Duration::from_secs(5);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let rounds = if only_tested() { 3 } else { 201 };
    let library = tidemill::app::library(Some(&cache())).expect("the engine starts");
    let mut rows = Vec::new();
    for batch in [1024, 8192] {
        rows.push(parser(&library, batch, rounds));
    }
    for batch in [1024, 8192] {
        rows.push(filter(&library, batch, rounds));
    }
    println!("nanoseconds of processor time for an event; best and median of {rounds} rounds, taken in turn\n");
    print_table(&["", "batch", "wasm best", "median", "native best", "median", "native / wasm", "of medians"], &rows);
}

fn instance(library: &Library, name: &str, settings: &str) -> Instance {
    let configured = Configured {
        plugin: library.open(&plugin(name), Path::new(".")).expect("it is bundled"),
        stage: name.into(),
        settings: settings.to_owned(),
        limits: Limits::default(),
        tables: Arc::new(BTreeMap::new()),
        account: Arc::new(Account::default()),
    };
    let engine: &Engine = library.engine();
    Instance::new(engine, configured).expect("it takes its settings")
}

/// The bundled one, or one of the same name in the folder `TIDEMILL_BENCH_PLUGINS`.
fn plugin(name: &str) -> String {
    match std::env::var("TIDEMILL_BENCH_PLUGINS") {
        Ok(folder) => format!("{folder}/{}.wasm", name.replace('-', "_")),
        Err(_) => name.to_owned(),
    }
}

/// Lines in, eleven columns out.
fn parser(library: &Library, batch: usize, count: usize) -> Vec<String> {
    let text = access_log(batch, 7);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let body = BinaryArray::from_iter_values(&lines);
    let input = one_column("body", Arc::new(body.clone()));
    let mut wasm = instance(library, "access-log", "{}");

    let offsets = body.value_offsets().iter().map(|offset| *offset as u32).collect();
    let values = wire::Values::Binary(wire::VarBytes { offsets, data: body.value_data().to_vec() });
    let column = wire::Column { name: "body".into(), values, validity: None };
    let native_input = tidemill_plugin::Batch::new(batch, vec![column]);
    let (mut native, _) = tidemill_plugin::configure::<access_log::AccessLog>("{}").expect("no settings are fine");

    let times = rounds(
        count,
        &mut [
            &mut || {
                let parsed = wasm.parse(&input, Context::default(), TIME_MAX).expect("the lines parse");
                assert_eq!((parsed.rows, parsed.errors.len()), (batch, 0));
                black_box(parsed);
            },
            &mut || {
                let mut parsed = Parsed::new(batch);
                native
                    .parse(&native_input, &tidemill_plugin::Context::default(), &mut parsed)
                    .expect("the lines parse");
                let parsed = parsed.into_wire().expect("the columns are as long as the batch");
                assert_eq!((parsed.rows as usize, parsed.errors.len()), (batch, 0));
                let columns: Vec<(String, ArrayRef)> = parsed
                    .columns
                    .into_iter()
                    .map(|column| (column.name.clone(), arrow_of(column, &native_input)))
                    .collect();
                black_box(columns);
            },
        ],
    );
    row(&format!("parser access-log, {} B a line", text.len() / batch), batch, &times)
}

/// One column of integers in, a mask out.
fn filter(library: &Library, batch: usize, count: usize) -> Vec<String> {
    let mut random = Random::new(3);
    let status: Vec<i64> = (0..batch).map(|_| [200, 200, 200, 304, 404, 500][random.below(6) as usize]).collect();
    let input = one_column("status", Arc::new(Int64Array::from(status.clone())));
    let mut wasm = instance(library, "drop-where", FILTER);

    let column = wire::Column { name: "status".into(), values: wire::Values::Int64(status), validity: None };
    let native_input = tidemill_plugin::Batch::new(batch, vec![column]);
    let (mut native, _) = tidemill_plugin::configure::<drop_where::DropWhere>(FILTER).expect("the settings are fine");

    // So quick that one call is not to be timed.
    const CALLS: usize = 20;
    let mut times = rounds(
        count,
        &mut [
            &mut || {
                for _ in 0..CALLS {
                    black_box(wasm.keep(&input, Context::default(), TIME_MAX).expect("the filter answers"));
                }
            },
            &mut || {
                for _ in 0..CALLS {
                    let mut kept = Kept::new(batch);
                    native
                        .keep(&native_input, &tidemill_plugin::Context::default(), &mut kept)
                        .expect("the filter answers");
                    black_box(kept.into_wire());
                }
            },
        ],
    );
    for (best, median) in &mut times {
        (*best, *median) = (*best / CALLS as u32, *median / CALLS as u32);
    }
    row("filter drop-where, integers", batch, &times)
}

fn one_column(name: &str, column: ArrayRef) -> RecordBatch {
    let field = Field::new(name, column.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).expect("one column is a batch")
}

fn row(name: &str, batch: usize, times: &[(Duration, Duration)]) -> Vec<String> {
    let (wasm, native) = (times[0], times[1]);
    let ratio = |native: Duration, wasm: Duration| native.as_secs_f64() / wasm.as_secs_f64();
    vec![
        name.to_owned(),
        batch.to_string(),
        format!("{:.1}", per(wasm.0, batch)),
        format!("{:.1}", per(wasm.1, batch)),
        format!("{:.1}", per(native.0, batch)),
        format!("{:.1}", per(native.1, batch)),
        format!("{:.2}", ratio(native.0, wasm.0)),
        format!("{:.2}", ratio(native.1, wasm.1)),
    ]
}
