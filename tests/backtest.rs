//! `tidemill scale backtest` as an operator uses it: real plugins, a load from a file and from a running Tidemill.

use crate::mill::{Mill, run, stderr, stdout};
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;
use std::process::Output;

const PIPELINE: &str = r#"
[workloads.web]
type = "none"

[scalers.web]
workload = "web"
every = "15s"
max = 60
plugin = "combine"
signals = { load = "SELECT 1.0 AS value", history = "SELECT now() AS timestamp, 1.0 AS value" }

[scalers.web.advisers.hpa]
plugin = "hpa"
settings = { targets = { load = 6 }, ignore = ["history"] }

[scalers.web.advisers.forecast]
plugin = "forecast"
settings = { target = 7, lead = "15m" }
"#;

/// Two days in buckets of five minutes, each with the same noon.
fn days() -> String {
    let mut csv = "minute,requests\n".to_owned();
    for bucket in 0..2 * 288 {
        let hour = f64::from(bucket % 288) / 12.0;
        let rate = if (11.0..14.0).contains(&hour) { 200.0 } else { 20.0 };
        writeln!(csv, "{},{}", bucket * 5, rate * 300.0).unwrap();
    }
    csv
}

fn backtest(dir: &Path, more: &[&str]) -> Output {
    let arguments = ["scale", "backtest", "pipeline.toml", "--trace", "days.csv"];
    run(dir, &[&arguments, more].concat())
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("pipeline.toml"), PIPELINE).unwrap();
    std::fs::write(dir.path().join("days.csv"), days()).unwrap();
    dir
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", stderr(output));
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(run: &Value, key: &str) -> f64 {
    run[key].as_f64().unwrap_or_else(|| panic!("{key} in {run}"))
}

#[test]
fn advisers_and_a_forecast_meet_the_second_noon_before_it_comes() {
    let dir = folder();
    let second = ["--from", "50%", "--json"];
    let combined = lines(&backtest(dir.path(), &second));
    let alone =
        lines(&backtest(dir.path(), &[&second[..], &["--alone", "--plugin", "hpa", "--set", "target=6"]].concat()));
    let [combined, alone] = [&combined[0], &alone[0]];
    assert_eq!((number(combined, "failures"), number(alone, "failures")), (0.0, 0.0));
    assert!(number(alone, "seconds_over") > 0.0, "{alone}");
    assert_eq!(number(combined, "seconds_over"), 0.0, "{combined}");
    // The same again is the same to the bit.
    assert_eq!(&lines(&backtest(dir.path(), &second))[0], combined);
}

#[test]
fn a_grid_is_a_table_with_reasons_and_a_picture() {
    let dir = folder();
    let grid = ["--grid", "advisers.forecast.target=4,7", "--alone", "--to", "30%", "--show", "2", "--svg", "out.svg"];
    let output = backtest(dir.path(), &grid);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for part in [
        "combine advisers.forecast.target=4",
        "combine advisers.forecast.target=7",
        "requests over",
        "load     ",
        "history is shorter than a season",
        "no other is at most as dear and as slow",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let svg = std::fs::read_to_string(dir.path().join("out.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.matches("<polyline").count() >= 4);
}

#[test]
fn the_load_can_be_an_answer_of_a_running_tidemill() {
    let dir = folder();
    let mill = Mill::start(dir.path(), "[sources.in]\ntype = \"http\"\n[tables.events]\ninputs = [\"in\"]\n");
    std::fs::write(dir.path().join("pipeline.toml"), PIPELINE).unwrap();
    let sql = "SELECT * FROM (VALUES (TIMESTAMP '2026-11-24T00:00:00', 1200), (TIMESTAMP '2026-11-24T00:01:00', 1800), \
               (TIMESTAMP '2026-11-24T00:02:00', 600)) AS t(timestamp, value)";
    let output =
        run(dir.path(), &["scale", "backtest", "pipeline.toml", "--load", sql, "--url", &mill.url(), "--json"]);
    let [run] = &lines(&output)[..] else { panic!("{}", stdout(&output)) };
    assert_eq!(number(run, "seconds"), 180.0);
    assert!((3000.0..4000.0).contains(&number(run, "requests")), "{run}");
}

#[test]
fn mistakes_are_told_with_what_to_write() {
    let dir = folder();
    std::fs::write(dir.path().join("bad.csv"), "minute,requests\n0,5\n1,many\n").unwrap();
    let told = |more: &[&str]| {
        let output = run(dir.path(), &[&["scale", "backtest", "pipeline.toml"], more].concat());
        assert!(!output.status.success());
        stderr(&output)
    };
    for (arguments, part) in [
        (&["--trace", "bad.csv"][..], "bad.csv: line 3: `many` is no number"),
        (&["--trace", "days.csv", "--scaler", "wep"], "there is no scaler `wep`; did you mean `web`?"),
        (&["--trace", "days.csv", "--grid", "target=9..1"], "`9..1` falls; a range begins with its lower end"),
        (&["--trace", "days.csv", "--grid", "target=1..x"], "`1..x` is no range; write it like `40..80`"),
        (&["--trace", "days.csv", "--signal", "load=arrival"], "did you mean `arrivals`?"),
        (&["--trace", "days.csv", "--plugin", "redact"], "`redact` is no autoscaler plugin"),
        (&["--trace", "days.csv", "--objective", "50ms"], "the objective is not above the service time"),
        (&["--trace", "days.csv", "--from", "soon"], "`soon` is no time"),
    ] {
        let said = told(arguments);
        assert!(said.contains(part), "{part} is not in {said}");
    }
}
