//! The doors: SQL in every format, health, metrics, pushes, flush, tail, standard input, `--once`.

use crate::mill::{Mill, finish, patiently, request, run, stderr, stdout, tidemill};
use arrow::ipc::reader::StreamReader;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

pub const EVENTS: &str = r#"
[sources.events]
type = "http"

[tables.events]
inputs = ["events"]
"#;

const THREE: &str = "{\"n\":1,\"word\":\"one\"}\n{\"n\":2,\"word\":\"two, too\"}\n{\"n\":9007199254740993}\n";

fn filled(dir: &Path) -> Mill {
    let mill = Mill::start(dir, EVENTS);
    assert_eq!(mill.push("events", THREE), json!({ "accepted": 3, "dead": 0, "repeated": false, "errors": [] }));
    mill
}

#[test]
fn sql_in_every_format_by_get_and_post() {
    let dir = tempfile::tempdir().unwrap();
    let mill = filled(dir.path());
    let sql = "SELECT n, word FROM events ORDER BY n";
    let get = "/v1/sql?q=SELECT+n,+word+FROM+events+ORDER+BY+n";
    let formats = [
        ("application/json", "json"),
        ("application/x-ndjson", "ndjson"),
        ("text/csv", "csv"),
        ("application/vnd.apache.arrow.stream", "arrow"),
    ];
    for (media, word) in formats {
        let posted = mill.post("/v1/sql", &[("Accept", media)], sql.as_bytes());
        let asked = request(mill.port, "GET", get, &[("Accept", media)], b"").unwrap();
        let named = mill.get(&format!("{get}&format={word}"));
        let body = json!({ "q": sql, "format": word }).to_string();
        let said = mill.post("/v1/sql", &[("Content-Type", "application/json")], body.as_bytes());
        for reply in [&posted, &asked, &named, &said] {
            assert_eq!(reply.status, 200, "{}", reply.body);
            assert!(reply.header("content-type").unwrap().starts_with(media), "{}", reply.head);
            assert_eq!(reply.bytes, posted.bytes);
        }
        match word {
            "json" => assert_eq!(
                posted.json(),
                json!([{"n": 1, "word": "one"}, {"n": 2, "word": "two, too"}, {"n": 9007199254740993i64, "word": null}])
            ),
            "ndjson" => {
                let lines: Vec<Value> = posted.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                assert_eq!(lines.len(), 3);
                assert_eq!(lines[1], json!({"n": 2, "word": "two, too"}));
            }
            "csv" => {
                assert_eq!(posted.body.replace("\r\n", "\n"), "n,word\n1,one\n2,\"two, too\"\n9007199254740993,\n")
            }
            _ => {
                let batches: Vec<_> = StreamReader::try_new(posted.bytes.as_slice(), None).unwrap().collect();
                let rows: usize = batches.iter().map(|batch| batch.as_ref().unwrap().num_rows()).sum();
                assert_eq!(rows, 3);
            }
        }
    }
    for (media, _) in formats {
        let reply = mill.post("/v1/sql", &[("Accept", media)], b"SELECT n FROM events WHERE n > 10 AND n < 20");
        assert_eq!(reply.status, 200, "{media}: {}", reply.body);
    }
    let limited = mill.post("/v1/sql?limit=2", &[("Accept", "text/csv")], sql.as_bytes());
    assert_eq!(limited.body.lines().count(), 3, "{}", limited.body);
    assert_eq!(mill.post("/v1/sql", &[("Accept", "image/png")], sql.as_bytes()).status, 406);
    mill.stop();
}

#[test]
fn health_and_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let mill = filled(dir.path());
    assert_eq!(mill.get("/livez").json(), json!({ "live": true }));
    assert_eq!(mill.get("/readyz").json(), json!({ "ready": true, "reasons": [] }));
    assert_eq!(mill.get("/v1/admin/status").json()["store"]["hot_rows"].as_i64().map(|rows| rows >= 3), Some(true));
    let metrics = mill.get("/metrics");
    assert_eq!(metrics.status, 200);
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(name.starts_with("tidemill_") || name.starts_with("process_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let nowhere = mill.get("/v1/sqll");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.refusal().contains("did you mean `/v1/sql`?"), "{}", nowhere.body);
    assert_eq!(mill.get("/v1/admin/flush").status, 405);
    mill.stop();
}

#[test]
fn a_flush_makes_parquet_files_and_changes_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mill = filled(dir.path());
    let sql = "SELECT n, word, body, source, timestamp FROM events ORDER BY n";
    let before = mill.rows(sql);
    assert_eq!(mill.post("/v1/admin/flush", &[], b"").json(), json!({ "flushed": true }));
    assert_eq!(mill.number("SELECT count(*) FROM tidemill.segments WHERE \"table\" = 'events'"), 1);
    assert_eq!(mill.rows(sql), before);
    mill.push("events", "{\"n\":4,\"fresh\":true}\n");
    assert_eq!(mill.number("SELECT count(*) FROM events"), 4);
    assert_eq!(mill.number("SELECT count(fresh) FROM events"), 1);
    let told = &mill.rows("SELECT rows, hot_rows, segments FROM tidemill.tables WHERE name = 'events'")[0];
    assert_eq!(*told, json!({ "rows": 4, "hot_rows": 1, "segments": 1 }));
    mill.stop();

    let pattern = format!("{}/tidemill-data/**/*.parquet", dir.path().display());
    let files: Vec<_> = glob::glob(&pattern).unwrap().flatten().collect();
    assert!(files.iter().any(|file| file.to_string_lossy().contains("events")), "{files:?}");
    let mill = Mill::start(dir.path(), EVENTS);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 4);
    assert_eq!(mill.rows(&sql.replace("ORDER", "WHERE n <> 4 ORDER")), before);
    mill.stop();
}

