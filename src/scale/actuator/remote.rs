//! a workload that something else runs: told how many, one telling at a time, and looked at now and then
//!
//!     carry_out ─► my turn ─► a rest after failures ─► deliver ─► look until they are there ─► outcome
//!         └────────────── a newer number was decided: given up, and why ──────────────┘
//!     observer ─► look, now and then ─► how many there are; another number than was acknowledged is asked for again
//!
//! **Always:** tellings arrive in the order of their decisions; each has one key, however often it is tried.
//! **Never:** a delivery or a look holds up anybody but those who wait for this workload.

use super::{Actuator, Change, Ground, Outcome, Status};
use crate::clock::nanos;
use crate::error::{Error, ErrorKind, Result};
use crate::scale::policy::replicas as count;
use crate::units::Span;
use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The rest after a first failed telling; doubled up to [`REST_MAX`].
const REST_MIN: Duration = Duration::from_millis(500);
const REST_MAX: Duration = Duration::from_secs(60);
/// Time between two looks while somebody waits for replicas.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long the start of Tidemill waits for a first look.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(5);
/// Looks that may fail in a row before nobody knows any more how many there are.
const FAILED_LOOKS_MAX: u32 = 3;

/// How the other side is told, and looked at.
pub(super) trait Deliver: Send + Sync + 'static {
    /// Tells it, with as many tries as it takes; every wait in between goes through `newer`.
    fn deliver<'a>(&'a self, errand: &'a Errand, newer: &'a Newer) -> BoxFuture<'a, Result<Delivered>>;
    /// Whether it can be looked at.
    fn can_look(&self) -> bool;
    /// How many there are.
    fn look(&self) -> BoxFuture<'_, Result<Seen>>;
}

/// One telling.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    /// what was decided
    pub change: Change,
    /// its name, the same at each try; another one only where what was acknowledged did not come true or did not last
    pub key: String,
}

/// What came of a telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// it was acknowledged, in words
    Acknowledged(String),
    /// given up for a newer number; what had come of it until then, in words
    GivenUp(String),
}

/// How many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// replicas that there are
    pub replicas: u32,
    /// replicas that serve
    pub ready: u32,
}

/// How often a workload is looked at, and how long it may take to be as it was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// time between two looks
    pub observe_every: Duration,
    /// time for replicas to be there and ready
    pub settle: Duration,
}

/// Knows when a newer number was decided.
pub(super) struct Newer {
    latest: watch::Receiver<u64>,
    mine: u64,
}

