//! a case as it is written, checked key by key

use super::cell::{Cell, Cells, hex, nanos};
use super::{Answer, Case, Events, Expects, Outcome, Row, Tick, ticks};
use crate::error::{Error, Result, did_you_mean};
use crate::plugin::Lookup;
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::{Table, Value};

/// Reads a case.
pub(super) fn read(text: &str) -> Result<Case> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| Error::invalid(error.to_string().trim_end()))?;
    only(&table, &["about", "settings", "now", "tables", "state", "refused", "rows", "batches", "ticks"])?;
    let empty = Table::new();
    let settings = table_of(&table, "settings")?.unwrap_or(&empty);
    let settings = serde_json::to_string(settings).map_err(|error| Error::invalid(format!("settings: {error}")))?;
    let now = now_of(&table)?;
    let mut tables = BTreeMap::new();
    for (name, value) in table_of(&table, "tables")?.into_iter().flatten() {
        let within = |error: Error| error.within(format!("tables.{name}"));
        let lookup = value.as_table().ok_or_else(|| Error::invalid("write `csv = \"…\"` in it")).map_err(within)?;
        only(lookup, &["csv"]).map_err(within)?;
        let csv = text_of(lookup, "csv")?.ok_or_else(|| Error::invalid("`csv` is missing")).map_err(within)?;
        tables.insert(name.clone(), Lookup::read(csv.as_bytes()).map_err(within)?);
    }
    let about = text_of(&table, "about")?.unwrap_or_default().to_owned();
    let state = table_of(&table, "state")?.map(hex).transpose().map_err(|error| error.within("state"))?;
    let expects = expects(&table, now)?;
    if state.is_some() && !matches!(expects, Expects::Batches(_)) {
        return Err(Error::invalid("`state` goes with [[rows]] or [[batches]]; a tick has its own in `request`"));
    }
    Ok(Case { about, settings, tables: Arc::new(tables), state, expects })
}

fn now_of(table: &Table) -> Result<Option<i64>> {
    text_of(table, "now")?.map(nanos).transpose().map_err(|error| error.within("now"))
}

fn expects(table: &Table, now: Option<i64>) -> Result<Expects> {
    let refused = text_of(table, "refused")?;
    let (rows, batches, ticks) = (list(table, "rows")?, list(table, "batches")?, list(table, "ticks")?);
    match (refused, rows, batches, ticks) {
        (Some(part), None, None, None) => Ok(Expects::Refused(part.to_owned())),
        (None, Some(rows), None, None) => Ok(Expects::Batches(vec![Events { now, rows: rows_of(&rows)? }])),
        (None, None, Some(batches), None) => {
            let batch = |(at, batch): (usize, &&Table)| {
                let within = |error: Error| error.within(format!("batch {}", at + 1));
                only(batch, &["now", "rows"]).map_err(within)?;
                let rows = rows_of(&list(batch, "rows").map_err(within)?.unwrap_or_default()).map_err(within)?;
                Ok(Events { now: now_of(batch).map_err(within)?.or(now), rows })
            };
            Ok(Expects::Batches(batches.iter().enumerate().map(batch).collect::<Result<_>>()?))
        }
        (None, None, None, Some(ticks)) => {
            let tick =
                |(at, tick): (usize, &&Table)| tick_of(tick).map_err(|error| error.within(format!("tick {}", at + 1)));
            Ok(Expects::Ticks(ticks.iter().enumerate().map(tick).collect::<Result<_>>()?))
        }
        (None, None, None, None) => {
            Err(Error::invalid("there is nothing to run: write [[rows]], [[ticks]] or `refused`"))
        }
        _ => Err(Error::invalid("a case has one of `refused`, [[rows]], [[batches]] and [[ticks]]")),
    }
}

fn rows_of(rows: &[&Table]) -> Result<Vec<Row>> {
    let row = |(at, row): (usize, &&Table)| row_of(row).map_err(|error| error.within(format!("row {}", at + 1)));
    rows.iter().enumerate().map(row).collect()
}

