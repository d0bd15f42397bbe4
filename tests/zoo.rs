//! The hostile zoo: every way to misbehave that we know, each contained with the right reason, and what it costs others.
//!
//! `misbehave` (plugins/zoo) does what a program can do; what no compiler would make is written by hand around `zoo/parser.wat`.

use crate::mill::{Dice, Mill, finish, stderr, tidemill};
use crate::plugins::{configured, library, test_plugin};
use crate::poison::{became, events, lines};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tidemill::app;
use tidemill::clock::Clock;
use tidemill::pipeline::Manner;
use tidemill::pipeline::Stage;
use tidemill::plugin::{CompileLimits, Compiler, Configured, Instance, Library, Limits};
use tidemill::units::{ByteSize, Span};

pub const PARSER: &str = include_str!("zoo/parser.wat");

/// The parser by hand, with something in one of its places.
fn by_hand(place: &str, code: &str) -> Vec<u8> {
    assert!(PARSER.contains(&format!(";; {place}\n")), "{place}");
    wat::parse_str(PARSER.replace(&format!(";; {place}\n"), &format!("{code}\n"))).unwrap()
}

fn limits() -> Limits {
    Limits { memory: ByteSize(64 << 20), output: ByteSize(8 << 20), ..Limits::default() }
}

fn place(library: &Library, bytes: &[u8], settings: &str, limits: Limits) -> tidemill::error::Result<Stage> {
    let plugin = library.load("animal", "zoo", bytes)?;
    let configured = Configured { limits, ..configured(plugin, settings) };
    let instance = Instance::new(library.engine(), configured)?;
    Ok(Stage::new("zoo", Manner::default(), instance, Clock::held(0), None))
}

fn misbehave() -> Vec<u8> {
    std::fs::read(test_plugin("misbehave")).unwrap()
}

/// Lines that make `misbehave` do it, and the reason that is told.
const LINES: [(&str, &str); 7] = [
    ("LOOP", "it used more than 200ms of processor time"),
    ("ALLOC", "it needed more than 64.0 MiB of memory"),
    ("PANIC", "it trapped: it panicked or aborted, or asked for a file, a socket or a clock: there are none"),
    ("DEEP", "it trapped: an access outside of its memory (is its stack too small"),
    ("CHATTER", "it called its host (log, lookups) more than 10000 times in one call"),
    ("ASKING", "it called its host (log, lookups) more than 10000 times in one call"),
    ("GREEDY", "it moved more than 8.0 MiB in calls to its host (log, lookups) in one call"),
];

/// Answers that are not what they should be, beside those in `poison.rs`, and the reason that is told.
const LIES: [(&str, &str); 8] = [
    ("huge", "its answer has more than 8.0 MiB"),
    ("dictionary_bomb", "its answer is larger than 8.0 MiB once column `line` is unpacked"),
    ("slice_bomb", "its answer is larger than 8.0 MiB once column `line` is unpacked"),
    ("origin_bomb", "the rows that it makes of others have "),
    ("state_huge", "its state has 5000000 bytes; it may have 4.0 MiB"),
    ("columns", "its answer is malformed: it has 6001 columns; 5000 are allowed"),
    ("name_huge", "its answer is malformed: the name of a column has 1048576 bytes; 1024 are allowed"),
    ("error_huge", "éééé"),
];

