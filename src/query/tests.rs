//! questions to small stores, and the answers

use super::format::{Format, encode};
use super::{Engine, Limits, Query, QueryError, SystemTable, table};
use crate::clock::Clock;
use crate::error::{ErrorKind, Result};
use crate::event::columns::{Type, field};
use crate::event::labels::LabelsBuilder;
use crate::event::{Kind, TableName};
use crate::store::{Segment, TableView, View};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SECOND: i64 = 1_000_000_000;
/// 2026-01-01T00:00:00Z
const START: i64 = 1_767_225_600 * SECOND;

fn times(from: i64, rows: usize) -> ArrayRef {
    let times = (0..rows as i64).map(|row| START + (from + row) * SECOND);
    Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
}

/// Rows of an access log, a second apart, starting `from` seconds after [`START`].
fn access(from: i64, rows: usize) -> RecordBatch {
    let numbers = || from..from + rows as i64;
    let body = numbers().map(|n| format!("GET /page/{} {}", n % 7, if n % 50 == 0 { "needle" } else { "hay" }));
    let path = numbers().map(|n| format!("/page/{}", n % 7));
    let status = numbers().map(|n| if n % 10 == 0 { 500 } else { 200 });
    RecordBatch::try_from_iter_with_nullable(vec![
        ("timestamp", times(from, rows), true),
        ("body", Arc::new(StringArray::from_iter_values(body)) as ArrayRef, true),
        ("source", Arc::new(StringArray::from_iter_values(numbers().map(|_| "file"))) as ArrayRef, true),
        ("status", Arc::new(Int64Array::from_iter_values(status)) as ArrayRef, true),
        ("http.path", Arc::new(StringArray::from_iter_values(path)) as ArrayRef, true),
    ])
    .unwrap()
}

/// The same, with the time a request took, and the status as text.
fn newer(from: i64, rows: usize) -> RecordBatch {
    let old = access(from, rows);
    let took = (from..from + rows as i64).map(|n| n as f64 / 2.0);
    let mut columns: Vec<(&str, ArrayRef)> = vec![("Took", Arc::new(Float64Array::from_iter_values(took)))];
    for name in ["timestamp", "body", "source", "status", "http.path"] {
        columns.push((name, old.column_by_name(name).unwrap().clone()));
    }
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn segment(dir: &Path, name: &str, batch: &RecordBatch, from: i64) -> Arc<Segment> {
    let path = dir.join(format!("{name}.parquet"));
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(1000)).build();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    let bytes = std::fs::metadata(&path).unwrap().len();
    Arc::new(Segment {
        path,
        rows: batch.num_rows() as u64,
        bytes,
        time_min: START + from * SECOND,
        time_max: START + (from + batch.num_rows() as i64 - 1) * SECOND,
        seq_first: 0,
        seq_last: 0,
        created_at: 0,
    })
}

