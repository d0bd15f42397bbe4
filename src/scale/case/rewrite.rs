//! a scaling case's text with what was decided in the place of what was expected

use super::Failure;
use crate::error::{Error, Result};
use toml_edit::{DocumentMut, InlineTable, Item, Value};

/// The text of a case under which these failures are none.
pub fn rewritten(text: &str, failures: &[Failure]) -> Result<String> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| Error::invalid(error.to_string()))?;
    for failure in failures {
        let steps = document.get_mut("steps").and_then(Item::as_array_of_tables_mut);
        let Some(step) = steps.and_then(|steps| steps.get_mut(failure.step)) else {
            return Err(Error::invalid("only steps that are written as [[steps]] can be brought up to date"));
        };
        let (replicas, reason) = failure.decision();
        let mut expect = InlineTable::from_iter([("replicas", i64::from(replicas))]);
        expect.insert("reason", reason.into());
        let mut expect = Value::InlineTable(expect);
        if let Some(Item::Value(old)) = step.get("expect") {
            *expect.decor_mut() = old.decor().clone();
        }
        step.insert("expect", Item::Value(expect));
    }
    Ok(document.to_string())
}