#[test]
fn animals_that_a_compiler_makes() {
    let library = library();
    for (line, reason) in LINES {
        let limits = Limits { host_bytes: ByteSize(8 << 20), ..limits() };
        let mut stage = place(&library, &misbehave(), "{}", limits).unwrap();
        let (came, died) = became(&stage.run(&events(&lines(100, &[(42, line)]))).unwrap());
        assert_eq!((came.len(), died.len()), (99, 1), "{line}: {died:?}");
        assert!(died[0].0 == line && died[0].1.contains(reason), "{line}: {died:?}");
        let (came, _) = became(&stage.run(&events(&lines(100, &[]))).unwrap());
        assert_eq!(came.len(), 100, "{line}: the next batch");
        println!("{line}: {}", died[0].1);
    }
    let roomy = Limits { memory: ByteSize(256 << 20), ..limits() };
    for (lie, reason) in LIES {
        // Sixteen rows, so that what is a megabyte for each row is too much for all.
        let whole = ["dictionary_bomb", "slice_bomb"].contains(&lie);
        let rows = if whole { 16 } else { 2 };
        let mut stage = place(&library, &misbehave(), &format!("{{\"lie\":\"{lie}\"}}"), roomy).unwrap();
        let outcome = stage.run(&events(&lines(rows, &[]))).unwrap();
        let told: Vec<&str> = outcome.casualties.iter().map(|casualty| casualty.reason.as_str()).collect();
        let of_batch = told.iter().filter(|told| told.contains(reason)).count();
        match whole {
            // A megabyte alone is not too much: halved, the batch fits.
            true => assert_eq!((became(&outcome).0.len(), told.len()), (rows, 0), "{lie}: {told:?}"),
            false => assert_eq!(of_batch, rows, "{lie}: {:?}", told.first()),
        }
        assert!(told.iter().all(|told| told.len() < 5000), "{lie}");
    }
}

/// The place in the parser by hand, what stands there, what is told.
const BY_HAND: [(&str, &str, &str); 9] = [
    ("CALLED", "(loop $l (br $l))", "it used more than 200ms of processor time"),
    (
        "CALLED",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) unreachable",
        "64.0 MiB of memory",
    ),
    (
        "TOP",
        "(memory $other 1) (memory $third 1) (func $bomb (export \"bomb\")
           (loop $l (br_if $l (i32.and (i32.ne (memory.grow $other (i32.const 16)) (i32.const -1))
                                       (i32.ne (memory.grow $third (i32.const 16)) (i32.const -1))))) unreachable)",
        "it needed more than 64.0 MiB of memory",
    ),
    (
        "TOP",
        "(table $t 1 funcref) (func $bomb (export \"bomb\")
           (loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)))) unreachable)",
        "(or its tables' 100000 entries)",
    ),
    ("TOP", "(func $bomb (export \"bomb\") (call $bomb) (call $bomb))", "it trapped: the stack overflowed"),
    // A list of columns that lies beyond the memory, and one that is as long as an answer can say.
    (
        "CALLED",
        "(i32.store (i32.const 4104) (i32.const 0x7ffffff0)) (i32.store (i32.const 4108) (i32.const 7))",
        "malformed",
    ),
    ("CALLED", "(i32.store (i32.const 4108) (i32.const 0x7fffffff))", "malformed"),
    ("CALLED", "(i32.store8 (i32.const 4096) (i32.const 9))", "malformed"),
    ("CALLED", "(drop (i32.div_u (i32.const 1) (local.get $n)))", "it trapped: wasm trap: integer divide by zero"),
];

#[test]
fn animals_by_hand() {
    let library = library();
    for (place_in, code, reason) in BY_HAND {
        let bytes = match place_in {
            "TOP" => wat::parse_str(PARSER.replace(";; TOP\n", code).replace(";; CALLED\n", "(call $bomb)\n")).unwrap(),
            _ => by_hand(place_in, code),
        };
        let mut stage = place(&library, &bytes, "{}", limits()).unwrap();
        let (came, died) = became(&stage.run(&events(&lines(3, &[]))).unwrap());
        assert_eq!((came.len(), died.len()), (0, 3), "{code}");
        assert!(died.iter().all(|(_, told)| told.contains(reason)), "{code}: {died:?}");
        println!("{}", died[0].1);
    }
}

