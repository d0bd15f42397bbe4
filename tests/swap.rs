//! Plugins and settings that change while the pipeline runs: taken, tried, rolled back or refused, and no event lost or doubled.

use crate::mill::{Dice, Mill, Reply, free_port, patiently, request, signal};
use crate::plugins::test_plugin;
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Where a changeling says which version it is, and how it behaves.
const MARK: &[u8] = b"tidemill-changeling:0000:plain--";
/// Events of a push.
const EVENTS: u64 = 50;

fn pipeline(more: &str) -> String {
    format!(
        r#"
[sources.pushed]
type = "http"
[stages.changing]
type = "parser"
inputs = ["pushed"]
plugin = "./changing.wasm"
{more}
[tables.changed]
inputs = ["changing"]
"#
    )
}

/// The changeling as this version of it.
fn version(number: u64, mode: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(test_plugin("changeling")).unwrap();
    let finder = memchr::memmem::Finder::new(MARK);
    let places: Vec<usize> = finder.find_iter(&bytes).collect();
    assert_eq!(places.len(), 1, "the mark is in the plugin once");
    let mark = format!("tidemill-changeling:{number:04}:{mode:-<7}");
    bytes[places[0]..places[0] + MARK.len()].copy_from_slice(mark.as_bytes());
    bytes
}

/// Puts a version into place at once, as a careful deployment does.
fn deploy(dir: &Path, number: u64, mode: &str) {
    std::fs::write(dir.join("next.wasm"), version(number, mode)).unwrap();
    std::fs::rename(dir.join("next.wasm"), dir.join("changing.wasm")).unwrap();
}

fn start(dir: &Path, more: &str) -> Mill {
    deploy(dir, 1, "plain");
    Mill::start(dir, &pipeline(more))
}

fn reload(mill: &Mill) -> Vec<Value> {
    let reply = mill.post("/v1/admin/reload", &[], b"");
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.json()["changes"].as_array().unwrap().clone()
}

/// The rows of `tidemill.swaps` with this event, when there is one at least.
fn told(mill: &Mill, event: &str) -> Vec<Value> {
    let sql = format!("SELECT * FROM tidemill.swaps WHERE event = '{event}' ORDER BY timestamp");
    let mut rows = Vec::new();
    let came = patiently(|| {
        rows = mill.rows(&sql);
        !rows.is_empty()
    });
    assert!(came, "no `{event}`: {:?}", mill.rows("SELECT * FROM tidemill.swaps"));
    rows
}

fn reason(row: &Value) -> String {
    row["reason"].as_str().unwrap().to_owned()
}

/// Pushes batches of events with rising ids until it is over, each until it is acknowledged.
struct Load {
    port: u16,
    over: AtomicBool,
    pushed: AtomicU64,
}

impl Load {
    fn on(port: u16) -> Load {
        Load { port, over: AtomicBool::new(false), pushed: AtomicU64::new(0) }
    }

    fn push(&self) {
        let first = self.pushed.load(Ordering::SeqCst);
        let body: String = (first..first + EVENTS).map(|id| format!("{{\"id\":{id}}}\n")).collect();
        let key = format!("from-{first}");
        let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/x-ndjson")];
        loop {
            match request(self.port, "POST", "/v1/ingest/pushed", &headers, body.as_bytes()) {
                Ok(Reply { status: 200, .. }) => break,
                Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.body),
                Err(_) if self.over.load(Ordering::SeqCst) => return,
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        self.pushed.store(first + EVENTS, Ordering::SeqCst);
    }

    fn run(&self) {
        while !self.over.load(Ordering::SeqCst) {
            self.push();
        }
    }

    /// Runs while something is done.
    fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        std::thread::scope(|scope| {
            let over = Over(&self.over);
            scope.spawn(|| self.run());
            let done = work();
            drop(over);
            done
        })
    }

    /// Every event is in the table once, and none is a dead letter.
    fn check(&self, mill: &Mill) {
        let pushed = i64::try_from(self.pushed.load(Ordering::SeqCst)).unwrap();
        assert!(pushed > 0);
        assert_eq!(mill.number("SELECT count(DISTINCT id) FROM changed"), pushed, "lost");
        assert_eq!(mill.number("SELECT count(*) FROM changed"), pushed, "twice");
        assert_eq!(mill.number("SELECT count(*) FROM tidemill.dead_letters"), 0);
    }
}

