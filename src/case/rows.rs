//! events of a case through a stage, and what came of each
//!
//!     rows ─► one batch, each row with its number as `source` ─► Stage ─► rows and casualties, by number ─► as expected?

use super::cell::{Cell, Cells};
use super::differ::shown;
use super::table::{batch, columns};
use super::{Change, Events, Failure, Outcome, Place};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::event::columns::TIMESTAMP;
use crate::event::labels::{LabelsBuilder, PREFIX};
use crate::event::{Batch, Kind};
use crate::pipeline::{Manner, Stage, stage};
use crate::plugin::{Contract, Engine, Instance, World};
use arrow::array::{ArrayRef, StringArray};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which row of a case an event is: its source.
pub(super) const ROW: &str = "source";

/// Runs the batches one after the other: each with a new instance, and the state that the one before left. What a plugin keeps in its
/// fields alone is lost, as it is where an instance vanishes.
pub(super) fn run(
    engine: &Engine,
    first: Instance,
    batches: &[Events],
    mut state: Option<Vec<u8>>,
) -> Result<Vec<Failure>> {
    let configured = first.configured().clone();
    let world = configured.plugin.world();
    let contract = first.contract().clone();
    let mut ready = Some(first);
    let mut failures = Vec::new();
    for (number, Events { now, rows }) in batches.iter().enumerate() {
        let instance = match ready.take() {
            Some(first) => first,
            None => Instance::new(engine, configured.clone())?,
        };
        let clock = Clock::held(now.unwrap_or_default());
        let manner = Manner { clock: now.is_some(), ..Manner::default() };
        let mut stage = Stage::new("tested", manner, instance, clock, state);
        let events = events(&rows.iter().map(|row| &row.input).collect::<Vec<_>>())?;
        let mut came = outcomes(stage.run(&events)?, world)?;
        state = stage.state().map(<[u8]>::to_vec);
        for (at, row) in rows.iter().enumerate() {
            let own = own(&events, at, world, &contract)?;
            let came = came.remove(&at).unwrap_or_else(|| match world {
                World::Filter => Outcome::Keep(false),
                World::Parser | World::Enricher | World::Autoscaler => Outcome::Rows(Vec::new()),
            });
            let wanted = row.wanted.as_ref().map(|wanted| under(&own, wanted));
            if wanted.as_ref().is_some_and(|wanted| meets(&came, wanted)) {
                continue;
            }
            let place = if batches.len() == 1 { Place::Row(at) } else { Place::BatchRow(number, at) };
            let mut shown = shown(&row.input, wanted.as_ref(), &came);
            let held_back = |name: &&String| *name != TIMESTAMP && !contract.hands_over(name);
            let held_back: Vec<&str> = row.input.keys().filter(held_back).map(String::as_str).collect();
            if !held_back.is_empty() {
                let reads = contract.reads.join(", ");
                shown += &format!("\nunseen    {}: the plugin reads {reads}", held_back.join(", "));
            }
            failures.push(Failure { place, shown, change: Some(Change::Outcome(made(came, &own, &contract))) });
        }
    }
    Ok(failures)
}

/// The events as they would come from a source: labels in their map, each with its number as source.
pub(super) fn events(inputs: &[&toml::Table]) -> Result<Batch> {
    let is_label = |name: &str| name.starts_with(PREFIX);
    let kind = if inputs.iter().any(|row| row.keys().any(|name| is_label(name))) { Kind::Metrics } else { Kind::Logs };
    let mut columns: Vec<(String, ArrayRef)> =
        columns(inputs)?.into_iter().filter(|(name, _)| !is_label(name)).collect();
    if kind == Kind::Metrics {
        let mut labels = LabelsBuilder::new();
        for row in inputs {
            labels.push(row.iter().filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?, value.as_str()?))))?;
        }
        columns.push(("labels".into(), labels.finish()));
    }
    numbered(Batch { kind, columns: batch(columns, inputs.len())? })
}

