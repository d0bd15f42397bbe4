//! what a stage really got and made, as a case
//!
//! A row goes in with the columns that the plugin reads, and comes out with those it made. Where events name columns of their own, all that
//! a row brought along goes in: only so can it be told what is new.

use super::cell::{Cell, Cells};
use super::rewrite::write;
use super::rows::{ROW, outcomes};
use super::{Outcome, table};
use crate::error::Result;
use crate::event::columns::{BODY, CAPTURED, LETTER, RAW, TIMESTAMP};
use crate::event::{Batch, mixed};
use crate::pipeline::capture::Got;
use crate::pipeline::stage;
use crate::plugin::{Configured, Contract, World};
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, UInt32Type};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use std::sync::Arc;
use toml_edit::{ArrayOfTables, Datetime, DocumentMut, InlineTable, Item, Table, Value};

/// The largest lookup table that a case brings along, in bytes.
const TABLE_BYTES_MAX: usize = 1 << 20;

/// The text of a case, and the names of lookup tables that are too large to be in it. `settings` are those the case is to have.
pub fn captured(
    about: &str,
    settings: &Map<String, Json>,
    configured: &Configured,
    got: &[Got],
) -> Result<(String, Vec<String>)> {
    let mut case = DocumentMut::new();
    let root = case.as_table_mut();
    root.insert("about", Item::Value(about.into()));
    let first = got.first();
    if let Some(state) = first.and_then(|first| first.state.as_ref()) {
        root.insert("state", Item::Value(hex(state)));
    }
    let mut large = Vec::new();
    let batches: Vec<(Option<i64>, ArrayOfTables)> =
        got.iter().map(|got| Ok((got.now, rows(got, configured.plugin.world())?))).collect::<Result<_>>()?;
    if let [(now, _)] = batches.as_slice() {
        root.extend(now.map(|now| ("now", Item::Value(time(now).into()))));
    }
    if !settings.is_empty() {
        let settings = settings.iter().filter_map(|(name, value)| Some((name.clone(), Item::Value(of_json(value)?))));
        root.insert("settings", Item::Table(settings.collect()));
    }
    let mut tables = Table::new();
    tables.set_implicit(true);
    for (name, lookup) in configured.tables.iter() {
        match lookup.csv(TABLE_BYTES_MAX) {
            Some(csv) => drop(tables.insert(name, Item::Table(Table::from_iter([("csv", Item::Value(csv.into()))])))),
            None => large.push(name.clone()),
        }
    }
    if !tables.is_empty() {
        root.insert("tables", Item::Table(tables));
    }
    if got.len() == 1 {
        let rows = batches.into_iter().map(|(_, rows)| rows).next().unwrap_or_default();
        root.insert("rows", Item::ArrayOfTables(rows));
    } else {
        let batch = |(now, rows): (Option<i64>, ArrayOfTables)| {
            let mut batch = Table::new();
            batch.extend(now.map(|now| ("now", Item::Value(time(now).into()))));
            batch.insert("rows", Item::ArrayOfTables(rows));
            batch
        };
        root.insert("batches", Item::ArrayOfTables(batches.into_iter().map(batch).collect()));
    }
    Ok((case.to_string(), large))
}

/// The rows of one batch, each with what came of it.
fn rows(got: &Got, world: World) -> Result<ArrayOfTables> {
    let contract = &got.version.contract;
    let input = plain(&got.input)?;
    let crossed = plain(&got.reads)?;
    let mut came = outcomes(numbered(&got.outcome)?, world)?;
    let field = got.version.manner.field.as_deref();
    let writes_time = contract.writes.iter().any(|(written, _)| written == TIMESTAMP);
    let mut tables = ArrayOfTables::new();
    for row in 0..input.num_rows() {
        let brought = Cell::of_row(&input, row)?;
        // What became of an event without the column that is parsed is not the plugin's doing.
        if field.is_some_and(|field| !brought.contains_key(field)) {
            continue;
        }
        let outcome = came.remove(&row).unwrap_or_else(|| match world {
            World::Filter => Outcome::Keep(false),
            World::Parser | World::Enricher | World::Autoscaler => Outcome::Rows(Vec::new()),
        });
        // An event keeps its time where a plugin that makes times makes none.
        let same_time = |cells: &Cells| cells.get(TIMESTAMP) == brought.get(TIMESTAMP);
        let kept_time = writes_time && matches!(&outcome, Outcome::Rows(rows) if rows.iter().any(same_time));
        let mut goes_in = Cell::of_row(&crossed, row)?;
        for (name, cell) in &brought {
            let follows = if name == TIMESTAMP { kept_time } else { contract.open_schema };
            if follows && !goes_in.contains_key(name) && field != Some(name) {
                goes_in.insert(name.clone(), cell.clone());
            }
        }
        let mut table = Table::new();
        let goes_in = goes_in.iter().filter(|(name, _)| ![ROW, RAW, LETTER].contains(&name.as_str()));
        let goes_in: InlineTable = goes_in.map(|(name, cell)| (name.as_str(), value(name, cell))).collect();
        table.insert("in", Item::Value(goes_in.into()));
        write(&mut table, &made(outcome, &brought, contract, field));
        tables.push(table);
    }
    Ok(tables)
}