#[test]
fn a_thousand_swaps_under_load_lose_and_double_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mill = start(dir.path(), "");
    let load = Load::on(mill.port);
    let names = [version(1, "plain"), version(2, "plain")];
    load.during(|| {
        for swap in 1..=1000 {
            std::fs::write(dir.path().join("next.wasm"), &names[swap % 2]).unwrap();
            std::fs::rename(dir.path().join("next.wasm"), dir.path().join("changing.wasm")).unwrap();
            let changes = reload(&mill);
            assert_eq!(changes.len(), 1, "{changes:?}");
            assert_eq!(changes[0]["event"], "swapped");
        }
    });
    load.check(&mill);
    mill.wait_for("SELECT count(*) FROM tidemill.swaps WHERE event = 'swapped' AND changed = 'plugin'", 1000);
    let versions = mill.rows("SELECT version, count(*) AS events FROM changed GROUP BY version ORDER BY version");
    println!("{} events: {versions:?}", load.pushed.load(Ordering::SeqCst));
    assert_eq!(versions.len(), 2, "{versions:?}");
    let changes = "SELECT count(*) FROM (SELECT version, lag(version) OVER (ORDER BY id) AS before FROM changed) \
                   WHERE version <> before";
    assert!(mill.number(changes) > 20, "both ran in turns");
    // One delivery is one version's.
    let mixed = format!(
        "SELECT count(*) FROM (SELECT id / {EVENTS} AS push, count(DISTINCT version) AS versions FROM changed GROUP BY id / {EVENTS}) WHERE versions > 1"
    );
    assert_eq!(mill.number(&mixed), 0);
    // Each of the two is one line of the account, however often it came.
    assert_eq!(mill.number("SELECT count(DISTINCT sha256) FROM tidemill.plugins WHERE stage = 'changing'"), 2);
    mill.stop();
}

#[test]
fn files_are_watched() {
    let dir = tempfile::tempdir().unwrap();
    let mill = start(dir.path(), "");
    let load = Load::on(mill.port);
    load.during(|| {
        deploy(dir.path(), 2, "plain");
        mill.wait_for("SELECT count(DISTINCT version) FROM changed", 2);
        // Settings, in the file.
        std::fs::write(dir.path().join("pipeline.toml"), pipeline("settings = { some = 1 }")).unwrap();
        mill.wait_for("SELECT count(*) FROM tidemill.swaps WHERE event = 'swapped' AND settings_changed", 1);
        // What a running pipeline cannot take is told, and what it can is taken all the same.
        let more = pipeline("limits = { time = '300ms' }") + "[tables.again]\ninputs = [\"changing\"]\n";
        std::fs::write(dir.path().join("pipeline.toml"), more).unwrap();
        mill.wait_for("SELECT count(*) FROM tidemill.swaps WHERE changed = 'settings, limits'", 1);
        let refused = told(&mill, "refused");
        assert_eq!(reason(&refused[0]), "[tables.again] is new: restart to take it");
    });
    load.check(&mill);
    assert!(mill.stop().contains("restart to take it"));
}