fn schema(fields: &[(&str, Type)]) -> SchemaRef {
    Arc::new(Schema::new(fields.iter().map(|(name, r#type)| field(name, *r#type)).collect::<Vec<_>>()))
}

fn metrics() -> TableView {
    let mut labels = LabelsBuilder::new();
    labels.push([("job", "web"), ("instance", "a")]).unwrap();
    labels.push([("job", "db")]).unwrap();
    labels.push([]).unwrap();
    let base = Kind::Metrics.base();
    let text = |texts: Vec<&str>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
    let columns = vec![
        times(0, 3),
        text(vec!["up", "up", "load"]),
        text(vec!["gauge", "gauge", "gauge"]),
        Arc::new(Float64Array::from(vec![1.0, 0.0, f64::NAN])),
        labels.finish(),
        text(vec!["scrape", "scrape", "scrape"]),
    ];
    let hot = vec![RecordBatch::try_new(base.clone(), columns).unwrap()];
    TableView { kind: Kind::Metrics, schema: base, hot, segments: vec![] }
}

/// `access`: 0..2000 in an old file whose `status` is int64, 2000..5000 in a newer one, 5000..5010 hot; the table says float64.
fn view(dir: &Path) -> View {
    let fields = [
        ("timestamp", Type::Timestamp),
        ("body", Type::Utf8),
        ("source", Type::Utf8),
        ("status", Type::Float64),
        ("http.path", Type::Utf8),
        ("Took", Type::Float64),
        ("never", Type::Utf8),
    ];
    let mut view = View::default();
    let segments = vec![segment(dir, "one", &access(0, 2000), 0), segment(dir, "two", &newer(2000, 3000), 2000)];
    let table =
        TableView { kind: Kind::Logs, schema: schema(&fields), hot: vec![access(5000, 4), newer(5004, 6)], segments };
    view.tables.insert(TableName::user("access").unwrap(), table);
    view.tables.insert(TableName::user("metrics").unwrap(), metrics());
    let base = Kind::Logs.base();
    let empty = TableView { kind: Kind::Logs, schema: base, hot: vec![], segments: vec![] };
    view.tables.insert(TableName::user("empty").unwrap(), empty);
    let decisions = TableView {
        kind: Kind::Logs,
        schema: schema(&[("timestamp", Type::Timestamp), ("reason", Type::Utf8)]),
        hot: vec![],
        segments: vec![],
    };
    view.tables.insert(TableName::system("decisions"), decisions);
    view
}

/// Prints how long common questions take over a million rows.
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn how_fast_a_million_rows_are() {
    let dir = tempfile::tempdir().unwrap();
    let segments = (0..4).map(|n| segment(dir.path(), &n.to_string(), &access(n * 250_000, 250_000), n * 250_000));
    let fields = [
        ("timestamp", Type::Timestamp),
        ("body", Type::Utf8),
        ("source", Type::Utf8),
        ("status", Type::Int64),
        ("http.path", Type::Utf8),
    ];
    let hot = vec![access(1_000_000, 5000)];
    let table = TableView { kind: Kind::Logs, schema: schema(&fields), hot, segments: segments.collect() };
    let mut view = View::default();
    view.tables.insert(TableName::user("access").unwrap(), table);
    let view = Arc::new(view);
    let engine = Engine::new(Arc::new(move || view.clone()), vec![], limits(), Clock::system()).unwrap();
    let house = House { engine, dir };
    for sql in [
        "SELECT count(*) FROM access",
        "SELECT status, count(*) FROM access GROUP BY status",
        "SELECT count(*), avg(status) FROM access WHERE timestamp BETWEEN '2026-01-05T00:00:00Z' AND '2026-01-05T00:05:00Z'",
        "SELECT http.path, count(*) AS n FROM access GROUP BY 1 ORDER BY n DESC LIMIT 10",
        "SELECT count(*) FROM access WHERE body LIKE '%needle%'",
        "SELECT * FROM access WHERE body LIKE '%needle%' ORDER BY timestamp DESC LIMIT 100",
        "SELECT * FROM access ORDER BY timestamp DESC LIMIT 100",
    ] {
        let clock = Clock::system();
        let mut best = i64::MAX;
        for _ in 0..5 {
            let start = clock.now();
            house.ask(sql).await.unwrap();
            best = best.min(clock.now() - start);
        }
        println!("{:8.1} ms  {sql}", best as f64 / 1e6);
        if std::env::var("EXPLAIN").is_ok() {
            let query = Query { sql: format!("EXPLAIN ANALYZE {sql}"), ..Query::default() };
            let mut answer = house.engine.query(query).await.unwrap();
            while let Some(batch) = answer.batches.next().await {
                println!("{}", arrow::util::pretty::pretty_format_batches(&[batch.unwrap()]).unwrap());
            }
        }
    }
}

struct Plugins;

impl SystemTable for Plugins {
    fn name(&self) -> &str {
        "plugins"
    }

    fn schema(&self) -> SchemaRef {
        schema(&[("name", Type::Utf8), ("calls", Type::Int64)])
    }

    fn rows(&self, _: Option<&TableView>) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> =
            vec![Arc::new(StringArray::from(vec!["json"])), Arc::new(Int64Array::from(vec![7]))];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

struct House {
    engine: Engine,
    dir: tempfile::TempDir,
}

fn limits() -> Limits {
    Limits { threads: 2, ..Limits::default() }
}

fn house(limits: Limits) -> House {
    let dir = tempfile::tempdir().unwrap();
    let view = Arc::new(view(dir.path()));
    let clock = Clock::held(START + 5010 * SECOND);
    let engine = Engine::new(Arc::new(move || view.clone()), vec![Arc::new(Plugins)], limits, clock).unwrap();
    House { engine, dir }
}

impl House {
    async fn ask(&self, sql: &str) -> Result<String, QueryError> {
        self.ask_with(Query { sql: sql.into(), ..Query::default() }).await
    }

    async fn ask_with(&self, query: Query) -> Result<String, QueryError> {
        let mut answer = self.engine.query(query).await?;
        let mut batches = Vec::new();
        while let Some(batch) = answer.batches.next().await {
            batches.push(batch?);
        }
        let text = table(&answer.schema, &batches);
        let rows = text.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        Ok(rows.collect::<Vec<_>>().join("|"))
    }
}

async fn check(cases: &[(&str, &str)]) {
    let house = house(limits());
    for (sql, expected) in cases {
        match house.ask(sql).await {
            Ok(rows) => assert_eq!(rows, *expected, "{sql}"),
            Err(error) => panic!("{sql}: {error}"),
        }
    }
}

async fn wrong(cases: &[(&str, ErrorKind, &str)]) {
    let house = house(limits());
    for (sql, kind, words) in cases {
        match house.ask(sql).await {
            Ok(rows) => panic!("{sql}: {rows}"),
            Err(error) => {
                assert!(error.to_string().contains(words), "{sql}: {error}");
                assert_eq!(error.kind, *kind, "{sql}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn hot_rows_and_segments_are_one_table() {
    check(&[
        ("SELECT count(*) FROM access", "5010"),
        (
            "SELECT count(*), min(timestamp), max(timestamp) FROM access",
            "5010 2026-01-01T00:00:00Z 2026-01-01T01:23:29Z",
        ),
        ("SELECT status, count(*) FROM access GROUP BY status ORDER BY status", "200.0 4509|500.0 501"),
        ("SELECT count(*) FROM access WHERE timestamp >= '2026-01-01T01:00:00Z'", "1410"),
        ("SELECT count(*) FROM access WHERE timestamp >= now() - INTERVAL '1 minute'", "60"),
        ("SELECT count(*) FROM access WHERE body LIKE '%needle%'", "101"),
        ("SELECT count(*) FROM empty", "0"),
        ("SELECT count(*) FROM access a JOIN access b ON a.timestamp = b.timestamp WHERE a.status = 500", "501"),
        ("SELECT 1 AS one", "1"),
    ])
    .await;
}

#[tokio::test]
async fn old_files_and_batches_take_the_shape_of_the_table() {
    check(&[
        ("SELECT count(never), count(\"Took\"), sum(\"Took\") FROM access", "0 3006 5264269.5"),
        ("SELECT count(*) FROM access WHERE status = 500.0", "501"),
        ("SELECT count(*) FROM access WHERE status > 499.5 AND \"Took\" IS NULL", "201"),
        ("SELECT status + 0.5 FROM access WHERE timestamp < '2026-01-01T00:00:02Z' ORDER BY 1", "200.5|500.5"),
        ("SELECT count(*) FROM access WHERE never IS NULL", "5010"),
    ])
    .await;
}

#[tokio::test]
async fn the_newest_come_first_and_stop_early() {
    check(&[
        ("SELECT timestamp FROM access ORDER BY timestamp DESC LIMIT 2", "2026-01-01T01:23:29Z|2026-01-01T01:23:28Z"),
        ("SELECT timestamp FROM access ORDER BY timestamp LIMIT 1", "2026-01-01T00:00:00Z"),
        (
            "SELECT timestamp FROM access WHERE body LIKE '%needle%' ORDER BY timestamp DESC LIMIT 3",
            "2026-01-01T01:23:20Z|2026-01-01T01:22:30Z|2026-01-01T01:21:40Z",
        ),
    ])
    .await;
    let house = house(limits());
    let plan =
        house.ask("EXPLAIN ANALYZE SELECT timestamp, body FROM access ORDER BY timestamp DESC LIMIT 5").await.unwrap();
    assert!(plan.contains("reverse_row_groups=true"), "{plan}");
    let plan = house
        .ask("EXPLAIN SELECT body FROM access WHERE timestamp < '2026-01-01T00:10:00Z' AND body LIKE '%x%'")
        .await
        .unwrap();
    assert!(plan.contains("one.parquet") && !plan.contains("two.parquet"), "{plan}");
    let plan = house.ask("EXPLAIN SELECT count(*) FROM access").await.unwrap();
    assert!(!plan.contains("parquet"), "{plan}");
}

#[tokio::test]
async fn names_find_their_columns() {
    check(&[
        (
            "SELECT http.path, count(*) FROM access GROUP BY http.path ORDER BY 2 DESC, 1 LIMIT 2",
            "/page/0 716|/page/1 716",
        ),
        ("SELECT access.http.path FROM access WHERE timestamp < '2026-01-01T00:00:01Z'", "/page/0"),
        ("SELECT a.http.path FROM access a WHERE a.timestamp < '2026-01-01T00:00:01Z'", "/page/0"),
        ("SELECT labels.job FROM metrics ORDER BY timestamp LIMIT 1", "web"),
        ("SELECT count(Status), COUNT(took), Sum(TOOK) FROM Access", "5010 3006 5264269.5"),
        ("SELECT max(a.Took) FROM access AS a", "2504.5"),
        ("SELECT \"http.path\" FROM access ORDER BY Timestamp LIMIT 1", "/page/0"),
        ("SELECT Name, calls FROM tidemill.plugins", "json 7"),
        ("SELECT p.calls FROM tidemill.plugins p", "7"),
        ("SELECT tidemill.plugins.calls FROM tidemill.plugins", "7"),
        ("SELECT plugins.calls FROM tidemill.plugins WHERE plugins.name = 'json'", "7"),
        ("SELECT count(*) FROM tidemill.decisions", "0"),
        ("WITH Slow AS (SELECT took AS Seconds FROM access WHERE took > 2500) SELECT count(seconds) FROM Slow", "6"),
        ("SELECT \"STATUS\" FROM (SELECT status AS \"STATUS\" FROM access ORDER BY timestamp LIMIT 1)", "500.0"),
        ("SHOW TABLES", "access 7|empty 3|metrics 6|tidemill.decisions 2|tidemill.plugins 2"),
        ("DESCRIBE tidemill.plugins", "name utf8|calls int64"),
        ("SHOW COLUMNS FROM empty", "timestamp timestamp|body utf8|source utf8"),
    ])
    .await;
}

#[tokio::test]
async fn sql_for_logs_and_metrics_works() {
    check(&[
        ("SELECT labels['job'], value FROM metrics WHERE labels['job'] = 'web'", "web 1.0"),
        ("SELECT m.labels['job'] FROM metrics m ORDER BY timestamp LIMIT 1", "web"),
        ("SELECT count(*) FROM metrics WHERE labels['instance'] IS NULL", "2"),
        ("SELECT date_bin(INTERVAL '30 minutes', timestamp) AS t, count(*) FROM access GROUP BY t ORDER BY t LIMIT 1", "2026-01-01T00:00:00Z 1800"),
        ("SELECT date_trunc('hour', timestamp) AS t, count(*) FROM access GROUP BY 1 ORDER BY 1 LIMIT 1", "2026-01-01T00:00:00Z 3600"),
        ("SELECT round(approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY status)) FROM access", "200.0"),
        ("SELECT approx_percentile_cont(status, 0.99) FROM access", "500.0"),
        ("SELECT count(DISTINCT http.path), count(DISTINCT source) FROM access", "7 1"),
        ("SELECT sum(CASE WHEN status >= 500 THEN 1 ELSE 0 END) FROM access", "501"),
        ("SELECT count(*) FILTER (WHERE status >= 500) FROM access", "501"),
        ("SELECT count(*) FROM access WHERE regexp_like(body, 'page/[12] ')", "1432"),
        ("SELECT count(*) FROM access WHERE body ~ 'needle$'", "101"),
        ("SELECT upper(substr(body, 1, 3)) || '!' FROM access LIMIT 1", "GET!"),
        ("SELECT timestamp + INTERVAL '1 hour' FROM access ORDER BY timestamp LIMIT 1", "2026-01-01T01:00:00Z"),
        ("SELECT status, lag(status) OVER (ORDER BY timestamp) FROM access ORDER BY timestamp LIMIT 2", "500.0|200.0 500.0"),
        ("WITH a AS (SELECT 1 AS x) SELECT x FROM a UNION ALL SELECT 2 ORDER BY x", "1|2"),
        ("SELECT count(*) FROM generate_series(1, 10)", "10"),
        ("SELECT now()", "2026-01-01T01:23:30Z"),
        ("SELECT x.status FROM access x WHERE x.status IN (SELECT max(status) FROM access) LIMIT 1", "500.0"),
        ("SELECT count(*) / 60.0 AS value FROM access WHERE timestamp > now() - INTERVAL '1 minute'", "0.9833333333333333"),
        ("SELECT split_part(body, ' ', 2) AS p, max(timestamp) FROM access GROUP BY p HAVING count(*) > 715 ORDER BY p LIMIT 1", "/page/0 2026-01-01T01:23:25Z"),
        ("SELECT concat('a', NULL, 'b'), 'a' || NULL, repeat('ab', 2), lpad('7', 3, '0')", "ab abab 007"),
        ("SELECT count(*) FROM (SELECT concat(body, body) AS x, body || '-' || http.path FROM access)", "5010"),
        ("SELECT extract(hour FROM max(timestamp)), to_char(max(timestamp), '%H:%M') FROM access", "1 01:23"),
        ("SELECT TRY_CAST('x' AS INT), '5'::int + 1", "6"),
    ])
    .await;
}

#[tokio::test]
async fn whole_numbers_never_wrap() {
    let big = "9223372036854775807";
    let from = "FROM (SELECT value % 3 AS k, value + 9000000000000000000 AS v FROM generate_series(1, 30000))";
    check(&[
        (&format!("SELECT {big} + 0, {big} - 1, 3 * -4"), "9223372036854775807 9223372036854775806 -12"),
        ("SELECT -x, -(-x), sum(-x) OVER (), -(x * 2) FROM (VALUES (5)) AS t(x)", "-5 5 -5 -10"),
        ("SELECT sum(status + 1) - sum(status) = count(status) FROM access", "true"),
        ("SELECT 1 + 1 AS a, 1 + 1.5, 7 - count(*) FROM access", "2 2.5 -5003"),
        ("SELECT 2 + 3 * 4 - 6 / 4 % 2, (2 + 3) * 4 - 1, 7 / 2 * 2 % 4, 10 - (3 - 2) - 1", "13 19 2 8"),
        (&format!("SELECT sum(v) FROM (VALUES ({big}), ({big}), (-{big})) AS t(v)"), big),
        ("SELECT sum(v), sum(DISTINCT v), count(DISTINCT v) FROM (VALUES (1), (1), (NULL), (-3)) AS t(v)", "-1 -2 2"),
        ("SELECT sum(v) FROM (VALUES (1), (2)) AS t(v) WHERE v > 5", ""),
        ("SELECT k, sum(v) FROM (VALUES ('a', 1), ('b', NULL), ('a', 4)) AS t(k, v) GROUP BY k ORDER BY k", "a 5|b"),
        ("SELECT k, sum(v) FILTER (WHERE v > 1) FROM (VALUES ('a', 1), ('b', 2), ('b', 5)) AS t(k, v) GROUP BY k ORDER BY k", "a|b 7"),
        ("SELECT sum(value) OVER (ORDER BY value ROWS 1 PRECEDING) FROM generate_series(1, 3)", "1|3|5"),
        (&format!("SELECT k, sum(v - 9000000000000000000) {from} GROUP BY k ORDER BY k"), "0 150015000|1 149995000|2 150005000"),
        ("SELECT sum(status) FROM (SELECT status, took FROM access) WHERE took > 1e9", ""),
        (&format!("SELECT sum(CAST(v AS DECIMAL(38, 0))) FROM (VALUES ({big}), ({big})) AS t(v)"), "18446744073709551614"),
    ])
    .await;
    use ErrorKind::Invalid;
    wrong(&[
        (&format!("SELECT -(x - 1) FROM (VALUES (-{big})) AS t(x)"), Invalid, "is beyond the whole numbers of 64 bits"),
        (&format!("SELECT {big} + 1"), Invalid, "9223372036854775807 + 1 is beyond the whole numbers of 64 bits; CAST"),
        (&format!("SELECT -{big} - 2"), Invalid, "beyond"),
        (&format!("SELECT {big} * length(body) FROM access WHERE status > 1"), Invalid, "beyond"),
        ("SELECT value * 4611686018427387904 FROM generate_series(1, 2)", Invalid, "beyond"),
        (
            &format!("SELECT sum(v) FROM (VALUES ({big}), (1)) AS t(v)"),
            Invalid,
            "the sum 9223372036854775808 is beyond",
        ),
        (
            &format!("SELECT sum(DISTINCT v), count(DISTINCT v + 0) FROM (VALUES ({big}), (1)) AS t(v)"),
            Invalid,
            "beyond",
        ),
        (&format!("SELECT sum(v) {from}"), Invalid, "beyond"),
        (&format!("SELECT k, sum(v) {from} GROUP BY k"), Invalid, "beyond"),
        (&format!("SELECT sum(v) OVER () FROM (VALUES ({big}), (1)) AS t(v)"), Invalid, "beyond"),
    ])
    .await;
}

#[tokio::test]
async fn bytes_that_are_no_text_can_be_read_as_text() {
    check(&[
        ("SELECT text(x'61ff62'), text(x'6162'), text(NULL), text(7), text('x')", "a\u{fffd}b ab 7 x"),
        ("SELECT count(*) FROM (VALUES (x'61ff62'), (x'ff'), (x'61')) AS t(raw) WHERE text(raw) LIKE '%a%'", "2"),
    ])
    .await;
    let rows = "FROM (VALUES (x'61ff62'), (x'61')) AS t(raw)";
    for sql in [
        &format!("SELECT count(*) {rows} WHERE raw LIKE '%a%'"),
        &format!("SELECT CAST(raw AS VARCHAR) {rows}"),
        &format!("SELECT raw || 'x' {rows}"),
    ] {
        wrong(&[(sql, ErrorKind::Invalid, "there are bytes that are not UTF-8 text; text(raw)")]).await;
    }
}

#[tokio::test]
async fn mistakes_are_told_with_a_place() {
    use ErrorKind::{Forbidden, Invalid, Limit, Missing};
    let many = (0..200).map(|n| format!("repeat(body, 100) AS c{n}")).collect::<Vec<_>>().join(", ");
    let many = format!("SELECT {many} FROM (SELECT body || body || body || body AS body FROM access)");
    wrong(&[
        ("SELECT statsu FROM access", Invalid, "line 1, column 8: unknown column `statsu`; did you mean `status`?"),
        ("SELECT status\nFROM acces", Missing, "line 2, column 6: unknown table `acces`; did you mean `access`?"),
        ("SELECT 1 FROM plugins", Missing, "did you mean `tidemill.plugins`?"),
        ("SELECT 1 FROM zzzzz", Missing, "the tables are `access`"),
        ("SELECT 1 FROM 'x.parquet'", Missing, "unknown table"),
        ("SELECT 1 FROM '/etc/passwd'", Missing, "unknown table"),
        ("SELECT 1 FROM access WHERE http.path = \"/x/y\"", Invalid, "single quotes"),
        ("SELECT http.pth FROM access", Invalid, "unknown column `http.pth`; did you mean `http.path`?"),
        ("SELECT metrics.valu FROM metrics", Invalid, "did you mean `value`?"),
        ("SELECT count(took), count(TOOK) FROM access", Invalid, "columns 1 and 2 of the answer would have the same name; give one another name with AS"),
        ("SELECT 0, 1 AS a, 2 AS a", Invalid, "columns 2 and 3 of the answer would both be named `a`; give one another name with AS"),
        ("SELECT cuont(*) FROM access", Invalid, "line 1, column 8: unknown function `cuont`; did you mean `count`?"),
        ("SELECT sum(body) FROM access", Invalid, "line 1, column 8: `sum` does not take values of this type; `DESCRIBE"),
        ("SELECT a.status FROM access a, access b WHERE status = 1", Invalid, "more than one table"),
        ("SELECT status FROM access WHERE status = 'x'", Invalid, "x"),
        ("SELECT body, count(*) FROM access", Invalid, "body"),
        ("SELECT 1/0", Invalid, "division by zero"),
        ("SELECT CAST(body AS INT) FROM access", Invalid, "TRY_CAST"),
        ("SELECT FROM access WHERE", Invalid, "syntax error"),
        ("DROP TABLE access", Forbidden, "queries only read"),
        ("SELECT repeat('x', 1000000000)", Limit, "too large"),
        ("SELECT repeat(body, 100000) FROM access", Limit, "too large"),
        ("SELECT rpad(body, 1500000000) FROM access", Limit, "too large"),
        (
            "SELECT sum(length(a || a || a || a || a || a || a || a)) FROM (SELECT b || b AS a FROM (SELECT repeat(body, 3000) AS b FROM access))",
            Limit,
            "too large",
        ),
        (&many, Limit, "too large"),
        ("DESCRIBE acces", Missing, "did you mean `access`?"),
    ])
    .await;
}

#[tokio::test]
async fn too_many_rows_end_in_an_error() {
    let house = house(limits());
    let query = Query { sql: "SELECT timestamp FROM access".into(), time_max: None, rows_max: Some(100) };
    let mut answer = house.engine.query(query.clone()).await.unwrap();
    let (mut rows, mut last) = (0, None);
    while let Some(batch) = answer.batches.next().await {
        match batch {
            Ok(batch) => rows += batch.num_rows(),
            Err(error) => last = Some(error),
        }
    }
    assert_eq!((rows, last.map(|error| error.kind)), (100, Some(ErrorKind::Limit)));
    let exact = Query { rows_max: Some(5010), ..query };
    assert!(house.ask_with(exact).await.is_ok());
}

/// A join that would run for years.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b, generate_series(1, 1000000) c \
                       WHERE (a.value * 7 + b.value * 3 + c.value) % 11 = 5";

async fn idle(engine: &Engine) -> bool {
    for _ in 0..100 {
        if engine.tasks() == 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

#[tokio::test]
async fn an_endless_query_ends_at_its_time() {
    let house = house(limits());
    for sql in [
        ENDLESS,
        "SELECT count(*) FROM access a, access b, access c WHERE a.status + b.status > c.status",
        "SELECT count(*) FROM access a, access b, access c WHERE a.status + b.status + c.status < 0",
        "SELECT count(*) FROM access a JOIN access b ON a.source = b.source JOIN access c ON a.source = c.source AND a.status + b.status + c.status < 0",
        "SELECT sum(a.value) FROM generate_series(1, 100000000000) a",
        "SELECT a.value FROM generate_series(1, 10000000000) a ORDER BY a.value % 1000 DESC LIMIT 3",
        "SELECT a.value % 1000, count(*) FROM generate_series(1, 100000000000) a GROUP BY 1",
    ] {
        let query = Query { sql: sql.into(), time_max: Some(Duration::from_millis(500)), rows_max: None };
        let answer = tokio::time::timeout(Duration::from_millis(1500), house.ask_with(query)).await;
        match answer {
            Ok(Err(error)) => assert!(error.message.contains("took longer"), "{sql}: {error}"),
            Ok(Ok(rows)) => panic!("{sql}: {rows}"),
            Err(_) => panic!("{sql}: still running"),
        }
        assert!(idle(&house.engine).await, "{sql}: work goes on");
    }
}

#[tokio::test]
async fn stopping_ends_queries_with_an_error() {
    let house = house(limits());
    let endless =
        "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a.value + b.value < 0";
    let query = tokio::spawn({
        let engine = house.engine.clone();
        async move {
            let mut answer = engine.query(Query { sql: endless.into(), ..Query::default() }).await?;
            answer.batches.next().await.unwrap()
        }
    });
    while house.engine.tasks() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.engine.stop();
    let error = query.await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Unavailable, "tidemill is stopping, and the query with it; ask again later")
    );
    assert!(house.ask("SELECT 1").await.unwrap_err().message.contains("stopping"));
    assert!(idle(&house.engine).await);
}

#[tokio::test]
async fn dropping_an_answer_stops_its_query() {
    let house = house(limits());
    let query = Query { sql: "SELECT value FROM generate_series(1, 100000000000)".into(), ..Query::default() };
    let mut answer = house.engine.query(query).await.unwrap();
    assert!(answer.batches.next().await.is_some());
    drop(answer);
    assert!(idle(&house.engine).await);
    let query = Query { sql: ENDLESS.into(), ..Query::default() };
    let answer = tokio::time::timeout(Duration::from_millis(200), house.engine.query(query)).await;
    drop(answer);
    assert!(idle(&house.engine).await);
}

#[tokio::test]
async fn memory_has_an_end() {
    let house = house(Limits { memory_bytes_max: 4 << 20, ..limits() });
    for sql in [
        "SELECT value, count(*) FROM generate_series(1, 100000000) GROUP BY value ORDER BY 2 LIMIT 1",
        "SELECT value FROM generate_series(1, 100000000) ORDER BY value % 7, value",
        "SELECT count(*) FROM generate_series(1, 100000000) a JOIN generate_series(1, 100000000) b ON a.value = b.value",
    ] {
        match house.ask(sql).await {
            Ok(rows) => panic!("{sql}: {rows}"),
            Err(error) => assert!(error.kind == ErrorKind::Limit && error.message.contains("memory"), "{sql}: {error}"),
        }
    }
    assert_eq!(house.ask("SELECT count(*) FROM access").await.unwrap(), "5010");
}

#[tokio::test]
async fn more_queries_than_places_wait_and_more_than_that_are_sent_away() {
    let house = house(Limits { concurrent_max: 1, time_max: Duration::from_secs(2), ..limits() });
    let endless = || {
        house.engine.query(Query { sql: ENDLESS.into(), time_max: Some(Duration::from_millis(600)), rows_max: None })
    };
    let running = endless().await.unwrap();
    let waiting: Vec<_> = (0..6).map(|_| endless()).collect();
    let answers = futures::future::join_all(waiting).await;
    let sent_away =
        answers.iter().filter(|answer| matches!(answer, Err(error) if error.kind == ErrorKind::Unavailable));
    assert!(sent_away.count() >= 2);
    drop((answers, running));
    assert!(idle(&house.engine).await);
    assert_eq!(house.ask("SELECT 1").await.unwrap(), "1");
}

#[tokio::test]
async fn a_query_keeps_to_its_view_and_a_missing_segment_is_told() {
    let house = house(limits());
    std::fs::remove_file(house.dir.path().join("one.parquet")).unwrap();
    let error = house.ask("SELECT sum(status) FROM access").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Io, "{error}");
}

#[test]
fn tables_of_a_query_are_known_without_running_it() {
    let house = house(limits());
    let of = |sql: &str| {
        let tables = house.engine.tables_of(sql).unwrap();
        tables.iter().map(|table| table.to_string()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of("SELECT 1"), "");
    assert_eq!(
        of("WITH x AS (SELECT * FROM Access) SELECT * FROM x JOIN tidemill.decisions d ON true"),
        "access tidemill.decisions"
    );
    assert_eq!(
        of("SELECT (SELECT max(value) FROM metrics) FROM not_there_yet WHERE a IN (SELECT b FROM c)"),
        "c metrics not_there_yet"
    );
    assert!(house.engine.tables_of("SELEC 1").is_err());
}

#[tokio::test]
async fn the_deepest_text_that_is_let_in_can_be_planned() {
    let house = house(limits());
    let sql = format!("SELECT 1{}", "+1".repeat(490));
    assert_eq!(house.ask(&sql).await.unwrap(), "491");
    for signs in ["+1-1", "*1/1", "+1*1", "*1%7", "+1*1/1"] {
        let sql = format!("SELECT max(length(body){}) FROM access", signs.repeat(900 / signs.len()));
        house.ask(&sql).await.unwrap();
    }
    let sql = format!("SELECT {}status{} FROM access LIMIT 1", "(-".repeat(45), ")".repeat(45));
    house.ask(&sql).await.unwrap();
    let sql = format!("SELECT count(*) FROM access WHERE {}", vec!["status = 1"; 240].join(" OR "));
    assert_eq!(house.ask(&sql).await.unwrap(), "0");
    let nested = format!("{}SELECT max(status) AS a FROM access{}", "SELECT a FROM (".repeat(45), ")".repeat(45));
    assert_eq!(house.ask(&nested).await.unwrap(), "500.0");
    let sql = format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(45), " END".repeat(45));
    assert_eq!(house.ask(&sql).await.unwrap(), "1");
}

#[tokio::test]
async fn every_type_reads_back_from_files_as_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let dead = |from: i64| {
        let raw: ArrayRef = Arc::new(BinaryArray::from(vec![b"\xff\x00".as_slice(), b"b"]));
        let code: ArrayRef = Arc::new(Int64Array::from(vec![7, 70]));
        let flag: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), None]));
        let columns =
            vec![("timestamp", times(from, 2), true), ("raw", raw, true), ("code", code, true), ("flag", flag, true)];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    };
    let mut view = View::default();
    let fields = [("timestamp", Type::Timestamp), ("raw", Type::Binary), ("code", Type::Utf8), ("flag", Type::Boolean)];
    let segments = vec![segment(dir.path(), "dead", &dead(0), 0)];
    let table = TableView { kind: Kind::Logs, schema: schema(&fields), hot: vec![dead(2)], segments };
    view.tables.insert(TableName::system("dead_letters"), table);
    let mut metrics = metrics();
    metrics.segments = vec![segment(dir.path(), "metrics", &metrics.hot[0], 0)];
    view.tables.insert(TableName::user("metrics").unwrap(), metrics);
    let view = Arc::new(view);
    let engine = Engine::new(Arc::new(move || view.clone()), vec![], limits(), Clock::system()).unwrap();
    let house = House { engine, dir };
    for (sql, expected) in [
        ("SELECT count(*), count(DISTINCT raw) FROM tidemill.dead_letters", "4 2"),
        ("SELECT count(*) FROM tidemill.dead_letters WHERE code = '70'", "2"),
        ("SELECT count(*) FROM tidemill.dead_letters WHERE code LIKE '7%' AND code > '7'", "2"),
        ("SELECT count(*) FROM tidemill.dead_letters WHERE code IN ('7', '8') AND flag", "2"),
        ("SELECT max(code), min(code) FROM tidemill.dead_letters", "70 7"),
        ("SELECT CAST(raw AS VARCHAR) FROM tidemill.dead_letters WHERE code = '70'", "b|b"),
        ("SELECT labels['job'], count(*) FROM metrics WHERE labels['job'] = 'db' GROUP BY 1", "db 2"),
        (
            "SELECT labels['job'] AS job, max(value) FROM metrics GROUP BY job ORDER BY job NULLS LAST",
            "db 0.0|web 1.0|NaN",
        ),
        ("SELECT count(*) FROM metrics WHERE labels['nope'] IS NULL", "6"),
        ("SELECT labels FROM metrics WHERE labels['job'] = 'db' LIMIT 1", "{job: db}"),
        ("SELECT count(*) FROM metrics WHERE name = 'up' AND value = 1", "2"),
        ("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'", "metrics"),
        ("SELECT * FROM metrics a JOIN metrics b ON a.timestamp = b.timestamp WHERE a.name = 'nope'", ""),
        ("SELECT arrow_typeof(raw) FROM tidemill.dead_letters LIMIT 1", "BinaryView"),
    ] {
        match house.ask(sql).await {
            Ok(rows) => assert_eq!(rows, expected, "{sql}"),
            Err(error) => panic!("{sql}: {error}"),
        }
    }
    for format in Format::ALL {
        for sql in [
            "SELECT * FROM tidemill.dead_letters",
            "SELECT * FROM metrics",
            "SELECT INTERVAL '1 day', NULL, [1, 2], DATE '2026-01-01', 1.5::decimal(5,2)",
        ] {
            let answer = house.engine.query(Query { sql: sql.into(), ..Query::default() }).await.unwrap();
            let chunks: Vec<_> = encode(answer, *format).collect().await;
            assert!(chunks.iter().all(Result::is_ok), "{format:?} {sql}: {chunks:?}");
        }
    }
}

/// A subquery in a subquery, each naming the column of the inner one more than once.
fn doubling(table: &str, column: &str, expression: &str, end: &str) -> String {
    let depth = std::env::var("DOUBLED").map_or(8, |depth| depth.parse().unwrap());
    let open = format!("SELECT {expression} AS a FROM (").repeat(depth);
    format!("SELECT a FROM ({open}SELECT {column} AS a FROM {table}{}) {end}", ")".repeat(depth))
}

/// Prints how long the largest texts that are let in take to plan.
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn how_long_planning_takes() {
    let house = house(limits());
    let joins = (0..49).map(|n| format!(" JOIN metrics m{n} ON m{n}.timestamp = m.timestamp")).collect::<String>();
    let columns = (0..300).map(|n| format!("status + {n} AS c{n}")).collect::<Vec<_>>().join(", ");
    for (what, sql) in [
        ("sum", format!("SELECT 1{}", "+1".repeat(490))),
        ("or", format!("SELECT count(*) FROM access WHERE {}", vec!["status = 1"; 240].join(" OR "))),
        (
            "in",
            format!(
                "SELECT count(*) FROM access WHERE status IN ({})",
                (0..950).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
            ),
        ),
        ("union", format!("{}SELECT 1", "SELECT 1 UNION ALL ".repeat(400))),
        ("join", format!("SELECT count(*) FROM metrics m{joins}")),
        ("columns", format!("SELECT {columns} FROM access LIMIT 1")),
        ("case", format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(45), " END".repeat(45))),
        ("doubling", doubling("access", "status", "a + a", "WHERE a > 5")),
        ("doubling text", doubling("access", "body", "a || a", "WHERE a > 'x'")),
        ("doubling order", doubling("access", "status", "a + a", "ORDER BY a + a")),
        ("doubling plain", doubling("access", "status", "a + a", "")),
        ("doubling case", doubling("access", "status", "CASE WHEN a > 1 THEN a ELSE a + 1 END", "WHERE a > 5")),
        (
            "subqueries",
            format!("{}SELECT status AS a FROM access LIMIT 1{}", "SELECT a FROM (".repeat(45), ")".repeat(45)),
        ),
    ] {
        let clock = Clock::system();
        let start = clock.now();
        let answer = house.ask(&format!("EXPLAIN {sql}")).await;
        println!("{:8.1} ms  {what} {:?}", (clock.now() - start) as f64 / 1e6, answer.err());
    }
}
