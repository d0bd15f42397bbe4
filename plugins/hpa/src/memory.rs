//! what is remembered from tick to tick: proposals within the windows, changes within the periods, and when a level was last known
//!
//! A proposal that a later one matches or exceeds can never be the highest again, so it is forgotten, and likewise for the lowest: the
//! state holds at most one entry for each number of replicas.

use serde::{Deserialize, Serialize};
use tidemill_plugin::Request;

use crate::behavior::{At, Behavior};

/// The state, as JSON.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Memory {
    /// proposals, strictly falling
    highs: Vec<At>,
    /// proposals, strictly rising
    lows: Vec<At>,
    /// replicas added, when and how many
    pub added: Vec<At>,
    /// replicas taken
    pub taken: Vec<At>,
    /// the replicas of the last tick
    replicas: Option<u32>,
    /// when that was
    at: i64,
    /// the replicas when every signal was last fresh
    known: Option<u32>,
}

impl Memory {
    /// What the state remembers, brought up to now. At the very first tick the replicas of now count as proposed, so that a new
    /// scaler does not begin by taking away.
    pub fn read(request: &Request, behavior: &Behavior) -> Memory {
        let (now, replicas) = (request.now, request.workload.replicas);
        let mut memory: Memory = serde_json::from_slice(&request.state).unwrap_or_default();
        match memory.replicas {
            // A change since the last tick was decided in it.
            Some(before) if before < replicas => memory.added.push(At { at: memory.at, replicas: replicas - before }),
            Some(before) if before > replicas => memory.taken.push(At { at: memory.at, replicas: before - replicas }),
            Some(_) => (),
            None => memory.propose(now, replicas),
        }
        let since = now - behavior.reach();
        memory.added.retain(|change| change.at > since);
        memory.taken.retain(|change| change.at > since);
        memory.highs.retain(|proposed| proposed.at > now - behavior.down.window_nanos() || proposed.at == now);
        memory.lows.retain(|proposed| proposed.at > now - behavior.up.window_nanos() || proposed.at == now);
        memory.replicas = Some(replicas);
        memory.at = now;
        memory
    }

    /// The replicas that a stale level is measured against: those of when it was known, or those of now if they are fewer. A level
    /// that stands still would ask for more at each tick, because each time there are more replicas to multiply it by.
    pub fn known(&self, replicas: u32) -> u32 {
        self.known.map_or(replicas, |known| known.min(replicas))
    }

    /// Every signal is fresh.
    pub fn all_fresh(&mut self, replicas: u32) {
        self.known = Some(replicas);
    }

    /// One of them is not: what a level is measured against stays.
    pub fn not_fresh(&mut self, replicas: u32) {
        self.known = Some(self.known(replicas));
    }

    /// Takes a proposal into the windows.
    pub fn propose(&mut self, now: i64, replicas: u32) {
        self.hold(now, replicas);
        self.lows.retain(|earlier| earlier.replicas < replicas);
        self.lows.push(At { at: now, replicas });
    }

    /// Takes a number that is only held into the window downwards: nothing was seen that speaks for fewer. It does not speak against
    /// more either.
    pub fn hold(&mut self, now: i64, replicas: u32) {
        self.highs.retain(|earlier| earlier.replicas > replicas);
        self.highs.push(At { at: now, replicas });
    }

    /// The highest proposal within the window downwards.
    pub fn highest(&self) -> Option<At> {
        self.highs.first().copied()
    }

    /// The lowest proposal within the window upwards.
    pub fn lowest(&self) -> Option<At> {
        self.lows.first().copied()
    }

    /// For the next tick.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
