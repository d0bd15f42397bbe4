//! What people get wrong: each mistake is told in words that help, and costs nobody else anything.

use crate::http::EVENTS;
use crate::mill::{Mill, finish, free_port, request, run, stderr, stdout, tidemill};
use crate::plugins::test_plugin;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

const WEB: &str = r#"[sources.web]
type = "file"
include = ["*.log"]

[stages.parsed]
type = "parser"
inputs = ["web"]
plugin = "access-log"

[tables.access]
inputs = ["parsed"]
"#;

const SCALED: &str = r#"
[scalers.web]
workload = "web"
plugin = "hpa"
settings = { target = 5 }
max = 3
signals.rps = "SELECT count(*) AS value FROM access WHERE status = 200"

[workloads.web]
type = "none"
"#;

/// What `check` says about a text: exit code and standard error.
fn check(dir: &Path, text: &str) -> (Option<i32>, String) {
    std::fs::write(dir.join("web.toml"), text).unwrap();
    let checked = run(dir, &["check", "web.toml"]);
    (checked.status.code(), stderr(&checked))
}

#[test]
fn a_good_file_is_good() {
    let dir = tempfile::tempdir().unwrap();
    let good = format!("{WEB}{SCALED}");
    assert_eq!(check(dir.path(), &good), (Some(0), String::new()));
    let said = stdout(&run(dir.path(), &["check", "web.toml"]));
    assert_eq!(said, "ok: 1 source, 1 stage, 1 table, 1 scaler, 1 workload\n");
}

