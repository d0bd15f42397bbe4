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
    /// the answers
    pub signals: Vec<Signal>,
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
