//! Dead letters that are taken again: each once, whatever happens in between.

use crate::mill::{Dice, Mill, patiently, run, stderr, stdout};
use crate::plugins::test_plugin;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

fn pipeline(settings: &str) -> String {
    format!(
        r#"
[store]
flush_age = "300ms"

[sources.events]
type = "http"

[stages.fragile]
type = "parser"
inputs = ["events"]
plugin = "{}"
{settings}

[tables.events]
inputs = ["fragile"]

[tables.untouched]
inputs = ["events"]
"#,
        test_plugin("misbehave").display()
    )
}

/// What every event of the stage fails with.
const BROKEN: &str = "settings.lie = \"failure\"";

fn push(mill: &Mill, lines: &str) -> serde_json::Value {
    let reply = mill.post("/v1/ingest/events", &[("Content-Type", "application/x-ndjson")], lines.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()
}

fn replay(dir: &Path, mill: &Mill, more: &[&str]) -> (bool, String) {
    let url = mill.url();
    let arguments = ["replay", "dead-letters", "--url", &url].iter().chain(more).copied().collect::<Vec<_>>();
    let output = run(dir, &arguments);
    (output.status.success(), stdout(&output) + &stderr(&output))
}

#[test]
fn letters_land_once_and_those_that_fail_again_are_linked() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), &pipeline(BROKEN));
    let lines = [
        json!({"timestamp": "2026-01-02T03:04:05.000000006Z", "body": "one", "status": 500, "ratio": 0.1, "ok": true}),
        json!({"timestamp": "2026-01-02T03:04:06Z", "body": "two", "status": 9_007_199_254_740_993_i64}),
        json!({"body": "PANIC"}),
        json!({"body": "four", "note": "none"}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(push(&mill, &lines)["dead"], 4);
    assert_eq!(mill.number("SELECT count(*) FROM untouched"), 4);
    mill.kill();

    let mill = Mill::start(dir.path(), &pipeline(""));
    let stage = ["--stage", "fragile"];
    let (good, said) = replay(dir.path(), &mill, &[&stage[..], &["--dry-run"]].concat());
    assert!(good && said.starts_with("would take 4 dead letters"), "{said}");
    assert_eq!(mill.number("SELECT count(*) FROM events"), 0);
    let (good, said) = replay(dir.path(), &mill, &[&stage[..], &["--last", "1h", "--source", "events"]].concat());
    assert!(good && said == "taken 4: landed 3, dropped 0, failed again 1\n", "{said}");
    let rows = mill
        .rows("SELECT CAST(timestamp AS BIGINT) AS at, body, status, ratio, ok, source FROM events ORDER BY timestamp");
    assert_eq!(
        rows[0],
        json!({"at": 1767323045000000006_i64, "body": "one", "status": 500, "ratio": 0.1, "ok": true, "source": "events"})
    );
    assert_eq!(rows[1]["status"], json!(9_007_199_254_740_993_i64));
    assert_eq!(mill.number("SELECT count(*) FROM events WHERE body = 'four' AND note = 'none'"), 1);
    // No trace of the way back; other branches of the source see nothing again.
    assert!(mill.rows("SHOW COLUMNS FROM events").iter().all(|row| !row.to_string().contains("__letter")));
    assert_eq!(mill.number("SELECT count(*) FROM untouched"), 4);
    let linked = "SELECT count(*) FROM tidemill.dead_letters new JOIN tidemill.dead_letters old ON new.replay_of = old.id \
                  WHERE CAST(new.raw AS VARCHAR) = CAST(old.raw AS VARCHAR) AND new.reason LIKE 'it trapped%'";
    assert_eq!(mill.number(linked), 1);

    // What is done is done, and the one that failed is tried as its successor.
    for done in [4, 5] {
        let (good, said) = replay(dir.path(), &mill, &stage);
        let left = format!("left alone: {done} already done, 0 whose source does not lead to the stage");
        assert!(
            good && said.contains("taken 1: landed 0, dropped 0, failed again 1") && said.contains(&left),
            "{said}"
        );
    }
    assert_eq!(mill.number("SELECT count(*) FROM events"), 3);
    assert_eq!(mill.number("SELECT count(DISTINCT id) FROM tidemill.dead_letters"), 7);

    let (good, said) = replay(dir.path(), &mill, &["--stage", "fragil"]);
    assert!(!good && said.contains("there is no stage `fragil`; did you mean `fragile`?"), "{said}");
    let (good, said) = replay(dir.path(), &mill, &["--stage", "codec"]);
    assert!(!good && said.contains("never was an event"), "{said}");
    let (good, said) = replay(dir.path(), &mill, &["--stage", "fragile", "--from", "yesterday"]);
    assert!(!good && said.contains("write it like `2026-07-01T00:00:00Z`"), "{said}");
    let (good, said) = replay(dir.path(), &mill, &["--stage", "fragile", "--to", "2026-01-01T00:00:00+02:00"]);
    assert!(good && said.starts_with("no dead letter is like that; what there is: tidemill query "), "{said}");
    mill.stop();
}

#[test]
fn a_replay_that_only_fails_stops() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), &pipeline(BROKEN));
    let lines: String = (0..1200).map(|id| format!("{{\"id\":{id},\"body\":\"b\"}}\n")).collect();
    assert_eq!(push(&mill, &lines)["dead"], 1200);
    let (good, said) = replay(dir.path(), &mill, &["--stage", "fragile"]);
    assert!(!good && said.contains("all of 500 failed again; is the plugin that can handle them loaded?"), "{said}");
    // Nothing is lost by it.
    let open = "SELECT count(*) FROM tidemill.dead_letters WHERE id NOT IN (SELECT letter FROM tidemill.replays)";
    assert_eq!(mill.number(open), 1200);
    mill.stop();
}