#[test]
fn animals_that_do_not_start() {
    let library = library();
    let short = Limits { start_time: Span(Duration::from_millis(100)), ..limits() };
    let loops = "(func $for_ever (loop $l (br $l))) (start $for_ever)";
    let threads = "(memory $shared 1 1 shared) (func (drop (memory.atomic.wait32 $shared (i32.const 0) (i32.const 0) (i64.const -1))))";
    let animals: [(&str, Vec<u8>, &str, &str); 11] = [
        ("start", by_hand("STARTS", loops), "{}", "it used more than 100ms of processor time to start"),
        (
            "configure",
            by_hand("CONFIGURED", "(loop $l (br $l))"),
            "{}",
            "it used more than 100ms of processor time to start",
        ),
        ("hang", misbehave(), "{\"hang\":true}", "it used more than 100ms of processor time to start"),
        (
            "trap",
            by_hand("CONFIGURED", "unreachable"),
            "{}",
            "it trapped: it panicked or aborted, or asked for a file, a socket or a clock: there are none",
        ),
        ("memory", by_hand("TOP", "(memory $large 2000)"), "{}", "it needed more than 64.0 MiB of memory"),
        ("table", by_hand("TOP", "(table 1000000 funcref)"), "{}", "(or its tables' 100000 entries)"),
        ("sleeper", by_hand("TOP", threads), "{}", "threads"),
        ("unknown", by_hand("TOP", "(import \"env\" \"steal\" (func))"), "{}", "env"),
        ("wasi", wat::parse_str(SOCKETS).unwrap(), "{}", "it wants `wasi:sockets/tcp@0.2.0`, and plugins get no WASI"),
        ("function", wat::parse_str(FUNCTION).unwrap(), "{}", "it wants `steal`, which plugins do not get"),
        ("secrets", wat::parse_str(SECRETS).unwrap(), "{}", "tidemill:plugin/secrets@0.1.0"),
    ];
    for (animal, bytes, settings, reason) in animals {
        let error = place(&library, &bytes, settings, short).err().unwrap_or_else(|| panic!("{animal} runs"));
        assert!(error.message().contains(reason), "{animal}: {error}");
        println!("{animal}: {error}");
    }
}

const SOCKETS: &str = "(component (import \"wasi:sockets/tcp@0.2.0\" (instance)))";
const FUNCTION: &str = "(component (import \"steal\" (func)))";
const SECRETS: &str = "(component (import \"tidemill:plugin/secrets@0.1.0\" (instance (export \"all\" (func)))) \
    (instance $none) (export \"tidemill:plugin/parsing@0.1.0\" (instance $none)))";

#[test]
fn a_sleeper_does_not_sleep_and_chance_is_always_the_same() {
    // WASI's clock, its poll and its dice are a stub inside the component; numbers that are none have one form.
    let imports =
        "(import \"wasi_snapshot_preview1\" \"poll_oneoff\" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import \"wasi_snapshot_preview1\" \"random_get\" (func $random (param i32 i32) (result i32)))";
    // Subscription: a clock, for an hour. Then chance and 0/0, and `-(0/0)`, are the state.
    let called = "(i64.store (i32.const 616) (i64.const 3600000000000))
        (drop (call $poll (i32.const 600) (i32.const 700) (i32.const 1) (i32.const 800)))
        (drop (call $random (i32.const 1200) (i32.const 8)))
        (f64.store (i32.const 1208) (f64.div (f64.const 0) (f64.convert_i32_u (local.get $n))))
        (f64.store (i32.const 1216) (f64.neg (f64.div (f64.const 0) (f64.convert_i32_u (local.get $n)))))
        (i32.store8 (i32.const 4132) (i32.const 1))
        (i32.store (i32.const 4136) (i32.const 1200)) (i32.store (i32.const 4140) (i32.const 24))";
    let bytes = wat::parse_str(PARSER.replace(";; TOP\n", imports).replace(";; CALLED\n", called)).unwrap();
    let library = library();
    let plugin = library.load("chance", "zoo", &bytes).unwrap();
    let answer = || {
        let mut instance = Instance::new(library.engine(), configured(plugin.clone(), "{}")).unwrap();
        let batch = events(&lines(1, &[])).columns.project(&[0]).unwrap();
        instance.parse(&batch, Default::default(), Duration::from_millis(200)).unwrap().state.unwrap()
    };
    let first = answer();
    assert_eq!(first[8..16], 0x7ff8_0000_0000_0000u64.to_le_bytes(), "0/0 has another form");
    for _ in 0..10 {
        assert_eq!(answer(), first);
    }
}

#[test]
fn a_module_of_100_megabytes_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(dir.path().join("large.wasm")).unwrap();
    file.set_len(100 << 20).unwrap();
    let error = library().open("large.wasm", dir.path()).err().unwrap();
    assert_eq!(error.message(), "plugin `large.wasm`: it has 104857600 bytes; a plugin may have 67108864");
}

