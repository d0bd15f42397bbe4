//! Plugins in C, C++ and Zig bring their own memory: it is free after each call, and running out of it is a clean end.

use crate::mill::{finish_within, stderr, tidemill};
use crate::plugins::{configured, library};
use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tidemill::plugin::instance::Context;
use tidemill::plugin::{Configured, Instance, Limits};
use tidemill::units::{ByteSize, Span};

const PATIENCE: Duration = Duration::from_secs(30);
/// Zig compiles its own libraries first.
const BUILD_MAX: Duration = Duration::from_secs(900);
const LINE: &str = r#"10.0.0.1 - - [01/Jan/2024:00:00:00 +0000] "GET /\x41b HTTP/1.1" 200 5 "-" "curl/8.0""#;

/// Lines of an access log, one of them none.
fn lines(count: usize) -> RecordBatch {
    let lines = (0..count).map(|row| Some(if row == 1 { b"nonsense".as_slice() } else { LINE.as_bytes() }));
    let bodies: ArrayRef = Arc::new(BinaryArray::from_iter(lines));
    RecordBatch::try_from_iter([("body", bodies)]).unwrap()
}

/// The access log parser of a language with so much memory, which is not replaced while it has not reached that.
fn parser(language: &str, memory: u64) -> Option<Instance> {
    let dir = tempfile::tempdir().unwrap();
    let built = dir.path().join("built.wasm");
    let folder = Path::new("plugins/examples").join(language).join("access-log");
    let output = finish_within(tidemill(&["plugin", "build"]).arg(folder).arg("--output").arg(&built), BUILD_MAX);
    if !output.status.success() {
        let said = stderr(&output);
        assert!(said.contains("there is no zig") || said.contains("Zig needs zig"), "{said}");
        println!("left out: {said}");
        return None;
    }
    let library = library();
    let plugin = library.load(language, "built", &std::fs::read(&built).unwrap()).unwrap();
    let memory = ByteSize(memory);
    let limits = Limits { memory, memory_kept: Some(memory), time: Span(PATIENCE), ..Limits::default() };
    Some(Instance::new(library.engine(), Configured { limits, ..configured(plugin, "{}") }).unwrap())
}

fn keeps_its_memory(language: &str) {
    // A call of 200 rows needs half a MiB at most; what 3,000 calls would leave lying does not fit.
    let Some(mut parser) = parser(language, 6 << 20) else { return };
    let rows = lines(200);
    for call in 0..3_000 {
        let parsed = parser.parse(&rows, Context::default(), PATIENCE);
        let parsed = parsed.unwrap_or_else(|fault| panic!("call {call}: {}", fault.message));
        assert_eq!((parsed.rows, parsed.errors.len()), (199, 1));
    }
    let fault = parser.parse(&lines(100_000), Context::default(), PATIENCE).expect_err("memory has an end");
    assert!(fault.message.contains("needed more than 6.0 MiB of memory"), "{}", fault.message);
    assert_eq!(parser.parse(&rows, Context::default(), PATIENCE).unwrap().rows, 199);
}

#[test]
fn c_keeps_its_memory() {
    keeps_its_memory("c");
}

#[test]
fn cpp_keeps_its_memory() {
    keeps_its_memory("cpp");
}

#[test]
fn zig_keeps_its_memory() {
    keeps_its_memory("zig");
}