#[test]
fn what_is_broken_is_refused_and_the_old_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mill = start(dir.path(), "");
    let load = Load::on(mill.port);
    let plugin = dir.path().join("changing.wasm");
    let toml = dir.path().join("pipeline.toml");
    let refusal = |part: &str| {
        let changes = reload(&mill);
        assert_eq!(changes.len(), 1, "{part}: {changes:?}");
        assert_eq!(changes[0]["event"], "refused", "{part}: {changes:?}");
        let reason = changes[0]["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains(part), "{part}: {reason}");
    };
    load.during(|| {
        let next = version(2, "plain");
        std::fs::write(&plugin, &next[..next.len() / 2]).unwrap();
        refusal("pipeline.toml:7: stages.changing: plugin `./changing.wasm`");
        std::fs::remove_file(&plugin).unwrap();
        refusal("pipeline.toml:7: stages.changing: plugin `./changing.wasm`: cannot read plugin");
        std::fs::write(&plugin, version(1, "plain")).unwrap();
        assert_eq!(reload(&mill), Vec::<Value>::new(), "what is there is what runs");
        std::fs::write(&toml, pipeline("settings = { refuse = true }")).unwrap();
        refusal("pipeline.toml:8: stages.changing: plugin `./changing.wasm`: `refuse` is there; leave it out");
        std::fs::write(&toml, pipeline("settings = {")).unwrap();
        refusal("pipeline.toml:9: missing key");
        std::fs::write(&toml, pipeline("sha256 = \"abc\"")).unwrap();
        refusal("pipeline.toml:8: stages.changing: plugin `./changing.wasm` has the hash");
        std::fs::write(&toml, pipeline("colour = \"red\"")).unwrap();
        refusal("unknown key `colour`");
        std::fs::write(&toml, pipeline("canary = \"110%\"")).unwrap();
        refusal("`110%` is no share; write more than `0%` and at most `100%`");
        std::fs::write(&toml, pipeline("plugin = \"drop-where\"").replacen("plugin = \"./changing.wasm\"", "", 1))
            .unwrap();
        refusal("plugin `drop-where` is a filter, and a parser is needed here");
    });
    load.check(&mill);
    assert_eq!(mill.number("SELECT count(DISTINCT version) FROM changed"), 1);
    assert_eq!(mill.number("SELECT count(*) FROM tidemill.swaps WHERE event <> 'refused'"), 0);
    mill.stop();
}

#[test]
fn sighup_reads_the_files_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mill = start(dir.path(), "");
    deploy(dir.path(), 2, "plain");
    signal(mill.pid(), Signal::HUP);
    told(&mill, "swapped");
    let load = Load::on(mill.port);
    load.push();
    assert_eq!(mill.number("SELECT min(version) FROM changed"), 2);
    mill.stop();
}

/// A trial of a version in this mode, until it has this end; answers with its row.
fn trial(mode: &str, rules: &str, end: &str) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let mill = start(dir.path(), &format!("canary = {rules}"));
    let load = Load::on(mill.port);
    let row = load.during(|| {
        std::thread::sleep(Duration::from_millis(100));
        deploy(dir.path(), 2, mode);
        let changes = reload(&mill);
        assert_eq!(changes[0]["event"], "canary", "{changes:?}");
        let row = told(&mill, end).remove(0);
        // It is not tried again until it changes.
        assert_eq!(reload(&mill), Vec::<Value>::new());
        let seen = load.pushed.load(Ordering::SeqCst);
        assert!(patiently(|| load.pushed.load(Ordering::SeqCst) > seen + 10 * EVENTS));
        row
    });
    load.check(&mill);
    println!("{mode}: {row}");
    let last = mill.number("SELECT version FROM changed ORDER BY id DESC LIMIT 1");
    assert_eq!(last, if end == "promoted" { 2 } else { 1 });
    assert!(mill.number("SELECT count(*) FROM tidemill.swaps") == 2);
    mill.stop();
    row
}

#[test]
fn a_canary_three_times_as_slow_is_rolled_back() {
    let row = trial("slow", "{ share = \"50%\", for = \"1h\" }", "rolled_back");
    assert!(reason(&row).starts_with("it is too slow: ") && row["events"].as_i64() >= Some(1000), "{row}");
}

#[test]
fn a_canary_that_traps_on_one_percent_of_the_rows_is_rolled_back() {
    let row = trial("trap", "\"10%\"", "rolled_back");
    assert!(reason(&row).contains("where the version before did not: it trapped: it panicked"), "{row}");
}

#[test]
fn a_canary_from_which_something_else_comes_is_rolled_back() {
    let row = trial("drop", "\"10%\"", "rolled_back");
    assert!(reason(&row).contains("45 rows and 5 dead letters, the version before 50 and 0"), "{row}");
}

#[test]
fn a_sound_canary_is_promoted() {
    let row = trial("plain", "{ share = \"20%\", for = \"500ms\", slower_max = 50.0 }", "promoted");
    assert!(reason(&row).starts_with("it took ") && row["events"].as_i64() >= Some(1000), "{row}");
}

