//! What a running stage got and made becomes a case that its plugin passes, and another one does not.

use crate::mill::{Mill, run, shared, stderr, stdout};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

const PIPELINE: &str = r#"
[sources.web]
type = "http"

[sources.events]
type = "http"

[stages.parsed]
type = "parser"
inputs = ["web"]
plugin = "access-log"

[stages.agents]
type = "enricher"
inputs = ["parsed"]
plugin = "user-agent"

[stages.kept]
type = "filter"
inputs = ["agents"]
plugin = "drop-where"
settings = { field = "status", at_least = 404 }

[stages.once]
type = "filter"
inputs = ["parsed"]
plugin = "deduplicate"
settings = { fields = ["client"] }

[stages.known]
type = "enricher"
inputs = ["parsed"]
plugin = "lookup"
tables = { methods = "methods.csv" }
settings = { table = "methods", key = "method", columns = ["safe"] }

[stages.counted]
type = "parser"
inputs = ["parsed"]
plugin = "log-to-metric"
settings = { metrics = [{ name = "requests_total", kind = "counter", labels = { status = "status" } }] }

[stages.objects]
type = "parser"
inputs = ["events"]
plugin = "json"

[stages.clean]
type = "enricher"
inputs = ["objects"]
plugin = "redact"

[stages.cut]
type = "parser"
inputs = ["web"]
plugin = "regex"
settings = { pattern = "${PATTERN}" }

[tables.access]
inputs = ["kept", "once", "known"]

[tables.requests]
inputs = ["counted"]

[tables.objects]
inputs = ["clean"]

[tables.cut]
inputs = ["cut"]
"#;

const SECRET: &str = "^(?<first>hush|[0-9.]+) ";

const LINES: &str = "\
127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /a.gif HTTP/1.0\" 200 2326 \"-\" \"curl/8.5.0\"
127.0.0.1 - - [10/Oct/2000:13:55:37 -0700] \"GET /b\\x22.gif HTTP/1.0\" 404 - \"http://x/\" \"Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0\"
nonsense
::1 - - [10/Oct/2000:13:55:38 -0700] \"POST /c HTTP/1.1\" 500 7 \"-\" \"-\"
";

const OBJECTS: &str = r#"{"http": {"status": 200, "took": 0.5}, "mail": "a@example.org", "ok": true, "tags": [1, "b"]}
{"http": {"status": "none"}, "at": "2026-01-02T03:04:05.000000006Z", "note": "card 4111 1111 1111 1111"}
{"broken
"#;

fn lines() -> Vec<u8> {
    let Some(file) = shared("logs/access/apache_logs_10k.log.gz") else { return LINES.into() };
    let mut all = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut all).unwrap();
    let real: String = all.lines().step_by(97).take(60).map(|line| format!("{line}\n")).collect();
    (LINES.to_owned() + &real).into()
}

fn push(mill: &Mill) {
    for (source, lines) in [("web", lines()), ("events", OBJECTS.into())] {
        let reply = mill.post(&format!("/v1/ingest/{source}"), &[("Content-Type", "text/plain")], &lines);
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
}

fn started(dir: &Path) -> Mill {
    std::fs::write(dir.join("methods.csv"), "method,safe\nGET,yes\nPOST,no\n").unwrap();
    let mill = Mill::start_with(dir, PIPELINE, |command| command.env("PATTERN", SECRET));
    push(&mill);
    mill
}

/// Captures while events come.
fn capture(dir: &Path, mill: &Mill, stage: &str, more: &[&str]) -> (bool, String) {
    let url = mill.url();
    let arguments = ["capture", stage, "--url", &url, "--as-case", stage, "--wait", "20s"];
    let arguments: Vec<&str> = arguments.into_iter().chain(more.iter().copied()).collect();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| run(dir, &arguments));
        while !asking.is_finished() {
            push(mill);
            std::thread::sleep(Duration::from_millis(100));
        }
        let output = asking.join().unwrap();
        (output.status.success(), stdout(&output) + &stderr(&output))
    })
}