fn compiled_by(limits: CompileLimits) -> Library {
    let program = env!("CARGO_BIN_EXE_tidemill").into();
    app::library_compiled_by(Compiler::Child(program, limits), None).unwrap()
}

/// A module whose functions are so large that compiling them takes long: thousands of branches with thousands of targets each.
fn pathological() -> Vec<u8> {
    const BLOCKS: u32 = 1000;
    let mut body = vec![0];
    body.extend([0x02, 0x40].repeat(BLOCKS as usize));
    for open in (1..=BLOCKS).rev() {
        body.extend([0x20, 0x00, 0x0e]);
        body.extend(leb(open));
        (0..open).for_each(|target| body.extend(leb(target)));
        body.extend([0x00, 0x0b]);
    }
    body.push(0x0b);
    let code = [leb(body.len() as u32), body].concat();
    let section = |id: u8, bytes: Vec<u8>| [vec![id], leb(bytes.len() as u32), bytes].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 1, 0x7f, 0]),
        section(3, vec![3, 0, 0, 0]),
        section(10, [vec![3], code.repeat(3)].concat()),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module.concat())].concat()
}

/// A number as WebAssembly writes it.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[test]
fn compiling_is_limited_and_the_limit_is_named() {
    let ordinary = by_hand("TOP", "");
    let fine = compiled_by(CompileLimits::default()).load("fine", "zoo", &ordinary);
    assert!(fine.is_ok(), "{:?}", fine.err());
    let broken = compiled_by(CompileLimits::default()).load("broken", "zoo", &ordinary[..ordinary.len() - 9]);
    assert!(broken.err().unwrap().message().contains("the module cannot be made a component"));
    let pathological = pathological();
    let (second, megabytes) = (Span(Duration::from_secs(1)), |count: u64| ByteSize(count << 20));
    let roomy = CompileLimits::default();
    for (limits, says) in [
        (CompileLimits { time: second, ..roomy }, "it does not compile: that needed more than 1s of processor time"),
        (
            CompileLimits { memory: megabytes(1600), ..roomy },
            "it does not compile: that needed more than 1.6 GiB of memory",
        ),
        (
            CompileLimits { wait: Span(Duration::from_millis(300)), ..roomy },
            "it does not compile: that took longer than 300ms",
        ),
    ] {
        let error = compiled_by(limits).load("pathological", "zoo", &pathological).err().unwrap();
        assert_eq!(error.message(), format!("plugin `pathological`: {says}"));
    }
}

#[test]
fn an_instance_that_grew_is_replaced_and_counted() {
    let library = library();
    let mut stage = place(&library, &misbehave(), "{}", limits()).unwrap();
    let account = stage.account().clone();
    for round in 1..=3 {
        let (came, died) = became(&stage.run(&events(&lines(10, &[(3, "HOARD")]))).unwrap());
        assert_eq!((came.len(), died.len()), (10, 0), "{died:?}");
        let totals = account.totals();
        assert_eq!((totals.recycled, totals.faults()), (round, 0));
        assert!(totals.memory_bytes_max > 40 << 20);
    }
    // The last replacement is made when it is needed.
    assert_eq!(account.totals().instances, 3);
    // With room for it, it stays: and so the second hoard is too much.
    let roomy = Limits { memory_kept: Some(ByteSize(64 << 20)), ..limits() };
    let mut stage = place(&library, &misbehave(), "{}", roomy).unwrap();
    let account = stage.account().clone();
    assert_eq!(became(&stage.run(&events(&lines(1, &[(0, "HOARD")]))).unwrap()).0.len(), 1);
    let (_, died) = became(&stage.run(&events(&lines(1, &[(0, "HOARD")]))).unwrap());
    assert!(died[0].1.contains("it needed more than 64.0 MiB of memory"), "{died:?}");
    assert_eq!((account.totals().recycled, account.totals().memory_limits), (0, 1));
}

