//! what an autoscaler is asked, and what it answers

use crate::batch::Batch;

/// One tick of a scaler.
#[derive(Clone, Debug)]
pub struct Request {
    /// The tick's time in nanoseconds since 1970.
    pub now: i64,
    /// What is scaled.
    pub workload: Workload,
    /// The latest answers of the scaler's queries.
    pub signals: Vec<Signal>,
    /// The scaler's latest decisions, newest last.
    pub decisions: Vec<Decision>,
    /// What the deciders named in the scaler's `advisers` propose.
    pub advice: Vec<Advice>,
    /// What the last tick handed back; empty at first.
    pub state: Vec<u8>,
}

impl Request {
    /// The amount of a signal by its name; the error is a sentence for [`Request::hold`].
    pub fn amount(&self, name: &str) -> Result<f64, String> {
        let signal = self.signal(name).ok_or_else(|| format!("there is no signal `{name}`"))?;
        signal.amount().map_err(|why| format!("{name} {why}"))
    }

    /// As many as now, with why, and the state as it was.
    pub fn hold(&self, why: &str) -> Proposal {
        let now = self.workload.replicas;
        Proposal { replicas: now, reason: format!("held at {now}: {why}"), state: self.state.clone() }
    }

    /// A signal by its name.
    pub fn signal(&self, name: &str) -> Option<&Signal> {
        self.signals.iter().find(|signal| signal.name == name)
    }
}

/// What is scaled, and within which bounds the host keeps it.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// Its name in the configuration.
    pub name: String,
    /// How many replicas it is told to run now.
    pub replicas: u32,
    /// How many of them are ready.
    pub ready: u32,
    /// The host proposes no fewer.
    pub min: u32,
    /// The host proposes no more.
    pub max: u32,
    /// Its replicas; empty where they are not told apart.
    pub members: Vec<Replica>,
}

/// One replica of the workload.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Its name, as its signals carry it.
    pub name: String,
    /// Whether it serves.
    pub ready: bool,
    /// When it was started, in nanoseconds.
    pub started_at: i64,
    /// Since when it is ready, or not, in nanoseconds.
    pub changed_at: i64,
}

/// What an earlier tick decided.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The tick's time in nanoseconds.
    pub at: i64,
    /// How many replicas were asked for before.
    pub replicas: u32,
    /// What the plugin proposed; none if it failed.
    pub proposed: Option<u32>,
    /// How many were decided.
    pub decided: u32,
    /// Why.
    pub reason: String,
}

/// What another decider of the same workload proposes in this tick.
#[derive(Clone, Debug)]
pub struct Advice {
    /// Its name in the configuration.
    pub name: String,
    /// How many; none if it failed.
    pub replicas: Option<u32>,
    /// Why.
    pub reason: String,
}

/// The latest answer of one query of the scaler.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Its name in the configuration.
    pub name: String,
    /// Whether it can be believed.
    pub freshness: Freshness,
    /// The rows; none when missing or failed.
    pub table: Batch,
    /// Why it is not fresh.
    pub message: String,
    /// How far the sources behind it had come, in nanoseconds; none where nothing stands behind it.
    pub caught_up_at: Option<i64>,
}

impl Signal {
    /// Its amount: the first row's `value`, or its only column of numbers; finite and not negative. The error follows the signal's
    /// name: `is missing (no row)`.
    pub fn amount(&self) -> Result<f64, String> {
        let because = |state: &str| match self.message.as_str() {
            "" => state.to_owned(),
            message => format!("{state} ({message})"),
        };
        match self.freshness {
            Freshness::Missing => return Err(because("is missing")),
            Freshness::Failed => return Err(because("failed")),
            Freshness::Fresh | Freshness::Stale => (),
        }
        match self.first_number()? {
            value if value.is_finite() && value >= 0.0 => Ok(value),
            value => Err(format!("is {value}, which is no amount")),
        }
    }

    fn first_number(&self) -> Result<f64, String> {
        let numbers = || self.table.columns().filter_map(|column| Some((column.name(), column.floats()?)));
        let chosen = match numbers().find(|(name, _)| *name == "value") {
            Some((_, column)) => column,
            None => {
                let mut all = numbers();
                match (all.next(), all.next()) {
                    (Some((_, column)), None) => column,
                    (None, _) => return Err("has no column of numbers; call one `value`".to_owned()),
                    (Some(_), Some(_)) => return Err("has several columns of numbers; call one `value`".to_owned()),
                }
            }
        };
        chosen.get(0).ok_or_else(|| "has no value in its first row".to_owned())
    }
}

/// Whether a signal can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Answered, and every source behind it is caught up.
    Fresh,
    /// Answered, but a source behind it is not caught up.
    Stale,
    /// Answered with no row.
    Missing,
    /// Not answered.
    Failed,
}

/// `1 replica`, `3 replicas`.
pub fn in_replicas(count: u32) -> String {
    format!("{count} replica{}", if count == 1 { "" } else { "s" })
}

/// A number of replicas from a quotient, rounded up; a hair of floating point above a whole number costs no replica.
pub fn whole_replicas(wanted: f64) -> u32 {
    (wanted - wanted * 1e-9).ceil() as u32 // saturates; NaN is 0
}

/// How many replicas to run, and why.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    /// How many.
    pub replicas: u32,
    /// In words, with the figures.
    pub reason: String,
    /// What the next tick gets.
    pub state: Vec<u8>,
}
