//! what an autoscaler is asked and what it proposes

use arrow::record_batch::RecordBatch;

/// How far a signal's answer can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// answered, and every source behind it is caught up
    Fresh,
    /// answered, but a source behind it is not caught up
    Stale,
    /// answered with no row, or only with null
    Missing,
    /// not answered
    Failed,
}

impl Freshness {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Freshness::Fresh => "fresh",
            Freshness::Stale => "stale",
            Freshness::Missing => "missing",
            Freshness::Failed => "failed",
        }
    }

    /// What has this word.
    pub fn of_word(word: &str) -> Option<Freshness> {
        [Freshness::Fresh, Freshness::Stale, Freshness::Missing, Freshness::Failed]
            .into_iter()
            .find(|it| it.word() == word)
    }
}

/// The latest answer of one of the scaler's queries.
#[derive(Clone, Debug)]
pub struct Signal {
    /// its name in the pipeline file
    pub name: String,
    /// how far it can be believed
    pub freshness: Freshness,
    /// the answer; no rows when missing or failed
    pub table: RecordBatch,
    /// why it is not fresh; empty when it is
    pub message: String,
    /// how far the sources behind it had come, ns UTC; none where nothing stands behind it
    pub caught_up_at: Option<i64>,
}

/// One replica of the workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// its name, as its signals carry it
    pub name: String,
    /// whether it serves
    pub ready: bool,
    /// when it was started, ns UTC
    pub started_at: i64,
    /// since when it is ready, or not, ns UTC
    pub changed_at: i64,
}

/// What an earlier tick decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// the tick's time, ns UTC
    pub at: i64,
    /// replicas asked for before
    pub replicas: u32,
    /// what the plugin proposed; none if it failed
    pub proposed: Option<u32>,
    /// what was decided
    pub decided: u32,
    /// why
    pub reason: String,
}

/// What another decider of the same workload proposes in this tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// its name in the pipeline file
    pub name: String,
    /// what it proposes; none if it failed
    pub replicas: Option<u32>,
    /// why, or why it failed
    pub reason: String,
}

/// What an autoscaler is asked at a tick.
#[derive(Clone, Debug)]
pub struct Request {
    /// the tick's time, ns UTC
    pub now: i64,
    /// the workload's name
    pub workload: String,
    /// replicas asked for at present
    pub replicas: u32,
    /// replicas that are ready
    pub ready: u32,
    /// the policy's least
    pub min: u32,
    /// the policy's most
    pub max: u32,
    /// its replicas, as far as whoever runs them tells them apart
    pub members: Vec<Member>,
    /// the answers
    pub signals: Vec<Signal>,
    /// the latest decisions, newest last
    pub decisions: Vec<Decided>,
    /// what other deciders propose
    pub advice: Vec<Advice>,
    /// what the last tick handed back; empty at first
    pub state: Vec<u8>,
}

/// What it proposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// how many replicas should run
    pub replicas: u32,
    /// why, in words
    pub reason: String,
    /// for the next tick
    pub state: Vec<u8>,
}