#[test]
fn one_mistake_is_told_with_its_line_and_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("text.wasm"), "not wasm").unwrap();
    std::fs::write(dir.path().join("newer.wasm"), wat::parse_str(NEWER).unwrap()).unwrap();
    std::fs::create_dir(dir.path().join("folder.wasm")).unwrap();
    let good = format!("{WEB}{SCALED}");
    let zoo =
        format!("plugin = \"{}\"\nsettings = {{ hang = false, panic = true }}", test_plugin("misbehave").display());
    let mistakes = [
        ("inputs = [\"web\"]", "imputs = [\"web\"]", 7, "unknown key `imputs`; did you mean `inputs`?"),
        ("include = [", "includes = [", 3, "unknown key `includes`; did you mean `include`?"),
        ("type = \"file\"", "type = \"fil\"", 2, "unknown type `fil`; did you mean `file`?"),
        ("type = \"file\"", "", 1, "type"),
        ("type = \"parser\"", "type = \"filter\"", 8, "plugin `access-log` is a parser, and a filter is needed here"),
        ("plugin = \"hpa\"", "plugin = \"json\"", 15, "plugin `json` is a parser, and an autoscaler is needed here"),
        ("\"access-log\"", "\"acces-log\"", 8, "unknown plugin `acces-log`; did you mean `access-log`?"),
        ("\"access-log\"", "\"missing.wasm\"", 8, "cannot read plugin `missing.wasm`: No such file or directory"),
        ("\"access-log\"", "\"folder.wasm\"", 8, "cannot read plugin `folder.wasm`: Is a directory"),
        ("\"access-log\"", "\"text.wasm\"", 8, "it is not a WebAssembly file"),
        ("\"access-log\"", "\"newer.wasm\"", 8, "built against version 0.2.0 of the plugin interface"),
        (
            "plugin = \"access-log\"",
            &zoo,
            9,
            "it trapped: it panicked or aborted, or asked for a file, a socket or a clock: there are none",
        ),
        (
            "plugin = \"access-log\"",
            "plugin = \"access-log\"\nsettings = { format = \"x\" }",
            9,
            "unknown variant `x`, expected one of `common`, `combined`, `auto`",
        ),
        ("inputs = [\"web\"]", "inputs = [\"wep\"]", 7, "`wep`; did you mean `web`?"),
        ("inputs = [\"parsed\"]", "inputs = [\"persed\"]", 11, "`persed`; did you mean `parsed`?"),
        ("status = 200", "statsu = 200", 18, "unknown column `statsu`; did you mean `status`?"),
        ("FROM access", "FROM acess", 18, "did you mean `access`?"),
        ("SELECT count", "SELCT count", 18, "did you mean `SELECT`?"),
        ("workload = \"web\"", "workload = \"wep\"", 14, "there is no workload `wep`; did you mean `web`?"),
        ("max = 3", "max = 0", 17, "`max`: `0` is too little; write at least `1`"),
        ("max = 3", "max = 3\nmin = 4", 18, "min cannot be above max"),
        ("settings = { target = 5 }", "settings = { target = 5,\ntolerance = 7 }", 17, "`tolerance` is 7"),
        ("settings = { target = 5 }", "settings = { type = \"Sum\", target = 5 }", 16, "`type`: unknown variant `Sum`"),
        ("include = [\"*.log\"]", "include = [\"a.log\",\n\".\"]", 4, "`.` is a directory; write `./*`"),
        ("max = 3", "max = 3\nevery = \"5 potatoes\"", 18, "potatoes"),
        ("max = 3", "max = 3\nup_max = -1", 18, "-1"),
        ("type = \"none\"", "type = \"nothing\"", 21, "unknown type `nothing`"),
        ("[tables.access]", "[tabels.access]", 10, "unknown section `tabels`; did you mean `tables`?"),
        ("[tables.access]", "[tables.Access]", 10, "use lower-case letters, digits and _"),
        ("include = [\"*.log\"]", "include = [\"${NO_SUCH_NAME}\"]", 3, "NO_SUCH_NAME"),
        ("include = [\"*.log\"]", "include = [\"*.log\"", 5, "missing comma between array elements"),
        ("[sources.web]", "[server]\naddress = \"0.0.0.0:7070\"\n[sources.web]", 2, "needs a token and TLS"),
        ("[sources.web]", "[server]\naddress = \"here\"\n[sources.web]", 2, "write an IP address and a port"),
        ("[sources.web]", "[store]\nflush_age = 5\n[sources.web]", 2, "5"),
    ];
    let mut failures = Vec::new();
    for (right, wrong, line, says) in mistakes {
        assert!(good.contains(right), "{right}");
        let (code, said) = check(dir.path(), &good.replacen(right, wrong, 1));
        let told = said.lines().any(|told| told.starts_with(&format!("web.toml:{line}: ")) && told.contains(says));
        if code != Some(1) || !told {
            failures.push(format!("{wrong}: wanted line {line}, `{says}`; said ({code:?}): {said}"));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn nobody_is_blamed_for_a_part_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = "\n[sources.wep]\ntype = \"scrape\"\nevery = \"0s\"\n\
                   [sources.internal]\ntype = \"internal\"\n[tables.metrics]\ninputs = [\"wep\", \"internal\"]\n";
    let text = format!("{WEB}{SCALED}").replace("workload = \"web\"", "workload = \"wep\"") + metrics;
    let (_, said) = check(dir.path(), &text);
    let told: Vec<&str> = said.lines().collect();
    let mistakes = [
        "web.toml:14: scalers.web: there is no workload `wep`; did you mean `web`?",
        "web.toml:25: sources.wep: `every`",
    ];
    assert_eq!(told.len(), mistakes.len() + 1, "{said}");
    for (told, mistake) in told.iter().zip(mistakes) {
        assert!(told.starts_with(mistake), "{said}");
    }
}

const NEWER: &str = r#"(component (instance $none) (export "tidemill:plugin/parsing@0.2.0" (instance $none)))"#;

#[test]
fn several_mistakes_are_told_at_once_and_nothing_runs() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("{WEB}{SCALED}")
        .replace("access-log", "acces-log")
        .replace("[\"parsed\"]", "[\"persed\"]")
        .replace("FROM access", "FROM acess")
        .replace("workload = \"web\"", "workload = \"wep\"");
    let (code, said) = check(dir.path(), &text);
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = said.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(
        lines,
        ["web.toml:8", "web.toml:11", "web.toml:14", "web.toml:18", "4 mistakes; nothing was started"],
        "{said}"
    );
    let keys = text.replace("include", "includes").replace("max = 3", "max = 3\nmaxx = 4");
    let (_, keys) = check(dir.path(), &keys);
    for told in ["web.toml:3: ", "did you mean `include`?", "web.toml:18: ", "did you mean `max`?"] {
        assert!(keys.contains(told), "{told}: {keys}");
    }
    std::fs::write(dir.path().join("web.toml"), &text).unwrap();
    let ran = run(dir.path(), &["run", "web.toml", "--listen", "127.0.0.1:0"]);
    assert_eq!((ran.status.code(), stderr(&ran)), (Some(1), said));
    assert!(!dir.path().join("tidemill-data").exists());
}

