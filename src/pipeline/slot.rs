//! a stage's plugin as all its lanes see it: the version that runs, and the one on trial
//!
//!     reload ─ offer ─► slot ◄─ before each delivery: is there news? ──── lanes
//!                        │  ◄── what both versions made of a batch ────── lanes
//!                        └─ verdict ─► promoted, rolled back ─► told
//!
//! A lane asks for news by one number, without a lock; it takes over a version between two deliveries, with instances of its own.
//!
//! **Always:** a version that was rolled back is not taken again until what is offered changes.
//! **Never:** a lane waits here for another one, or for a plugin.

use super::breaker::{Standing, worst};
use super::canary::{Evidence, Pair, Verdict};
use super::capture::Capture;
use super::config::{Canary, Manner};
use crate::error::Result;
use crate::plugin::{Configured, Contract, Instance};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The keys of a stage that change what its plugin does: a change of them can be tried on a share of the batches.
const WORK: [&str; 6] = ["plugin", "field", "settings", "limits", "tables", "clock"];

/// What a stage runs, in one version of it.
pub struct Version {
    number: u64,
    /// the plugin with its settings
    pub configured: Configured,
    /// what that reads and makes
    pub contract: Contract,
    /// how the stage uses it
    pub manner: Manner,
    /// instances made before anybody waits for them
    ready: Mutex<Vec<Instance>>,
}

/// A version beside the one that runs.
pub struct Trial {
    /// what is tried
    pub version: Arc<Version>,
    /// how
    pub rules: Canary,
    began: i64,
    evidence: Mutex<Evidence>,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// the new version runs
    Swapped,
    /// it is on trial
    Canary,
    /// it stood its trial and runs
    Promoted,
    /// the old version runs (on)
    RolledBack,
    /// it was not taken
    Refused,
}

/// A row of `tidemill.swaps`.
#[derive(Clone, Debug)]
pub struct Change {
    /// ns UTC
    pub timestamp: i64,
    /// whose; empty if the whole file is meant
    pub stage: String,
    /// what became of it
    pub event: Event,
    /// the plugin that ran
    pub old_sha256: String,
    /// the plugin that came; empty if it could not be read
    pub new_sha256: String,
    /// keys of the stage that are others than before
    pub changed: Vec<&'static str>,
    /// a sentence with figures
    pub reason: String,
    /// events that both versions were given, where there was a trial
    pub events: Option<u64>,
}

/// Hears of changes. It must not wait.
pub type Tell = Arc<dyn Fn(Change) + Send + Sync>;

/// A stage's place.
pub struct Slot {
    stage: Arc<str>,
    generation: AtomicU64,
    lanes: AtomicUsize,
    inner: Mutex<Inner>,
    breakers: Mutex<BTreeMap<String, Standing>>,
    /// for whoever wants to see what it gets and makes
    pub capture: Capture,
    tell: Tell,
}

struct Inner {
    versions: u64,
    current: Arc<Version>,
    /// what ran before, to go back to
    before: Option<Arc<Version>>,
    trial: Option<Arc<Trial>>,
    /// what was rolled back
    refused: Option<Arc<Version>>,
}

/// What a lane should run.
pub struct View {
    /// to be compared with [`Slot::generation`]
    pub generation: u64,
    /// what runs
    pub current: Arc<Version>,
    /// what is tried beside it
    pub trial: Option<Arc<Trial>>,
}

impl Version {
    /// A version that no slot has yet.
    pub fn new(configured: Configured, contract: Contract, manner: Manner) -> Self {
        Version { number: 0, configured, contract, manner, ready: Mutex::default() }
    }

    /// Which one of its slot it is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Puts instances aside for the lanes.
    pub fn prepare(&self, instances: Vec<Instance>) {
        *lock(&self.ready) = instances;
    }

    /// An instance for one lane, by the same engine as `other`.
    pub fn instance(&self, other: &Instance) -> Result<Instance> {
        let ready = lock(&self.ready).pop();
        ready.map_or_else(|| other.with(self.configured.clone()), Ok)
    }

