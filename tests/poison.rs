//! Plugins that misbehave, alone in a stage and in a running pipeline: only the events at fault are lost, and told of.

use crate::mill::{Mill, finish, patiently, stderr, tidemill};
use crate::plugins::{configured, library, test_plugin};
use arrow::array::{ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tidemill::clock::Clock;
use tidemill::error::Error;
use tidemill::event::{Accepted, Ack, Batch, Delivery, Kind, TableName};
use tidemill::pipeline::Manner;
use tidemill::pipeline::stage::Outcome;
use tidemill::pipeline::{Lane, Node, Plan, Stage};
use tidemill::plugin::{Configured, Instance, Library, Limits};
use tidemill::store::Append;
use tidemill::units::ByteSize;

pub fn events(bodies: &[String]) -> Batch {
    let schema =
        Schema::new(vec![Field::new("body", DataType::Binary, true), Field::new("source", DataType::Utf8, true)]);
    let sources = StringArray::from_iter_values(bodies.iter().map(|_| "test"));
    let columns: Vec<ArrayRef> =
        vec![Arc::new(BinaryArray::from_iter_values(bodies.iter().map(String::as_bytes))), Arc::new(sources)];
    Batch { kind: Kind::Logs, columns: RecordBatch::try_new(Arc::new(schema), columns).unwrap() }
}

/// So many lines, these among them at these places.
pub fn lines(count: usize, poison: &[(usize, &str)]) -> Vec<String> {
    let mut lines: Vec<String> = (0..count).map(|n| format!("line {n}")).collect();
    for (at, line) in poison {
        lines[*at] = (*line).to_owned();
    }
    lines
}

fn stage(library: &Library, plugin: &str, settings: &str, clock: Clock) -> Stage {
    let plugin = library.open(&test_plugin(plugin).display().to_string(), Path::new("")).unwrap();
    let limits = Limits { memory: ByteSize(64 << 20), ..Limits::default() };
    let configured = Configured { limits, ..configured(plugin, settings) };
    let instance = Instance::new(library.engine(), configured).unwrap();
    Stage::new("poisoned", Manner::default(), instance, clock, None)
}

/// The bodies that came through, in order, and those that did not, with the reason.
pub fn became(outcome: &Outcome) -> (Vec<String>, Vec<(String, String)>) {
    let text = |batch: &RecordBatch, row: usize| {
        let body = batch.column_by_name("body").unwrap().as_binary::<i32>().value(row);
        String::from_utf8(body.to_vec()).unwrap()
    };
    let came = outcome.batches.iter().flat_map(|batch| {
        let columns = &batch.columns;
        (0..columns.num_rows()).map(|row| text(columns, row)).collect::<Vec<_>>()
    });
    let died = outcome.casualties.iter().map(|casualty| (text(&casualty.row, 0), casualty.reason.clone()));
    (came.collect(), died.collect())
}

const REASONS: [(&str, &str); 4] = [
    ("LOOP", "it used more than 200ms of processor time"),
    ("ALLOC", "it needed more than 64.0 MiB of memory"),
    ("PANIC", "it trapped: it panicked or aborted, or asked for a file, a socket or a clock: there are none"),
    ("DEEP", "it trapped: an access outside of its memory (is its stack too small"),
];

#[test]
fn one_line_of_8192() {
    let library = library();
    for (line, reason) in REASONS {
        for at in [0, 4095, 5000, 8191] {
            let mut stage = stage(&library, "misbehave", "{}", Clock::system());
            let bodies = lines(8192, &[(at, line)]);
            let (came, died) = became(&stage.run(&events(&bodies)).unwrap());
            let others: Vec<String> = bodies.into_iter().filter(|body| body != line).collect();
            assert!(came == others, "{line} at {at}: {} of 8191 came through, in order or not: {died:?}", came.len());
            assert_eq!(died.len(), 1, "{line} at {at}: {died:?}");
            assert!(died[0].0 == line && died[0].1.contains(reason), "{line} at {at}: {died:?}");
            // The next batch is fine.
            let (came, died) = became(&stage.run(&events(&lines(100, &[]))).unwrap());
            assert_eq!((came.len(), died.len()), (100, 0), "{line} at {at}");
        }
    }
}

#[test]
fn three_lines_of_8192() {
    let library = library();
    for (line, reason) in REASONS {
        let clock = Clock::held(0);
        let mut stage = stage(&library, "misbehave", "{}", clock.clone());
        let bodies = lines(8192, &[(17, line), (4000, line), (8000, line)]);
        let (came, died) = became(&stage.run(&events(&bodies)).unwrap());
        assert_eq!(came.len() + died.len(), 8192, "{line}");
        assert!(came.iter().all(|body| body != line), "{line}");
        if line != "LOOP" && line != "ALLOC" {
            assert_eq!(died.len(), 3, "{line}");
            assert!(died.iter().all(|(body, told)| body == line && told.contains(reason)), "{died:?}");
            continue;
        }
        // Lines that cost much are perhaps not found within a second of processor time: what is left by then is given up, and the
        // stage pauses.
        assert!(died.iter().any(|(_, told)| told.contains(reason)), "{:?}", &died[..3]);
        let known =
            |told: &str| told.contains(reason) || told.starts_with("given up: finding the events at fault took");
        assert!(died.iter().all(|(_, told)| known(told)));
        if died.len() == 3 {
            continue;
        }
        let paused = became(&stage.run(&events(&lines(10, &[]))).unwrap());
        assert_eq!((paused.0.len(), paused.1.len()), (0, 10));
        assert!(paused.1[0].1.starts_with("the stage is paused after failing again and again: it "), "{paused:?}");
        clock.advance(Duration::from_secs(1));
        assert_eq!(became(&stage.run(&events(&lines(10, &[]))).unwrap()).0.len(), 10);
    }
}

#[test]
fn a_filter_that_misbehaves() {
    let library = library();
    let malformed = |entries: usize| format!("its answer is malformed: its mask has {entries} entries for 1 rows");
    for (line, reason) in [
        ("LOOP", "it used more than 200ms of processor time".to_owned()),
        (
            "PANIC",
            "it trapped: it panicked or aborted, or asked for a file, a socket or a clock: there are none".to_owned(),
        ),
        ("SHORT", malformed(0)),
        ("LONG", malformed(2)),
    ] {
        let mut stage = stage(&library, "misbehave-filter", "{}", Clock::system());
        let (came, died) = became(&stage.run(&events(&lines(8192, &[(4097, line)]))).unwrap());
        assert_eq!(came.len(), 8191, "{line}: {died:?}");
        assert_eq!(died, [(line.to_owned(), reason)]);
    }
}

/// What becomes of four events when every answer is a lie.
#[test]
fn every_lie_is_found_out() {
    let library = library();
    let lies = [
        ("row_count", "1 rows went in, 0 of them are errors, and 2 came out"),
        ("offsets", "offsets"),
        ("offsets_beyond", "offsets"),
        ("offsets_start", "offsets"),
        ("offsets_empty", "has 0 offsets for 1 rows"),
        ("utf8", "its text is not UTF-8"),
        ("index", "row 0 points past its 1 values"),
        ("slice_beyond", "row 0 is cut out from beyond the end of `body`"),
        ("slice_of", "row 0 is cut out from beyond the end of `nowhere`"),
        ("slice_count", "has 1 starts and lengths for 1 rows"),
        ("undeclared", "column `surprise` is not in its contract"),
        ("type", "column `line` is int64, and its contract says utf8"),
        ("twice", "column `line` comes twice"),
        ("validity", "says which of 0 rows are null, but has 1 rows"),
        ("origin", "a row came from row 1 of a batch of 1"),
        ("error_row", "it names row 1 of a batch of 1"),
        ("failure", "as the settings say"),
    ];
    for (lie, reason) in lies {
        let mut stage = stage(&library, "misbehave", &format!("{{\"lie\":\"{lie}\"}}"), Clock::system());
        let (came, died) = became(&stage.run(&events(&lines(4, &[]))).unwrap());
        assert_eq!((came.len(), died.len()), (0, 4), "{lie}");
        for (body, told) in &died {
            assert!(body.starts_with("line "), "{lie}");
            assert!(told.contains(reason), "{lie}: {told}");
            assert_eq!(told.contains("its answer is malformed"), lie != "failure", "{lie}: {told}");
        }
        println!("{lie}: {}", died[0].1);
    }
    // Cut text is whole when it is alone; any byte but 0 means yes; state that nobody asked for is not kept.
    for harmless in ["utf8_cut", "boolean", "state"] {
        let mut stage = stage(&library, "misbehave", &format!("{{\"lie\":\"{harmless}\"}}"), Clock::system());
        let (came, died) = became(&stage.run(&events(&lines(4, &[]))).unwrap());
        assert_eq!((came.len(), died.len()), (4, 0), "{harmless}: {died:?}");
        assert_eq!(stage.state(), None);
    }
}

#[test]
fn settings_that_panic_or_hang_are_refused() {
    let library = library();
    let plugin = library.open(&test_plugin("misbehave").display().to_string(), Path::new("")).unwrap();
    for (settings, says) in [
        ("{\"refuse\":true}", "`refuse` is true; leave it out"),
        (
            "{\"panic\":true}",
            "it trapped: it panicked or aborted, or asked for a file, a socket or a clock: there are none",
        ),
        ("{\"nonsense\":true}", "unknown field `nonsense`"),
    ] {
        let error = Instance::new(library.engine(), configured(plugin.clone(), settings)).err().unwrap();
        assert!(error.message().contains(says), "{settings}: {error}");
    }
}

#[test]
fn a_breaker_opens_after_five_lost_batches_and_closes() {
    let library = library();
    let clock = Clock::held(0);
    let mut stage = stage(&library, "misbehave", "{}", clock.clone());
    let poison = events(&lines(1, &[(0, "PANIC")]));
    let good = events(&lines(3, &[]));
    let reason = |outcome: Outcome| outcome.casualties.first().map(|casualty| casualty.reason.clone());
    for _ in 0..5 {
        assert!(reason(stage.run(&poison).unwrap()).unwrap().starts_with("it trapped"));
    }
    let paused = "the stage is paused after failing again and again: it trapped: it panicked or aborted, or asked for a file, a socket or a clock: there are none";
    assert_eq!(reason(stage.run(&good).unwrap()).unwrap(), paused);
    clock.advance(Duration::from_secs(1));
    assert!(reason(stage.run(&poison).unwrap()).unwrap().starts_with("it trapped"));
    clock.advance(Duration::from_millis(1999));
    assert_eq!(reason(stage.run(&good).unwrap()).unwrap(), paused);
    clock.advance(Duration::from_millis(1));
    assert_eq!(reason(stage.run(&good).unwrap()), None);
    // Closed: four more are only four.
    for _ in 0..4 {
        stage.run(&poison).unwrap();
    }
    assert_eq!(reason(stage.run(&good).unwrap()), None);
}

fn pipeline(plugin: &str, more: &str) -> String {
    let file = test_plugin(plugin);
    let world = if plugin == "misbehave" { "parser" } else { "filter" };
    format!(
        r#"
[sources.events]
type = "http"

[sources.others]
type = "http"

[stages.poisoned]
type = "{world}"
inputs = ["events"]
plugin = "{}"
limits = {{ memory = "64MiB" }}
{more}

[tables.events]
inputs = ["poisoned"]

[tables.others]
inputs = ["others"]
"#,
        file.display()
    )
}

#[test]
fn a_running_pipeline_loses_only_the_lines_at_fault() {
    let dir = tempfile::tempdir().unwrap();
    let mut mill = Mill::start(dir.path(), &pipeline("misbehave", ""));
    let sha256 = tidemill::plugin::engine::sha256(&std::fs::read(test_plugin("misbehave")).unwrap());
    let mut landed = 0;
    for (line, reason) in REASONS {
        let raw = format!("before {line} \"after\"");
        let body = lines(8192, &[(4321, &raw)]).join("\n");
        let pushed = std::thread::scope(|scope| {
            let pushing = scope.spawn(|| mill.push("events", &body));
            // Another pipeline goes on meanwhile.
            let mut others = 0;
            while !pushing.is_finished() {
                assert_eq!(mill.push("others", "a\nb\n")["accepted"], 2);
                others += 2;
            }
            println!("{others} other events meanwhile");
            pushing.join().unwrap()
        });
        landed += 8191;
        assert_eq!((pushed["accepted"].as_u64(), pushed["dead"].as_u64()), (Some(8191), Some(1)), "{line}: {pushed}");
        assert_eq!(mill.number("SELECT count(*) FROM events"), landed);
        let sql = format!(
            "SELECT source, stage, plugin, reason, CAST(raw AS VARCHAR) AS raw FROM tidemill.dead_letters \
             WHERE reason LIKE '%{reason}%'"
        );
        let letters = mill.rows(&sql);
        assert_eq!(letters.len(), 1, "{line}: {letters:?}");
        assert_eq!((&letters[0]["source"], &letters[0]["stage"]), (&"events".into(), &"poisoned".into()));
        assert_eq!((&letters[0]["plugin"], &letters[0]["raw"]), (&sha256.as_str().into(), &raw.into()));
    }
    assert_eq!(mill.number("SELECT count(DISTINCT line) FROM events"), 8191);
    let others = mill.number("SELECT count(*) FROM others");
    assert!(others > 0 && others % 2 == 0);
    let plugin = &mill
        .rows("SELECT sum(dead) AS dead, sum(faults) > 4 AS faults FROM tidemill.plugins WHERE stage = 'poisoned'")[0];
    assert_eq!(*plugin, serde_json::json!({ "dead": 4, "faults": true }));
    assert!(mill.lives());
    mill.stop();
}

#[test]
fn a_stage_that_only_fails_is_paused_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), &pipeline("misbehave-filter", ""));
    for _ in 0..6 {
        assert_eq!(mill.push("events", "PANIC\n")["dead"], 1);
    }
    let paused = "SELECT count(*) FROM tidemill.dead_letters WHERE reason LIKE 'the stage is paused%'";
    assert!(mill.number(paused) >= 1);
    assert_eq!(mill.push("others", "fine\n")["dead"], 0);
    assert!(patiently(|| mill.push("events", "fine\n")["dead"] == 0));
    assert_eq!(mill.number("SELECT count(*) FROM events"), 1);
    assert!(mill.said().contains("a stage keeps failing and is paused"));
    mill.stop();
}