#[test]
fn two_workloads_are_not_one_deployment() {
    let dir = tempfile::tempdir().unwrap();
    let deployment = |workload: &str, name: &str| {
        format!("[workloads.{workload}]\ntype = \"kubernetes\"\nnamespace = \"shop\"\nname = \"{name}\"\n")
    };
    assert_eq!(check(dir.path(), &(deployment("a", "web") + &deployment("b", "api"))), (Some(0), String::new()));
    let (code, said) = check(dir.path(), &(deployment("a", "web") + &deployment("b", "web")));
    assert_eq!(code, Some(1));
    assert!(said.starts_with("web.toml:8: workloads.b: Deployment shop/web is the workload `a` already"), "{said}");
}

#[test]
fn a_workload_that_nobody_can_look_at_says_how_many_it_begins_with() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = |scaler: &str, workload: &str| {
        format!(
            "[scalers.web]\nworkload = \"web\"\nplugin = \"hpa\"\nsettings = {{ target = 5 }}\nmax = 9\n{scaler}\n\
             signals.rps = \"SELECT 1 AS value\"\n[workloads.web]\ntype = \"exec\"\ncommand = [\"/bin/true\"]\n{workload}\n"
        )
    };
    let (code, said) = check(dir.path(), &pipeline("", ""));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("web.toml:2: scalers.web: nothing tells how many replicas `web` has"), "{said}");
    assert_eq!(check(dir.path(), &pipeline("initial = 3", "")), (Some(0), String::new()));
    assert_eq!(check(dir.path(), &pipeline("", "observe = [\"/bin/echo\", \"3\"]")), (Some(0), String::new()));
}

#[test]
fn a_column_that_nobody_makes() {
    let dir = tempfile::tempdir().unwrap();
    let dropping = |field: &str| {
        WEB.replace("inputs = [\"parsed\"]", "inputs = [\"kept\"]")
            + &format!(
                "[stages.kept]\ntype = \"filter\"\ninputs = [\"parsed\"]\nplugin = \"drop-where\"\nsettings = {{ field = \"{field}\", equals = 1 }}\n"
            )
    };
    assert_eq!(check(dir.path(), &dropping("status")), (Some(0), String::new()));
    let (code, said) = check(dir.path(), &dropping("statsu"));
    assert_eq!(code, Some(1));
    assert!(said.starts_with("web.toml:16: stages.kept: ") && said.contains("`statsu`"), "{said}");
    assert!(said.contains("did you mean `status`?"), "{said}");
    let (_, said) = check(
        dir.path(),
        &WEB.replace("parsed", "agents").replace("access-log", "user-agent").replace("parser", "enricher"),
    );
    assert!(said.contains("`user_agent`"), "{said}");
}

