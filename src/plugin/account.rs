//! what a plugin has cost and done, counted as it happens, for `tidemill.plugins`

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The counters of one stage or scaler. They only grow; `memory_bytes_max` is the highest seen.
#[derive(Debug, Default)]
pub struct Account {
    calls: AtomicU64,
    events_in: AtomicU64,
    events_out: AtomicU64,
    cpu_nanos: AtomicU64,
    memory_bytes_max: AtomicU64,
    faults: AtomicU64,
    instances: AtomicU64,
    dead: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// calls made
    pub calls: u64,
    /// events handed over, those handed over twice while a fault was looked for included
    pub events_in: u64,
    /// events that came out
    pub events_out: u64,
    /// processor time inside calls, ns
    pub cpu_nanos: u64,
    /// the largest linear memory seen
    pub memory_bytes_max: u64,
    /// calls that trapped, exceeded a limit, or answered malformed
    pub faults: u64,
    /// instances made
    pub instances: u64,
    /// events given up
    pub dead: u64,
}

impl Account {
    pub(super) fn called(&self, rows: usize, cpu: Duration, memory_bytes: usize, fault: bool) {
        self.calls.fetch_add(1, Relaxed);
        self.events_in.fetch_add(rows as u64, Relaxed);
        self.cpu_nanos.fetch_add(cpu.as_nanos() as u64, Relaxed);
        self.memory_bytes_max.fetch_max(memory_bytes as u64, Relaxed);
        self.faults.fetch_add(u64::from(fault), Relaxed);
    }

    pub(super) fn instantiated(&self) {
        self.instances.fetch_add(1, Relaxed);
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
            cpu_nanos: self.cpu_nanos.load(Relaxed),
            memory_bytes_max: self.memory_bytes_max.load(Relaxed),
            faults: self.faults.load(Relaxed),
            instances: self.instances.load(Relaxed),
            dead: self.dead.load(Relaxed),
        }
    }
}
