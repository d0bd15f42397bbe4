//! what was expected and what came, side by side

use super::{Cell, Cells, Outcome};
use std::collections::BTreeSet;
use toml::Table;

/// The longest value that is shown whole, in characters.
const SHOWN_MAX: usize = 120;

/// The event, and where what came of it differs from what was expected.
pub(super) fn shown(input: &Table, wanted: Option<&Outcome>, came: &Outcome) -> String {
    let input: Vec<String> =
        input.iter().map(|(name, value)| format!("{name} = {}", cut(&value.to_string()))).collect();
    let differs = match (wanted, came) {
        (Some(Outcome::Rows(wanted)), Outcome::Rows(came)) if wanted.len() == came.len() => pairs(wanted, came),
        (wanted, came) => {
            let wanted = wanted.map_or_else(|| "(the case does not say)".to_owned(), said);
            format!("expected  {wanted}\ngot       {}", said(came))
        }
    };
    format!("in        {{ {} }}\n{differs}", input.join(", "))
}

/// The columns in which two outcomes differ: name, the one's value, the other's.
pub(super) fn differences(one: &Outcome, other: &Outcome) -> Vec<[String; 3]> {
    match (one, other) {
        (Outcome::Rows(ones), Outcome::Rows(others)) if ones.len() == others.len() => cells(ones, others),
        (one, other) if one == other => Vec::new(),
        (one, other) => vec![["(row)".to_owned(), said(one), said(other)]],
    }
}

fn cells(ones: &[Cells], others: &[Cells]) -> Vec<[String; 3]> {
    let shown = |cell: Option<&Cell>| cell.map_or_else(|| "(null)".to_owned(), |cell| cut(&cell.to_string()));
    let mut found = Vec::new();
    for (at, (row, other)) in ones.iter().zip(others).enumerate() {
        let names: BTreeSet<&String> = row.keys().chain(other.keys()).collect();
        for name in names {
            let (one, other) = (row.get(name), other.get(name));
            if one != other {
                let name = if ones.len() > 1 { format!("{}: {name}", at + 1) } else { name.clone() };
                found.push([name, shown(one), shown(other)]);
            }
        }
    }
    found
}

/// The columns in which rows differ, as a table.
fn pairs(wanted: &[Cells], came: &[Cells]) -> String {
    let mut lines = vec![["column".to_owned(), "expected".to_owned(), "got".to_owned()]];
    lines.extend(cells(wanted, came));
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let (first, second) = (width(0).unwrap_or(0), width(1).unwrap_or(0));
    let line = |[name, wanted, came]: &[String; 3]| format!("{name:first$}  {wanted:second$}  {came}");
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn said(outcome: &Outcome) -> String {
    let row = |cells: &Cells| {
        let cells: Vec<String> =
            cells.iter().map(|(name, cell)| format!("{name} = {}", cut(&cell.to_string()))).collect();
        format!("{{ {} }}", cells.join(", "))
    };
    match outcome {
        Outcome::Keep(true) => "kept".to_owned(),
        Outcome::Keep(false) => "dropped".to_owned(),
        Outcome::Error(message) => format!("the error: {message}"),
        Outcome::Rows(rows) if rows.is_empty() => "no row".to_owned(),
        Outcome::Rows(rows) => format!(
            "{} row{}: {}",
            rows.len(),
            if rows.len() == 1 { "" } else { "s" },
            rows.iter().map(row).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}