#[test]
fn types_are_followed_from_plugin_to_plugin_to_table_to_signal() {
    let dir = tempfile::tempdir().unwrap();
    let cut = |name: &str, types: &str| {
        format!(
            "[stages.{name}]\ntype = \"parser\"\ninputs = [\"web\"]\nplugin = \"regex\"\n\
             settings = {{ pattern = \"(?<n>[0-9]+)\"{types} }}\n"
        )
    };
    // Two inputs of a table, or of a stage: a column has one type.
    let whole = ", types = { n = \"int64\" }";
    let two = |a: &str, b: &str| {
        WEB.replace("inputs = [\"parsed\"]", "inputs = [\"parsed\", \"one\", \"two\"]")
            + &cut("one", a)
            + &cut("two", b)
    };
    assert_eq!(check(dir.path(), &two(whole, whole)), (Some(0), String::new()));
    assert_eq!(check(dir.path(), &two(whole, ", types = { n = \"float64\" }")), (Some(0), String::new()));
    let (code, said) = check(dir.path(), &two(whole, ""));
    assert_eq!(code, Some(1));
    assert!(said.starts_with("web.toml:11: tables.access: "), "{said}");
    assert!(said.contains("the column `n` is int64 from `one` and utf8 from `two`"), "{said}");
    let kept = "[stages.kept]\ntype = \"filter\"\ninputs = [\"one\", \"two\"]\nplugin = \"drop-where\"\n\
                settings = { field = \"n\", equals = 1 }\n[tables.kept]\ninputs = [\"kept\"]\n";
    let (_, said) = check(dir.path(), &(WEB.to_owned() + &cut("one", whole) + &cut("two", "") + kept));
    assert!(said.contains("stages.kept: the column `n` is int64 from `one` and utf8 from `two`"), "{said}");
    // An enricher that would make another type of a column.
    let printed = |column: &str| {
        WEB.replace("inputs = [\"parsed\"]", "inputs = [\"printed\"]")
            + &format!(
                "[stages.printed]\ntype = \"enricher\"\ninputs = [\"parsed\"]\nplugin = \"fingerprint\"\n\
                 settings = {{ fields = [\"body\"], column = \"{column}\" }}\n"
            )
    };
    assert_eq!(check(dir.path(), &printed("print")), (Some(0), String::new()));
    let (code, said) = check(dir.path(), &printed("status"));
    assert_eq!(code, Some(1));
    assert!(said.contains("it makes the column `status` as utf8, and events have it as int64"), "{said}");
    // A signal is a number.
    let signal =
        |sql: &str| format!("{WEB}{SCALED}").replace("SELECT count(*) AS value FROM access WHERE status = 200", sql);
    for good in [
        "SELECT avg(bytes) FROM access",
        "SELECT method, count(*) AS n FROM access GROUP BY method",
        "SELECT plugin_parse('regex', body, '{\\\"pattern\\\": \\\"(?<n>[0-9]+)\\\", \\\"types\\\": {\\\"n\\\": \\\"int64\\\"}}')['n'] AS value FROM access",
        "SELECT count(*) AS value FROM plugin_rows('stage:parsed', access)",
    ] {
        assert_eq!(check(dir.path(), &signal(good)), (Some(0), String::new()), "{good}");
    }
    for (wrong, says) in [
        ("SELECT method AS value FROM access LIMIT 1", "the column `value` of its answer is utf8"),
        ("SELECT max(timestamp) AS value FROM access", "the column `value` of its answer is timestamp"),
        ("SELECT method, path FROM access LIMIT 1", "its answer has no number (`method` is utf8, `path` is utf8)"),
        ("SELECT 1.0 AS a, 2.0 AS b", "its answer has several numbers (`a`, `b`); call the one that counts `value`"),
        (
            "SELECT plugin_parse('access-log', body)['path'] AS value FROM access",
            "the column `value` of its answer is utf8",
        ),
        ("SELECT plugin_parse('acess-log', body)['status'] AS value FROM access", "did you mean `access-log`?"),
        ("SELECT avg(statsu) AS value FROM plugin_rows('access-log', access)", "did you mean `status`?"),
    ] {
        let (code, said) = check(dir.path(), &signal(wrong));
        assert_eq!(code, Some(1), "{wrong}: {said}");
        assert!(said.starts_with("web.toml:18: ") && said.contains(says), "{wrong}: {said}");
    }
}