#[test]
fn a_push_can_be_repeated_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), EVENTS);
    let push = |mill: &Mill, key: &str, body: &str| {
        mill.post("/v1/ingest/events", &[("Idempotency-Key", key)], body.as_bytes()).json()
    };
    assert_eq!(push(&mill, "a", THREE)["repeated"], false);
    let again = push(&mill, "a", THREE);
    assert_eq!((&again["accepted"], &again["repeated"]), (&json!(3), &json!(true)));
    assert_eq!(push(&mill, "b", THREE)["repeated"], false);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 6);
    let refused = |mill: &Mill| {
        let other = mill.post("/v1/ingest/events", &[("Idempotency-Key", "a")], b"{\"n\":4}\n");
        assert_eq!(other.status, 422, "{}", other.body);
        assert!(other.refusal().contains("used for another body"), "{}", other.body);
        assert_eq!(mill.number("SELECT count(*) FROM events"), 6);
    };
    refused(&mill);
    mill.kill();
    let mill = Mill::start(dir.path(), EVENTS);
    assert_eq!(push(&mill, "a", THREE)["repeated"], true);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 6);
    refused(&mill);
    mill.post("/v1/admin/flush", &[], b"");
    mill.stop();
    let mill = Mill::start(dir.path(), EVENTS);
    assert_eq!(push(&mill, "b", THREE)["repeated"], true);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 6);
    refused(&mill);
    mill.stop();
}

#[test]
fn a_push_hears_what_stages_gave_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = r#"
[sources.web]
type = "http"

[stages.parsed]
type = "parser"
inputs = ["web"]
plugin = "access-log"

[tables.access]
inputs = ["parsed"]
"#;
    let mill = Mill::start(dir.path(), pipeline);
    let good = r#"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326"#;
    let body = format!("{good}\nnonsense\n{good}\nnonsense\n");
    let push =
        || mill.post("/v1/ingest/web", &[("Idempotency-Key", "a"), ("Content-Type", "text/plain")], body.as_bytes());
    for repeated in [false, true] {
        let told = push().json();
        assert_eq!((&told["accepted"], &told["dead"], &told["repeated"]), (&json!(2), &json!(2), &json!(repeated)));
        let errors = told["errors"].as_array().unwrap();
        assert_eq!(
            (errors.len(), &errors[0]["stage"], &errors[0]["events"]),
            (1, &json!("parsed"), &json!(2)),
            "{told}"
        );
        let reason = mill.rows("SELECT DISTINCT reason FROM tidemill.dead_letters");
        assert_eq!(reason, [json!({ "reason": errors[0]["reason"] })]);
    }
    mill.stop();
}