#[test]
fn a_trap_says_where_it_was() {
    let library = library();
    let mut stage = place(&library, &misbehave(), "{}", limits()).unwrap();
    for (line, function) in
        [("PANIC", "misbehave::component"), ("DEEP", "misbehave::component::deeper"), ("LOOP", "for_ever")]
    {
        let outcome = stage.run(&events(&lines(4, &[(1, line)]))).unwrap();
        let trace = outcome.casualties[0].backtrace.as_deref().unwrap_or_default();
        println!("{line}:\n{trace}");
        assert!(trace.starts_with("0: ") && trace.contains(" at 0x"), "{line}: {trace}");
        assert!(trace.contains(function) || trace.contains("parse"), "{line}: {trace}");
        assert!(trace.lines().count() <= 32 && trace.len() < 32 * 300, "{line}: {trace}");
    }
}

#[test]
fn others_lose_nothing_while_the_zoo_is_open() {
    let dir = tempfile::tempdir().unwrap();
    let pipeline = format!(
        "[sources.zoo]\ntype = \"http\"\n[sources.others]\ntype = \"http\"\n\
         [stages.cage]\ntype = \"parser\"\ninputs = [\"zoo\"]\nplugin = \"{}\"\nlimits = {{ memory = \"64MiB\" }}\n\
         [stages.calm]\ntype = \"filter\"\ninputs = [\"others\"]\nplugin = \"drop-where\"\n\
         settings = {{ field = \"body\", equals = \"nobody\" }}\n\
         [tables.zoo]\ninputs = [\"cage\"]\n[tables.others]\ninputs = [\"calm\"]\n",
        test_plugin("misbehave").display()
    );
    let mut mill = Mill::start(dir.path(), &pipeline);
    let (mut pushed, mut others) = (0, 0);
    for (line, _) in LINES.iter().filter(|(line, _)| *line != "GREEDY") {
        let body = lines(200, &[(77, line)]).join("\n");
        std::thread::scope(|scope| {
            let pushing = scope.spawn(|| mill.push("zoo", &body));
            while !pushing.is_finished() {
                assert_eq!(mill.push("others", "a\nb\nc\n")["accepted"], 3);
                others += 3;
            }
            let answer = pushing.join().unwrap();
            assert_eq!(
                (answer["accepted"].as_i64(), answer["dead"].as_i64()),
                (Some(199), Some(1)),
                "{line}: {answer}"
            );
        });
        pushed += 199;
    }
    assert_eq!(mill.number("SELECT count(*) FROM zoo"), pushed);
    assert_eq!(mill.number("SELECT count(*) FROM others"), others);
    let traced = "SELECT count(*) FROM tidemill.dead_letters WHERE reason LIKE 'it trapped%' AND backtrace LIKE '0: %'";
    assert_eq!(mill.number(traced), 2);
    // Which plugin costs most is one query, now and after a restart.
    let costliest = "SELECT stage FROM tidemill.plugins GROUP BY stage ORDER BY sum(cpu_seconds) DESC LIMIT 1";
    assert_eq!(mill.rows(costliest)[0]["stage"], "cage");
    let totals = "SELECT sum(events_out) AS out, sum(dead) AS dead, sum(traps) > 3 AS traps, sum(time_limits) > 1 AS time, \
                  sum(memory_limits) > 1 AS memory, sum(host_call_limits) > 2 AS asked, sum(bytes_in) > 0 AS bytes \
                  FROM tidemill.plugins WHERE stage = 'cage'";
    let before = mill.rows(totals);
    let dead = pushed / 199;
    let expected = serde_json::json!({ "out": pushed, "dead": dead, "traps": true, "time": true, "memory": true, "asked": true, "bytes": true });
    assert_eq!(before, [expected]);
    assert!(mill.lives());
    mill.stop();
    let mill = Mill::start(dir.path(), &pipeline);
    assert_eq!(mill.rows(totals), before);
    assert_eq!(mill.number("SELECT count(*) FROM tidemill.plugins WHERE stage = 'cage' AND events_out > 0"), {
        mill.number("SELECT count(DISTINCT timestamp) FROM tidemill.plugins WHERE stage = 'cage' AND events_out > 0")
    });
    mill.stop();
}

