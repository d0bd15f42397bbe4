//! plugins for queries: the bundled ones, and those of the stages that run, each with instances of its own
//!
//! | a query names | and gets |
//! |---|---|
//! | `access-log` | the bundled plugin, with the query's settings |
//! | `stage:web` | the plugin of the stage `web` as it runs now, with its limits and lookup tables, and its settings unless the query has others |
//! | `plugins/nginx.wasm` | the plugin that a stage names so, with the query's settings |
//!
//! **Never:** a query opens a file, or reads a setting; an instance that a query uses is one of a lane.

use super::check::CheckedPlugin;
use super::ledger::Ledger;
use super::reload::Slots;
use crate::clock::Clock;
use crate::error::{Error, Result, did_you_mean};
use crate::event::Batch;
use crate::pipeline::{Manner, Stage};
use crate::plugin::{Account, Configured, Contract, Instance, Library, Limits, Plugin, World};
use crate::query::plugins::numbers;
use crate::query::{self, Made};
use crate::units::Span;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What stands before the name of a stage.
const STAGE: &str = "stage:";
/// Under which name plugins of queries stand in `tidemill.plugins` and in the log; no stage can be called so.
const PLACE: &str = "(sql)";
/// The longest call that a query waits for, whatever its stage allows: nothing can end a query while a plugin is called.
const TIME_MAX: Duration = Duration::from_secs(1);

/// A stage's plugin as it runs now, and whether it is told the time.
pub(super) struct Running {
    pub configured: Configured,
    pub tells_time: bool,
}

/// The stages that run, by name.
pub(super) type Stages = Arc<dyn Fn() -> BTreeMap<String, Running> + Send + Sync>;

/// Lends plugins to queries.
pub(super) struct Lent {
    pub library: Library,
    pub stages: Stages,
    /// where their use is told, if anywhere
    pub ledger: Option<Ledger>,
    pub clock: Clock,
}

/// What runs in these slots.
pub(super) fn in_slots(slots: Slots) -> Stages {
    Arc::new(move || {
        let running = slots.stages.iter().map(|(name, slot)| {
            let current = slot.view().current;
            (name.clone(), Running { configured: current.configured.clone(), tells_time: current.manner.clock })
        });
        running.collect()
    })
}

/// What a config would run.
pub(super) fn as_checked(stages: BTreeMap<String, CheckedPlugin>) -> Stages {
    Arc::new(move || {
        let running = stages.iter().map(|(name, checked)| {
            (name.clone(), Running { configured: checked.configured.clone(), tells_time: true })
        });
        running.collect()
    })
}

impl query::Plugins for Lent {
    fn open(&self, name: &str, settings: Option<&str>) -> Result<Arc<dyn query::Plugin>> {
        if let Some(settings) = settings {
            let object: std::result::Result<serde_json::Map<String, serde_json::Value>, _> =
                serde_json::from_str(settings);
            object.map_err(|error| {
                Error::invalid(format!(
                    "the settings of plugin `{name}` are no JSON object such as {{\"a\": 1}}: {error}"
                ))
            })?;
        }
        let Running { mut configured, tells_time } = self.found(name)?;
        if let Some(settings) = settings {
            configured.settings = settings.to_owned();
        }
        configured.stage = PLACE.into();
        configured.limits.time = Span(configured.limits.time.0.min(TIME_MAX));
        configured.account = Arc::new(Account::default());
        if let Some(ledger) = &self.ledger {
            configured.account = ledger.follow(&configured);
        }
        let instance = Instance::new(self.library.engine(), configured.clone());
        let instance = instance.map_err(|error| error.within(format!("plugin `{name}`")))?;
        let contract = instance.contract().clone();
        let lending = Lending {
            library: self.library.clone(),
            clock: self.clock.clone(),
            tells_time,
            contract,
            configured,
            idle: Mutex::default(),
            made: AtomicUsize::new(0),
        };
        let first = lending.stage(instance);
        lock(&lending.idle).push(first);
        Ok(Arc::new(lending))
    }
}

impl Lent {
    fn found(&self, name: &str) -> Result<Running> {
        let mut stages = (self.stages)();
        if let Some(stage) = name.strip_prefix(STAGE) {
            let hint = did_you_mean(stage, stages.keys().map(String::as_str));
            return stages.remove(stage).ok_or_else(|| Error::invalid(format!("there is no stage `{stage}`{hint}")));
        }
        let plain = |plugin: Plugin| Running {
            configured: Configured {
                plugin,
                stage: PLACE.into(),
                settings: "{}".to_owned(),
                limits: Limits::default(),
                tables: Arc::default(),
                account: Arc::default(),
            },
            tells_time: true,
        };
        if self.library.names().any(|bundled| bundled == name) {
            return self.library.open(name, Path::new("")).map(plain);
        }
        if let Some(running) = stages.values().find(|running| running.configured.plugin.name() == name) {
            return Ok(plain(running.configured.plugin.clone()));
        }
        let of_stages = stages.keys().map(|stage| format!("{STAGE}{stage}"));
        let known: Vec<String> = self.library.names().map(str::to_owned).chain(of_stages).collect();
        let hint = did_you_mean(name, known.iter().map(String::as_str));
        Err(Error::invalid(format!("there is no plugin `{name}`{hint} (a query can run: {})", known.join(", "))))
    }
}

/// A plugin with its settings, lent to one query.
struct Lending {
    library: Library,
    configured: Configured,
    contract: Contract,
    clock: Clock,
    tells_time: bool,
    /// stages that nobody uses at this moment: as many as threads were at work at once
    idle: Mutex<Vec<Stage>>,
    /// stages made
    made: AtomicUsize,
}

impl Lending {
    fn stage(&self, instance: Instance) -> Stage {
        self.made.fetch_add(1, Ordering::Relaxed);
        let manner = Manner { clock: self.tells_time, ..Manner::default() };
        Stage::new(PLACE, manner, instance, self.clock.clone(), None)
    }

    fn fresh(&self) -> Result<Stage> {
        Ok(self.stage(Instance::new(self.library.engine(), self.configured.clone())?))
    }
}

impl query::Plugin for Lending {
    fn world(&self) -> World {
        self.configured.plugin.world()
    }

    fn contract(&self) -> &Contract {
        &self.contract
    }

    fn run(&self, events: &Batch) -> Result<Made> {
        let idle = lock(&self.idle).pop();
        let mut stage = idle.map_or_else(|| self.fresh(), Ok)?;
        let mut outcome = stage.run(events)?;
        if outcome.paused {
            // A pause is for pipelines, where the next events come later. Here each row has its own answer.
            self.made.fetch_sub(1, Ordering::Relaxed);
            stage = self.fresh()?;
            outcome = stage.run(events)?;
        }
        lock(&self.idle).push(stage);
        let errors = outcome.casualties.iter();
        Ok(Made {
            errors: errors
                .flat_map(|lost| numbers(&lost.row).into_iter().map(|row| (row, lost.reason.clone())))
                .collect(),
            batches: outcome
                .batches
                .into_iter()
                .map(|batch| (batch.columns.clone(), numbers(&batch.columns)))
                .collect(),
        })
    }

    fn memory_bytes(&self) -> usize {
        let most = usize::try_from(self.configured.account.totals().memory_bytes_max).unwrap_or(usize::MAX);
        self.made.load(Ordering::Relaxed).saturating_mul(most)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