#[test]
fn files_that_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let none = run(dir.path(), &["check", "none.toml"]);
    assert_eq!(
        (none.status.code(), stderr(&none).contains("none.toml:1: cannot be read: No such file")),
        (Some(1), true)
    );
    assert_eq!(run(dir.path(), &["check"]).status.code(), Some(2));
    assert_eq!(run(dir.path(), &["chek", "x"]).status.code(), Some(2));
    let lookup = WEB.replace("access-log", "lookup").replace("parser", "enricher").replace(
        "inputs = [\"web\"]",
        "inputs = [\"web\"]\ntables = { users = \"users.csv\" }\nsettings = { table = \"users\", key = \"id\" }",
    );
    let (_, said) = check(dir.path(), &lookup);
    assert!(said.contains("web.toml:8: ") && said.contains("cannot read lookup table users.csv"), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_told_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("good.log"), "one\ntwo\n").unwrap();
    std::fs::create_dir(dir.path().join("folder.log")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("dangling.log")).unwrap();
    let text = "[sources.web]\ntype = \"file\"\ninclude = [\"*.log\"]\n[tables.lines]\ninputs = [\"web\"]\n";
    let mill = Mill::start(dir.path(), text);
    mill.wait_for("SELECT count(*) FROM lines", 2);
    std::fs::write(dir.path().join("nowhere"), "three\n").unwrap();
    mill.wait_for("SELECT count(*) FROM lines", 3);
    mill.stop();
}

#[test]
fn a_port_or_a_data_directory_that_somebody_has() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let port = free_port();
    let mill = Mill::start_on(one.path(), EVENTS, port);
    std::fs::write(two.path().join("pipeline.toml"), EVENTS).unwrap();
    let address = format!("127.0.0.1:{port}");
    let taken = run(two.path(), &["run", "pipeline.toml", "--listen", &address]);
    assert_eq!(taken.status.code(), Some(1));
    let said = stderr(&taken);
    assert!(said.contains(&format!("cannot listen on `{address}`: `tidemill (pid {})`", mill.pid())), "{said}");
    assert!(!two.path().join("tidemill-data").exists());

    let data = one.path().join("tidemill-data");
    let arguments = ["run", "pipeline.toml", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let held = run(two.path(), &arguments);
    assert_eq!(held.status.code(), Some(1));
    let words = format!("is in use by process {}; stop that one, or choose another directory", mill.pid());
    assert!(stderr(&held).contains(&words), "{}", stderr(&held));
    assert_eq!(mill.push("events", "still here\n")["accepted"], 1);
    mill.stop();

    let before = std::fs::read(data.join("catalog.json")).ok();
    std::fs::write(data.join("FORMAT"), "99\n").unwrap();
    let newer = run(two.path(), &arguments);
    assert_eq!(newer.status.code(), Some(1));
    assert!(
        stderr(&newer).contains("has format 99, written by a newer tidemill; this one reads format 1"),
        "{}",
        stderr(&newer)
    );
    assert_eq!(std::fs::read(data.join("catalog.json")).ok(), before);
    std::fs::write(data.join("FORMAT"), "1\n").unwrap();
    let mill = Mill::start(one.path(), EVENTS);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 1);
    mill.stop();
}