#[test]
fn pushes_in_every_content_and_coding() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), EVENTS);
    let gzip = {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(THREE.as_bytes()).unwrap();
        writer.finish().unwrap()
    };
    let zstd = zstd::bulk::compress(THREE.as_bytes(), 1).unwrap();
    let pushes: [(&str, &str, &[u8], u64); 7] = [
        ("application/x-ndjson", "identity", THREE.as_bytes(), 3),
        ("application/x-ndjson", "gzip", &gzip, 3),
        ("application/x-ndjson", "zstd", &zstd, 3),
        ("application/json", "identity", b"[{\"n\":1},{\"n\":2}]", 2),
        ("application/json", "identity", b"{\"n\":1}", 1),
        ("text/plain", "identity", b"one line\nanother\n", 2),
        ("application/x-www-form-urlencoded", "identity", b"what curl sends\n", 1),
    ];
    let mut all = 0;
    for (content, coding, body, events) in pushes {
        let headers = [("Content-Type", content), ("Content-Encoding", coding)];
        let reply = mill.post("/v1/ingest/events", &headers, body);
        assert_eq!(reply.status, 200, "{content} {coding}: {}", reply.body);
        assert_eq!(reply.json()["accepted"], events, "{content} {coding}");
        all += events as i64;
    }
    assert_eq!(mill.number("SELECT count(*) FROM events"), all);
    assert_eq!(mill.number("SELECT count(*) FROM events WHERE body = 'what curl sends'"), 1);
    assert_eq!(mill.post("/v1/ingest/events", &[("Content-Type", "image/png")], b"x").status, 415);
    assert_eq!(mill.post("/v1/ingest/events", &[("Content-Encoding", "br")], b"x").status, 415);
    let nobody = mill.post("/v1/ingest/event", &[], b"x");
    assert_eq!(nobody.status, 404);
    assert!(nobody.refusal().contains("did you mean `events`?"), "{}", nobody.body);
    mill.stop();
}

#[test]
fn tail_and_query_from_the_shell() {
    let dir = tempfile::tempdir().unwrap();
    let mill = filled(dir.path());
    let url = mill.url();
    let tail = |arguments: &[&str]| stdout(&run(dir.path(), &[arguments, &["--url", &url]].concat()));
    let lines = tail(&["tail", "events", "-n", "2", "--once"]);
    let shown: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(shown.iter().map(|row| &row["n"]).collect::<Vec<_>>(), [&json!(2), &json!(9007199254740993i64)]);
    mill.post("/v1/admin/flush", &[], b"");
    assert_eq!(tail(&["tail", "events", "-n", "2", "--once"]).lines().count(), 2, "rows in segments are shown too");
    let aligned = tail(&["query", "SELECT n, word FROM events ORDER BY n"]);
    assert!(aligned.lines().next().unwrap().contains("word") && aligned.contains("two, too"), "{aligned}");
    assert_eq!(tail(&["query", "--format", "csv", "SELECT count(*) AS n FROM events"]).trim(), "n\n3");
    let wrong = run(dir.path(), &["query", "SELECT wrd FROM events", "--url", &url]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr(&wrong).contains("did you mean `word`?"), "{}", stderr(&wrong));

    let mut following = tidemill(&["tail", "events", "-n", "0", "--url", &url]);
    let mut following = following.stdout(Stdio::piped()).spawn().unwrap();
    let first = {
        let out = following.stdout.take().unwrap();
        let (sender, lines) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line);
            let _ = sender.send(line);
        });
        let mut first = None;
        assert!(patiently(|| {
            mill.push("events", "{\"n\":77}\n");
            first = lines.recv_timeout(std::time::Duration::from_millis(500)).ok();
            first.is_some()
        }));
        first.unwrap()
    };
    assert!(first.contains("77"), "{first}");
    crate::mill::signal(following.id(), rustix::process::Signal::INT);
    assert!(following.wait().unwrap().success());
    mill.stop();
    let gone = run(dir.path(), &["query", "SELECT 1", "--url", &url]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains("is `tidemill run` running there?"), "{}", stderr(&gone));
}

const PIPED: &str = r#"
[sources.piped]
type = "stdin"

[tables.piped]
inputs = ["piped"]
"#;

#[test]
fn standard_input_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pipeline.toml"), PIPED).unwrap();
    let lines: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(dir.path().join("input"), lines + "without an end").unwrap();
    let input = std::fs::File::open(dir.path().join("input")).unwrap();
    let mut command = tidemill(&["run", "pipeline.toml", "--listen", "127.0.0.1:0"]);
    let ended = finish(command.current_dir(dir.path()).stdin(Stdio::from(input)));
    assert!(ended.status.success(), "{}", stderr(&ended));

    let mill = Mill::start(dir.path(), &EVENTS.replace("tables.events", "tables.piped"));
    assert_eq!(mill.number("SELECT count(*) FROM piped"), 10_001);
    assert_eq!(mill.number("SELECT count(DISTINCT body) FROM piped"), 10_001);
    mill.stop();
}

#[test]
fn once_ends_when_files_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let lines: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
    std::fs::write(dir.path().join("a.log"), &lines).unwrap();
    std::fs::write(dir.path().join("b.log"), lines + "without an end").unwrap();
    std::fs::write(dir.path().join("c.log"), "alone").unwrap();
    let file = "[sources.events]\ntype = \"file\"\ninclude = [\"*.log\"]\n[tables.events]\ninputs = [\"events\"]\n";
    std::fs::write(dir.path().join("pipeline.toml"), file).unwrap();
    for _ in 0..2 {
        let ended = run(dir.path(), &["run", "pipeline.toml", "--listen", "127.0.0.1:0", "--once"]);
        assert!(ended.status.success(), "{}", stderr(&ended));
    }
    let mill = Mill::start(dir.path(), EVENTS);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 100_002);
    assert_eq!(mill.number("SELECT count(*) FROM events WHERE body IN ('without an end', 'alone')"), 2);
    mill.stop();
}

