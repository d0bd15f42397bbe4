//! Plugins in SQL: a value at a time and over tables, with their errors as rows, within a stage's limits and the query's own.

use crate::mill::{Mill, shared};
use crate::plugins::test_plugin;
use serde_json::{Value, json};
use std::io::Read;

fn pipeline(more: &str) -> String {
    format!(
        r#"
[store]
flush_age = "300ms"

[query]
timeout = "20s"

[sources.lines]
type = "http"

[stages.parsed]
type = "parser"
inputs = ["lines"]
plugin = "access-log"

[tables.access]
inputs = ["parsed"]

[tables.raw]
inputs = ["lines"]

{more}
"#
    )
}

const LINES: &str = "\
127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /a.gif HTTP/1.0\" 200 2326
127.0.0.1 - - [10/Oct/2000:13:55:37 -0700] \"GET /b.gif HTTP/1.0\" 404 -
nonsense
::1 - - [10/Oct/2000:13:55:38 -0700] \"POST /c HTTP/1.1\" 500 7
";

fn push(mill: &Mill, lines: &[u8]) {
    let reply = mill.post("/v1/ingest/lines", &[("Content-Type", "text/plain")], lines);
    assert_eq!(reply.status, 200, "{}", reply.body);
}

fn started(more: &str) -> (tempfile::TempDir, Mill) {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), &pipeline(more));
    (dir, mill)
}

#[track_caller]
fn refusal(mill: &Mill, sql: &str, parts: &[&str]) {
    let reply = mill.ask(sql);
    assert_ne!(reply.status, 200, "{sql}: {}", reply.body);
    for part in parts {
        assert!(reply.body.contains(part), "{sql}: {part} is not in {}", reply.body);
    }
}

#[test]
fn a_plugin_makes_the_same_of_stored_lines_as_in_its_stage() {
    let (_dir, mill) = started("");
    push(&mill, LINES.as_bytes());
    let wanted = mill.rows("SELECT client, path, status, bytes FROM access ORDER BY path");
    assert_eq!(wanted.len(), 3);
    let value = "plugin_parse('access-log', body)";
    let by_value = format!(
        "SELECT {value}['client'] AS client, {value}['path'] AS path, {value}['status'] AS status, {value}['bytes'] AS bytes \
         FROM raw WHERE {value}['error'] IS NULL ORDER BY path"
    );
    assert_eq!(mill.rows(&by_value), wanted);
    for source in
        ["'access-log', raw", "'access-log', 'raw'", "'stage:parsed', raw", "'access-log', (SELECT body FROM raw)"]
    {
        let sql =
            format!("SELECT client, path, status, bytes FROM plugin_rows({source}) WHERE error IS NULL ORDER BY path");
        assert_eq!(mill.rows(&sql), wanted, "{source}");
    }
    let recent = "SELECT count(*) FROM plugin_rows('access-log', raw, last => '1h')";
    assert_eq!(mill.number(recent), 4);
    assert_eq!(mill.number("SELECT count(*) FROM plugin_rows('access-log', raw, last => '1ms')"), 0);
    // What could not be parsed is a row with its reason, and has the columns it came with.
    let failed =
        mill.rows("SELECT body, status, error, source FROM plugin_rows('access-log', raw) WHERE error IS NOT NULL");
    assert_eq!(failed.len(), 1);
    assert_eq!(
        (&failed[0]["body"], &failed[0]["status"], &failed[0]["source"]),
        (&json!("nonsense"), &Value::Null, &json!("lines"))
    );
    assert!(failed[0]["error"].as_str().unwrap().contains("the client's address should stand here"), "{}", failed[0]);
    let whole = mill.rows("SELECT plugin_parse('access-log', 'nonsense') AS p");
    assert_eq!(whole[0]["p"]["status"], Value::Null);
    assert!(whole[0]["p"]["error"].as_str().unwrap().contains("nonsense"), "{}", whole[0]);
    // Like any other table: joined, grouped, under a name.
    let joined = "SELECT count(*) FROM plugin_rows('access-log', raw) AS p JOIN access a ON a.path = p.path AND a.status = p.status";
    assert_eq!(mill.number(joined), 3);
    // What queries use is told where every plugin's use is told.
    assert!(
        mill.number("SELECT sum(events_in) FROM tidemill.plugins WHERE stage = '(sql)' AND plugin = 'access-log'") >= 4
    );
    assert_eq!(mill.number("SELECT count(*) FROM tidemill.dead_letters"), 1);
    mill.stop();
}

