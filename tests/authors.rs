//! What authors of plugins work with: test, bench, inspect, list and diff, on the bundled plugins.

use crate::mill::{Mill, run, stderr, stdout};
use std::path::Path;
use tidemill::clock::Clock;

const LINE: &str = r#"10.0.0.1 - - [01/Jan/2024:00:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl/8.0""#;

/// What it printed, and how it ended.
fn said(folder: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let output = run(folder, arguments);
    (format!("{}{}", stdout(&output), stderr(&output)), output.status.code())
}

#[test]
fn a_case_that_fails_shows_what_differs_and_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let cases = dir.path().join("cases");
    std::fs::create_dir(&cases).unwrap();
    let case = format!(
        "about = \"one line\" # kept\n[[rows]]\nin = {{ body = '{LINE}' }}\n\
         out = {{ client = \"10.0.0.2\", method = \"GET\" }} # also kept\n"
    );
    std::fs::write(cases.join("one.toml"), case).unwrap();
    std::fs::write(cases.join("broken.toml"), "[[rows]]\nout = {}\n").unwrap();
    let test = ["plugin", "test", "access-log", "--cases", "cases"];
    let (text, code) = said(dir.path(), &test);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FAILED  cases/broken.toml") && text.contains("row 1: `in = {..}` is missing"), "{text}");
    assert!(text.contains("FAILED  cases/one.toml: one line\n  row 1\n"), "{text}");
    assert!(text.contains("client      \"10.0.0.2\"  \"10.0.0.1\""), "{text}");
    assert!(text.contains("status      (null)      200"), "{text}");
    assert!(text.contains("2 cases: 0 passed, 2 failed"), "{text}");
    std::fs::remove_file(cases.join("broken.toml")).unwrap();
    let (text, code) = said(dir.path(), &[&test[..], &["--update"]].concat());
    assert_eq!(code, Some(0), "{text}");
    let written = std::fs::read_to_string(cases.join("one.toml")).unwrap();
    assert!(written.contains("about = \"one line\" # kept") && written.contains("} # also kept"), "{written}");
    assert!(written.contains("out = { client = \"10.0.0.1\", method = \"GET\", "), "{written}");
    let (text, code) = said(dir.path(), &test);
    assert_eq!((code, text.ends_with("1 cases: 1 passed, 0 failed\n")), (Some(0), true), "{text}");
}

#[test]
fn plugins_are_listed_inspected_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (text, code) = said(dir.path(), &["plugin", "list"]);
    assert_eq!(code, Some(0), "{text}");
    for (name, world) in [("access-log", "parser"), ("drop-where", "filter"), ("hpa", "autoscaler")] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(line.split_whitespace().nth(1), Some(world), "{line}");
    }
    let (text, code) =
        said(dir.path(), &["plugin", "inspect", "access-log", "--settings", "format = 'common'", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&json["world"], &json["contract"]["reads"][0]), (&"parser".into(), &"body".into()), "{text}");
    let writes = json["contract"]["writes"].as_array().unwrap();
    assert!(writes.iter().any(|column| column["name"] == "status" && column["type"] == "int64"), "{text}");
    assert!(!writes.iter().any(|column| column["name"] == "referer"), "{text}");
    assert!(json["memory_bytes"].as_u64().unwrap() >= 65_536, "{text}");
    let (text, code) = said(dir.path(), &["plugin", "inspect", "access-log", "--settings", "fromat = 1"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("refused") && text.contains("fromat"), "{text}");
    let (text, _) = said(dir.path(), &["plugin", "inspect", "acess-log"]);
    assert!(text.contains("there is no acess-log; did you mean `access-log`?"), "{text}");

    std::fs::write(dir.path().join("lines"), format!("{LINE}\n").repeat(3)).unwrap();
    let bench = ["plugin", "bench", "access-log", "--input", "lines", "--batch", "64", "--seconds", "0.01"];
    let (text, code) = said(dir.path(), &[&bench[..], &["--against", "json"]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("access-log: 100.0 % came out, 0.0 % failed"), "{text}");
    assert!(text.contains("json: 0.0 % came out, 100.0 % failed"), "{text}");
    assert!(text.contains("times as long as the second"), "{text}");
    let figures: Vec<&str> =
        text.lines().find(|line| line.starts_with("access-log  ")).unwrap().split_whitespace().collect();
    let (best, boundary): (f64, f64) = (figures[3].parse().unwrap(), figures[5].parse().unwrap());
    assert!(best > 0.0 && boundary > 0.0, "{text}");
    let (text, code) = said(dir.path(), &["plugin", "bench", "hpa", "--input", "lines"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("hpa is an autoscaler"), "{text}");
}

#[test]
fn two_plugins_are_compared_on_what_a_table_has() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = "[sources.lines]\ntype = \"http\"\n[stages.parsed]\ntype = \"parser\"\ninputs = [\"lines\"]\n\
                    plugin = \"access-log\"\n[tables.access]\ninputs = [\"parsed\"]\n";
    let mill = Mill::start(dir.path(), pipeline);
    // The table goes by the events' own times; they have to be recent.
    let now =
        chrono::DateTime::from_timestamp_nanos(Clock::system().now()).format("%d/%b/%Y:%H:%M:%S +0000").to_string();
    let line = LINE.replace("01/Jan/2024:00:00:00 +0000", &now);
    mill.push("lines", &format!("{line}\n{line}\nnonsense\n"));
    assert_eq!(mill.number("SELECT count(*) FROM access"), 2);
    let url = mill.url();
    let diff =
        |more: &[&str]| said(dir.path(), &[&["plugin", "diff", "access-log"], more, &["--server", &url]].concat());
    let (text, code) = diff(&["access-log", "--from", "access"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 events: no difference"), "{text}");
    let (text, code) = diff(&["access-log", "--from", "access", "--new-settings", "format = 'common'"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("2 events: 2 differ") && text.contains("user_agent  \"curl/8.0\"  (null)"), "{text}");
    let (text, code) = diff(&["json", "--from", "access", "--show", "1"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("failed: 0 in the old one alone, 2 in the new one alone, 0 in both"), "{text}");
    assert_eq!(text.matches("event ").count(), 1, "{text}");
    let (text, code) = diff(&["access-log", "--from", "tidemill.dead_letters"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("failed: 0 in the old one alone, 0 in the new one alone, 1 in both"), "{text}");
    for (more, says) in [
        (&["drop-where", "--from", "access"][..], "made for the world parser and drop-where for filter"),
        (&["access-log", "--from", "acces"], "acces"),
        (&["access-log", "--from", "access", "--last", "soon"], "soon"),
    ] {
        let (text, code) = diff(more);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(says), "{text}");
    }
    mill.stop();
}
