//! A line inside a line: one parser takes the outside, another one the column that it makes.

use crate::mill::{Mill, run, stderr};
use serde_json::json;

const PIPELINE: &str = r#"
[sources.pods]
type = "file"
include = ["pods.log"]

[sources.events]
type = "file"
include = ["events.ndjson"]
codec = "ndjson"

[stages.container]
type = "parser"
inputs = ["pods"]
plugin = "regex"
settings = { pattern = '^(?<timestamp>\S+) (?<stream>stdout|stderr) [PF] (?<message>.*)$' }

[stages.application]
type = "parser"
inputs = ["container"]
plugin = "json"
field = "message"
on_error = "pass"

[stages.pairs]
type = "parser"
inputs = ["events"]
plugin = "logfmt"
field = "http.query"

[tables.app]
inputs = ["application"]

[tables.queries]
inputs = ["pairs"]
"#;

#[test]
fn a_column_is_parsed_like_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let pods = [
        r#"2026-11-29T01:00:00.5Z stdout F {"level":"info","n":1}"#,
        "2026-11-29T01:00:01Z stderr F plain text",
        r#"2026-11-29T01:00:02Z stdout F {"message":"inner","n":2,"time":"2026-11-29T00:59:59Z"}"#,
        r#"2026-11-29T01:00:03Z stdout F {"message":7}"#,
    ];
    std::fs::write(dir.path().join("pods.log"), pods.join("\n") + "\n").unwrap();
    let events = "\u{feff}{\"http\":{\"query\":\"a=1 b=x\"},\"id\":1}\n{\"id\":2}\n{\"http\":{\"query\":5},\"id\":3}\n";
    std::fs::write(dir.path().join("events.ndjson"), events).unwrap();
    let mill = Mill::start(dir.path(), PIPELINE);
    mill.wait_for("SELECT count(*) AS n FROM app", 4);
    let rows = mill.rows("SELECT timestamp, stream, message, level, n FROM app ORDER BY timestamp");
    assert_eq!(
        rows,
        [
            json!({"timestamp": "2026-11-29T00:59:59Z", "stream": "stdout", "message": "inner", "level": null, "n": 2}),
            json!({"timestamp": "2026-11-29T01:00:00.500Z", "stream": "stdout", "message": r#"{"level":"info","n":1}"#, "level": "info", "n": 1}),
            json!({"timestamp": "2026-11-29T01:00:01Z", "stream": "stderr", "message": "plain text", "level": null, "n": null}),
            json!({"timestamp": "2026-11-29T01:00:03Z", "stream": "stdout", "message": "7", "level": null, "n": null}),
        ]
    );
    mill.wait_for("SELECT count(*) AS n FROM queries", 1);
    let rows = mill.rows("SELECT id, a, b FROM queries");
    assert_eq!(rows, [json!({"id": 1, "a": 1, "b": "x"})], "a byte order mark is not of the first event");
    mill.wait_for("SELECT count(*) AS n FROM tidemill.dead_letters", 2);
    let rows = mill.rows("SELECT reason FROM tidemill.dead_letters ORDER BY reason");
    let reasons = ["it has no `http.query`, which `field` names", "there is no key=value pair in the line"];
    assert_eq!(rows, reasons.map(|reason| json!({ "reason": reason })));
}

#[test]
fn a_field_that_does_nothing_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, says) in [
        (
            "field = \"message\"",
            "field = \"mesage\"",
            "p.toml:21: stages.application: it reads the column `mesage`, which nothing before it makes; did you mean `message`?",
        ),
        (
            "type = \"parser\"\ninputs = [\"container\"]\nplugin = \"json\"",
            "type = \"enricher\"\ninputs = [\"container\"]\nplugin = \"user-agent\"",
            "p.toml:21: stages.application: `field` is of parsers",
        ),
        (
            "plugin = \"json\"",
            "plugin = \"log-to-metric\"\nsettings = { metrics = [{ name = \"n\", kind = \"counter\" }] }",
            "stages.application: plugin `log-to-metric` reads no `body`",
        ),
    ] {
        std::fs::write(dir.path().join("p.toml"), PIPELINE.replacen(from, to, 1)).unwrap();
        let checked = run(dir.path(), &["check", "p.toml"]);
        assert_eq!(checked.status.code(), Some(1));
        assert!(stderr(&checked).contains(says), "{says}\n{}", stderr(&checked));
    }
}