#[test]
fn settings_open_columns_filters_enrichers_and_state() {
    let (_dir, mill) = started("");
    push(&mill, LINES.as_bytes());
    let cut = r#"plugin_parse('regex', body, '{"pattern": "(?<ip>[0-9.]+) .*\" (?<code>[0-9]+)", "types": {"code": "int64"}}')"#;
    assert_eq!(mill.number(&format!("SELECT sum({cut}['code']) FROM raw")), 1104);
    let nested = r#"SELECT plugin_parse('json', '{"http": {"status": 200}, "tags": [1, 2]}')['more'] AS more"#;
    assert_eq!(mill.rows(nested)[0]["more"], json!({"http.status": "200", "tags": "[1, 2]"}));
    let named = r#"SELECT more['a'] AS a FROM plugin_rows('logfmt', (SELECT 'a=1 b=2' AS body))"#;
    assert_eq!(mill.rows(named), [json!({"a": "1"})]);
    let kept =
        r#"SELECT path FROM plugin_rows('drop-where', access, '{"field": "status", "at_least": 400}') ORDER BY 1"#;
    let dropped = mill.ask(kept);
    assert_eq!(dropped.status, 200, "{}", dropped.body);
    assert_eq!(mill.rows(kept), [json!({"path": "/a.gif"})]);
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0";
    let family = format!("SELECT plugin_parse('user-agent', '{agent}')['ua_family'] AS family");
    assert_eq!(mill.rows(&family), [json!({"family": "Firefox"})]);
    // State goes from batch to batch, in the order of the source.
    let once = r#"SELECT count(*) FROM plugin_rows('deduplicate', (SELECT client, timestamp FROM access ORDER BY path), '{"fields": ["client"], "window": "1h"}')"#;
    assert_eq!(mill.number(once), 2);
    refusal(
        &mill,
        r#"SELECT plugin_parse('sample', body, '{"ratio": 0.5}') FROM raw"#,
        &["remembers earlier events", "plugin_rows"],
    );
    // Metrics of logs.
    let metrics = r#"SELECT count(*) AS n, count(DISTINCT labels['status']) AS codes FROM plugin_rows('log-to-metric', access,
        '{"metrics": [{"name": "requests_total", "kind": "counter", "labels": {"status": "status"}}]}') WHERE name = 'requests_total'"#;
    let reply = mill.ask(metrics);
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert!(mill.rows(metrics)[0]["codes"] == json!(3), "{}", reply.body);
    mill.stop();
}

#[test]
fn mistakes_are_told_and_no_path_is_opened() {
    let (dir, mill) = started("");
    std::fs::copy(test_plugin("misbehave"), dir.path().join("mine.wasm")).unwrap();
    push(&mill, LINES.as_bytes());
    for path in ["mine.wasm", "./mine.wasm", "/etc/passwd", "../x.wasm"] {
        refusal(
            &mill,
            &format!("SELECT plugin_parse('{path}', body) FROM raw"),
            &["there is no plugin `", "stage:parsed"],
        );
        refusal(&mill, &format!("SELECT * FROM plugin_rows('{path}', raw)"), &["there is no plugin `"]);
    }
    for (sql, parts) in [
        ("SELECT plugin_parse('acess-log', body) FROM raw", &["did you mean `access-log`?"][..]),
        ("SELECT plugin_parse('stage:parse', body) FROM raw", &["there is no stage `parse`; did you mean `parsed`?"]),
        ("SELECT plugin_parse('access-log', timestamp) FROM raw", &["for plugin `access-log` has to be text or bytes"]),
        ("SELECT plugin_parse(body, body) FROM raw", &["name has to be a text in quotes"]),
        ("SELECT plugin_parse('access-log') FROM raw", &["takes a plugin, a value, and perhaps settings"]),
        ("SELECT plugin_parse('access-log', body, body) FROM raw", &["settings have to be a JSON object in quotes"]),
        ("SELECT plugin_parse('access-log', body, '[]') FROM raw", &["are no JSON object"]),
        ("SELECT plugin_parse('regex', body, '{\"patern\": \"x\"}') FROM raw", &["unknown field `patern`"]),
        ("SELECT plugin_parse('access-log', body)['statsu'] FROM raw", &["the value has no field `statsu`"]),
        ("SELECT plugin_parse('hpa', body, '{\"target\": 1}') FROM raw", &["is an autoscaler"]),
        ("SELECT statsu FROM plugin_rows('access-log', raw)", &["unknown column `statsu`", "did you mean `status`?"]),
        ("SELECT * FROM plugin_rows('access-log', rwa)", &["unknown table `rwa`", "did you mean `raw`?"]),
        ("SELECT * FROM plugin_rows('access-log')", &["it needs a table, or a subquery"]),
        ("SELECT * FROM plugin_rows('access-log', raw, last => 'x')", &["is not a span of time"]),
        (
            "SELECT * FROM plugin_rows('access-log', (SELECT bdy FROM raw))",
            &["unknown column `bdy`", "did you mean `body`?"],
        ),
        (
            "SELECT * FROM plugin_rows('access-log', (SELECT source FROM raw))",
            &["reads body", "its source has none of that"],
        ),
    ] {
        refusal(&mill, sql, parts);
    }
    mill.stop();
}

