//! a call that gave no usable answer: what sort of failure it is, in words, and where the plugin was
//!
//! **Always:** the words are short, also where the plugin chose some of them: they are kept with every event at fault.

use super::host::{Host, Spent};
use super::{answer, backtrace};
use std::sync::Arc;
use wasmtime::Trap;

/// A call that gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// what sort
    pub kind: FaultKind,
    /// in words, for the dead letter
    pub message: String,
    /// the functions that were running, innermost first, a line each
    pub backtrace: Option<Arc<str>>,
}

/// What sort of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// it trapped: a panic, a stack overflow, an access out of bounds
    Trap,
    /// it needed more processor time than it may use
    Time,
    /// it needed more memory or tables than it may use
    Memory,
    /// its answer is larger than it may be
    Output,
    /// it asked its host too often, or for too much
    HostCalls,
    /// its answer is not one that the interface allows
    Malformed,
    /// it answered that it cannot handle the batch
    Refused,
}

impl Fault {
    pub(super) fn new(kind: FaultKind, message: impl Into<String>) -> Fault {
        Fault { kind, message: answer::cut(message.into()), backtrace: None }
    }

    /// An answer that the interface does not allow.
    pub fn malformed(message: impl std::fmt::Display) -> Fault {
        Fault::new(FaultKind::Malformed, format!("its answer is malformed: {message}"))
    }

    /// What a failed call means.
    pub(super) fn of(error: &wasmtime::Error, host: &Host) -> Fault {
        let backtrace = backtrace::of(error);
        let (kind, message) = meaning(error, host, backtrace.is_some());
        Fault { kind, message: answer::cut(message), backtrace }
    }
}

fn meaning(error: &wasmtime::Error, host: &Host, while_it_ran: bool) -> (FaultKind, String) {
    let limits = &host.limits;
    let too_many_bytes = || {
        let most = limits.host_bytes;
        (FaultKind::HostCalls, format!("it moved more than {most} in calls to its host (log, lookups) in one call"))
    };
    match error.downcast_ref::<Spent>() {
        Some(Spent::Calls) => {
            let most = limits.host_calls;
            return (
                FaultKind::HostCalls,
                format!("it called its host (log, lookups) more than {most} times in one call"),
            );
        }
        Some(Spent::Bytes) => return too_many_bytes(),
        None => (),
    }
    if error.downcast_ref::<wasmtime::PoolConcurrencyLimitError>().is_some() {
        return (FaultKind::Memory, format!("there is no room for another instance: {error}, of all plugins together"));
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        let (given, most) = (host.time_max, limits.time.0);
        // A part of a batch in which a fault is looked for has a part of the time.
        let share =
            if given < most { format!(", its part of the {}ms of a call", most.as_millis()) } else { String::new() };
        return (FaultKind::Time, format!("it used more than {}ms of processor time{share}", given.as_millis()));
    }
    if copied_too_much(error) {
        return match while_it_ran {
            true => too_many_bytes(),
            false => (FaultKind::Output, format!("its answer has more than {}", limits.output)),
        };
    }
    if host.refused_growth {
        let (memory, entries) = (limits.memory, limits.table_elements);
        return (
            FaultKind::Memory,
            format!("it needed more than {memory} of memory (or its tables' {entries} entries)"),
        );
    }
    let why = match trap {
        Some(Trap::StackOverflow) => "the stack overflowed".to_owned(),
        Some(Trap::UnreachableCodeReached) => match &host.panic {
            Some(panic) => format!("it {panic}"),
            None => "it panicked or aborted, or asked for a file, a socket or a clock: there are none".to_owned(),
        },
        // The stack of compiled Rust and C lies at the start of the memory, and an overflow of it looks like this.
        Some(Trap::MemoryOutOfBounds) => {
            "an access outside of its memory (is its stack too small for what it does?)".to_owned()
        }
        Some(trap) => trap.to_string(),
        None => {
            let text = format!("{error:#}");
            let last = text.lines().last().unwrap_or_default();
            return (FaultKind::Malformed, format!("its answer is malformed: {last}"));
        }
    };
    (FaultKind::Trap, format!("it trapped: {why}"))
}

/// Whether the copy of an answer, or of what is handed to us, was larger than allowed. wasmtime's error for it has no public type.
fn copied_too_much(error: &wasmtime::Error) -> bool {
    error.root_cause().to_string().contains("fuel allocated for hostcalls has been exhausted")
}
