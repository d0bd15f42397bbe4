//! changes of plugins, settings and tables, taken while everything runs
//!
//!     files differ, and stay so for a look ─► read ─► what may change, in the graph that runs ─► check ─► offered to each slot
//!                                                └─ the rest: told, `restart to take it`
//!
//! One thread looks; lanes only ever see versions that were loaded, configured and checked here.
//!
//! **Always:** whatever is wrong with a change, what ran goes on, and a row of `tidemill.swaps` says where and what.

use super::check::{Checked, CheckedPlugin, check_anew};
use super::ledger::Ledger;
use super::swaps::Swaps;
use crate::clock::Clock;
use crate::config::{self, Config, Mistake, Named};
use crate::error::{Error, Result};
use crate::event::{Kind, TableName};
use crate::pipeline::slot::{Change, Event, Tell};
use crate::pipeline::{Slot, StageConfig, Version};
use crate::plugin::{Instance, Library};
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often files are looked at. A change is taken when it looks the same twice: whoever writes has ended by then.
const LOOK: Duration = Duration::from_millis(500);
/// Mistakes that one row tells.
const MISTAKES_MAX: usize = 5;

/// Where `${NAME}` is looked up, each time the files are read.
pub type Variables = fn(&str) -> Option<String>;

/// The places of everything that can be changed, by name.
#[derive(Clone, Default)]
pub(super) struct Slots {
    pub stages: BTreeMap<String, Arc<Slot>>,
}

/// What a reload needs.
pub(super) struct Parts {
    pub files: Vec<PathBuf>,
    pub variables: Option<Variables>,
    pub config: Config,
    pub kinds: BTreeMap<String, Kind>,
    /// the plugins of scalers: what they decide is recorded to be decided again, so they stay for as long as it runs
    pub beside: Vec<CheckedPlugin>,
    pub system: Vec<(TableName, SchemaRef)>,
    pub library: Arc<Library>,
    pub slots: Slots,
    pub swaps: Swaps,
    pub ledger: Ledger,
    pub clock: Clock,
}

/// Looks for changes.
pub(super) struct Reload {
    parts: Parts,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// the files as they were when they were read last
    taken: Vec<Print>,
    /// the files as they were at the last look
    looked: Vec<Print>,
    /// what was read last
    said: Option<Config>,
    /// refusals that were told and still hold
    told: BTreeSet<(String, String)>,
}

/// How a file looks from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Print {
    path: PathBuf,
    /// change and modification, ns; size; inode. None: it is not there
    looks: Option<(i64, i64, i64, i64, u64, u64)>,
}

impl Slots {
    /// A slot for each plugin of a config.
    pub fn new(checked: &Checked, tell: &Tell) -> Slots {
        let stages = checked.config.stages.iter().filter_map(|stage| {
            let version = stage_version(&stage.config, checked.stages.get(&stage.name)?);
            Some((stage.name.clone(), Arc::new(Slot::new(&stage.name, version, tell.clone()))))
        });
        Slots { stages: stages.collect() }
    }
}

fn stage_version(said: &StageConfig, plugin: &CheckedPlugin) -> Version {
    let CheckedPlugin { configured, contract } = plugin;
    Version::new(configured.clone(), contract.clone(), said.manner())
}

impl Reload {
    /// Nothing is known of the files yet: they may have changed since what runs was read, so the first look reads them again.
    pub fn new(parts: Parts) -> Reload {
        Reload { parts, seen: Mutex::default() }
    }