#[test]
fn bad_lines_are_named_and_good_ones_land() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), EVENTS);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let body = b"{\"n\":1}\n{\"n\":\n\n{\"n\":2}\nnonsense\n[1]\n{\"n\":3, \"x\":\"\xff\"}\n{\"n\":4}";
    let reply = mill.post("/v1/ingest/events", &ndjson, body);
    assert_eq!(reply.status, 200);
    let told = reply.json();
    let lines: Vec<u64> = told["errors"].as_array().unwrap().iter().map(|bad| bad["line"].as_u64().unwrap()).collect();
    assert!(lines.starts_with(&[2, 5, 6]), "{told}");
    assert_eq!(told["accepted"].as_u64().unwrap() + told["dead"].as_u64().unwrap(), 7, "{told}");
    assert_eq!(told["dead"].as_u64().unwrap(), lines.len() as u64, "{told}");
    assert!(told["errors"].as_array().unwrap().iter().all(|bad| !bad["reason"].as_str().unwrap().is_empty()));
    assert_eq!(mill.number("SELECT count(*) FROM events WHERE n IN (1, 2, 4)"), 3);
    assert_eq!(mill.number("SELECT count(*) FROM tidemill.dead_letters"), lines.len() as i64);
    let raw = mill.rows("SELECT raw FROM tidemill.dead_letters WHERE reason <> ''");
    assert!(raw.iter().any(|row| row["raw"] == "bm9uc2Vuc2U="), "{raw:?}");

    // A thousand bad lines are a thousand dead letters, and the first hundred are told.
    let bad = mill.post("/v1/ingest/events", &ndjson, "x\n".repeat(1000).as_bytes()).json();
    assert_eq!((bad["dead"].as_u64(), bad["errors"].as_array().map(Vec::len)), (Some(1000), Some(100)));
    // An array that is broken as a whole is refused as a whole.
    let array = mill.post("/v1/ingest/events", &[("Content-Type", "application/json")], b"[{\"n\":1},{\"n\"");
    assert_eq!(array.status, 400, "{}", array.body);
    assert!(array.refusal().contains("line 1 column "), "{}", array.body);
    let deep = format!("{{\"a\":{}1{}}}\n{{\"n\":5}}\n", "[".repeat(10_000), "]".repeat(10_000));
    let reply = mill.post("/v1/ingest/events", &ndjson, deep.as_bytes()).json();
    assert_eq!(reply["accepted"].as_u64().unwrap() + reply["dead"].as_u64().unwrap(), 2, "{reply}");
    assert_eq!(mill.number("SELECT count(*) FROM events WHERE n = 5"), 1);
    let wide: String = (0..5000).map(|n| format!("\"f{n}\":{n},")).collect();
    let reply = mill.post("/v1/ingest/events", &ndjson, format!("{{{wide}\"n\":6}}\n").as_bytes());
    assert_eq!((reply.status, reply.json()["dead"].as_u64()), (200, Some(1)), "{}", reply.body);
    println!("{}", reply.body);
    assert_eq!(mill.push("events", "{\"n\":7}\n")["accepted"], 1);
    mill.stop();
}

#[test]
fn bombs_and_broken_bodies() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), EVENTS);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeroes = vec![b'0'; 1 << 20];
    (0..256).for_each(|_| bomb.write_all(&zeroes).unwrap());
    let bomb = bomb.finish().unwrap();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", mill.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = memory();
    let reply = mill.post("/v1/ingest/events", &[("Content-Encoding", "gzip")], &bomb);
    assert_eq!(reply.status, 413, "{}", reply.body);
    let grown = memory() - before;
    assert!(grown < 300 << 10, "{grown} KiB more");
    let zstd = zstd::bulk::compress(&vec![0; 100 << 20], 1).unwrap();
    assert_eq!(mill.post("/v1/ingest/events", &[("Content-Encoding", "zstd")], &zstd).status, 413);
    for coding in ["gzip", "zstd"] {
        let broken = mill.post("/v1/ingest/events", &[("Content-Encoding", coding)], b"this is not packed");
        assert_eq!(broken.status, 400, "{}", broken.body);
        assert!(broken.refusal().contains(coding), "{}", broken.body);
    }
    let mut cut = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    cut.write_all(b"{\"n\":1}\n{\"n\":2}\n").unwrap();
    let cut = cut.finish().unwrap();
    let reply = mill.post("/v1/ingest/events", &[("Content-Encoding", "gzip")], &cut[..cut.len() - 6]);
    assert_eq!(reply.status, 400, "{}", reply.body);
    let large = mill.post("/v1/ingest/events", &[], &vec![b'x'; 65 << 20]);
    assert_eq!(large.status, 413, "{}", large.body);
    let long = mill.post("/v1/ingest/events", &[("Idempotency-Key", &"k".repeat(300))], b"x");
    assert_eq!(long.status, 400, "{}", long.body);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 0);
    assert_eq!(mill.push("events", "fine\n")["accepted"], 1);
    mill.stop();
}

