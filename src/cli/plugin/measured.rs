//! what a call of a plugin costs, and how much of that is the boundary
//!
//!     whole ─┬─ around the call: what is read is picked, the answer is checked and put beside the event's columns    ─┐
//!            └─ call ─┬─ handing over: a call of a plugin that does nothing, with the same columns                    ├─ boundary
//!                     ├─ taking back: as many bytes as the answer has, copied once                                    ─┘
//!                     └─ the rest: the plugin itself
//!
//! All of it is processor time of the one thread that does it. Handing over and taking back are measured beside the call, not within
//! it, so that the three are as exact as two clocks a few microseconds apart.

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::Batch;
use crate::pipeline::stage::Outcome;
use crate::pipeline::{Manner, Stage};
use crate::plugin::instance::{Context, cpu_time};
use crate::plugin::{Account, Configured, Contract, Instance, Library, Limits, Lookup, Plugin};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// Takes what it is handed and answers with an error without words.
const IDLE: &str = include_str!("idle.wat");

/// Lookup tables by their names.
pub(super) type Tables = Arc<BTreeMap<String, Lookup>>;

/// A plugin in a stage of its own, and beside it one that does nothing.
pub(super) struct Measured {
    /// its name on the command line
    pub name: String,
    /// where its use is counted
    pub account: Arc<Account>,
    /// what it reads and makes
    pub contract: Contract,
    /// why the first event that failed did, for whom that is of interest
    pub first_reason: Option<String>,
    stage: Stage,
    idle: Instance,
    answer: Vec<u8>,
}

/// One batch through a plugin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    /// events that went in
    pub rows: usize,
    /// events that came out
    pub rows_out: usize,
    /// events that could not be handled
    pub failed: usize,
    /// bytes of the columns that the plugin reads
    pub bytes: u64,
    /// all of it
    pub whole: Duration,
    /// the part that is not the plugin's own work
    pub boundary: Duration,
}

impl Measured {
    /// A plugin with its settings as JSON text, and the lookup tables it may ask.
    pub fn new(library: &Library, plugin: &Plugin, settings: &str, tables: &Tables) -> Result<Measured> {
        let account = Arc::new(Account::default());
        let configured = Configured {
            stage: "measured".into(),
            plugin: plugin.clone(),
            settings: settings.to_owned(),
            limits: Limits::default(),
            tables: tables.clone(),
            account: account.clone(),
        };
        let idle = library.load("idle", "idle", &idle_module()?)?;
        let idle = Configured { plugin: idle, settings: "{}".into(), account: Arc::default(), ..configured.clone() };
        let instance = Instance::new(library.engine(), configured)?;
        let contract = instance.contract().clone();
        let manner = Manner { clock: true, ..Manner::default() };
        let stage = Stage::new("measured", manner, instance, Clock::system(), None);
        let idle = Instance::new(library.engine(), idle)?;
        Ok(Measured {
            name: plugin.name().to_owned(),
            account,
            contract,
            first_reason: None,
            stage,
            idle,
            answer: Vec::new(),
        })
    }

    /// Runs a batch and takes the times.
    pub fn run(&mut self, batch: &Batch) -> Result<(Cost, Outcome)> {
        let before = self.account.totals();
        let began = cpu_time();
        let outcome = self.stage.run(batch)?;
        let whole = cpu_time().saturating_sub(began);
        let after = self.account.totals();
        let call = Duration::from_nanos(after.cpu_nanos - before.cpu_nanos);
        let boundary = whole.saturating_sub(call)
            + self.handing_over(batch)?
            + self.taking_back(after.bytes_out - before.bytes_out);
        let cost = Cost {
            rows: batch.columns.num_rows(),
            rows_out: outcome.batches.iter().map(|batch| batch.columns.num_rows()).sum(),
            failed: outcome.casualties.len(),
            bytes: after.bytes_in - before.bytes_in,
            whole,
            boundary: boundary.min(whole),
        };
        Ok((cost, outcome))
    }

    fn handing_over(&mut self, batch: &Batch) -> Result<Duration> {
        let reads = self.stage.reads(batch)?;
        let account = self.idle.configured().account.clone();
        let before = account.totals().cpu_nanos;
        let time_max = self.idle.configured().limits.time.0;
        // Its answer is an error by design.
        let _ = self.idle.parse(&reads, Context::default(), time_max);
        Ok(Duration::from_nanos(account.totals().cpu_nanos - before))
    }

    fn taking_back(&mut self, bytes: u64) -> Duration {
        self.answer.resize(bytes as usize, 0);
        let began = cpu_time();
        black_box(self.answer.clone());
        cpu_time().saturating_sub(began)
    }
}

fn idle_module() -> Result<Vec<u8>> {
    wat::parse_str(IDLE).map_err(|error| Error::internal(format!("the idle plugin does not assemble: {error}")))
}