    /// Looks every half second.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => (),
            }
            let reload = self.clone();
            let _ = tokio::task::spawn_blocking(move || reload.look()).await;
        }
    }

    /// Reads the files at once; answers with what became of each change.
    pub async fn now(self: Arc<Self>) -> Result<Vec<Change>> {
        let work = tokio::task::spawn_blocking(move || {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            self.take(&mut seen)
        });
        work.await.map_err(|error| Error::internal(format!("a reload was lost: {error}")))
    }

    fn look(&self) {
        let now = self.parts.clock.now();
        let slots = &self.parts.slots;
        slots.stages.values().for_each(|slot| slot.look(now));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let said = seen.said.as_ref().unwrap_or(&self.parts.config);
        let looks: Vec<Print> = prints(&self.parts.files).into_iter().chain(prints(&watched(said))).collect();
        let settled = looks == seen.looked;
        let changed = looks != seen.taken;
        seen.looked = looks;
        if changed && settled {
            self.take(&mut seen);
        }
    }

    /// Reads everything, and offers what is other than before.
    fn take(&self, seen: &mut Seen) -> Vec<Change> {
        let parts = &self.parts;
        let mut taken = prints(&parts.files);
        let said = match parts.variables.filter(|_| !parts.files.is_empty()) {
            Some(variables) => config::read(&parts.files, &variables),
            None => (parts.config.clone(), Vec::new()),
        };
        let mut refused = Vec::new();
        let mut changes = Vec::new();
        match said {
            (said, mistakes) if mistakes.is_empty() => {
                taken.extend(prints(&watched(&said)));
                for what in beyond(&parts.config, &said) {
                    refused.push((String::new(), format!("{what}: restart to take it")));
                }
                self.offer(&said, &mut changes, &mut refused);
                seen.said = Some(said);
            }
            (_, mistakes) => {
                taken.extend(prints(&watched(seen.said.as_ref().unwrap_or(&parts.config))));
                refused.push((String::new(), listed(&mistakes)));
            }
        }
        seen.taken = taken;
        for (stage, reason) in &refused {
            let change = self.refusal(stage, reason);
            if !seen.told.contains(&(stage.clone(), reason.clone())) {
                parts.swaps.tell(change.clone());
            }
            changes.push(change);
        }
        seen.told = refused.into_iter().collect();
        changes
    }

    fn offer(&self, said: &Config, changes: &mut Vec<Change>, refused: &mut Vec<(String, String)>) {
        let parts = &self.parts;
        let each = parts.slots.stages.iter().map(|(name, slot)| {
            let current = slot.view().current;
            let (configured, contract) = (current.configured.clone(), current.contract.clone());
            (name.clone(), CheckedPlugin { configured, contract })
        });
        let running = each.collect();
        let config = within(&parts.config, said);
        let (checked, broken) = match check_anew(config, &parts.library, &parts.system, &running) {
            Ok(checked) => checked,
            Err(mistakes) => return refused.push((String::new(), listed(&mistakes))),
        };
        for CheckedPlugin { configured, .. } in &parts.beside {
            // The origin is the path, which does not depend on where the file is that names it.
            let now = parts.library.open(configured.plugin.origin(), Path::new(""));
            if now.is_ok_and(|now| now.sha256() != configured.plugin.sha256()) {
                let (stage, file) = (&configured.stage, configured.plugin.origin());
                let reason = format!("the plugin {file} of the scaler `{stage}` has changed: restart to take it");
                refused.push((stage.to_string(), reason));
            }
        }
        for (name, (kind, _)) in &checked.tables {
            if parts.kinds.get(name).is_some_and(|running| running != kind) {
                let reason = format!("table `{name}` would hold {}: restart to take it", kind.word());
                return refused.push((String::new(), reason));
            }
        }
        refused.extend(broken.iter().map(|(name, mistake)| (name.clone(), mistake.to_string())));
        let is_broken = |name: &str| broken.iter().any(|(broken, _)| broken == name);
        for stage in checked.config.stages.iter().filter(|stage| !is_broken(&stage.name)) {
            let (Some(plugin), Some(slot)) = (checked.stages.get(&stage.name), parts.slots.stages.get(&stage.name))
            else {
                continue;
            };
            self.put(slot, &stage.config, plugin, changes, refused);
        }
    }

    /// Puts a version into its slot, with instances for every lane.
    fn put(
        &self,
        slot: &Slot,
        said: &StageConfig,
        plugin: &CheckedPlugin,
        changes: &mut Vec<Change>,
        refused: &mut Vec<(String, String)>,
    ) {
        if !slot.is_news(&stage_version(said, plugin)) {
            return;
        }
        let mut configured = plugin.configured.clone();
        configured.account = self.parts.ledger.follow(&configured);
        let plugin = CheckedPlugin { configured: configured.clone(), contract: plugin.contract.clone() };
        let instance = |_| Instance::new(self.parts.library.engine(), configured.clone());
        match (0..slot.lanes()).map(instance).collect::<Result<Vec<_>>>() {
            Ok(instances) => {
                let version = stage_version(said, &plugin);
                version.prepare(instances);
                changes.extend(slot.offer(version, self.parts.clock.now()));
            }
            Err(error) => refused.push((slot.stage().to_string(), error.to_string())),
        }
    }

    fn refusal(&self, stage: &str, reason: &str) -> Change {
        let slots = &self.parts.slots;
        let slot = slots.stages.get(stage);
        let old = slot.map(|slot| slot.view().current.configured.plugin.sha256().to_owned());
        Change {
            timestamp: self.parts.clock.now(),
            stage: stage.to_owned(),
            event: Event::Refused,
            old_sha256: old.unwrap_or_default(),
            new_sha256: String::new(),
            changed: Vec::new(),
            reason: reason.to_owned(),
            events: None,
        }
    }
}