#[test]
fn questions_that_are_wrong_are_answered_with_what_to_write() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), EVENTS);
    mill.push("events", "{\"status\":200,\"path\":\"/\"}\n");
    let huge_list = format!("SELECT * FROM events WHERE status IN ({})", vec!["1"; 20_000].join(","));
    let deep = format!("SELECT {}1{}", "(".repeat(5000), ")".repeat(5000));
    let sum = format!("SELECT {}", vec!["1"; 4000].join("+"));
    let long = format!("SELECT '{}'", "x".repeat(70 << 10));
    let questions: [(&str, u16, &str); 21] = [
        ("SELECT statsu FROM events", 400, "did you mean `status`?"),
        ("SELECT * FROM event", 404, "did you mean `events`?"),
        ("SELECT * FROM tidemill.decision", 404, "did you mean `tidemill.decisions`?"),
        ("SELCT 1", 400, "did you mean `SELECT`?"),
        ("SELECT * FORM events", 400, "syntax error"),
        ("SELECT cuont(*) FROM events", 400, "did you mean `count`?"),
        ("SELECT \"hello\" FROM events", 400, "text goes in single quotes"),
        ("SELECT status FROM events; SELECT 1", 400, "more than one statement"),
        ("", 400, "what is asked?"),
        ("DROP TABLE events", 400, ""),
        ("DELETE FROM events", 400, ""),
        ("INSERT INTO events VALUES (1)", 400, ""),
        ("CREATE TABLE x AS SELECT 1", 400, ""),
        ("COPY events TO '/tmp/x.csv'", 400, ""),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", 400, ""),
        ("SET datafusion.execution.batch_size = 1", 400, ""),
        ("SELECT * FROM '/etc/passwd'", 404, "unknown table"),
        (&huge_list, 422, "parts"),
        (&deep, 422, "nested"),
        (&sum, 422, ""),
        (&long, 413, "longer than"),
    ];
    let mut failures = Vec::new();
    for (sql, status, says) in questions {
        let began = Instant::now();
        let reply = mill.ask(sql);
        let shown: String = sql.chars().take(60).collect();
        // Writing is forbidden, in whichever of the two words.
        let refused = reply.status == status || (status == 400 && reply.status == 403);
        if !refused || !reply.refusal().contains(says) || began.elapsed() > Duration::from_secs(20) {
            failures.push(format!("{shown}: wanted {status} `{says}`, was {} {}", reply.status, reply.body));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    let place = mill.ask("SELECT status\nFROM events\nWHERE statsu = 1").json();
    assert_eq!((place["error"]["line"].as_u64(), place["error"]["column"].as_u64()), (Some(3), Some(7)), "{place}");
    let place = mill.ask("SELECT 1 +\n FROM events").json();
    assert_eq!(place["error"]["line"].as_u64(), Some(2), "{place}");
    assert_eq!(mill.number("SELECT count(*) FROM events"), 1);
    mill.stop();
}

#[test]
fn a_question_that_would_run_for_ever_ends_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mill = Mill::start(dir.path(), EVENTS);
    let rows: String = (0..20_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    mill.push("events", &rows);
    let forever = "SELECT count(*) FROM events a, events b, events c WHERE a.n + b.n + c.n = 7 AND a.n * b.n <> c.n";
    let began = Instant::now();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| mill.post("/v1/sql?timeout=1s", &[], forever.as_bytes()));
        // Everything else goes on meanwhile.
        assert_eq!(mill.push("events", "{\"n\":-1}\n")["accepted"], 1);
        assert_eq!(mill.number("SELECT count(*) FROM events WHERE n = -1"), 1);
        let reply = asking.join().unwrap();
        assert_eq!(reply.status, 422, "{}", reply.body);
        assert!(reply.refusal().contains("1s"), "{}", reply.body);
    });
    assert!(began.elapsed() < Duration::from_secs(20), "it is bounded, if not exactly");
    let recursive = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t";
    let reply = mill.post("/v1/sql?timeout=1s", &[], recursive.as_bytes());
    assert!([400, 403, 422].contains(&reply.status), "{} {}", reply.status, reply.body);
    assert_eq!(mill.number("SELECT count(*) FROM events"), 20_001);
    mill.stop();
}

