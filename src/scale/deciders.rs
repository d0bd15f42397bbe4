//! the plugins of a scaler: the one that decides, those that advise it, and the one that only shows what it would do
//!
//!     signals ─┬─► advisers ─► advice ─┐
//!              └───────────────────────┴─► live ─► proposal           (the same request) ─► shadow ─► only recorded
//!
//! Each has a state of its own, which is stored with the decision. A promoted shadow and the live one have changed places.

use super::record::Answered;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::engine::sha256;
use crate::plugin::{Advice, Proposal, Request};
use crate::units::Span;
use futures::future::{BoxFuture, join_all};
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest that a plugin may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// The most state a plugin may keep between ticks.
const STATE_BYTES_MAX: usize = 1 << 20;
/// The name under which the shadow's answers and state are kept.
pub const SHADOW: &str = "shadow";

/// A plugin, asked once a tick.
pub trait Decide: Send {
    /// What it proposes. Runs elsewhere than on the caller's thread, and ends by itself in bounded time.
    fn decide(&mut self, request: Request) -> BoxFuture<'_, Result<Proposal>>;
    /// The hash of its code.
    fn plugin_hash(&self) -> &str;
    /// Whether it goes by the time of day too, as a schedule does.
    fn reads_time(&self) -> bool;
}

/// A plugin in its place.
pub struct Decider {
    /// the plugin's name in the pipeline file
    pub plugin: String,
    /// its settings as JSON
    pub settings: String,
    /// what is asked
    pub decide: Box<dyn Decide>,
}

/// All plugins of a scaler.
pub struct Deciders {
    /// the one that decides
    pub live: Decider,
    /// those that advise it, by name
    pub advisers: BTreeMap<String, Decider>,
    /// the one that only shows what it would do
    pub shadow: Option<Decider>,
}

/// What came of asking one.
pub struct Asked {
    /// what it answered
    pub answer: Answered,
    /// how long that took, in seconds
    pub seconds: f64,
}

impl Decider {
    /// Its code and settings, as one name.
    pub fn identity(&self) -> String {
        format!("{}:{}", self.decide.plugin_hash(), sha256(self.settings.as_bytes()))
    }

    /// Asks it; an answer that takes too long or keeps too much is none.
    pub async fn ask(&mut self, request: Request, clock: &Clock) -> Asked {
        let began = clock.now();
        let answer = match tokio::time::timeout(ANSWER_MAX, self.decide.decide(request)).await {
            Ok(Ok(proposal)) => bounded(proposal),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(ErrorKind::Limit, format!("no proposal within {}", Span(ANSWER_MAX)))),
        };
        let seconds = clock.now().saturating_sub(began).max(0) as f64 / 1e9;
        Asked { answer: Answered::of(&answer), seconds }
    }
}

impl Deciders {
    /// Asks every adviser with a state of its own, all at once.
    pub async fn advise(
        &mut self,
        request: &Request,
        states: &BTreeMap<String, Vec<u8>>,
        clock: &Clock,
    ) -> BTreeMap<String, Asked> {
        let asked = self.advisers.iter_mut().map(async |(name, decider)| {
            let state = states.get(name).cloned().unwrap_or_default();
            (name.clone(), decider.ask(Request { state, ..request.clone() }, clock).await)
        });
        join_all(asked).await.into_iter().collect()
    }

    /// The most that those ask for who go by the time of day: the live one, and advisers.
    pub fn by_time(&self, live: &Asked, advice: &BTreeMap<String, Asked>) -> Option<u32> {
        let own = self.live.decide.reads_time().then_some(live);
        let advisers = self.advisers.iter().filter(|(_, adviser)| adviser.decide.reads_time());
        let asked = own.into_iter().chain(advisers.filter_map(|(name, _)| advice.get(name)));
        asked.filter_map(|asked| asked.proposed()).max()
    }

    /// The live one and the shadow change places; false where there is no shadow.
    pub fn promote(&mut self) -> bool {
        match &mut self.shadow {
            Some(shadow) => {
                std::mem::swap(&mut self.live, shadow);
                true
            }
            None => false,
        }
    }
}

impl Asked {
    /// How many it proposed; nothing if it failed.
    fn proposed(&self) -> Option<u32> {
        match &self.answer {
            Answered::Proposed { replicas, .. } => Some(*replicas),
            Answered::Failed { .. } => None,
        }
    }

    /// As the plugin that combines is shown it.
    pub fn advice(&self, name: &str) -> Advice {
        let name = name.to_owned();
        match &self.answer {
            Answered::Proposed { replicas, reason, .. } => {
                Advice { name, replicas: Some(*replicas), reason: reason.clone() }
            }
            Answered::Failed { message } => Advice { name, replicas: None, reason: message.clone() },
        }
    }

    /// Its state for the next tick: the one before if it failed.
    pub fn state(&self, before: Option<&Vec<u8>>) -> Vec<u8> {
        match &self.answer {
            Answered::Proposed { state, .. } => state.clone(),
            Answered::Failed { .. } => before.cloned().unwrap_or_default(),
        }
    }
}

fn bounded(proposal: Proposal) -> Result<Proposal> {
    let bytes = proposal.state.len();
    match bytes > STATE_BYTES_MAX {
        true => {
            let message = format!("it handed back {bytes} bytes of state; at most {STATE_BYTES_MAX}");
            Err(Error::new(ErrorKind::Limit, message))
        }
        false => Ok(proposal),
    }
}
