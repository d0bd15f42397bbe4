//! A workload of real processes, scaled by SQL: up, down, over restarts, and never down without evidence.

use crate::mill::{Mill, finish, free_ports, patiently, request, stderr, stdout, tidemill};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

fn pipeline(source: &str, ports: u16) -> String {
    format!(
        r#"
[sources.load]
{source}

[tables.load]
inputs = ["load"]

[scalers.web]
workload = "web"
plugin = "hpa"
settings = {{ target = 5, behavior = "none" }}
every = "300ms"
max = 4
signals.rps = "SELECT rps AS value FROM load ORDER BY timestamp DESC LIMIT 1"

[workloads.web]
type = "process"
command = ["${{TIDEMILL_EXE}}", "demo-server", "--port", "{{port}}", "--log", "replicas.log", "--cost", "2^4"]
ports = "{}-{}"
listen = "127.0.0.1:{ports}"
health = "/healthz"
health_every = "200ms"
drain = "1s"
"#,
        ports + 1,
        ports + 9
    )
}

const PUSHED: &str = "type = \"http\"";
const READY: &str = "SELECT count(*) FROM tidemill.replicas WHERE phase = 'ready'";
const THERE: &str = "SELECT count(*) FROM tidemill.replicas";

fn offer(mill: &Mill, rps: u32) {
    assert_eq!(mill.push("load", &format!("{{\"rps\":{rps}}}\n"))["accepted"], 1);
}

fn pids(mill: &Mill) -> Vec<i64> {
    mill.rows("SELECT pid FROM tidemill.replicas WHERE pid IS NOT NULL")
        .iter()
        .map(|row| row["pid"].as_i64().unwrap())
        .collect()
}

/// Whether any of these processes still runs.
fn any_lives(pids: &[i64]) -> bool {
    pids.iter().any(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        state.is_some_and(|state| state != 'Z' && state != 'X') && stat.contains("(tidemill")
    })
}

#[test]
fn replicas_follow_the_load_and_every_change_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports(10);
    let text = pipeline(PUSHED, ports);
    let mill = Mill::start(dir.path(), &text);
    mill.wait_for(READY, 1);
    offer(&mill, 18);
    mill.wait_for(READY, 4);
    assert_eq!(request(ports, "GET", "/healthz", &[], b"").unwrap().status, 200, "through the balancer");
    offer(&mill, 2);
    mill.wait_for(THERE, 1);
    offer(&mill, 12);
    mill.wait_for(READY, 3);

    let changes = mill.rows(
        "SELECT replicas, desired, decided, reason, signals, plugin, body FROM tidemill.decisions \
         WHERE event = 'decision' AND replicas <> decided ORDER BY timestamp",
    );
    let numbers: Vec<(i64, i64)> =
        changes.iter().map(|row| (row["replicas"].as_i64().unwrap(), row["decided"].as_i64().unwrap())).collect();
    assert_eq!(numbers, [(0, 1), (1, 4), (4, 1), (1, 3)]);
    for (change, value) in changes.iter().skip(1).zip([18.0, 2.0, 12.0]) {
        assert_eq!(change["desired"], change["decided"], "{change}");
        assert!(change["reason"].as_str().unwrap().contains(&format!("rps {value:.1} / 5.0 a replica")), "{change}");
        let signals: Value = serde_json::from_str(change["signals"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&signals["rps"]["value"], &signals["rps"]["freshness"]),
            (&value.into(), &"fresh".into()),
            "{change}"
        );
        assert!(change["plugin"].as_str().unwrap().len() == 64, "{change}");
    }
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND ok AND decided = 3", 1);
    operators_are_told_why_and_heard(&mill);
    let before = pids(&mill);
    assert_eq!(before.len(), 3);
    mill.stop();
    assert!(!any_lives(&before), "a clean stop leaves no replica behind");

    let mill = Mill::start(dir.path(), &text);
    mill.wait_for(READY, 3);
    let first = &mill
        .rows("SELECT decided, reason FROM tidemill.decisions WHERE event = 'decision' ORDER BY timestamp DESC")
        .into_iter()
        .find(|row| row["reason"].as_str().unwrap().starts_with("Started again"))
        .unwrap();
    assert_eq!(first["decided"], 3);
    let before = pids(&mill);
    mill.kill();
    assert!(patiently(|| !any_lives(&before)), "kill -9 leaves no replica behind");

    let mill = Mill::start(dir.path(), &text);
    mill.wait_for(READY, 3);
    // One that dies is started again.
    crate::mill::signal(u32::try_from(pids(&mill)[0]).unwrap(), rustix::process::Signal::KILL);
    mill.wait_for("SELECT sum(restarts) FROM tidemill.replicas", 1);
    mill.wait_for(READY, 3);
    mill.stop();
}

