//! The Parquet files are everybody's: DuckDB opens them and finds the same rows.

use crate::mill::{Mill, finish, shared, stderr, stdout};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const PIPELINE: &str = r#"
[sources.web]
type = "file"
include = ["access.log"]

[stages.parsed]
type = "parser"
inputs = ["web"]
plugin = "access-log"

[tables.access]
inputs = ["parsed"]

[sources.ours]
type = "internal"
every = "200ms"

[tables.ours]
inputs = ["ours"]
"#;

/// What DuckDB answers, rows as lists.
fn duckdb(python: &str, dir: &Path, sql: &str) -> Value {
    let script = "import duckdb, json, sys\n\
                  rows = duckdb.sql(sys.argv[1]).fetchall()\n\
                  print(json.dumps(rows, default=str))";
    let output = finish(Command::new(python).args(["-c", script, sql]).current_dir(dir));
    assert!(output.status.success(), "{sql}: {}", stderr(&output));
    serde_json::from_str(&stdout(&output)).unwrap()
}

#[test]
fn duckdb_counts_the_same() {
    let Ok(python) = std::env::var("TIDEMILL_DUCKDB_PYTHON") else {
        eprintln!("left out: TIDEMILL_DUCKDB_PYTHON names no python that has duckdb");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let line = |n: u64| {
        format!(
            "10.0.0.{} - - [10/Oct/2026:13:55:{:02} +0000] \"GET /{n} HTTP/1.1\" {} {n} \"-\" \"curl/8\"\n",
            n % 250,
            n % 60,
            200 + n % 3
        )
    };
    let log = match shared("logs/access/apache_logs_10k.log.gz") {
        Some(path) => {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path).unwrap();
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(file), &mut bytes).unwrap();
            bytes
        }
        None => (0..10_000).map(line).collect::<String>().into_bytes(),
    };
    // Two flushes, so that there are several files.
    let half = log.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(4999).unwrap().0 + 1;
    std::fs::write(dir.path().join("access.log"), &log[..half]).unwrap();
    let mill = Mill::start(dir.path(), PIPELINE);
    mill.wait_for("SELECT count(*) FROM access", 5000);
    mill.post("/v1/admin/flush", &[], b"");
    let mut file = std::fs::OpenOptions::new().append(true).open(dir.path().join("access.log")).unwrap();
    std::io::Write::write_all(&mut file, &log[half..]).unwrap();
    mill.wait_for("SELECT count(*) FROM access", 10_000);
    mill.post("/v1/admin/flush", &[], b"");

    let sums = "SELECT count(*) AS a, sum(status) AS b, sum(bytes) AS c, count(referer) AS d, count(DISTINCT client) AS e, \
                min(timestamp) = max(timestamp) AS f FROM ";
    let ours = &mill.rows(&format!("{sums} access"))[0];
    let path = |table: &str| {
        let sql = format!("SELECT path FROM tidemill.segments WHERE \"table\" = '{table}'");
        let files: Vec<Value> = mill.rows(&sql).into_iter().map(|row| row["path"].clone()).collect();
        assert!(!files.is_empty());
        format!("read_parquet({}, union_by_name = true)", Value::Array(files).to_string().replace('"', "'"))
    };
    let theirs = duckdb(&python, dir.path(), &format!("{sums} {}", path("access")));
    let number = |at: usize| theirs[0][at].as_i64().or_else(|| theirs[0][at].as_str()?.parse().ok());
    for (at, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
        assert_eq!(number(at), ours[name].as_i64(), "{name}: {theirs} {ours}");
    }
    assert_eq!(ours["a"], 10_000);

    let types = |table: &str| {
        let rows = duckdb(
            &python,
            dir.path(),
            &format!("SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM {})", path(table)),
        );
        let named = rows.as_array().unwrap().iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].clone()));
        named.collect::<std::collections::BTreeMap<String, Value>>()
    };
    let access = types("access");
    for (column, wanted) in [
        ("timestamp", "TIMESTAMP WITH TIME ZONE"),
        ("body", "VARCHAR"),
        ("status", "BIGINT"),
        ("client", "VARCHAR"),
        ("source", "VARCHAR"),
    ] {
        let found = access[column].as_str().unwrap();
        let timestamp = column == "timestamp" && ["TIMESTAMP_NS", "TIMESTAMPTZ_NS"].contains(&found);
        assert!(found == wanted || timestamp, "{column}: {access:?}");
    }
    assert!(mill.number("SELECT count(*) FROM ours") > 0);
    let ours = types("ours");
    assert_eq!((&ours["labels"], &ours["value"]), (&json!("MAP(VARCHAR, VARCHAR)"), &json!("DOUBLE")), "{ours:?}");
    let with = "SELECT count(*) AS n FROM (SELECT * FROM";
    let labelled = duckdb(&python, dir.path(), &format!("{with} {}) WHERE cardinality(labels) > 0", path("ours")));
    assert!(labelled[0][0].as_i64().unwrap() > 0, "{labelled}");
    mill.stop();
}