#[test]
fn on_error_pass_drop_and_stop() {
    let body = lines(100, &[(50, "PANIC")]).join("\n");
    for (on_error, rows) in [("pass", 100), ("drop", 99)] {
        let dir = tempfile::tempdir().unwrap();
        let mill = Mill::start(dir.path(), &pipeline("misbehave", &format!("on_error = \"{on_error}\"")));
        assert_eq!(mill.push("events", &body)["dead"], 0);
        assert_eq!(mill.number("SELECT count(*) FROM events"), rows, "{on_error}");
        assert_eq!(mill.number("SELECT count(*) FROM tidemill.dead_letters"), 0, "{on_error}");
        assert_eq!(mill.number("SELECT sum(dead) FROM tidemill.plugins WHERE stage = 'poisoned'"), 1, "{on_error}");
        mill.stop();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("poison.log"), body.clone() + "\n").unwrap();
    let tailing = pipeline("misbehave", "on_error = \"stop\"").replacen(
        "type = \"http\"",
        "type = \"file\"\ninclude = [\"*.log\"]",
        1,
    );
    std::fs::write(dir.path().join("pipeline.toml"), &tailing).unwrap();
    let mut command = tidemill(&["run", "pipeline.toml", "--listen", "127.0.0.1:0"]);
    let ended = finish(command.current_dir(dir.path()));
    assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
    let says = "stage `poisoned` could not handle an event and says `on_error = \"stop\"`: it trapped";
    assert!(stderr(&ended).contains(says), "{}", stderr(&ended));
    // Nothing was acknowledged: once the stage is gone, every line is read.
    let mill = Mill::start(dir.path(), &tailing.replace("on_error = \"stop\"", "on_error = \"dead_letter\""));
    mill.wait_for("SELECT count(*) FROM events", 99);
    assert_eq!(mill.number("SELECT count(*) FROM tidemill.dead_letters"), 1);
    mill.stop();
}