#[test]
fn once_fails_where_something_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.log"), "alone\n").unwrap();
    std::fs::write(dir.path().join("b.log.gz"), "packed").unwrap();
    let file = "[sources.events]\ntype = \"file\"\ninclude = [\"a.log\", \"b.log.gz\"]\n[tables.events]\ninputs = [\"events\"]\n";
    std::fs::write(dir.path().join("pipeline.toml"), file).unwrap();
    let ended = run(dir.path(), &["run", "pipeline.toml", "--listen", "127.0.0.1:0", "--once"]);
    assert_eq!(ended.status.code(), Some(1));
    let told = stderr(&ended);
    assert!(
        told.contains("not everything was read: source `events`: ") && told.contains("b.log.gz` is packed"),
        "{told}"
    );
    let mill = Mill::start(dir.path(), &file.replace(", \"b.log.gz\"", ""));
    assert_eq!(mill.number("SELECT count(*) FROM events"), 1);
    mill.stop();
}

#[test]
fn mixed_types_become_the_same_in_one_push_and_in_two() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = r#"
[sources.one]
type = "http"
[sources.two]
type = "http"
[stages.some]
type = "filter"
inputs = ["two"]
plugin = "drop-where"
settings = { field = "x", equals = "drop me" }
[tables.one]
inputs = ["one"]
[tables.two]
inputs = ["some"]
"#;
    let mill = Mill::start(dir.path(), pipeline);
    let events = ["{\"x\":1,\"y\":\"b\"}\n", "{\"x\":\"a\",\"y\":true}\n", "{\"x\":2.5}\n"];
    for event in events {
        mill.push("one", event);
    }
    mill.push("two", &(events.concat() + "{\"x\":\"drop me\"}\n"));
    for table in ["one", "two"] {
        let rows = mill.rows(&format!("SELECT x, x__utf8, y FROM {table} ORDER BY x"));
        let wanted = [
            json!({ "x": 1.0, "x__utf8": null, "y": "b" }),
            json!({ "x": 2.5, "x__utf8": null, "y": null }),
            json!({ "x": null, "x__utf8": "a", "y": "true" }),
        ];
        assert_eq!(rows, wanted, "{table}");
        let drift =
            format!("SELECT \"column\", arrived, became FROM tidemill.drift WHERE \"table\" = '{table}' ORDER BY 1, 2");
        let wanted = [
            json!({ "column": "x", "arrived": "float64", "became": "widened to float64" }),
            json!({ "column": "x", "arrived": "utf8", "became": "sibling x__utf8" }),
            json!({ "column": "y", "arrived": "boolean", "became": "text" }),
        ];
        assert_eq!(mill.rows(&drift), wanted, "{table}");
    }
    mill.push("one", "{\"c.d\":2,\"c\":{\"d\":3}}\n");
    let rows = mill.rows("SELECT \"c.d\", __more FROM one WHERE \"c.d\" IS NOT NULL");
    assert_eq!(rows, [json!({ "c.d": 3, "__more": "{\"c.d\":2}" })]);
    mill.stop();
}

#[test]
fn a_query_under_way_does_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let mill = filled(dir.path());
    let port = mill.port;
    let endless = std::thread::spawn(move || {
        let sql = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b WHERE a.value + b.value < 0";
        request(port, "POST", "/v1/sql", &[], sql.as_bytes()).unwrap()
    });
    std::thread::sleep(std::time::Duration::from_millis(500));
    let began = std::time::Instant::now();
    mill.stop();
    println!("stopped after {:?}", began.elapsed());
    let reply = endless.join().unwrap();
    assert_eq!(reply.status, 503, "{}", reply.body);
    assert!(reply.refusal().contains("tidemill is stopping"), "{}", reply.body);
}

#[test]
fn tables_about_itself_are_known_before_their_first_row() {
    let dir = tempfile::tempdir().unwrap();
    let mill = filled(dir.path());
    assert_eq!(mill.ask("SELECT level, target, body FROM tidemill.logs LIMIT 0").status, 200);
    let hot = mill.rows("SELECT hot_rows, time_min IS NOT NULL AS first, time_max IS NOT NULL AS last FROM tidemill.tables WHERE name = 'events'");
    assert_eq!(hot, [json!({ "hot_rows": 3, "first": true, "last": true })]);
    mill.stop();
}