    /// The keys in which two versions differ.
    pub fn differences(&self, other: &Version) -> Vec<&'static str> {
        let (a, b) = (&self.configured, &other.configured);
        let (manner, others) = (&self.manner, &other.manner);
        let tables_differ = a.tables.len() != b.tables.len()
            || a.tables.iter().zip(b.tables.iter()).any(|(a, b)| a.0 != b.0 || !a.1.is_same(b.1));
        let differ = [
            ("plugin", a.plugin.sha256() != b.plugin.sha256()),
            ("field", manner.field != others.field),
            ("settings", a.settings != b.settings),
            ("limits", a.limits != b.limits),
            ("tables", tables_differ),
            ("clock", manner.clock != others.clock),
            ("on_error", manner.on_error != others.on_error),
            ("on_open", manner.on_open != others.on_open),
            ("canary", manner.canary != others.canary),
        ];
        differ.into_iter().filter(|(_, differ)| *differ).map(|(key, _)| key).collect()
    }

    fn sha256(&self) -> String {
        self.configured.plugin.sha256().to_owned()
    }
}

impl Event {
    /// The word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Event::Swapped => "swapped",
            Event::Canary => "canary",
            Event::Promoted => "promoted",
            Event::RolledBack => "rolled_back",
            Event::Refused => "refused",
        }
    }
}

impl Slot {
    /// A slot whose first version runs.
    pub fn new(stage: &str, version: Version, tell: Tell) -> Slot {
        let inner = Inner { versions: 0, current: Arc::new(version), before: None, trial: None, refused: None };
        Slot {
            stage: stage.into(),
            generation: AtomicU64::new(0),
            lanes: AtomicUsize::new(0),
            inner: Mutex::new(inner),
            breakers: Mutex::default(),
            capture: Capture::default(),
            tell,
        }
    }

    /// The stage's name.
    pub fn stage(&self) -> &Arc<str> {
        &self.stage
    }

    /// Grows whenever a lane should look.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// What a lane should run now.
    pub fn view(&self) -> View {
        let inner = lock(&self.inner);
        View { generation: self.generation(), current: inner.current.clone(), trial: inner.trial.clone() }
    }

    /// One lane more runs it.
    pub fn enter(&self) {
        self.lanes.fetch_add(1, Ordering::Relaxed);
    }

    /// How many lanes run it.
    pub fn lanes(&self) -> usize {
        self.lanes.load(Ordering::Relaxed)
    }

    /// How the breaker of a lane stands.
    pub fn stand(&self, source: &str, standing: Standing) {
        drop(lock(&self.breakers).insert(source.to_owned(), standing));
    }

    /// How the breaker stands, that of the worst lane.
    pub fn standing(&self, now: i64) -> Standing {
        worst(lock(&self.breakers).values(), now)
    }

    /// Whether a version is something else than what runs, is on trial, or was rolled back.
    pub fn is_news(&self, version: &Version) -> bool {
        let inner = lock(&self.inner);
        let known = [inner.trial.as_ref().map(|trial| &trial.version), inner.refused.as_ref()];
        match known.into_iter().flatten().any(|known| version.differences(known).is_empty()) {
            true => false,
            // What runs is news to a trial, and to what was rolled back: it ends them.
            false => {
                inner.trial.is_some() || inner.refused.is_some() || !version.differences(&inner.current).is_empty()
            }
        }
    }

    /// Takes a version, on trial or at once; answers with what became of it, unless it was nothing new.
    pub fn offer(&self, mut version: Version, now: i64) -> Option<Change> {
        if !self.is_news(&version) {
            return None;
        }
        let mut inner = lock(&self.inner);
        let changed = version.differences(&inner.current);
        inner.refused = None;
        if let Some(trial) = inner.trial.take() {
            let why = match changed.is_empty() {
                true => "what runs was asked for again before the trial was over",
                false => "another version came before the trial was over",
            };
            self.end_trial(&mut inner, &trial, why.to_owned(), now);
        }
        if changed.is_empty() {
            self.turn();
            return None;
        }
        inner.versions += 1;
        version.number = inner.versions;
        let version = Arc::new(version);
        let tried = version.manner.canary.filter(|_| changed.iter().any(|key| WORK.contains(key)));
        let change = |event, reason| Change {
            timestamp: now,
            stage: self.stage.to_string(),
            event,
            old_sha256: inner.current.sha256(),
            new_sha256: version.sha256(),
            changed: changed.clone(),
            reason,
            events: None,
        };
        let told = match tried {
            Some(rules) => {
                let percent = rules.share.as_f64() * 100.0;
                let told = change(
                    Event::Canary,
                    format!(
                        "{} changed; {percent} % of the batches go to both versions, for {} and {} events at least",
                        listed(&changed),
                        rules.r#for,
                        rules.events_min
                    ),
                );
                inner.trial = Some(Arc::new(Trial { version, rules, began: now, evidence: Mutex::default() }));
                told
            }
            None => {
                let told = change(Event::Swapped, format!("{} changed", listed(&changed)));
                inner.before = Some(std::mem::replace(&mut inner.current, version));
                told
            }
        };
        self.turn();
        drop(inner);
        (self.tell)(told.clone());
        Some(told)
    }

