//! SQL over ten million rows in the store's own segments, against DuckDB on the same files
//!
//! Both with two threads, warm, in their own process, best of five. `TIDEMILL_DUCKDB_PYTHON` is a Python that can `import duckdb`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench that fails may panic"
)]

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemill::clock::Clock;
use tidemill::event::{Accepted, Kind, TableName};
use tidemill::query::{Engine, Limits, Query};
use tidemill::store::{Append, Options, Store, TableOptions};
use tidemill_benches::{Random, only_tested, print_table, scratch};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const THREADS: usize = 2;
const ROUNDS: usize = 5;
const BATCH_ROWS: usize = 65_536;
/// 2026-11-01T00:00:00Z
const BEGIN: i64 = 1_793_491_200_000_000_000;
/// Ten million rows are a day.
const STEP: i64 = 8_640_000;

/// What each is for, and what is asked. Both understand the same text.
const QUERIES: &[(&str, &str)] = &[
    ("count", "SELECT count(*) AS n FROM logs"),
    ("group by status", "SELECT status, count(*) AS n FROM logs GROUP BY status ORDER BY status"),
    (
        "5 minutes",
        "SELECT count(*) AS n, avg(latency) AS mean FROM logs \
         WHERE timestamp >= TIMESTAMP '2026-11-01 12:00:00' AND timestamp < TIMESTAMP '2026-11-01 12:05:00'",
    ),
    ("top 10 paths", "SELECT path, count(*) AS n FROM logs GROUP BY path ORDER BY n DESC, path LIMIT 10"),
    ("LIKE '%quarry lantern%'", "SELECT count(*) AS n FROM logs WHERE body LIKE '%quarry lantern%'"),
    (
        "newest 100 with a filter",
        "SELECT timestamp, host, path, status, latency, body FROM logs WHERE status = 500 AND host = 'web-07' \
         ORDER BY timestamp DESC LIMIT 100",
    ),
];

const DUCKDB: &str = r#"
import duckdb, json, sys, time
asked = json.load(sys.stdin)
db = duckdb.connect()
db.execute(f"SET threads = {asked['threads']}")
db.execute("SET TimeZone = 'UTC'")
for setting in ("SET parquet_metadata_cache = true", "SET enable_object_cache = true"):
    try:
        db.execute(setting)
    except Exception:
        pass
files = ", ".join("'" + path + "'" for path in asked["files"])
db.execute(f"CREATE VIEW logs AS SELECT * FROM read_parquet([{files}])")
answers = []
for sql in asked["queries"]:
    best, first = None, None
    for _ in range(asked["rounds"] + 1):
        began = time.perf_counter()
        rows = db.execute(sql).fetchall()
        took = time.perf_counter() - began
        if first is not None:
            best = took if best is None else min(best, took)
        first = rows[0] if rows else ()
    answers.append({"seconds": best, "rows": len(rows), "first": [str(v) for v in first]})
json.dump({"version": duckdb.__version__, "answers": answers}, sys.stdout)
"#;

fn main() {
    let rows = if only_tested() { 200_000 } else { 10_000_000 };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads start");
    let store = runtime.block_on(filled(rows));
    let view = store.view();
    let segments = &view.tables[&TableName::user("logs").expect("a good name")].segments;
    let files: Vec<PathBuf> = segments.iter().map(|segment| segment.path.clone()).collect();
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    println!(
        "{rows} rows in {} segments, {} MB; {THREADS} threads, warm, best of {ROUNDS}\n",
        files.len(),
        bytes / 1_000_000
    );

    let theirs = duckdb(&files);
    let viewed = store.clone();
    let limits = Limits { threads: THREADS, ..Limits::default() };
    let engine =
        Engine::new(Arc::new(move || viewed.view()), Vec::new(), limits, Clock::system()).expect("the engine starts");
    let mut table = Vec::new();
    let mut ratios = Vec::new();
    for (at, (name, sql)) in QUERIES.iter().enumerate() {
        let (took, answered) = runtime.block_on(best(&engine, sql));
        let mut cells = vec![(*name).to_owned(), answered.to_string(), milliseconds(took)];
        if let Some((took_theirs, rows_theirs)) = theirs.as_ref().and_then(|theirs| theirs.get(at)) {
            assert_eq!(answered, *rows_theirs, "both answer {name} with as many rows");
            let ratio = took.as_secs_f64() / took_theirs.as_secs_f64();
            ratios.push(ratio);
            cells.extend([milliseconds(*took_theirs), format!("{ratio:.2}")]);
        }
        table.push(cells);
    }
    print_table(&["", "rows", "tidemill ms", "duckdb ms", "ratio"], &table);
    if ratios.is_empty() {
        println!("DuckDB was not asked: set TIDEMILL_DUCKDB_PYTHON to a Python that has it");
    } else {
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        println!("geometric mean of the ratios: {mean:.2}, highest {:.2}", ratios.iter().copied().fold(0.0, f64::max));
    }
    let (planning, _) = runtime.block_on(best(
        &engine,
        "SELECT status, count(*) AS n FROM logs WHERE timestamp < TIMESTAMP '2020-01-01' GROUP BY status",
    ));
    println!("a query over no segment at all, which is planning and starting: {} ms", milliseconds(planning));
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// Best time, and how many rows came.
async fn best(engine: &Engine, sql: &str) -> (Duration, usize) {
    let mut best = Duration::MAX;
    let mut rows = 0;
    for round in 0..=ROUNDS {
        let began = Instant::now();
        let mut answer =
            engine.query(Query { sql: sql.to_owned(), ..Query::default() }).await.expect("it can be planned");
        rows = 0;
        while let Some(batch) = answer.batches.next().await {
            rows += batch.expect("it can be answered").num_rows();
        }
        if round > 0 {
            best = best.min(began.elapsed());
        }
    }
    (best, rows)
}

fn duckdb(files: &[PathBuf]) -> Option<Vec<(Duration, usize)>> {
    let python = std::env::var_os("TIDEMILL_DUCKDB_PYTHON")?;
    let queries: Vec<&str> = QUERIES.iter().map(|(_, sql)| *sql).collect();
    let asked = serde_json::json!({ "files": files, "queries": queries, "threads": THREADS, "rounds": ROUNDS });
    let mut child = Command::new(&python)
        .args(["-c", DUCKDB])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(asked.to_string().as_bytes()).expect("Python listens");
    drop(input);
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "DuckDB failed");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it answers in JSON");
    println!("DuckDB {}", answer["version"].as_str().unwrap_or_default());
    let answers = answer["answers"].as_array().expect("a list");
    let one = |answer: &serde_json::Value| {
        let seconds = answer["seconds"].as_f64().expect("a time");
        (Duration::from_secs_f64(seconds), answer["rows"].as_u64().expect("a count") as usize)
    };
    Some(answers.iter().map(one).collect())
}