#[test]
fn state_is_handed_on_and_a_version_that_cannot_read_it_is_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    deploy(dir.path(), 1, "count");
    let mill = Mill::start(dir.path(), &pipeline(""));
    let load = Load::on(mill.port);
    let last = |mill: &Mill| mill.number("SELECT version FROM changed ORDER BY id DESC LIMIT 1");
    load.push();
    assert_eq!(last(&mill), 50);
    deploy(dir.path(), 2, "count");
    assert_eq!(reload(&mill)[0]["event"], "swapped");
    load.push();
    assert_eq!(last(&mill), 100, "the new one goes on counting");
    deploy(dir.path(), 3, "other");
    assert_eq!(reload(&mill)[0]["event"], "swapped");
    load.push();
    assert_eq!(last(&mill), 150, "the old one has answered");
    let row = told(&mill, "rolled_back").remove(0);
    assert!(reason(&row).starts_with("it failed on the state of the version before: it trapped"), "{row}");
    load.push();
    assert_eq!(last(&mill), 200);
    load.check(&mill);
    // The state that is stored is the old one's.
    deploy(dir.path(), 2, "count");
    mill.stop();
    let mill = Mill::start(dir.path(), &pipeline(""));
    let load = Load { port: mill.port, ..load };
    load.push();
    assert_eq!(last(&mill), 250);
    mill.stop();
}

#[test]
fn kill_9_in_the_middle_of_swaps_loses_nothing_and_shows_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dice, port) = (Dice::new(), free_port());
    let load = Load::on(port);
    deploy(dir.path(), 1, "plain");
    load.during(|| {
        for kill in 0..8 {
            let mill = Mill::start_on(dir.path(), &pipeline("canary = { share = \"50%\", for = \"0s\" }"), port);
            let swaps = dice.below(12);
            for swap in 0..swaps {
                deploy(dir.path(), kill * 100 + swap + 2, "plain");
                reload(&mill);
                std::thread::sleep(Duration::from_millis(dice.below(30)));
            }
            mill.kill();
        }
    });
    let mill = Mill::start_on(dir.path(), &pipeline(""), port);
    load.push();
    load.check(&mill);
    mill.stop();
}

#[test]
fn what_becomes_of_events_while_a_stage_is_paused() {
    for (on_open, rows, dead) in [("dead_letter", 0, 120), ("pass", 60, 60), ("drop", 0, 60)] {
        let dir = tempfile::tempdir().unwrap();
        deploy(dir.path(), 1, "trap");
        let mill = Mill::start(dir.path(), &pipeline(&format!("on_open = \"{on_open}\"")));
        // Each of its batches is one event that it traps on: after five it is paused, for a second at first.
        for id in 0..120 {
            mill.push("pushed", &format!("{{\"id\":{}07}}", id));
            if id == 59 {
                let row = mill.rows("SELECT * FROM tidemill.plugins WHERE stage = 'changing'").remove(0);
                assert_ne!(row["breaker"], "closed", "{row}");
                assert!(row["breaker_reason"].as_str().unwrap().contains("it trapped"), "{row}");
                assert!(row["breaker_openings"].as_i64() >= Some(1), "{row}");
            }
        }
        let (got_rows, got_dead) =
            (mill.number("SELECT count(*) FROM changed"), mill.number("SELECT count(*) FROM tidemill.dead_letters"));
        println!("{on_open}: {got_rows} rows, {got_dead} dead letters");
        match on_open {
            "dead_letter" => assert_eq!((got_rows, got_dead), (rows, dead)),
            // How many batches came while it was open depends on the time; all others are dead letters.
            "pass" => assert!(got_rows + got_dead == 120 && got_rows > 60, "{got_rows} {got_dead}"),
            _ => assert!(got_rows == 0 && (5..60).contains(&got_dead), "{got_rows} {got_dead}"),
        }
        // A version that works is called at once.
        deploy(dir.path(), 2, "plain");
        assert_eq!(reload(&mill)[0]["event"], "swapped");
        mill.push("pushed", "{\"id\":1}");
        assert_eq!(mill.number("SELECT version FROM changed WHERE id = 1"), 2);
        let row = mill.rows("SELECT breaker FROM tidemill.plugins WHERE stage = 'changing'").remove(0);
        assert_eq!(row["breaker"], "closed");
        mill.stop();
    }
}