#[test]
fn a_trap_costs_a_row_and_no_query() {
    let fragile = format!(
        r#"
[stages.fragile]
type = "parser"
inputs = ["lines"]
plugin = "{}"
limits = {{ time = "50ms" }}

[tables.fragile]
inputs = ["fragile"]
"#,
        test_plugin("misbehave").display()
    );
    let (_dir, mill) = started(&fragile);
    let sql = "SELECT plugin_parse('stage:fragile', body)['line'] AS line, plugin_parse('stage:fragile', body)['error'] AS error \
               FROM (VALUES ('one'), ('PANIC'), ('LOOP'), ('ALLOC'), ('two')) AS t (body)";
    let rows = mill.rows(sql);
    let lines: Vec<&Value> = rows.iter().map(|row| &row["line"]).collect();
    assert_eq!(lines, [&json!("one"), &Value::Null, &Value::Null, &Value::Null, &json!("two")]);
    // On a busy machine what hoards memory may run out of time first.
    for (row, parts) in [(1, &["it trapped"][..]), (2, &["processor time"]), (3, &["memory", "processor time"])] {
        let error = rows[row]["error"].as_str().unwrap();
        assert!(parts.iter().any(|part| error.contains(part)), "{row}: {error}");
    }
    // Hundreds of rows that trap: each has its own answer, though a stage would pause.
    let many = "SELECT count(*) AS n, count(p['error']) AS errors, count(p['line']) AS lines FROM \
                (SELECT plugin_parse('stage:fragile', CASE WHEN value % 2 = 0 THEN 'PANIC' ELSE 'fine' END) AS p FROM range(0, 200))";
    let counted = mill.rows(many);
    assert_eq!(counted[0]["n"], json!(200));
    assert!(counted[0]["errors"].as_i64().unwrap() >= 100, "{}", counted[0]);
    // The query's own time counts, also while the plugin is at work.
    let slow = mill.post(
        "/v1/sql?timeout=2s",
        &[],
        b"SELECT count(plugin_parse('stage:fragile', 'LOOP ' || CAST(value AS VARCHAR))['line']) FROM range(0, 1000000)",
    );
    assert_ne!(slow.status, 200);
    assert!(
        slow.body.contains("longer than") || slow.body.contains("timeout") || slow.body.contains("2s"),
        "{}",
        slow.body
    );
    assert_eq!(mill.number("SELECT count(*) FROM raw"), 0);
    mill.stop();
}

#[test]
fn what_instances_hold_counts_as_memory_of_queries() {
    let (_dir, mill) = started("");
    push(&mill, LINES.as_bytes());
    drop(mill);
    let dir = tempfile::tempdir().unwrap();
    let small = pipeline("").replace("timeout = \"20s\"", "timeout = \"20s\"\nmemory = \"1MiB\"");
    let mill = Mill::start(dir.path(), &small);
    push(&mill, LINES.as_bytes());
    refusal(
        &mill,
        "SELECT plugin_parse('access-log', body)['path'] FROM raw",
        &["needs more memory than queries may have"],
    );
    assert_eq!(mill.number("SELECT count(*) FROM raw"), 4);
    mill.stop();
}

#[test]
fn real_lines_are_parsed_anew_as_they_were() {
    let Some(file) = shared("logs/access/apache_logs_10k.log.gz") else { return };
    let mut lines = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_end(&mut lines).unwrap();
    let (_dir, mill) = started("");
    push(&mill, &lines);
    let sums = "SELECT count(*) AS n, sum(bytes) AS bytes, sum(status) AS codes, count(DISTINCT path) AS paths";
    let wanted = mill.rows(&format!("{sums} FROM access"));
    assert_eq!(mill.rows(&format!("{sums} FROM plugin_rows('access-log', raw) WHERE error IS NULL")), wanted);
    let values = "SELECT p['bytes'] AS bytes, p['status'] AS status, p['path'] AS path, p['error'] AS error FROM \
                  (SELECT plugin_parse('access-log', body) AS p FROM raw)";
    assert_eq!(mill.rows(&format!("{sums} FROM ({values}) WHERE error IS NULL")), wanted);
    mill.stop();
}
