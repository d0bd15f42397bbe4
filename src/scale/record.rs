//! a tick as it was: all that a decision was made from, so that it can be made again
//!
//!     request, policy, history, order ─► JSON, tables as Arrow IPC ─► zstd ─► column `record` of `tidemill.decisions`
//!     column ─► the same ─► the same plugin, the same policy ─► the same proposal and decision, bit for bit
//!
//! **Never:** anything that a decision depends on is left out; what is not in here must not be looked at by plugin or policy.

use super::memory::bytes_as_text;
use super::policy::{Belief, Case, Decision, History, Order, Policy};
use crate::error::{Error, ErrorKind, Result};
use crate::plugin::autoscaler::{Decided, Member};
use crate::plugin::{Advice, Freshness, Proposal, Request, Signal};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

/// The form of what is written; another one is not read.
const FORM: u32 = 1;
/// The largest record that is unpacked.
const BYTES_MAX: usize = 64 << 20;
/// How hard zstd tries.
const LEVEL: i32 = 1;

/// A tick as it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    form: u32,
    now: i64,
    workload: Workload,
    signals: Vec<WrittenSignal>,
    decisions: Vec<WrittenDecision>,
    advice: Vec<WrittenAdvice>,
    #[serde(with = "bytes_as_text")]
    state: Vec<u8>,
    /// the rules in force
    pub policy: Policy,
    history: History,
    order: Option<Order>,
    /// the most that those ask for who go by the time of day
    #[serde(default)]
    by_time: Option<u32>,
    /// why nobody knew how many replicas there are; empty where it was known
    #[serde(default)]
    unknown: String,
    /// why nothing could be changed; empty where it could
    #[serde(default)]
    standby: String,
    /// what the plugin answered
    pub answer: Answered,
}