/// What is said, as far as the graph that runs has a place for it.
fn within(running: &Config, said: &Config) -> Config {
    let mut config = running.clone();
    for stage in &mut config.stages {
        let new = said.stages.iter().find(|new| new.name == stage.name && new.config.r#type == stage.config.r#type);
        if let Some(new) = new {
            stage.config = StageConfig { inputs: stage.config.inputs.clone(), ..new.config.clone() };
            stage.places = new.places.clone();
        }
    }
    config
}

/// What is said and cannot be taken by what runs.
fn beyond(running: &Config, said: &Config) -> Vec<String> {
    let mut all = Vec::new();
    parts("sources", &running.sources, &said.sources, |source| format!("{source:?}"), &mut all);
    let shape = |stage: &StageConfig| format!("{:?} {:?}", stage.r#type, stage.inputs);
    parts("stages", &running.stages, &said.stages, shape, &mut all);
    parts("tables", &running.tables, &said.tables, |table| format!("{table:?}"), &mut all);
    parts("scalers", &running.scalers, &said.scalers, |scaler| format!("{scaler:?}"), &mut all);
    parts("workloads", &running.workloads, &said.workloads, |workload| format!("{workload:?}"), &mut all);
    let mut section = |name: &str, running: &dyn Debug, said: &dyn Debug| {
        if format!("{running:?}") != format!("{said:?}") {
            all.push(format!("[{name}] is not what it was"));
        }
    };
    section("server", &running.server, &said.server);
    section("store", &running.store, &said.store);
    section("query", &running.query, &said.query);
    all
}

fn parts<T>(
    section: &str,
    running: &[Named<T>],
    said: &[Named<T>],
    shape: impl Fn(&T) -> String,
    all: &mut Vec<String>,
) {
    for new in said {
        let name = &new.name;
        match running.iter().find(|old| old.name == *name) {
            None => all.push(format!("[{section}.{name}] is new")),
            Some(old) if shape(&old.config) != shape(&new.config) => {
                all.push(format!("[{section}.{name}] is not what it was, in keys that a running pipeline cannot take"));
            }
            Some(_) => (),
        }
    }
    for old in running.iter().filter(|old| !said.iter().any(|new| new.name == old.name)) {
        all.push(format!("[{section}.{}] is gone", old.name));
    }
}

/// The files of plugins and lookup tables.
fn watched(config: &Config) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for stage in &config.stages {
        let folder = stage.places.folder();
        paths.push(folder.join(&stage.config.plugin));
        paths.extend(stage.config.tables.values().map(|file| folder.join(file)));
    }
    for scaler in &config.scalers {
        let beside = scaler.config.advisers.values().chain(&scaler.config.shadow).map(|adviser| &adviser.plugin);
        paths.extend(
            [&scaler.config.plugin].into_iter().chain(beside).map(|plugin| scaler.places.folder().join(plugin)),
        );
    }
    paths
}

fn prints(paths: &[PathBuf]) -> Vec<Print> {
    let print = |path: &PathBuf| {
        let looks = std::fs::metadata(path)
            .ok()
            .map(|file| (file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec(), file.size(), file.ino()));
        Print { path: path.clone(), looks }
    };
    paths.iter().map(print).collect()
}

fn listed(mistakes: &[Mistake]) -> String {
    let mut lines: Vec<String> = mistakes.iter().take(MISTAKES_MAX).map(Mistake::to_string).collect();
    if mistakes.len() > MISTAKES_MAX {
        lines.push(format!("and {} more", mistakes.len() - MISTAKES_MAX));
    }
    lines.join("; ")
}