impl Newer {
    /// Returns when a newer number is there.
    pub async fn came(&self) {
        let (mut latest, mine) = (self.latest.clone(), self.mine);
        // The sender lives as long as its workload; where it is gone nothing comes any more.
        if latest.wait_for(|number| *number > mine).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits; false if a newer number came meanwhile.
    pub async fn rest(&self, wait: Duration) -> bool {
        tokio::select! {
            biased;
            () = self.came() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}

/// A workload that something else runs.
pub(super) struct Remote<D> {
    inner: Arc<Inner<D>>,
    observer: Option<JoinHandle<()>>,
}

struct Inner<D> {
    door: D,
    ground: Ground,
    patience: Patience,
    /// counts numbers asked for
    latest: watch::Sender<u64>,
    /// held while the other side is told
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// what was last acknowledged
    acknowledged: Option<Acknowledged>,
    /// tellings that failed in a row
    failures: u32,
    /// tellings at work or waiting
    under_way: u32,
    /// what the last look that worked saw, and when
    seen: Option<(Seen, i64)>,
    /// looks that failed in a row, and what the last one said
    missed: u32,
    fault: String,
}

struct Acknowledged {
    decision: String,
    /// how often it had been acknowledged before
    again: u32,
    replicas: u32,
}

impl<D: Deliver> Remote<D> {
    /// Opens it: what there is already is looked at before anything is decided.
    pub async fn open(door: D, ground: Ground, patience: Patience) -> Remote<D> {
        let inner = Arc::new(Inner {
            door,
            ground,
            patience,
            latest: watch::Sender::new(0),
            turn: tokio::sync::Mutex::default(),
            state: Mutex::default(),
        });
        let observer = inner.door.can_look().then(|| inner.clone());
        let observer = match observer {
            None => None,
            Some(inner) => {
                if tokio::time::timeout(FIRST_LOOK_MAX, inner.look()).await.is_err() {
                    let limit = Span(FIRST_LOOK_MAX);
                    inner.note(Err(Error::new(ErrorKind::Limit, format!("no first answer within {limit}"))));
                }
                Some(tokio::spawn(inner.observe()))
            }
        };
        Remote { inner, observer }
    }

    async fn tell(&self, change: &Change) -> Result<Outcome> {
        let inner = &self.inner;
        let began = inner.ground.clock.now();
        inner.latest.send_modify(|number| *number += 1);
        let newer = Newer { latest: inner.latest.subscribe(), mine: *inner.latest.borrow() };
        let _busy = Busy::begin(&inner.state);
        let given_up = |what: &str| {
            let seconds = inner.seconds_since(began);
            let what = if what.is_empty() { String::new() } else { format!(" ({what})") };
            let words = format!("given up after {seconds:.1} s: another number was decided meanwhile{what}");
            Ok(Outcome { reached: false, words })
        };
        let _turn = tokio::select! {
            biased;
            () = newer.came() => return given_up("it had not been told yet"),
            turn = inner.turn.lock() => turn,
        };
        let failures = lock(&inner.state).failures;
        if failures > 0 && !newer.rest(rest(failures)).await {
            return given_up("it rested after a failure");
        }
        let again = inner.again(change);
        let key = if again == 0 { change.decision.clone() } else { format!("{}/{again}", change.decision) };
        let errand = Errand { change: change.clone(), key };
        let words = match inner.door.deliver(&errand, &newer).await {
            Ok(Delivered::Acknowledged(words)) => words,
            Ok(Delivered::GivenUp(words)) => return given_up(&words),
            Err(error) => {
                let mut state = lock(&inner.state);
                state.failures = state.failures.saturating_add(1);
                return Err(error);
            }
        };
        {
            let mut state = lock(&inner.state);
            state.failures = 0;
            let (decision, replicas) = (change.decision.clone(), change.to);
            state.acknowledged = Some(Acknowledged { decision, again, replicas });
        }
        tracing::info!(workload = inner.ground.workload, replicas = change.to, key = errand.key, "acknowledged");
        match inner.door.can_look() {
            false => Ok(Outcome { reached: true, words }),
            true => Ok(inner.settle(change.to, began, words, &newer).await),
        }
    }
}

impl<D: Deliver> Inner<D> {
    /// How often this decision was acknowledged already.
    fn again(&self, change: &Change) -> u32 {
        let state = lock(&self.state);
        let before = state.acknowledged.as_ref().filter(|told| told.decision == change.decision);
        before.map_or(0, |told| told.again.saturating_add(1))
    }

    /// Looks until there are as many as were asked for, and all of them serve.
    async fn settle(&self, replicas: u32, began: i64, words: String, newer: &Newer) -> Outcome {
        let until = self.ground.clock.now().saturating_add(nanos(self.patience.settle));
        loop {
            self.look().await;
            let standing = {
                let state = lock(&self.state);
                match (&state.seen, state.missed) {
                    (Some((seen, _)), 0) if seen.replicas == replicas && seen.ready >= replicas => None,
                    (Some((seen, _)), 0) => Some(format!("{} there, {} ready", count(seen.replicas), seen.ready)),
                    (_, _) => Some(format!("how many there are is not known: {}", state.fault)),
                }
            };
            let seconds = self.seconds_since(began);
            let Some(standing) = standing else {
                return Outcome {
                    reached: true,
                    words: format!("{words}; {} ready after {seconds:.1} s", count(replicas)),
                };
            };
            let (reached, asked) = (false, count(replicas));
            if self.ground.clock.now() >= until {
                return Outcome { reached, words: format!("{words}; of {asked} after {seconds:.1} s: {standing}") };
            }
            if !newer.rest(LOOK_EVERY).await {
                let words = format!("{words}; another number was decided after {seconds:.1} s: {standing}");
                return Outcome { reached, words };
            }
        }
    }

    async fn observe(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.patience.observe_every).await;
            self.look().await;
        }
    }

    async fn look(&self) {
        let seen = self.door.look().await;
        self.note(seen);
    }

    fn note(&self, seen: Result<Seen>) {
        let now = self.ground.clock.now();
        let mut state = lock(&self.state);
        match seen {
            Ok(seen) => {
                if state.missed > 0 {
                    tracing::info!(workload = self.ground.workload, "replicas can be counted again");
                }
                (state.seen, state.missed, state.fault) = (Some((seen, now)), 0, String::new());
            }
            Err(error) => {
                if state.missed == 0 {
                    tracing::warn!(workload = self.ground.workload, %error, "replicas cannot be counted");
                }
                state.missed = state.missed.saturating_add(1);
                state.fault = error.to_string();
            }
        }
    }

    fn seconds_since(&self, began: i64) -> f64 {
        self.ground.clock.now().saturating_sub(began).max(0) as f64 / 1e9
    }
}

impl<D: Deliver> Actuator for Remote<D> {
    fn apply(&self, replicas: u32) -> BoxFuture<'_, Result<Outcome>> {
        let (from, at) = (self.status().asked, self.inner.ground.clock.now());
        let change = Change {
            decision: format!("{}/{at}", self.inner.ground.workload),
            scaler: String::new(),
            at,
            from,
            to: replicas,
            reason: "Nothing scales this workload: it is asked for once.".to_owned(),
        };
        Box::pin(async move { self.tell(&change).await })
    }

