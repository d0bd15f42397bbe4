//! where a plugin was when it trapped, in the words of its own names
//!
//! Names come from the module's name section and are whatever its author wrote: they are cut and cleaned before anybody reads them.

use std::num::NonZeroUsize;
use std::sync::Arc;
use wasmtime::WasmBacktrace;

/// Frames that are told, innermost first.
pub(super) const FRAMES_MAX: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// Bytes of one frame's line; the rest is cut.
const LINE_BYTES_MAX: usize = 256;

/// The functions that were running, innermost first, a line each: `3: access_log::line::parse at 0x1a2b`.
pub(super) fn of(error: &wasmtime::Error) -> Option<Arc<str>> {
    let trace = error.downcast_ref::<WasmBacktrace>()?;
    if trace.frames().is_empty() {
        return None;
    }
    // wasmtime demangles while it writes; its first line is a heading.
    let written = trace.to_string();
    let lines: Vec<String> = written.lines().skip(1).map(line).collect();
    Some(lines.join("\n").into())
}

/// `  0:   0x1a2b - module.wasm!name` as `0: name at 0x1a2b`; anything else as it is.
fn line(written: &str) -> String {
    let clean: String = written.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let parts = clean.split_once(": ").and_then(|(frame, rest)| {
        let (offset, function) = rest.trim_start().split_once(" - ")?;
        let (_, name) = function.split_once('!')?;
        Some((frame, offset, name))
    });
    let (text, at) = match parts {
        Some((frame, offset, name)) => (format!("{frame}: {name}"), format!(" at {offset}")),
        None => (clean, String::new()),
    };
    match text.len() > LINE_BYTES_MAX {
        true => format!("{}…{at}", text.get(..text.floor_char_boundary(LINE_BYTES_MAX)).unwrap_or_default()),
        false => text + &at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_short_and_clean() {
        assert_eq!(line("    0:   0x1a2b - zoo.wasm!core::panicking::panic"), "0: core::panicking::panic at 0x1a2b");
        assert_eq!(line("   12:   0x9 - <unknown>!<wasm function 7>"), "12: <wasm function 7> at 0x9");
        assert_eq!(line("  3: m!no::offset"), "3: m!no::offset");
        let long = line(&format!("  1:  0x7 - m!{}\u{7}\u{1b}[31m", "é".repeat(1000)));
        assert!(long.len() < 300 && long.ends_with("… at 0x7"), "{long}");
        assert_eq!(line("  1:  0x7 - m!bell\u{7}"), "1: bell\u{fffd} at 0x7");
    }
}