#[test]
fn kills_in_the_middle_double_and_lose_nothing() {
    let mut dice = Dice::new();
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), &pipeline(BROKEN));
    let lines: String = (0..8000).map(|id| format!("{{\"id\":{id},\"body\":\"b\"}}\n")).collect();
    assert_eq!(push(&mill, &lines)["dead"], 8000);
    mill.kill();
    let mut interrupted = 0;
    for _ in 0..6 {
        let mill = Mill::start(dir.path(), &pipeline(""));
        let before = mill.number("SELECT count(*) FROM events");
        if before == 8000 {
            break;
        }
        std::thread::scope(|scope| {
            let url = mill.url();
            let asking = scope.spawn(move || {
                run(Path::new("."), &["replay", "dead-letters", "--stage", "fragile", "--url", &url]).status.success()
            });
            assert!(patiently(|| mill.number("SELECT count(*) FROM events") > before));
            std::thread::sleep(Duration::from_millis(dice.below(60)));
            mill.kill();
            interrupted += usize::from(!asking.join().unwrap());
        });
        println!("{before} before this kill");
    }
    let mill = Mill::start(dir.path(), &pipeline(""));
    let landed = mill.number("SELECT count(*) FROM events");
    let (good, said) = replay(dir.path(), &mill, &["--stage", "fragile"]);
    assert!(good, "{said}");
    println!("{interrupted} replays were interrupted; {landed} had landed before the last one");
    assert!(interrupted > 0 && landed > 0);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 8000);
    assert_eq!(mill.number("SELECT count(DISTINCT id) FROM events"), 8000);
    assert_eq!(mill.number("SELECT count(*) FROM tidemill.replays WHERE outcome = 'landed'"), 8000);
    mill.stop();
}

/// Old lines, kept raw by themselves.
const KEPT: &str = r#"
[store]
flush_age = "300ms"

[sources.web]
type = "http"

[sources.other]
type = "http"

[tables.raw]
inputs = ["web", "other"]
"#;

/// The same with a parser for what comes from now on.
const PARSED: &str = r#"
[stages.parsed]
type = "parser"
inputs = ["web"]
plugin = "access-log"

[tables.access]
inputs = ["parsed"]
"#;

fn line(id: u64) -> String {
    format!("10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] \"GET /{id} HTTP/1.0\" 200 {id}\n")
}

fn push_raw(mill: &Mill, source: &str, lines: &str) {
    let reply = mill.post(&format!("/v1/ingest/{source}"), &[("Content-Type", "text/plain")], lines.as_bytes());
    assert_eq!(reply.status, 200, "{}", reply.body);
}

fn replay_table(dir: &Path, mill: &Mill, more: &[&str]) -> (bool, String) {
    let url = mill.url();
    let arguments = ["replay", "table", "raw", "--url", &url].iter().chain(more).copied().collect::<Vec<_>>();
    let output = run(dir, &arguments);
    (output.status.success(), stdout(&output) + &stderr(&output))
}