/// What the plugin answered: a proposal, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// how many, why, and its state
    Proposed {
        /// how many replicas
        replicas: u32,
        /// why
        reason: String,
        /// for the next tick
        #[serde(with = "bytes_as_text")]
        state: Vec<u8>,
    },
    /// it failed
    Failed {
        /// with this
        message: String,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Workload {
    name: String,
    replicas: u32,
    ready: u32,
    min: u32,
    max: u32,
    members: Vec<WrittenMember>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WrittenMember {
    name: String,
    ready: bool,
    started_at: i64,
    changed_at: i64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WrittenSignal {
    name: String,
    freshness: String,
    message: String,
    caught_up_at: Option<i64>,
    #[serde(with = "bytes_as_text")]
    table: Vec<u8>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WrittenDecision {
    at: i64,
    replicas: u32,
    proposed: Option<u32>,
    decided: u32,
    reason: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WrittenAdvice {
    name: String,
    replicas: Option<u32>,
    reason: String,
}

impl Answered {
    /// What came of asking.
    pub fn of(answer: &Result<Proposal>) -> Answered {
        match answer {
            Ok(proposal) => Answered::Proposed {
                replicas: proposal.replicas,
                reason: proposal.reason.clone(),
                state: proposal.state.clone(),
            },
            Err(error) => Answered::Failed { message: error.to_string() },
        }
    }

    /// The same as it went on to the policy.
    pub fn proposal(&self) -> Result<Proposal> {
        match self {
            Answered::Proposed { replicas, reason, state } => {
                Ok(Proposal { replicas: *replicas, reason: reason.clone(), state: state.clone() })
            }
            Answered::Failed { message } => Err(Error::new(ErrorKind::Foreign, message.clone())),
        }
    }
}

impl Record {
    /// A tick, with what the plugin answered to it.
    pub fn new(
        request: &Request,
        policy: &Policy,
        history: &History,
        order: Option<&Order>,
        unknown: &str,
        by_time: Option<u32>,
        answer: Answered,
    ) -> Result<Record> {
        let member = |member: &Member| WrittenMember {
            name: member.name.clone(),
            ready: member.ready,
            started_at: member.started_at,
            changed_at: member.changed_at,
        };
        let signal = |signal: &Signal| -> Result<WrittenSignal> {
            Ok(WrittenSignal {
                name: signal.name.clone(),
                freshness: signal.freshness.word().to_owned(),
                message: signal.message.clone(),
                caught_up_at: signal.caught_up_at,
                table: ipc(&signal.table)?,
            })
        };
        let decision = |earlier: &Decided| WrittenDecision {
            at: earlier.at,
            replicas: earlier.replicas,
            proposed: earlier.proposed,
            decided: earlier.decided,
            reason: earlier.reason.clone(),
        };
        let advice = |advice: &Advice| WrittenAdvice {
            name: advice.name.clone(),
            replicas: advice.replicas,
            reason: advice.reason.clone(),
        };
        Ok(Record {
            form: FORM,
            now: request.now,
            workload: Workload {
                name: request.workload.clone(),
                replicas: request.replicas,
                ready: request.ready,
                min: request.min,
                max: request.max,
                members: request.members.iter().map(member).collect(),
            },
            signals: request.signals.iter().map(signal).collect::<Result<_>>()?,
            decisions: request.decisions.iter().map(decision).collect(),
            advice: request.advice.iter().map(advice).collect(),
            state: request.state.clone(),
            policy: policy.clone(),
            history: history.clone(),
            order: order.cloned(),
            by_time,
            unknown: unknown.to_owned(),
            standby: String::new(),
            answer,
        })
    }

    /// The same by somebody who may not act, with the reason; an empty one changes nothing.
    pub fn standing_by(mut self, why: &str) -> Record {
        why.clone_into(&mut self.standby);
        self
    }

    /// Packed, for the column.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let text = serde_json::to_vec(self)
            .map_err(|error| Error::internal(format!("a tick does not become JSON: {error}")))?;
        zstd::bulk::compress(&text, LEVEL).map_err(|error| Error::io("a tick cannot be packed", error))
    }

    /// Reads what was packed.
    pub fn unpack(bytes: &[u8]) -> Result<Record> {
        let wrong =
            |error: &dyn std::fmt::Display| Error::invalid(format!("the record of a tick cannot be read: {error}"));
        let text = zstd::bulk::decompress(bytes, BYTES_MAX).map_err(|error| wrong(&error))?;
        let record: Record = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        match record.form {
            FORM => Ok(record),
            form => Err(wrong(&format!("it is of form {form}, and this tidemill reads {FORM}"))),
        }
    }

    /// What the plugin was asked.
    pub fn request(&self) -> Result<Request> {
        let signal = |written: &WrittenSignal| -> Result<Signal> {
            Ok(Signal {
                name: written.name.clone(),
                freshness: Freshness::of_word(&written.freshness)
                    .ok_or_else(|| Error::invalid(format!("`{}` is no freshness", written.freshness)))?,
                table: table(&written.table)?,
                message: written.message.clone(),
                caught_up_at: written.caught_up_at,
            })
        };
        let member = |written: &WrittenMember| Member {
            name: written.name.clone(),
            ready: written.ready,
            started_at: written.started_at,
            changed_at: written.changed_at,
        };
        let decision = |written: &WrittenDecision| Decided {
            at: written.at,
            replicas: written.replicas,
            proposed: written.proposed,
            decided: written.decided,
            reason: written.reason.clone(),
        };
        let advice = |written: &WrittenAdvice| Advice {
            name: written.name.clone(),
            replicas: written.replicas,
            reason: written.reason.clone(),
        };
        Ok(Request {
            now: self.now,
            workload: self.workload.name.clone(),
            replicas: self.workload.replicas,
            ready: self.workload.ready,
            min: self.workload.min,
            max: self.workload.max,
            members: self.workload.members.iter().map(member).collect(),
            signals: self.signals.iter().map(signal).collect::<Result<_>>()?,
            decisions: self.decisions.iter().map(decision).collect(),
            advice: self.advice.iter().map(advice).collect(),
            state: self.state.clone(),
        })
    }

    /// What the policy makes of an answer to it.
    pub fn decide(&self, answer: &Answered) -> Result<Decision> {
        let request = self.request()?;
        let mut beliefs: Vec<Belief> = request.signals.iter().map(Belief::of).collect();
        // Who does not know how many there are cannot know that some are too many.
        beliefs.extend((!self.unknown.is_empty()).then(|| Belief {
            name: "number of replicas".to_owned(),
            freshness: Freshness::Missing,
            message: self.unknown.clone(),
        }));
        let proposal = answer.proposal();
        let decision = self.policy.decide(Case {
            now: self.now,
            current: self.workload.replicas,
            proposal: proposal.as_ref(),
            beliefs: &beliefs,
            by_time: self.by_time,
            history: &self.history,
            order: self.order.as_ref(),
        });
        match self.standby.as_str() {
            "" => Ok(decision),
            why => Ok(decision.stand_by(self.workload.replicas, why)),
        }
    }
}

fn ipc(table: &RecordBatch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, table.schema_ref())?;
    writer.write(table)?;
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

fn table(bytes: &[u8]) -> Result<RecordBatch> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    match reader.next() {
        Some(batch) => Ok(batch?),
        None => Ok(RecordBatch::new_empty(schema)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Float64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn what_was_packed_is_asked_and_decided_again() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("value", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), Some(f64::NAN), None]))),
            ("replica", Arc::new(StringArray::from(vec![Some("1"), None, Some("ü")]))),
        ];
        let request = Request {
            now: 1_000_000_000,
            workload: "web".into(),
            replicas: 4,
            ready: 3,
            min: 1,
            max: 9,
            members: vec![Member { name: "1".into(), ready: true, started_at: 5, changed_at: 6 }],
            signals: vec![Signal {
                name: "rps".into(),
                freshness: Freshness::Stale,
                table: RecordBatch::try_from_iter_with_nullable(
                    columns.into_iter().map(|(name, column)| (name, column, true)),
                )
                .unwrap(),
                message: "file is behind".into(),
                caught_up_at: Some(17),
            }],
            decisions: vec![Decided { at: 3, replicas: 1, proposed: Some(4), decided: 4, reason: "load".into() }],
            advice: vec![Advice { name: "forecast".into(), replicas: None, reason: "it failed".into() }],
            state: vec![0, 1, 255],
        };
        let policy = Policy::bounds(1, 9);
        let answer = Answered::Proposed { replicas: 2, reason: "less".into(), state: vec![9] };
        let record = Record::new(&request, &policy, &History::begin(0, 4), None, "", None, answer.clone()).unwrap();
        let again = Record::unpack(&record.pack().unwrap()).unwrap();
        assert_eq!(format!("{:?}", again.request().unwrap()), format!("{request:?}"));
        assert_eq!((&again.policy, &again.answer), (&policy, &answer));
        let decision = again.decide(&answer).unwrap();
        assert_eq!((decision.replicas, decision.clamps[0].name), (4, "evidence"));
        assert_eq!(decision, record.decide(&answer).unwrap());
        assert!(Record::unpack(b"nothing").is_err());
    }
}
