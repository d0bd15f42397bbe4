//! Kubernetes' label selectors: `scaler=web`, `signal in (rps, p95)`, `tier notin (test)`, `tier`, `!tier`, joined by commas
//!
//! As the API's documentation has it: all requirements must hold; `!=` and `notin` also hold where there is no such label.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// What the labels of something must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    label: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

impl Selector {
    /// Reads one; an empty text selects everything.
    pub fn parse(text: &str) -> Result<Selector> {
        let parts = split(text).ok_or_else(|| wrong(text, "its brackets do not match"))?;
        let parts = parts.into_iter().map(str::trim);
        let parts: Vec<&str> = if text.trim().is_empty() { Vec::new() } else { parts.collect() };
        parts
            .into_iter()
            .map(|part| requirement(part).ok_or_else(|| wrong(text, &format!("`{part}` is no requirement"))))
            .collect::<Result<_>>()
            .map(Selector)
    }

    /// Whether these labels are as they must be.
    pub fn selects(&self, labels: &BTreeMap<&str, &str>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(requirement.label.as_str());
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.iter().any(|one| one == value)),
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
            }
        })
    }
}

fn wrong(text: &str, why: &str) -> Error {
    let text: String = text.chars().take(200).collect();
    Error::invalid(format!(
        "the label selector `{text}` cannot be read: {why}; write it like `scaler=web,signal in (rps, p95)`"
    ))
}

/// The parts between commas that are not within brackets; nothing where brackets do not match.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut from, mut within) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match (c, within) {
            ('(', false) => within = true,
            (')', true) => within = false,
            ('(', true) | (')', false) => return None,
            (',', false) => {
                parts.push(text.get(from..at)?);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(from..)?);
    (!within).then_some(parts)
}

fn requirement(part: &str) -> Option<Requirement> {
    let of = |label: &str, operator| {
        well_formed(label.trim()).then(|| Requirement { label: label.trim().to_owned(), operator })
    };
    let one = |value: &str| plain(value.trim()).then(|| vec![value.trim().to_owned()]);
    if let Some(label) = part.strip_prefix('!') {
        return of(label, Operator::Absent);
    }
    if let Some((left, values)) = part.strip_suffix(')').and_then(|part| part.split_once('(')) {
        let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        let (label, word) = left.trim().rsplit_once(char::is_whitespace)?;
        let all = values.iter().all(|value| plain(value));
        return match word {
            "in" if all => of(label, Operator::In(values)),
            "notin" if all => of(label, Operator::NotIn(values)),
            _ => None,
        };
    }
    if let Some((label, value)) = part.split_once("!=") {
        return of(label, Operator::NotIn(one(value)?));
    }
    if let Some((label, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return of(label, Operator::In(one(value)?));
    }
    of(part, Operator::Exists)
}

fn well_formed(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./".contains(&c))
}

fn plain(value: &str) -> bool {
    value.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_the_api() {
        let labels = BTreeMap::from([("scaler", "web"), ("signal", "rps")]);
        for (text, expected) in [
            ("", true),
            ("scaler=web", true),
            ("scaler==web", true),
            (" scaler = web , signal = rps ", true),
            ("scaler=api", false),
            ("scaler!=api", true),
            ("tier!=test", true),
            ("scaler!=web", false),
            ("scaler in (api, web)", true),
            ("scaler in (api)", false),
            ("scaler notin (api,db),signal", true),
            ("tier notin (test)", true),
            ("scaler notin (web)", false),
            ("tier in ()", false),
            ("tier", false),
            ("!tier", true),
            ("!scaler", false),
            ("scaler=", false),
        ] {
            assert_eq!(Selector::parse(text).unwrap().selects(&labels), expected, "{text}");
        }
        for text in [
            "=web",
            "a b",
            "scaler in web",
            "scaler in (a",
            "scaler in (a))",
            "scaler of (a)",
            "a=b,,c=d",
            "a=b c",
            "(a)",
        ] {
            let error = Selector::parse(text).unwrap_err();
            assert!(error.message().contains("cannot be read"), "{text}: {error}");
        }
    }
}