#[test]
fn strangers_are_kept_out_and_the_token_is_never_printed() {
    const TOKEN: &str = "hunter2-hunter2-hunter2";
    let dir = tempfile::tempdir().unwrap();
    let text = format!("[server]\ntoken = \"${{TEST_TOKEN}}\"\nhosts = [\"logs.example.org\"]\n{EVENTS}");
    let mill =
        Mill::start_with(dir.path(), &text, |command| command.env("TEST_TOKEN", TOKEN).env("TIDEMILL_LOG", "trace"));
    let bearer = format!("Bearer {TOKEN}");
    let status = |headers: &[(&str, &str)]| request(mill.port, "GET", "/v1/sql?q=SELECT+1", headers, b"").unwrap();
    assert_eq!(status(&[]).status, 401);
    assert_eq!(status(&[("Authorization", "Bearer wrong")]).status, 401);
    assert_eq!(status(&[("Authorization", &bearer)]).status, 200);
    assert_eq!(status(&[("Authorization", &bearer), ("Host", "logs.example.org")]).status, 200);
    for (name, value) in [("Host", "evil.example.org"), ("Origin", "http://evil.example.org"), ("Origin", "null")] {
        let refused = status(&[("Authorization", &bearer), (name, value)]);
        assert_eq!(refused.status, 403, "{name}: {value}: {}", refused.body);
        assert!(refused.refusal().contains("add "), "{}", refused.body);
    }
    assert_eq!(mill.get("/livez").status, 200);
    assert_eq!(mill.get("/metrics").status, 401);
    let mut query = tidemill(&["query", "SELECT 1 AS one", "--url", &mill.url()]);
    let without = finish(&mut query);
    assert!(stderr(&without).contains("set the environment variable TIDEMILL_TOKEN"), "{}", stderr(&without));
    let with = finish(query.env("TIDEMILL_TOKEN", TOKEN));
    assert!(with.status.success(), "{}", stderr(&with));
    for what in ["logs", "dead_letters", "tables", "plugins", "metrics"] {
        let sql = format!("/v1/sql?q=SELECT+*+FROM+tidemill.{what}");
        let reply = request(mill.port, "GET", &sql, &[("Authorization", &bearer)], b"").unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(!reply.body.contains("hunter2"), "{what}");
    }
    let said = mill.stop();
    assert!(!said.contains("hunter2"));
    for (line, says) in [
        ("address = \"0.0.0.0:0\"", "needs a token and TLS"),
        ("address = \"0.0.0.0:0\"\ntoken = \"hunter2\"", "add `tls ="),
        ("token = \"hunter2 hunter2\"", "visible ASCII"),
        ("token_file = \"none\"", "cannot read the secret"),
    ] {
        std::fs::write(dir.path().join("pipeline.toml"), format!("[server]\n{line}\n{EVENTS}")).unwrap();
        let refused = run(dir.path(), &["run", "pipeline.toml"]);
        assert_eq!(refused.status.code(), Some(1), "{line}");
        assert!(
            stderr(&refused).contains(says) && !stderr(&refused).contains("hunter2"),
            "{line}: {}",
            stderr(&refused)
        );
    }
    let open = "[server]\naddress = \"0.0.0.0:0\"\ninsecure = true\n".to_owned() + EVENTS;
    std::fs::write(dir.path().join("pipeline.toml"), open).unwrap();
    Mill::spawn(dir.path(), &mut tidemill(&["run", "pipeline.toml"])).stop();
}
