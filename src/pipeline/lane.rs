//! a source's lane: its deliveries in order, each through every stage it reaches, into one append
//!
//! A lane is a thread of its own. It does not wait for an append to be safe before it takes the next delivery: the store keeps the
//! order, and the delivery's own promise tells the source. Only where a stage remembers and the append may be refused, it waits.
//!
//! **Never:** a stage remembers a delivery that was refused, or one twice that was sent twice.

use super::config::OnError;
use super::graph::Node;
use super::stage::{Outcome, Remembered, Stage};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::columns::{BODY, RAW};
use crate::event::{
    Accepted, Ack, Batch, DeadLetter, Delivery, Kind, Position, Replay, TableName, dead_letter, replay,
};
use crate::store::Append;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Takes an append; answers the promise when it is safe. It keeps the order of calls.
pub type Submit = Arc<dyn Fn(Append, Ack) + Send + Sync>;

/// Where a source's events go: its own targets, and those of each stage.
pub struct Plan {
    /// the name of the source
    pub source: Arc<str>,
    /// where its events go first
    pub first: Vec<Node>,
    /// each stage that they can reach, with where its events go
    pub stages: BTreeMap<String, (Stage, Vec<Node>)>,
    /// the tables they can reach
    pub tables: BTreeMap<String, TableName>,
}

impl Plan {
    /// The tables that events reach after a stage.
    pub fn tables_after(&self, stage: &str) -> BTreeSet<String> {
        let (mut tables, mut waiting) = (BTreeSet::new(), vec![stage]);
        while let Some(name) = waiting.pop() {
            for node in self.stages.get(name).into_iter().flat_map(|(_, next)| next) {
                match node {
                    Node::Table(table) => drop(tables.insert(table.clone())),
                    Node::Stage(next) => waiting.push(next),
                }
            }
        }
        tables
    }
}

/// A source's lane.
pub struct Lane {
    plan: Plan,
    clock: Clock,
    submit: Submit,
    /// dead letters so far
    letters: u64,
}

/// What one delivery becomes.
#[derive(Default)]
struct Yield {
    tables: Vec<(TableName, Kind, RecordBatch)>,
    dead: Vec<DeadLetter>,
    /// dead letters that reached a table, when they came again
    landed: BTreeSet<String>,
}

impl Lane {
    /// A lane over this plan.
    pub fn new(plan: Plan, clock: Clock, submit: Submit) -> Lane {
        Lane { plan, clock, submit, letters: 0 }
    }

    /// Takes deliveries until there are no more. Fails where a stage says that its source must stop.
    pub fn run(mut self, mut deliveries: mpsc::Receiver<Delivery>) -> Result<()> {
        while let Some(delivery) = deliveries.blocking_recv() {
            self.take(delivery)?;
        }
        Ok(())
    }

    /// Runs one delivery through its stages and hands over what came of it.
    pub fn take(&mut self, delivery: Delivery) -> Result<()> {
        let mut ack = delivery.ack;
        let unread = delivery.dead.len();
        let mut yielded = Yield { dead: delivery.dead, ..Yield::default() };
        self.plan.stages.values_mut().for_each(|(stage, _)| stage.renew());
        let first = match &delivery.replay {
            Some(replay) => vec![Node::Stage(replay.stage().to_owned())],
            None => self.plan.first.clone(),
        };
        let before: Vec<Remembered> = self.plan.stages.values().map(|(stage, _)| stage.remembered()).collect();
        let outcome = match &delivery.replay {
            Some(Replay::Rows { stage, into: Some(table) }) => self.only(stage, table, &delivery.batch, &mut yielded),
            Some(_) | None => self.flow(&first, &delivery.batch, &mut yielded),
        };
        if let Err(error) = outcome {
            self.recall(before);
            // Letters that fail again stay where they are: no source has to stop for them.
            let stop = error.kind() == ErrorKind::Foreign && delivery.replay.is_none();
            ack.answer(Err(error.clone()));
            tracing::error!(source = &*self.plan.source, %error, "a delivery was not taken");
            return if stop { Err(error) } else { Ok(()) };
        }
        ack.tell(yielded.dead.get(unread..).unwrap_or_default());
        let accepted = Accepted {
            rows: yielded.tables.iter().map(|(_, _, rows)| rows.num_rows() as u64).sum(),
            dead: yielded.dead.len() as u64,
            repeated: false,
        };
        if let Some(Replay::Letters { stage, run }) = &delivery.replay {
            let marks =
                replay::marks((stage, run), &delivery.batch.columns, &yielded.landed, &yielded.dead, self.clock.now())?;
            yielded.tables.push((replay::table(), marks.kind, marks.columns));
        }
        let mut append = Append {
            tables: yielded.tables,
            positions: delivery.positions,
            key: delivery.key,
            accepted,
            patient: delivery.patient,
        };
        if !yielded.dead.is_empty() {
            let batch = dead_letter::batch(&yielded.dead, self.letters)?;
            self.letters += yielded.dead.len() as u64;
            append.tables.push((dead_letter::table(), batch.kind, batch.columns));
        }
        // Looked at before the commit, which a state that nobody reads any more does not outlive.
        let remembers = self.plan.stages.values().any(|(stage, _)| stage.keeps_state());
        for (name, (stage, _)) in &mut self.plan.stages {
            if let Some(value) = stage.commit() {
                append.positions.push(Position { name: state_name(name, &self.plan.source), value });
            }
        }
        if append.patient || !remembers {
            (self.submit)(append, ack);
            return Ok(());
        }
        // What may be refused, or is known already, and is sent again must find the states as they were: the next delivery waits.
        let (stored, answer) = Ack::new();
        (self.submit)(append, stored);
        let answer = answer.blocking_recv().unwrap_or_else(|_| Err(Error::internal("an append was never answered")));
        if !answer.as_ref().is_ok_and(|accepted| !accepted.repeated) {
            self.recall(before);
        }
        ack.answer(answer);
        Ok(())
    }