#[test]
fn a_plugin_that_cannot_be_compiled_is_refused_by_check() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("p.wasm"), by_hand("TOP", "(import \"env\" \"steal\" (func))")).unwrap();
    let text = "[sources.in]\ntype = \"http\"\n[stages.s]\ntype = \"parser\"\ninputs = [\"in\"]\nplugin = \"p.wasm\"\n\
                [tables.t]\ninputs = [\"s\"]\n";
    std::fs::write(dir.path().join("pipeline.toml"), text).unwrap();
    let checked = finish(tidemill(&["check", "pipeline.toml"]).current_dir(dir.path()));
    assert_eq!(checked.status.code(), Some(1));
    assert!(stderr(&checked).contains("pipeline.toml:6: stages.s: plugin `p.wasm`: "), "{}", stderr(&checked));
}

/// Runs a test of this binary in a process of its own, so that nobody else's memory is in the way.
fn alone(test: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let ended = finish(command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]));
    println!("{}", crate::mill::stdout(&ended));
    assert!(ended.status.success() && crate::mill::stdout(&ended).contains("1 passed"), "{}", stderr(&ended));
}

/// A figure of `/proc/self/status`, in bytes.
fn status(figure: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn memory_is_flat_over_24000_traps() {
    alone("zoo::traps_in_a_process_of_their_own");
}

#[test]
#[ignore = "run by `memory_is_flat_over_24000_traps`"]
fn traps_in_a_process_of_their_own() {
    let library = library();
    let plugin = library.open(&test_plugin("misbehave").display().to_string(), Path::new("")).unwrap();
    let mut instance = Instance::new(library.engine(), configured(plugin, "{}")).unwrap();
    let poison = events(&lines(1, &[(0, "PANIC")])).columns.project(&[0]).unwrap();
    let mut traps = |count: usize| {
        for _ in 0..count {
            let fault = instance.parse(&poison, Default::default(), Duration::from_millis(200)).unwrap_err();
            assert!(
                fault.backtrace.is_some()
                    && fault.message
                        == "it trapped: it panicked or aborted, or asked for a file, a socket or a clock: there are none",
                "{fault:?}"
            );
        }
    };
    traps(2_000);
    let warm = status("VmRSS:");
    traps(24_000);
    let end = status("VmRSS:");
    println!("{} KiB after 2,000 traps, {} KiB after 24,000 more", warm >> 10, end >> 10);
    assert!(end < warm + (4 << 20), "it grew by {} KiB", (end - warm) >> 10);
}

#[test]
fn an_animal_takes_no_more_memory_than_its_limits() {
    alone("zoo::animals_in_a_process_of_their_own");
}

#[test]
#[ignore = "run by `an_animal_takes_no_more_memory_than_its_limits`"]
fn animals_in_a_process_of_their_own() {
    let library = library();
    let limits = limits();
    let most = limits.memory.0 + limits.output.0 + (16 << 20);
    let lies = LIES.iter().map(|(lie, _)| (format!("{{\"lie\":\"{lie}\"}}"), "calm"));
    let all = LINES.iter().map(|(line, _)| ("{}".to_owned(), *line)).chain(lies);
    for (settings, line) in all {
        let mut stage = place(&library, &misbehave(), &settings, limits).unwrap();
        let batch = events(&lines(16, &[(7, line)]));
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status("VmRSS:");
        let outcome = stage.run(&batch).unwrap();
        let peak = status("VmHWM:").saturating_sub(before);
        println!("{settings} {line}: {} MiB, {} dead", peak >> 20, outcome.casualties.len());
        assert!(peak < most, "{settings} {line}: {} MiB", peak >> 20);
    }
}

#[test]
fn limits_are_kept_whatever_is_pushed() {
    // The same line at random places and in batches of random sizes: the others always come through, in order.
    let (library, mut dice) = (library(), Dice::new());
    let mut stage = place(&library, &misbehave(), "{}", limits()).unwrap();
    for _ in 0..20 {
        let rows = 2 + usize::try_from(dice.below(500)).unwrap();
        let at = usize::try_from(dice.below(rows as u64)).unwrap();
        let line = ["PANIC", "DEEP", "CHATTER"][usize::try_from(dice.below(3)).unwrap()];
        let bodies = lines(rows, &[(at, line)]);
        let (came, died) = became(&stage.run(&events(&bodies)).unwrap());
        assert_eq!(died.len(), 1, "{line} at {at} of {rows}");
        assert!(came.iter().eq(bodies.iter().filter(|body| *body != line)), "{line} at {at} of {rows}");
    }
}
