//! a case's text with what came in the place of what was expected; everything else stays as it is written

use super::cell::Cells;
use super::{Answer, Change, Failure, Outcome, Place};
use crate::error::{Error, Result};
use toml_edit::{DocumentMut, InlineTable, Item, TableLike, Value};

/// The text of a case under which these failures are none.
pub fn rewritten(text: &str, failures: &[Failure]) -> Result<String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| Error::invalid(error.to_string()))?;
    for failure in failures {
        let Some(change) = &failure.change else { continue };
        let lost = || Error::internal(format!("{} is not where it was", failure.place));
        match change {
            Change::Refused(message) => {
                for key in ["rows", "batches", "ticks"] {
                    document.remove(key);
                }
                set(document.as_table_mut(), "refused", message.as_str().into());
            }
            Change::Outcome(outcome) => write(place(&mut document, failure.place).ok_or_else(lost)?, outcome),
            Change::Answer(answer) => answer_to(place(&mut document, failure.place).ok_or_else(lost)?, answer),
        }
    }
    Ok(document.to_string())
}

fn place(document: &mut DocumentMut, place: Place) -> Option<&mut dyn TableLike> {
    let root = document.as_table_mut();
    match place {
        Place::Settings => Some(root),
        Place::Row(row) => entry(root.get_mut("rows")?, row),
        Place::BatchRow(batch, row) => entry(entry(root.get_mut("batches")?, batch)?.get_mut("rows")?, row),
        Place::Tick(tick) => entry(root.get_mut("ticks")?, tick),
    }
}

/// A table of a list, which may be written either way.
fn entry(list: &mut Item, at: usize) -> Option<&mut dyn TableLike> {
    match list {
        Item::ArrayOfTables(tables) => tables.get_mut(at).map(|table| table as &mut dyn TableLike),
        Item::Value(Value::Array(values)) => {
            values.get_mut(at)?.as_inline_table_mut().map(|table| table as &mut dyn TableLike)
        }
        _ => None,
    }
}

/// Says what came of a row.
pub(super) fn write(row: &mut dyn TableLike, outcome: &Outcome) {
    let (key, value): (&str, Value) = match outcome {
        Outcome::Rows(rows) => match rows.as_slice() {
            [one] => ("out", cells(one).into()),
            rows => ("outs", rows.iter().map(cells).collect::<toml_edit::Array>().into()),
        },
        Outcome::Keep(keep) => ("keep", (*keep).into()),
        Outcome::Error(message) => ("error", message.as_str().into()),
    };
    for other in ["out", "outs", "keep", "error"] {
        if other != key {
            row.remove(other);
        }
    }
    set(row, key, value);
}

fn answer_to(tick: &mut dyn TableLike, answer: &Answer) {
    match answer {
        Answer::Error(message) => {
            tick.remove("proposal");
            set(tick, "error", message.as_str().into());
        }
        Answer::Proposal { replicas, reason } => {
            tick.remove("error");
            let mut proposal = InlineTable::from_iter([("replicas", i64::from(*replicas))]);
            if let Some(reason) = reason {
                proposal.insert("reason", reason.as_str().into());
            }
            set(tick, "proposal", proposal.into());
        }
    }
}

/// Sets a key; where it was there, its place and the comment behind it stay.
fn set(table: &mut dyn TableLike, key: &str, mut value: Value) {
    match table.get_mut(key) {
        Some(Item::Value(Value::InlineTable(old))) if value.is_inline_table() => {
            if let Value::InlineTable(new) = value {
                merge(old, new);
            }
        }
        Some(Item::Value(old)) => {
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        Some(other) => *other = Item::Value(value),
        None => {
            if let Some((_, Item::Value(last))) = table.iter_mut().last() {
                // The space before `}` would stand before the comma.
                let blank =
                    last.decor().suffix().and_then(|suffix| suffix.as_str()).is_some_and(|text| text.trim().is_empty());
                if blank {
                    last.decor_mut().set_suffix("");
                }
            }
            table.insert(key, Item::Value(value));
        }
    }
}

/// What is there stays where it is.
fn merge(old: &mut InlineTable, new: InlineTable) {
    let gone: Vec<String> = old.iter().map(|(key, _)| key.to_owned()).filter(|key| !new.contains_key(key)).collect();
    gone.iter().for_each(|key| {
        old.remove(key);
    });
    for (key, value) in new {
        set(old, &key, value);
    }
}

fn cells(cells: &Cells) -> InlineTable {
    cells.iter().map(|(name, cell)| (name.as_str(), cell.to_toml())).collect()
}