    fn recall(&mut self, before: Vec<Remembered>) {
        self.plan.stages.values_mut().zip(before).for_each(|((stage, _), remembered)| stage.recall(remembered));
    }

    /// Runs one stage, and puts all it makes into one table.
    fn only(&mut self, name: &str, table: &TableName, batch: &Batch, yielded: &mut Yield) -> Result<()> {
        let (stage, _) = self.plan.stages.get_mut(name).ok_or_else(|| lost(name))?;
        let outcome = stage.run(batch)?;
        bury(stage, &outcome, batch.kind, &self.plan.source, self.clock.now(), yielded)?;
        let made = outcome.batches.into_iter().map(|batch| (table.clone(), batch.kind, batch.columns));
        yielded.tables.extend(made);
        Ok(())
    }

    fn flow(&mut self, nodes: &[Node], batch: &Batch, yielded: &mut Yield) -> Result<()> {
        if batch.columns.num_rows() == 0 {
            return Ok(());
        }
        for node in nodes {
            match node {
                Node::Table(name) => {
                    let table = self.plan.tables.get(name).cloned();
                    let table = table.ok_or_else(|| Error::internal(format!("no table `{name}` in the lane")))?;
                    yielded.tables.push((table, batch.kind, replay::landed(&batch.columns, &mut yielded.landed)));
                }
                Node::Stage(name) => {
                    let (stage, next) = self.plan.stages.get_mut(name).ok_or_else(|| lost(name))?;
                    let outcome = stage.run(batch)?;
                    bury(stage, &outcome, batch.kind, &self.plan.source, self.clock.now(), yielded)?;
                    let next = next.clone();
                    for batch in &outcome.batches {
                        self.flow(&next, batch, yielded)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Under which name a stage's state is committed; each lane has its own.
pub fn state_name(stage: &str, source: &str) -> String {
    format!("state:{stage}:{source}")
}

fn lost(name: &str) -> Error {
    Error::internal(format!("no stage `{name}` in the lane"))
}

/// What becomes of the events a stage gave up.
fn bury(stage: &Stage, outcome: &Outcome, kind: Kind, source: &Arc<str>, now: i64, yielded: &mut Yield) -> Result<()> {
    let casualties = &outcome.casualties;
    let (fate, key) = stage.fate(outcome);
    match fate {
        OnError::DeadLetter => {
            let letters = casualties.iter().map(|casualty| DeadLetter {
                timestamp: now,
                source: source.clone(),
                stage: stage.name.clone(),
                plugin: outcome.sha256.clone(),
                reason: casualty.reason.clone(),
                raw: raw(&casualty.row),
                backtrace: casualty.backtrace.clone(),
                event: Some(dead_letter::Event::of(kind, &casualty.row)),
                replay_of: dead_letter::of_row(&casualty.row),
            });
            yielded.dead.extend(letters);
            Ok(())
        }
        OnError::Pass | OnError::Drop => Ok(()),
        OnError::Stop => match casualties.first() {
            Some(casualty) => Err(Error::new(
                ErrorKind::Foreign,
                format!(
                    "stage `{}` could not handle an event and says `{key} = \"stop\"`: {}",
                    stage.name, casualty.reason
                ),
            )),
            None => Ok(()),
        },
    }
}

/// The bytes an event came as: the original where it is kept apart, else the line, else (a metric) its columns as text.
fn raw(row: &RecordBatch) -> Vec<u8> {
    for name in [RAW, BODY] {
        let Some(column) = row.column_by_name(name).filter(|column| column.is_valid(0)) else { continue };
        match column.data_type() {
            DataType::Binary => return column.as_binary::<i32>().value(0).to_vec(),
            DataType::Utf8 => return column.as_string::<i32>().value(0).as_bytes().to_vec(),
            _ => (),
        }
    }
    let mut text = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut text);
    let written = writer.write(row).and_then(|()| writer.finish());
    drop(writer);
    match written {
        Ok(()) => text.trim_ascii_end().to_vec(),
        Err(error) => format!("a metric that cannot be written as JSON: {error}").into_bytes(),
    }
}