#[test]
fn old_lines_go_through_a_new_parser_once() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), KEPT);
    push_raw(&mill, "web", &(0..3000).map(line).collect::<String>());
    push_raw(&mill, "web", "nonsense\n");
    push_raw(&mill, "other", &line(7));
    mill.stop();

    let mill = Mill::start(dir.path(), &format!("{KEPT}{PARSED}"));
    let stage = ["--stage", "parsed"];
    let (good, said) = replay_table(dir.path(), &mill, &[&stage[..], &["--dry-run"]].concat());
    let left = "whose source does not lead to the stage: 1";
    assert!(good && said.starts_with("would take 3001 rows (already done: 0; ") && said.contains(left), "{said}");
    let (good, said) = replay_table(dir.path(), &mill, &stage);
    assert!(good && said.starts_with("taken 3001: 3000 rows made, 1 failed\n"), "{said}");
    assert_eq!(mill.number("SELECT count(DISTINCT bytes) FROM access"), 3000);
    assert_eq!(mill.number("SELECT count(*) FROM access"), 3000);
    assert_eq!(mill.number("SELECT count(*) FROM tidemill.dead_letters WHERE stage = 'parsed'"), 1);
    assert_eq!(
        mill.number("SELECT count(*) FROM access WHERE source = 'web' AND client = '10.0.0.1' AND status = 200"),
        3000
    );
    // What is done is done, also for a part of the time; what came since is not.
    let (good, said) = replay_table(dir.path(), &mill, &[&stage[..], &["--last", "1h"]].concat());
    assert!(good && said.contains("taken 0: 0 rows made, 0 failed\nleft alone: 3001 already done"), "{said}");
    push_raw(&mill, "web", &line(5000));
    let (good, said) = replay_table(dir.path(), &mill, &stage);
    assert!(good && said.starts_with("taken 1: 1 rows made, 0 failed\n"), "{said}");
    // Into a table of its own, which nobody knew before.
    let into = [&stage[..], &["--into", "access_again"]].concat();
    let (good, said) = replay_table(dir.path(), &mill, &into);
    assert!(good && said.starts_with("taken 3002: 3001 rows made, 1 failed\n"), "{said}");
    assert_eq!(mill.number("SELECT count(DISTINCT bytes) FROM access_again"), 3001);
    let (good, said) = replay_table(dir.path(), &mill, &[&into[..], &["--again", "--last", "1h"]].concat());
    assert!(good && said.starts_with("taken 3002: 3001 rows made, 1 failed\n"), "{said}");
    assert_eq!(mill.number("SELECT count(*) FROM access_again"), 6002);
    let (good, said) = replay_table(dir.path(), &mill, &into);
    assert!(good && said.starts_with("taken 0: "), "{said}");

    for (wrong, says) in [
        (&["--stage", "parset"][..], "there is no stage `parset`; did you mean `parsed`?"),
        (&["--stage", "parsed", "--into", "raw"], "would go into `raw` itself"),
        (&["--stage", "parsed", "--into", "Raw"], "cannot name a table"),
    ] {
        let (good, said) = replay_table(dir.path(), &mill, wrong);
        assert!(!good && said.contains(says), "{said}");
    }
    let url = mill.url();
    let output = run(dir.path(), &["replay", "table", "rwa", "--stage", "parsed", "--url", &url]);
    assert!(!output.status.success() && stderr(&output).contains("did you mean `raw`?"), "{}", stderr(&output));
    mill.stop();
}

#[test]
fn a_table_replayed_over_kills_is_replayed_once() {
    let mut dice = Dice::new();
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), KEPT);
    for part in 0..60 {
        push_raw(&mill, "web", &(part * 1000..(part + 1) * 1000).map(line).collect::<String>());
    }
    mill.stop();
    let pipeline = format!("{KEPT}{PARSED}");
    let mut interrupted = 0;
    for _ in 0..6 {
        let mill = Mill::start(dir.path(), &pipeline);
        let before = mill.number("SELECT count(*) FROM access");
        if before == 60_000 {
            break;
        }
        std::thread::scope(|scope| {
            let url = mill.url();
            let asking = scope.spawn(move || {
                run(Path::new("."), &["replay", "table", "raw", "--stage", "parsed", "--url", &url]).status.success()
            });
            assert!(patiently(|| mill.number("SELECT count(*) FROM access") > before));
            std::thread::sleep(Duration::from_millis(dice.below(60)));
            mill.kill();
            interrupted += usize::from(!asking.join().unwrap());
        });
        println!("{before} before this kill");
    }
    let mill = Mill::start(dir.path(), &pipeline);
    let landed = mill.number("SELECT count(*) FROM access");
    let (good, said) = replay_table(dir.path(), &mill, &["--stage", "parsed"]);
    assert!(good, "{said}");
    println!("{interrupted} replays were interrupted; {landed} had landed before the last one");
    assert!(interrupted > 0 && landed > 0);
    assert_eq!(mill.number("SELECT count(*) FROM access"), 60_000);
    assert_eq!(mill.number("SELECT count(DISTINCT bytes) FROM access"), 60_000);
    mill.stop();
}
