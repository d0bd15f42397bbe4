//! what a plugin that misbehaves costs its neighbours: a parser beside each animal, and alone, in turn

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench that fails may panic"
)]

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use arrow::datatypes::{Field, Schema};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidemill::plugin::instance::Context;
use tidemill::plugin::{Account, Configured, Instance, Library, Limits, Plugin};
use tidemill_benches::{access_log, cache, only_tested, print_table};

/// The parser that the zoo of the tests is made of.
const PARSER: &str = include_str!("../tests/zoo/parser.wat");
const TIME_MAX: Duration = Duration::from_millis(200);

/// What it does when it is called.
const ANIMALS: [(&str, &str); 6] = [
    ("a neighbour that behaves", ""),
    ("one that loops", "(loop $l (br $l))"),
    ("one that traps", "unreachable"),
    (
        "one that takes all memory",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 64)) (i32.const -1)))) unreachable",
    ),
    (
        "one that fills all memory",
        "(drop (memory.grow (i32.const 4000)))
         (memory.fill (i32.const 200000) (i32.const 7) (i32.const 262000000)) unreachable",
    ),
    ("one that lies", "(i32.store (i32.const 4108) (i32.const 0x7fffffff))"),
];

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let (rounds, window) = if only_tested() { (1, Duration::from_millis(20)) } else { (8, Duration::from_secs(1)) };
    let library = tidemill::app::library(Some(&cache())).expect("the engine starts");
    let text = access_log(1024, 7);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let input = body(&lines);
    let few = body(&lines[..4]);
    let parser = library.open("access-log", Path::new(".")).expect("it is bundled");
    let mut healthy = instance(&library, parser);
    let mut rows = Vec::new();
    let mut compare = |name: &str, beside: &(dyn Fn(&AtomicBool) + Sync)| {
        let (mut quiet, mut shared) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            quiet.extend(times(&mut healthy, &input, window));
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| beside(&over));
                std::thread::sleep(SETTLED);
                shared.extend(times(&mut healthy, &input, window));
                over.store(true, Ordering::Relaxed);
            });
        }
        let ratio = |percent| at(&mut shared.clone(), percent) / at(&mut quiet.clone(), percent);
        rows.push(vec![name.to_owned(), format!("{:.2}", ratio(50)), format!("{:.2}", ratio(99))]);
    };
    for (name, native) in NATIVES {
        compare(name, &|over| {
            while !over.load(Ordering::Relaxed) {
                native();
            }
        });
    }
    for (name, code) in ANIMALS {
        let bytes = wat::parse_str(PARSER.replace(";; CALLED\n", &format!("{code}\n"))).expect("it is well-formed");
        let animal = library.load(name, "zoo", &bytes).expect("it compiles");
        compare(name, &|over| misbehave(instance(&library, animal.clone()), &few, over));
    }
    println!(
        "time of a batch of the parser access-log beside each, over the time alone; {rounds} windows of {window:?} each\n"
    );
    print_table(&["beside", "median", "p99"], &rows);
}

/// What the machine itself makes of a busy second thread, with no plugin in it.
const NATIVES: [(&str, fn()); 2] = [
    ("native code that spins", || {
        for _ in 0..100_000 {
            std::hint::spin_loop();
        }
    }),
    ("native code that fills 256 MB", || {
        std::hint::black_box(vec![7_u8; 256 << 20]);
    }),
];

/// Until the scheduler has given the new thread a core of its own.
const SETTLED: Duration = Duration::from_millis(100);

fn at(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    times[(times.len() - 1) * percent / 100].as_secs_f64()
}

fn body(lines: &[&[u8]]) -> RecordBatch {
    let column: ArrayRef = Arc::new(BinaryArray::from_iter_values(lines));
    let schema = Schema::new(vec![Field::new("body", column.data_type().clone(), true)]);
    RecordBatch::try_new(Arc::new(schema), vec![column]).expect("one column")
}

fn instance(library: &Library, plugin: Plugin) -> Instance {
    let configured = Configured {
        plugin,
        stage: "bench".into(),
        settings: "{}".into(),
        limits: Limits::default(),
        tables: Arc::default(),
        account: Arc::new(Account::default()),
    };
    Instance::new(library.engine(), configured).expect("it starts")
}

/// One batch after the other, for so long.
fn times(healthy: &mut Instance, input: &RecordBatch, window: Duration) -> Vec<Duration> {
    let end = Instant::now() + window;
    let mut times = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        let parsed = healthy.parse(input, Context::default(), TIME_MAX).expect("the lines parse");
        assert_eq!(parsed.errors.len(), 0);
        times.push(began.elapsed());
    }
    times
}

/// Again and again, as a stage would with one bad batch after the other.
fn misbehave(mut animal: Instance, input: &RecordBatch, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let _ = animal.parse(input, Context::default(), TIME_MAX);
    }
}
