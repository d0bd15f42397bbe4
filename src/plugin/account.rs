//! what a plugin has cost and done, counted as it happens, for `tidemill.plugins`

use super::FaultKind;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The counters of one stage or scaler. They only grow, but for the memory's height, which starts anew with each span.
#[derive(Debug, Default)]
pub struct Account {
    calls: AtomicU64,
    events_in: AtomicU64,
    events_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    cpu_nanos: AtomicU64,
    memory_bytes_max: AtomicU64,
    /// the highest of this span
    memory_bytes_now: AtomicU64,
    traps: AtomicU64,
    time_limits: AtomicU64,
    memory_limits: AtomicU64,
    output_limits: AtomicU64,
    host_call_limits: AtomicU64,
    malformed: AtomicU64,
    refused: AtomicU64,
    dead: AtomicU64,
    instances: AtomicU64,
    recycled: AtomicU64,
}

/// The counters at one moment, or what was added to them in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// calls made
    pub calls: u64,
    /// events handed over, those handed over twice while a fault was looked for included
    pub events_in: u64,
    /// events that came out
    pub events_out: u64,
    /// bytes of columns handed over
    pub bytes_in: u64,
    /// bytes of answers
    pub bytes_out: u64,
    /// processor time inside calls and until instances were ready, ns
    pub cpu_nanos: u64,
    /// the largest linear memory seen
    pub memory_bytes_max: u64,
    /// calls that trapped: a panic, a stack overflow, an access out of bounds
    pub traps: u64,
    /// calls that needed too much time
    pub time_limits: u64,
    /// calls that needed too much memory
    pub memory_limits: u64,
    /// answers that were too large
    pub output_limits: u64,
    /// calls that asked their host too often, or for too much
    pub host_call_limits: u64,
    /// answers that were malformed
    pub malformed: u64,
    /// calls that were answered with an error for the whole batch
    pub refused: u64,
    /// events given up
    pub dead: u64,
    /// instances made
    pub instances: u64,
    /// instances replaced because they had grown
    pub recycled: u64,
}

impl Account {
    pub(super) fn called(&self, rows: usize, bytes: usize, cpu: Duration, memory_bytes: usize) {
        self.calls.fetch_add(1, Relaxed);
        self.events_in.fetch_add(rows as u64, Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
        self.used(cpu, memory_bytes);
    }

    pub(super) fn answered(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn failed(&self, kind: FaultKind) {
        let counter = match kind {
            FaultKind::Trap => &self.traps,
            FaultKind::Time => &self.time_limits,
            FaultKind::Memory => &self.memory_limits,
            FaultKind::Output => &self.output_limits,
            FaultKind::HostCalls => &self.host_call_limits,
            FaultKind::Malformed => &self.malformed,
            FaultKind::Refused => &self.refused,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn instantiated(&self, cpu: Duration, memory_bytes: usize) {
        self.instances.fetch_add(1, Relaxed);
        self.used(cpu, memory_bytes);
    }

    pub(super) fn recycled(&self) {
        self.recycled.fetch_add(1, Relaxed);
    }

    fn used(&self, cpu: Duration, memory_bytes: usize) {
        self.cpu_nanos.fetch_add(u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.memory_bytes_max.fetch_max(memory_bytes as u64, Relaxed);
        self.memory_bytes_now.fetch_max(memory_bytes as u64, Relaxed);
    }

    /// Events came out of the stage.
    pub fn passed(&self, events: usize) {
        self.events_out.fetch_add(events as u64, Relaxed);
    }

    /// Events were given up.
    pub fn gave_up(&self, events: usize) {
        self.dead.fetch_add(events as u64, Relaxed);
    }

    /// The counters now.
    pub fn totals(&self) -> Totals {
        Totals {
            calls: self.calls.load(Relaxed),
            events_in: self.events_in.load(Relaxed),
            events_out: self.events_out.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            cpu_nanos: self.cpu_nanos.load(Relaxed),
            memory_bytes_max: self.memory_bytes_max.load(Relaxed),
            traps: self.traps.load(Relaxed),
            time_limits: self.time_limits.load(Relaxed),
            memory_limits: self.memory_limits.load(Relaxed),
            output_limits: self.output_limits.load(Relaxed),
            host_call_limits: self.host_call_limits.load(Relaxed),
            malformed: self.malformed.load(Relaxed),
            refused: self.refused.load(Relaxed),
            dead: self.dead.load(Relaxed),
            instances: self.instances.load(Relaxed),
            recycled: self.recycled.load(Relaxed),
        }
    }

    /// The highest memory since this was last asked with `anew`.
    pub fn memory_of_span(&self, anew: bool) -> u64 {
        match anew {
            true => self.memory_bytes_now.swap(0, Relaxed),
            false => self.memory_bytes_now.load(Relaxed),
        }
    }
}

impl Totals {
    /// Calls that trapped, exceeded a limit, or answered malformed.
    pub fn faults(&self) -> u64 {
        self.traps + self.time_limits + self.memory_limits + self.output_limits + self.host_call_limits + self.malformed
    }

    /// Both together.
    pub fn and(&self, other: &Totals) -> Totals {
        Totals {
            calls: self.calls + other.calls,
            events_in: self.events_in + other.events_in,
            events_out: self.events_out + other.events_out,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
            cpu_nanos: self.cpu_nanos + other.cpu_nanos,
            traps: self.traps + other.traps,
            time_limits: self.time_limits + other.time_limits,
            memory_limits: self.memory_limits + other.memory_limits,
            output_limits: self.output_limits + other.output_limits,
            host_call_limits: self.host_call_limits + other.host_call_limits,
            malformed: self.malformed + other.malformed,
            refused: self.refused + other.refused,
            dead: self.dead + other.dead,
            instances: self.instances + other.instances,
            recycled: self.recycled + other.recycled,
            memory_bytes_max: self.memory_bytes_max.max(other.memory_bytes_max),
        }
    }

    /// What came since; the memory's height is this one's.
    pub fn since(&self, earlier: &Totals) -> Totals {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Totals {
            calls: less(self.calls, earlier.calls),
            events_in: less(self.events_in, earlier.events_in),
            events_out: less(self.events_out, earlier.events_out),
            bytes_in: less(self.bytes_in, earlier.bytes_in),
            bytes_out: less(self.bytes_out, earlier.bytes_out),
            cpu_nanos: less(self.cpu_nanos, earlier.cpu_nanos),
            memory_bytes_max: self.memory_bytes_max,
            traps: less(self.traps, earlier.traps),
            time_limits: less(self.time_limits, earlier.time_limits),
            memory_limits: less(self.memory_limits, earlier.memory_limits),
            output_limits: less(self.output_limits, earlier.output_limits),
            host_call_limits: less(self.host_call_limits, earlier.host_call_limits),
            malformed: less(self.malformed, earlier.malformed),
            refused: less(self.refused, earlier.refused),
            dead: less(self.dead, earlier.dead),
            instances: less(self.instances, earlier.instances),
            recycled: less(self.recycled, earlier.recycled),
        }
    }
}
