//! what the rules remember of earlier ticks: moves, and the proposals that a window still has to heed
//!
//!     highs  proposals of the last while, strictly falling: the first is the highest
//!     lows   the same, strictly rising: the first is the lowest
//!
//! A proposal that a later one matches or exceeds can never be the highest again, so it is forgotten: each list has at most one entry
//! for a number of replicas.
//!
//! **Always:** it is bounded, and stored with the decision's row, so that a restart forgets nothing.

use super::Policy;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Moves that are remembered; a rate or a flap budget of more is held to as many.
const MOVES_MAX: usize = 512;

/// What a scaler did and was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// changes of the number of replicas, oldest first
    #[serde(default)]
    moves: Vec<Move>,
    #[serde(default)]
    highs: Vec<Proposed>,
    #[serde(default)]
    lows: Vec<Proposed>,
}

/// One change of the number of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// the tick, ns UTC
    pub at: i64,
    /// replicas before
    pub from: u32,
    /// replicas after
    pub to: u32,
    /// an operator asked for it: it is no turn of ours
    #[serde(default)]
    ordered: bool,
}

/// What was proposed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposed {
    /// the tick, ns UTC
    pub at: i64,
    /// how many
    pub replicas: u32,
}

impl Move {
    fn is_up(self) -> bool {
        self.to > self.from
    }
}

impl History {
    /// The history of a scaler that begins with so many replicas: they count as proposed, so that it does not begin by taking away.
    pub fn begin(now: i64, replicas: u32) -> History {
        let first = Proposed { at: now, replicas };
        History { moves: Vec::new(), highs: vec![first], lows: vec![first] }
    }

    /// The last change, if any is remembered.
    pub fn last(&self) -> Option<Move> {
        self.moves.last().copied()
    }

    /// Time since the last change, ns.
    pub fn unchanged(&self, now: i64) -> Option<i64> {
        self.last().map(|last| now.saturating_sub(last.at).max(0))
    }

    /// Replicas added within the last while.
    pub fn added(&self, now: i64, within: Duration) -> u32 {
        self.recent(now, within).filter(|change| change.is_up()).map(|change| change.to - change.from).sum()
    }

    /// Replicas taken within the last while.
    pub fn taken(&self, now: i64, within: Duration) -> u32 {
        self.recent(now, within).filter(|change| !change.is_up()).map(|change| change.from - change.to).sum()
    }

    /// How often the direction turned within the last while.
    pub fn turns(&self, now: i64, within: Duration) -> u32 {
        let own = self.own();
        let pairs = own.iter().zip(own.iter().skip(1));
        let turns = pairs.filter(|(before, after)| before.is_up() != after.is_up() && is_within(after.at, now, within));
        u32::try_from(turns.count()).unwrap_or(u32::MAX)
    }

    /// Whether a change from our own number to this one would turn the direction.
    pub fn would_turn(&self, own: u32, to: u32) -> bool {
        to != own && self.own().last().is_some_and(|last| last.is_up() != (to > own))
    }

    /// The number without what an operator ordered last.
    pub fn own_number(&self, current: u32) -> u32 {
        let ordered = self.moves.iter().rev().take_while(|change| change.ordered);
        ordered.last().map_or(current, |first| first.from)
    }

    /// Changes that nobody ordered, as if there had been no orders between them.
    fn own(&self) -> Vec<Move> {
        let mut own = Vec::new();
        let mut before_order = None;
        for change in &self.moves {
            match change.ordered {
                true => drop(before_order.get_or_insert(change.from)),
                false => own.push(Move { from: before_order.take().unwrap_or(change.from), ..*change }),
            }
        }
        own.retain(|change| change.from != change.to);
        own
    }

    /// The highest proposal of the last while.
    pub fn highest(&self, now: i64, within: Duration) -> Option<Proposed> {
        self.highs.iter().find(|proposed| is_within(proposed.at, now, within)).copied()
    }

    /// The lowest proposal of the last while.
    pub fn lowest(&self, now: i64, within: Duration) -> Option<Proposed> {
        self.lows.iter().find(|proposed| is_within(proposed.at, now, within)).copied()
    }

    /// Takes note of a tick: what was proposed before the windows, and from how many to how many it went.
    pub fn note(&mut self, policy: &Policy, now: i64, proposed: u32, from: u32, to: u32) {
        let proposed = Proposed { at: now, replicas: proposed };
        self.highs.retain(|earlier| {
            is_within(earlier.at, now, policy.stabilize_down.0) && earlier.replicas > proposed.replicas
        });
        self.highs.push(proposed);
        self.lows.retain(|earlier| {
            is_within(earlier.at, now, policy.stabilize_up.0) && earlier.replicas < proposed.replicas
        });
        self.lows.push(proposed);
        if from != to {
            self.moves.push(Move { at: now, from, to, ordered: false });
        }
        // The last move always stays, also the last of ours: it tells the direction. So does the one before the oldest within reach.
        let reach = policy.reach();
        let out_of_reach = self.moves.iter().take_while(|change| !is_within(change.at, now, reach)).count();
        let own = self.moves.iter().take(out_of_reach).rposition(|change| !change.ordered);
        let over = self.moves.len().saturating_sub(MOVES_MAX);
        self.moves.drain(..out_of_reach.saturating_sub(1).min(own.unwrap_or(usize::MAX)).max(over));
    }

    /// The change of this tick, if there was one, was an operator's.
    pub fn was_ordered(&mut self, now: i64) {
        if let Some(last) = self.moves.last_mut().filter(|last| last.at == now) {
            last.ordered = true;
        }
    }

    /// The last change, if it was this one, did not happen after all.
    pub fn take_back(&mut self, from: u32, to: u32) {
        self.moves.pop_if(|last| last.from == from && last.to == to);
    }

    fn recent(&self, now: i64, within: Duration) -> impl Iterator<Item = Move> {
        self.moves.iter().filter(move |change| is_within(change.at, now, within)).copied()
    }
}

/// Whether something was less than a while ago. What lies ahead of a clock that was set back counts as now.
fn is_within(at: i64, now: i64, within: Duration) -> bool {
    now.saturating_sub(at) < crate::clock::nanos(within)
}