fn operators_are_told_why_and_heard(mill: &Mill) {
    let scale = |arguments: &[&str]| {
        let mut command = tidemill(&["scale"]);
        let ended = finish(command.args(arguments).args(["--url", &mill.url()]));
        (ended.status.code(), stdout(&ended) + &stderr(&ended))
    };
    let (code, told) = scale(&["explain", "web", "--changes"]);
    assert_eq!(code, Some(0), "{told}");
    for part in [
        "web 1 → 3 replicas",
        "rps = 12 (fresh",
        "SELECT rps AS value",
        "plugin    hpa (",
        "proposed 3",
        "within 1 to 4",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (code, told) = scale(&["replay", "web"]);
    assert!(code == Some(0) && told.ends_with("decided again, 0 differences\n"), "{told}");
    let (code, told) = scale(&["explain", "wep"]);
    assert!(code == Some(1) && told.contains("did you mean `web`?"), "{told}");
    let (code, told) = scale(&["order", "web", "--replicas", "2", "--for", "1h", "--why", "a test"]);
    assert!(code == Some(0) && told.starts_with("2 replicas from the next tick on"), "{told}");
    mill.wait_for(THERE, 2);
    assert!(scale(&["explain", "web"]).1.contains("2 replicas by order until"));
    assert_eq!(scale(&["release", "web"]).0, Some(0));
    mill.wait_for(READY, 3);
    assert!(scale(&["promote", "web"]).1.contains("the scaler `web` has no shadow to promote"));
    assert!(scale(&["compare", "web"]).1.contains("had no shadow"));
}

/// Every bundled decider, fed by queries whose answers swing within a minute, now and then missing.
const DECIDERS: [(&str, &str, &str); 8] = [
    ("hpa", "target = 10", "load"),
    ("keda", "triggers.load = { threshold = 10, activation = 40 }", "load"),
    ("queue", "objective = \"300ms\", service_time = \"100ms\"", "arrivals"),
    ("panic", "target = 10", "stable burst"),
    ("forecast", "target = 10, season = \"1m\", lead = \"5s\"", "load history"),
    ("step", "steps = [{ at_least = 0, replicas = 1 }, { at_least = 30, replicas = 3 }]", "load"),
    ("pid", "set_point = 40, kp = 1, ki = 0.2", "load"),
    ("combine", "mode = \"max\"", "load"),
];

#[test]
fn a_thousand_ticks_are_decided_again_bit_for_bit() {
    let mut text = String::new();
    let load = "SELECT 50 + 45 * sin(extract(epoch from now()) / 2) AS value WHERE extract(epoch from now()) % 10 > 1";
    let history = "SELECT to_timestamp(floor(extract(epoch from now())) - i) AS timestamp, 50.0 + i % 20 AS value FROM generate_series(0, 200) AS past(i)";
    for (plugin, settings, signals) in DECIDERS {
        text.push_str(&format!("[workloads.{plugin}]\ntype = \"none\"\n[scalers.{plugin}]\nworkload = \"{plugin}\"\n"));
        text.push_str(&format!("plugin = \"{plugin}\"\nsettings = {{ {settings} }}\nevery = \"100ms\"\nmax = 20\n"));
        text.push_str("stabilize_down = \"2s\"\nflap_budget = \"4/10s\"\n");
        for signal in signals.split(' ') {
            let sql = if signal == "history" { history } else { load };
            text.push_str(&format!("signals.{signal} = \"{sql}\"\n"));
        }
        if plugin == "combine" {
            text.push_str("advisers.hpa = { plugin = \"hpa\", settings = { target = 10 } }\n");
            text.push_str("advisers.pid = { plugin = \"pid\", settings = { set_point = 50 } }\n");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), &text);
    let asked = "event = 'decision' AND record IS NOT NULL";
    let fewest = format!(
        "SELECT coalesce(min(n), 0) FROM (SELECT count(*) AS n FROM tidemill.decisions WHERE {asked} GROUP BY scaler)"
    );
    assert!(
        patiently(|| mill.number(&fewest) >= 130),
        "{:?}",
        mill.rows("SELECT scaler, count(*) FROM tidemill.decisions GROUP BY scaler")
    );
    let mut ticks = 0;
    for (plugin, ..) in DECIDERS {
        let failed = format!(
            "SELECT count(*) FROM tidemill.decisions WHERE scaler = '{plugin}' AND {asked} AND clamps LIKE '%plugin_failed%'"
        );
        assert_eq!(mill.number(&failed), 0, "{plugin}");
        let moved =
            format!("SELECT count(DISTINCT decided) FROM tidemill.decisions WHERE scaler = '{plugin}' AND {asked}");
        assert!(mill.number(&moved) > 1, "{plugin} always decided the same");
        let ended = finish(tidemill(&["scale", "replay", plugin, "--url"]).arg(mill.url()));
        let told = stdout(&ended) + &stderr(&ended);
        assert!(told.ends_with("decided again, 0 differences\n") && !told.contains("policy alone"), "{plugin}: {told}");
        ticks += told.split_once(' ').unwrap().0.parse::<usize>().unwrap();
    }
    assert!(ticks >= 1000, "{ticks}");
    mill.stop();
}

#[test]
fn a_stalled_tail_never_scales_down() {
    // A file that is there and cannot be read, also by root.
    let unreadable = Path::new("/sys/class/net/lo/speed");
    if !unreadable.exists() || std::fs::read(unreadable).is_ok() {
        eprintln!("left out: {} is no file that cannot be read here", unreadable.display());
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = "type = \"file\"\ninclude = [\"load*.log\"]\ncodec = \"ndjson\"\nrotate_wait = \"1s\"";
    let text = pipeline(source, free_ports(10));
    let mut log = std::fs::File::create(dir.path().join("load.log")).unwrap();
    writeln!(log, "{{\"rps\":12}}").unwrap();
    let mill = Mill::start(dir.path(), &text);
    mill.wait_for(READY, 3);

    let stuck = dir.path().join("load-stuck.log");
    std::os::unix::fs::symlink(unreadable, &stuck).unwrap();
    let latest = |what: &str| {
        let sql = format!(
            "SELECT {what} AS v FROM tidemill.decisions WHERE event = 'decision' ORDER BY timestamp DESC LIMIT 1"
        );
        mill.rows(&sql)[0]["v"].clone()
    };
    let says = |part: &str| latest("signals").as_str().unwrap_or_default().contains(part);
    assert!(patiently(|| says("stale")), "{}", latest("signals"));
    writeln!(log, "{{\"rps\":1}}").unwrap();
    mill.wait_for("SELECT count(*) FROM load", 2);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(latest("decided"), 3);
    assert!(latest("reason").as_str().unwrap().contains("stale"), "{}", latest("reason"));
    assert!(says("cannot read"), "{}", latest("signals"));
    assert_eq!(mill.number(READY), 3);
    std::fs::remove_file(&stuck).unwrap();
    mill.wait_for(THERE, 1);
    assert!(says("fresh"), "{}", latest("signals"));
    mill.stop();
}

#[test]
fn the_demo_ends_well_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let ended = finish(tidemill(&["demo", "--for", "25s", "--data", data]).current_dir(dir.path()));
    assert!(ended.status.success(), "{}{}", stdout(&ended), stderr(&ended));
    let said = stdout(&ended);
    println!("{said}");
    assert!(said.contains("p95") && said.contains("replica"), "{said}");
    assert!(said.contains(&format!("its data are in {data}")), "{said}");
    let left = || {
        let lines = glob::glob("/proc/[0-9]*/cmdline").unwrap().flatten().filter_map(|path| std::fs::read(path).ok());
        lines.filter(|line| memchr::memmem::find(line, data.as_bytes()).is_some()).count()
    };
    assert!(patiently(|| left() == 0), "{} processes are left", left());
}