/// Events that can be told apart: each has its number as source.
pub fn numbered(events: Batch) -> Result<Batch> {
    let rows = events.columns.num_rows();
    let numbers = StringArray::from_iter((0..rows).map(|row| Some(row.to_string())));
    let fields = events.columns.schema_ref().fields().iter().zip(events.columns.columns());
    let mut columns: Vec<(String, ArrayRef)> = fields
        .filter(|(field, _)| field.name() != ROW)
        .map(|(field, column)| (field.name().clone(), column.clone()))
        .collect();
    columns.push((ROW.into(), Arc::new(numbers)));
    Ok(Batch { kind: events.kind, columns: batch(columns, rows)? })
}

/// What came of each of some [`numbered`] events, by its number; one of which nothing came is not there.
pub fn outcomes(outcome: stage::Outcome, world: World) -> Result<BTreeMap<usize, Outcome>> {
    let mut outcomes = BTreeMap::new();
    for batch in &outcome.batches {
        for row in 0..batch.columns.num_rows() {
            let mut cells = Cell::of_row(&batch.columns, row)?;
            let number = number(&mut cells)?;
            match (world, outcomes.entry(number).or_insert_with(|| Outcome::Rows(Vec::new()))) {
                (World::Filter, outcome) => *outcome = Outcome::Keep(true),
                (_, Outcome::Rows(rows)) => rows.push(cells),
                (_, Outcome::Keep(_) | Outcome::Error(_)) => (),
            }
        }
    }
    for casualty in outcome.casualties {
        outcomes.insert(number(&mut Cell::of_row(&casualty.row, 0)?)?, Outcome::Error(casualty.reason));
    }
    Ok(outcomes)
}

fn number(cells: &mut Cells) -> Result<usize> {
    let number = match cells.remove(ROW) {
        Some(Cell::Text(text)) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| Error::invalid("the plugin writes `source`, by which a case knows its rows again"))
}

/// What a row brings along, and what the plugin does not make.
fn own(events: &Batch, row: usize, world: World, contract: &Contract) -> Result<Cells> {
    let mut own = Cell::of_row(&events.columns, row)?;
    own.remove(ROW);
    if world == World::Parser && contract.produces != events.kind {
        own.retain(|name, _| name == "body" || name == "timestamp");
        if let Some(body) = own.remove("body") {
            own.insert("__raw".into(), body);
        }
    }
    // A null in a column that the plugin makes is null, but an event keeps its time.
    own.retain(|name, _| name == "timestamp" || !contract.writes.iter().any(|(written, _)| written == name));
    Ok(own)
}

/// What is expected, with what the row brings along under what the plugin makes.
fn under(own: &Cells, wanted: &Outcome) -> Outcome {
    let with = |made: &Cells| own.iter().chain(made).map(|(name, cell)| (name.clone(), cell.clone())).collect();
    match wanted {
        Outcome::Rows(rows) => Outcome::Rows(rows.iter().map(with).collect()),
        Outcome::Keep(_) | Outcome::Error(_) => wanted.clone(),
    }
}

fn meets(came: &Outcome, wanted: &Outcome) -> bool {
    match (came, wanted) {
        (Outcome::Error(message), Outcome::Error(part)) => message.contains(part),
        (came, wanted) => came == wanted,
    }
}

/// What the plugin made of it, as a case would say it.
fn made(came: Outcome, own: &Cells, contract: &Contract) -> Outcome {
    let writes = |name: &str| contract.writes.iter().any(|(written, _)| written == name);
    let made =
        |cells: Cells| cells.into_iter().filter(|(name, cell)| writes(name) || own.get(name) != Some(cell)).collect();
    match came {
        Outcome::Rows(rows) => Outcome::Rows(rows.into_iter().map(made).collect()),
        Outcome::Keep(_) | Outcome::Error(_) => came,
    }
}