    fn carry_out<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Outcome>> {
        Box::pin(self.tell(change))
    }

    fn status(&self) -> Status {
        let state = lock(&self.inner.state);
        let acknowledged = state.acknowledged.as_ref().map(|told| told.replicas);
        let seen = state.seen.map(|(seen, _)| seen);
        let told = acknowledged.or(seen.map(|seen| seen.replicas)).unwrap_or(0);
        let asked = match seen {
            // Somebody else may have changed it: then it is not as asked, and is asked for again.
            Some(seen) if state.under_way == 0 && state.missed == 0 => seen.replicas,
            Some(_) | None => told,
        };
        let doubtful = self.inner.door.can_look() && (seen.is_none() || state.missed >= FAILED_LOOKS_MAX);
        Status {
            asked,
            found: seen.filter(|_| state.missed == 0).map(|seen| seen.replicas),
            running: seen.map_or(told, |seen| seen.replicas),
            ready: seen.map_or(told, |seen| seen.ready),
            unknown: if doubtful { state.fault.clone() } else { String::new() },
            ..Status::default()
        }
    }

    fn targets(&self) -> Vec<String> {
        Vec::new()
    }

    fn dry_run(&self) -> bool {
        false
    }

    /// The workload is not ours: it goes on as it is.
    fn stop(&self) -> BoxFuture<'_, ()> {
        if let Some(observer) = &self.observer {
            observer.abort();
        }
        Box::pin(async {})
    }
}

impl<D> Drop for Remote<D> {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            observer.abort();
        }
    }
}

/// Counts a telling while it is under way, also when it is dropped in the middle.
struct Busy<'a>(&'a Mutex<State>);

impl<'a> Busy<'a> {
    fn begin(state: &'a Mutex<State>) -> Busy<'a> {
        lock(state).under_way += 1;
        Busy(state)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = lock(self.0);
        state.under_way = state.under_way.saturating_sub(1);
    }
}

fn rest(failures: u32) -> Duration {
    REST_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16))).min(REST_MAX)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "remote_tests.rs"]
mod tests;