fn row_of(row: &Table) -> Result<Row> {
    only(row, &["in", "out", "outs", "keep", "error"])?;
    let input = table_of(row, "in")?.ok_or_else(|| Error::invalid("`in = {..}` is missing"))?.clone();
    if input.contains_key("source") {
        return Err(Error::invalid("`source` cannot be given: it is how a case knows its rows again"));
    }
    let cells = |out: &Table| -> Result<Cells> {
        out.iter().map(|(name, value)| Ok((name.clone(), Cell::written(name, value)?))).collect()
    };
    let mut wanted = Vec::new();
    if let Some(out) = table_of(row, "out")? {
        wanted.push(Outcome::Rows(vec![cells(out)?]));
    }
    if let Some(outs) = list(row, "outs")? {
        wanted.push(Outcome::Rows(outs.into_iter().map(cells).collect::<Result<_>>()?));
    }
    if let Some(keep) = row.get("keep") {
        let keep = keep.as_bool().ok_or_else(|| Error::invalid("`keep` is true or false"))?;
        wanted.push(Outcome::Keep(keep));
    }
    if let Some(error) = text_of(row, "error")? {
        wanted.push(Outcome::Error(error.to_owned()));
    }
    match wanted.len() {
        0 | 1 => Ok(Row { input, wanted: wanted.pop() }),
        _ => Err(Error::invalid("a row has one of `out`, `outs`, `keep` and `error`")),
    }
}

fn tick_of(tick: &Table) -> Result<Tick> {
    only(tick, &["request", "proposal", "error"])?;
    let request = table_of(tick, "request")?.ok_or_else(|| Error::invalid("`request = {..}` is missing"))?;
    let request = ticks::request(request).map_err(|error| error.within("request"))?;
    let wanted = match (table_of(tick, "proposal")?, text_of(tick, "error")?) {
        (None, None) => None,
        (None, Some(error)) => Some(Answer::Error(error.to_owned())),
        (Some(proposal), None) => {
            only(proposal, &["replicas", "reason"])?;
            let replicas = count(proposal, "replicas")?.ok_or_else(|| Error::invalid("`replicas` is missing"))?;
            Some(Answer::Proposal { replicas, reason: text_of(proposal, "reason")?.map(str::to_owned) })
        }
        (Some(_), Some(_)) => return Err(Error::invalid("a tick has one of `proposal` and `error`")),
    };
    Ok(Tick { request, wanted })
}

/// Refuses every other key.
pub(super) fn only(table: &Table, known: &[&str]) -> Result<()> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => {
            let hint = did_you_mean(key, known.iter().copied());
            Err(Error::invalid(format!("unknown key `{key}`{hint} (keys: {})", known.join(", "))))
        }
    }
}

pub(super) fn text_of<'t>(table: &'t Table, key: &str) -> Result<Option<&'t str>> {
    let wrong = || Error::invalid(format!("`{key}` has to be text"));
    table.get(key).map(|value| value.as_str().ok_or_else(wrong)).transpose()
}

pub(super) fn table_of<'t>(table: &'t Table, key: &str) -> Result<Option<&'t Table>> {
    let wrong = || Error::invalid(format!("`{key}` has to be a table, `{key} = {{..}}`"));
    table.get(key).map(|value| value.as_table().ok_or_else(wrong)).transpose()
}

/// A list of tables.
pub(super) fn list<'t>(table: &'t Table, key: &str) -> Result<Option<Vec<&'t Table>>> {
    let wrong = || Error::invalid(format!("`{key}` has to be a list of tables"));
    let tables = |value: &'t Value| value.as_array()?.iter().map(Value::as_table).collect::<Option<Vec<_>>>();
    table.get(key).map(|value| tables(value).ok_or_else(wrong)).transpose()
}

pub(super) fn count(table: &Table, key: &str) -> Result<Option<u32>> {
    let wrong = || Error::invalid(format!("`{key}` has to be a whole number from 0 on"));
    let number = |value: &Value| value.as_integer().and_then(|number| u32::try_from(number).ok());
    table.get(key).map(|value| number(value).ok_or_else(wrong)).transpose()
}