/// A store with so many rows in segments; kept for the next run.
async fn filled(rows: usize) -> Store {
    let folder = scratch().join(format!("query-{rows}"));
    let done = folder.join("done");
    if !done.exists() {
        let _ = std::fs::remove_dir_all(&folder);
        let store = Store::open(&folder.join("data"), Options::new(Clock::system())).expect("the store opens");
        let table = TableName::user("logs").expect("a good name");
        store.declare(&table, Kind::Logs, TableOptions::default()).await.expect("the table is made");
        let mut random = Random::new(17);
        let mut from = 0;
        while from < rows {
            let count = BATCH_ROWS.min(rows - from);
            let tables = vec![(table.clone(), Kind::Logs, logs(from, count, &mut random))];
            let accepted = Accepted { rows: count as u64, dead: 0, repeated: false };
            store
                .append(Append { tables, accepted, patient: true, ..Append::default() })
                .await
                .expect("the rows are stored");
            from += count;
        }
        store.close().await.expect("the store closes");
        std::fs::write(&done, b"").expect("the folder can be written");
    }
    Store::open(&folder.join("data"), Options::new(Clock::system())).expect("the store opens")
}

const WORDS: &[&str] = &[
    "request",
    "timeout",
    "upstream",
    "accepted",
    "connection",
    "closed",
    "harbour",
    "lantern",
    "quarry",
    "retry",
    "worker",
    "session",
    "cache",
    "missed",
    "database",
    "slow",
    "answer",
    "queue",
    "drained",
    "payload",
];

fn logs(from: usize, count: usize, random: &mut Random) -> RecordBatch {
    let mut bodies = Vec::with_capacity(count);
    let mut paths = Vec::with_capacity(count);
    for _ in 0..count {
        let words: Vec<&str> = (0..11).map(|_| random.one_of(WORDS)).collect();
        let mut body = words.join(" ");
        body.push_str(&format!(" id={}", random.below(100_000_000)));
        bodies.push(body);
        paths.push(format!("/api/{}/{}", random.one_of(WORDS), random.skewed(250)));
    }
    let statuses: Vec<i64> =
        (0..count).map(|_| [200, 200, 200, 200, 200, 200, 204, 301, 404, 500][random.below(10) as usize]).collect();
    let hosts: Vec<String> = (0..count).map(|_| format!("web-{:02}", random.below(20))).collect();
    let times = (from..from + count).map(|row| BEGIN + row as i64 * STEP + random.below(1_000_000) as i64);
    let times = TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC");
    let latency: Vec<f64> = (0..count).map(|_| random.skewed(1_000_000) as f64 / 1000.0).collect();
    let sizes: Vec<i64> = (0..count).map(|_| random.skewed(100_000) as i64).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("timestamp", Arc::new(times)),
        ("body", Arc::new(StringArray::from(bodies))),
        ("source", Arc::new(StringArray::new_repeated("bench", count))),
        ("host", Arc::new(StringArray::from(hosts))),
        ("status", Arc::new(Int64Array::from(statuses))),
        ("path", Arc::new(StringArray::from(paths))),
        ("latency", Arc::new(Float64Array::from(latency))),
        ("bytes", Arc::new(Int64Array::from(sizes))),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
        .expect("one length")
}