#[test]
fn a_delivery_that_was_refused_or_repeated_is_not_remembered() {
    let (library, clock) = (library(), Clock::held(0));
    let stage = stage(&library, "dedupe", "{}", clock.clone());
    let table = TableName::user("events").unwrap();
    let plan = Plan {
        source: "test".into(),
        first: vec![Node::Stage("once".into())],
        stages: [("once".to_owned(), (stage, vec![Node::Table("events".into())]))].into(),
        tables: [("events".to_owned(), table)].into(),
    };
    // A disk that is full at first, and then one that has seen the key.
    let stored = |repeated| Ok(Accepted { repeated, ..Accepted::default() });
    let answers = Mutex::new(VecDeque::from([
        Err(Error::invalid("the disk is full")),
        stored(false),
        stored(true),
        stored(false),
    ]));
    let rows = Arc::new(Mutex::new(Vec::new()));
    let seen = rows.clone();
    let submit = move |append: Append, ack: Ack| {
        seen.lock().unwrap().push(append.tables.iter().map(|(_, _, rows)| rows.num_rows()).sum::<usize>());
        ack.answer(answers.lock().unwrap().pop_front().unwrap());
    };
    let mut lane = Lane::new(plan, clock, Arc::new(submit));
    for body in ["a", "a", "b", "b"] {
        let (ack, _answer) = Ack::new();
        let batch = events(&[body.to_owned()]);
        let source = "test".into();
        let delivery =
            Delivery { source, batch, dead: vec![], positions: vec![], key: None, patient: false, replay: None, ack };
        lane.take(delivery).unwrap();
    }
    assert_eq!(*rows.lock().unwrap(), [1, 1, 1, 1]);
}

#[test]
fn state_is_kept_across_batches_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let file = test_plugin("dedupe");
    let text = format!(
        "[sources.events]\ntype = \"http\"\n[stages.once]\ntype = \"filter\"\ninputs = [\"events\"]\nplugin = \"{}\"\n\
         [tables.events]\ninputs = [\"once\"]\n",
        file.display()
    );
    let mill = Mill::start(dir.path(), &text);
    mill.push("events", "a\nb\n");
    mill.push("events", "b\nc\n");
    assert_eq!(mill.number("SELECT count(*) FROM events"), 3);
    mill.kill();
    let mill = Mill::start(dir.path(), &text);
    mill.push("events", "c\nd\n");
    assert_eq!(mill.number("SELECT count(*) FROM events"), 4);
    mill.post("/v1/admin/flush", &[], b"");
    mill.stop();
    let mill = Mill::start(dir.path(), &text);
    mill.push("events", "d\n");
    assert_eq!(mill.number("SELECT count(*) FROM events"), 4);
    mill.stop();
}