    /// Takes note of what both versions made of a batch, and does what follows from it.
    pub fn note(&self, trial: &Arc<Trial>, pair: &Pair, now: i64) {
        let verdict = {
            let mut evidence = lock(&trial.evidence);
            evidence.note(pair, &trial.rules);
            evidence.verdict(&trial.rules, age(trial.began, now))
        };
        self.obey(trial, verdict, now);
    }

    /// Looks whether a trial is over though no batch came.
    pub fn look(&self, now: i64) {
        let Some(trial) = lock(&self.inner).trial.clone() else { return };
        let verdict = lock(&trial.evidence).verdict(&trial.rules, age(trial.began, now));
        self.obey(&trial, verdict, now);
    }

    /// Goes back from a version that does not work, wherever it is.
    pub fn give_up(&self, number: u64, reason: String, now: i64) {
        let mut inner = lock(&self.inner);
        if let Some(trial) = inner.trial.take_if(|trial| trial.version.number == number) {
            inner.refused = Some(trial.version.clone());
            self.end_trial(&mut inner, &trial, reason, now);
            self.turn();
            return;
        }
        if inner.current.number != number {
            return;
        }
        let Some(before) = inner.before.take() else { return };
        let bad = std::mem::replace(&mut inner.current, before);
        let change = Change {
            timestamp: now,
            stage: self.stage.to_string(),
            event: Event::RolledBack,
            old_sha256: inner.current.sha256(),
            new_sha256: bad.sha256(),
            changed: bad.differences(&inner.current),
            reason,
            events: None,
        };
        inner.refused = Some(bad);
        self.turn();
        drop(inner);
        (self.tell)(change);
    }

    fn obey(&self, trial: &Arc<Trial>, verdict: Verdict, now: i64) {
        let mut inner = lock(&self.inner);
        // Another lane may have done it, or the trial is over for another reason.
        if !inner.trial.as_ref().is_some_and(|open| Arc::ptr_eq(open, trial)) {
            return;
        }
        match verdict {
            Verdict::Wait => return,
            Verdict::Promote(reason) => {
                inner.trial = None;
                let old = std::mem::replace(&mut inner.current, trial.version.clone());
                let told = self.change(&old, trial, Event::Promoted, reason, now);
                inner.before = Some(old);
                (self.tell)(told);
            }
            Verdict::RollBack(reason) => {
                inner.trial = None;
                inner.refused = Some(trial.version.clone());
                self.end_trial(&mut inner, trial, reason, now);
            }
        }
        self.turn();
    }

    fn end_trial(&self, inner: &mut Inner, trial: &Trial, reason: String, now: i64) {
        (self.tell)(self.change(&inner.current, trial, Event::RolledBack, reason, now));
    }

    fn change(&self, old: &Version, trial: &Trial, event: Event, reason: String, now: i64) -> Change {
        Change {
            timestamp: now,
            stage: self.stage.to_string(),
            event,
            old_sha256: old.sha256(),
            new_sha256: trial.version.sha256(),
            changed: trial.version.differences(old),
            reason,
            events: Some(lock(&trial.evidence).events),
        }
    }

    fn turn(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

fn age(began: i64, now: i64) -> Duration {
    Duration::from_nanos(u64::try_from(now.saturating_sub(began)).unwrap_or(0))
}

fn listed(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