/// What the plugin made of it.
fn made(came: Outcome, brought: &Cells, contract: &Contract, field: Option<&str>) -> Outcome {
    let writes = |name: &str| contract.writes.iter().any(|(written, _)| written == name);
    let new = |(name, cell): &(String, Cell)| {
        // In the place of the column that was parsed it stands itself where the plugin made none.
        let made = (writes(name) && field != Some(name)) || brought.get(name) != Some(cell);
        made && ![RAW, LETTER].contains(&name.as_str())
    };
    match came {
        Outcome::Rows(rows) => {
            Outcome::Rows(rows.into_iter().map(|cells| cells.into_iter().filter(new).collect()).collect())
        }
        Outcome::Keep(_) | Outcome::Error(_) => came,
    }
}

/// An outcome whose rows have their numbers where cases look for them.
fn numbered(outcome: &stage::Outcome) -> Result<stage::Outcome> {
    let batches = outcome.batches.iter();
    let batches = batches.map(|batch| Ok(Batch { kind: batch.kind, columns: by_number(&batch.columns)? }));
    let casualties = outcome.casualties.iter().map(|lost| {
        let row = by_number(&lost.row)?;
        Ok(stage::Casualty { row, reason: lost.reason.clone(), backtrace: None })
    });
    Ok(stage::Outcome {
        batches: batches.collect::<Result<_>>()?,
        casualties: casualties.collect::<Result<_>>()?,
        ..stage::Outcome::default()
    })
}

fn by_number(rows: &RecordBatch) -> Result<RecordBatch> {
    let rows = plain(rows)?;
    let numbers = rows.column_by_name(CAPTURED).and_then(|column| column.as_primitive_opt::<UInt32Type>());
    let numbers = numbers.into_iter().flat_map(|numbers| numbers.iter()).map(|number| number.map(|at| at.to_string()));
    let numbers: ArrayRef = Arc::new(StringArray::from_iter(numbers));
    let mut columns: Vec<(String, ArrayRef)> = rows
        .schema_ref()
        .fields()
        .iter()
        .zip(rows.columns())
        .filter(|(field, _)| ![ROW, CAPTURED].contains(&field.name().as_str()))
        .map(|(field, column)| (field.name().clone(), column.clone()))
        .collect();
    columns.push((ROW.to_owned(), numbers));
    table::batch(columns, rows.num_rows())
}

/// The same with one type in each column.
fn plain(rows: &RecordBatch) -> Result<RecordBatch> {
    let columns = rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| {
        let column = match column.data_type() {
            DataType::Union(_, _) => mixed::plain(column)?,
            _ => column.clone(),
        };
        Ok((field.name().clone(), column))
    });
    table::batch(columns.collect::<Result<_>>()?, rows.num_rows())
}

/// A value as it goes in: of the type that its column has.
fn value(name: &str, cell: &Cell) -> Value {
    match cell {
        Cell::Bytes(bytes) if name != BODY => hex(bytes),
        Cell::Time(at) if name != TIMESTAMP => match time(*at).parse::<Datetime>() {
            Ok(time) => time.into(),
            Err(_) => cell.to_toml(),
        },
        _ => cell.to_toml(),
    }
}

fn time(nanos: i64) -> String {
    DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn hex(bytes: &[u8]) -> Value {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    InlineTable::from_iter([("hex", digits)]).into()
}

/// JSON as TOML; nothing for a null, which TOML has no word for.
fn of_json(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(yes) => (*yes).into(),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(values) => values.iter().filter_map(of_json).collect::<toml_edit::Array>().into(),
        Json::Object(map) => {
            let values: BTreeMap<&str, Value> =
                map.iter().filter_map(|(name, value)| Some((name.as_str(), of_json(value)?))).collect();
            values.into_iter().collect::<InlineTable>().into()
        }
    })
}