#[test]
fn what_a_stage_got_and_made_is_a_case_that_its_plugin_passes() {
    let dir = tempfile::tempdir().unwrap();
    let mill = started(dir.path());
    let mut failures = Vec::new();
    for (stage, plugin, rows) in [
        ("parsed", "access-log", "50"),
        ("agents", "user-agent", "40"),
        ("kept", "drop-where", "50"),
        ("once", "deduplicate", "10"),
        ("known", "lookup", "30"),
        ("counted", "log-to-metric", "10"),
        ("objects", "json", "5"),
        ("clean", "redact", "5"),
    ] {
        let (good, said) = capture(dir.path(), &mill, stage, &["--rows", rows]);
        // Of a plugin that keeps state, whole batches.
        let stateful = ["once", "counted"].contains(&stage);
        let counted = said.starts_with(&format!("{rows} rows of {plugin} are in {stage}/{stage}-"));
        assert!(
            good && (counted || stateful && said.contains(&format!(" rows of {plugin} are in "))),
            "{stage}: {said}"
        );
        let tested = run(dir.path(), &["plugin", "test", plugin, "--cases", stage]);
        let (tested, text) = (tested.status.success(), stdout(&tested) + &stderr(&tested));
        if !tested || said.contains("note:") || !text.contains("1 passed") {
            failures.push(format!("{stage}: {said}{text}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));

    // Another plugin makes something else of it, and it is shown what.
    let other = run(dir.path(), &["plugin", "test", "klog", "--cases", "parsed"]);
    let text = stdout(&other);
    assert!(!other.status.success() && text.contains("expected") && text.contains("row 1"), "{text}");
    let other = run(dir.path(), &["plugin", "test", "sample", "--cases", "kept"]);
    assert!(!other.status.success() && stdout(&other).contains("the settings are refused"), "{}", stdout(&other));

    // What stands in a table is what it would be had nobody watched.
    assert!(mill.rows("SHOW COLUMNS FROM access").iter().all(|row| !row.to_string().contains("__captured")));
    let dead = mill.rows("SELECT DISTINCT event FROM tidemill.dead_letters WHERE event IS NOT NULL");
    assert!(dead.iter().all(|row| !row.to_string().contains("__captured")), "{dead:?}");
    mill.stop();
}

#[test]
fn secrets_stay_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mill = started(dir.path());
    let (good, said) = capture(dir.path(), &mill, "cut", &["--rows", "3"]);
    assert!(good && said.contains("note: `pattern` may be secret"), "{said}");
    let file = std::fs::read_dir(dir.path().join("cut")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(file).unwrap();
    assert!(!text.contains("hush") && text.contains("\"***\""), "{text}");
    mill.stop();
}

#[test]
fn captures_end() {
    let dir = tempfile::tempdir().unwrap();
    let mill = started(dir.path());
    let url = mill.url();
    let asked = |arguments: &[&str]| {
        let output = run(dir.path(), &[&["capture", "--url", &url, "--as-case", "x"], arguments].concat());
        (output.status.success(), stdout(&output) + &stderr(&output))
    };
    let (good, said) = asked(&["parsed", "--wait", "300ms"]);
    assert!(!good && said.contains("no event came to the stage `parsed` within 300ms"), "{said}");
    let (good, said) = asked(&["parset"]);
    assert!(!good && said.contains("there is no stage `parset`; did you mean `parsed`?"), "{said}");
    let (good, _) = asked(&["parsed", "--rows", "0"]);
    assert!(!good);
    // Fewer rows than asked for, once the time is over.
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| asked(&["objects", "--rows", "1000", "--wait", "2s"]));
        std::thread::sleep(Duration::from_millis(700));
        push(&mill);
        let (good, said) = asking.join().unwrap();
        assert!(good && said.starts_with("3 rows of json"), "{said}");
    });
    // Whoever goes away is listened for no more; two at a time are one too many.
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| asked(&["parsed", "--wait", "2s"]));
        std::thread::sleep(Duration::from_millis(700));
        let (good, said) = asked(&["parsed", "--wait", "1s"]);
        assert!(!good && said.contains("somebody else captures the stage `parsed`"), "{said}");
        asking.join().unwrap();
    });
    mill.stop();
}
