//! what has to hold of a parser whatever the bytes: for a fuzzer, and for the corpus that it leaves
//!
//! ```text
//! bytes ─► first byte: which settings    rest, cut at \n: the rows of a batch
//!       ─► the answer is consistent ─► the same again ─► the same from a new instance ─► the same row by row
//! ```
//!
//! A column of an open schema has one type a batch, so row by row its values are compared as text.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::builders::{Binaries, Build, Timestamps};
use crate::cases::{check_columns, shown_rows};
use crate::{Batch, Context, Contract, Parsed, Parser, cut_out, wire};

/// When the rows arrived: 2026-11-22T10:00:00Z.
const ARRIVED: i64 = 1_795_341_600_000_000_000;

/// A parser under some settings, to be given bytes.
pub struct Checker<P> {
    configured: Vec<(&'static str, P, Contract)>,
    /// A new instance is asked too, once in so many checks: to make one takes long where a pattern has to be compiled.
    checks_to_new: u32,
    checks: u32,
}

impl<P: Parser> Checker<P> {
    /// `settings` are JSON texts that the parser takes.
    pub fn new(settings: &[&'static str]) -> Checker<P> {
        let configured = settings.iter().map(|settings| {
            let (parser, contract) = configured::<P>(settings);
            (*settings, parser, contract)
        });
        Checker { configured: configured.collect(), checks_to_new: 64, checks: 0 }
    }

    /// Panics if the parser breaks a rule on these bytes.
    pub fn check(&mut self, bytes: &[u8]) {
        let Some((choice, lines)) = bytes.split_first().filter(|_| !self.configured.is_empty()) else { return };
        let index = usize::from(*choice) % self.configured.len();
        let (settings, parser, contract) = &mut self.configured[index];
        let rows: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').collect();
        let whole = call(parser, contract, &rows);
        assert_eq!(whole.exactly(), call(parser, contract, &rows).exactly(), "a second call gives another answer");
        self.checks += 1;
        if self.checks.is_multiple_of(self.checks_to_new) {
            let (mut new, _) = configured::<P>(settings);
            assert_eq!(
                whole.exactly(),
                call(&mut new, contract, &rows).exactly(),
                "a new instance gives another answer"
            );
        }
        for (row, body) in rows.iter().enumerate() {
            let alone = call(parser, contract, &[body]);
            assert_eq!(whole.of_row(row).as_text(), alone.as_text(), "row {row} is another in a batch of its own");
        }
    }
}

/// Checks every file of a folder, and that there are some.
pub fn replay<P: Parser>(settings: &[&'static str], folder: &str) {
    let files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    assert!(!files.is_empty(), "{folder}: there is no corpus");
    let mut checker = Checker::<P>::new(settings);
    checker.checks_to_new = 4;
    for file in files {
        println!("{}", file.display()); // shown where a check panics
        checker.check(&std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    }
}

fn configured<P: Parser>(settings: &str) -> (P, Contract) {
    crate::configure::<P>(settings).unwrap_or_else(|error| panic!("{settings}: {error}"))
}

/// What came out: the rows with where they came from, and the errors by row.
#[derive(Debug)]
struct Answer {
    rows: Vec<(usize, Table)>,
    errors: BTreeMap<usize, String>,
}

impl Answer {
    fn of_row(&self, row: usize) -> Answer {
        let rows = self.rows.iter().filter(|(origin, _)| *origin == row).map(|(_, shown)| (0, shown.clone()));
        Answer { rows: rows.collect(), errors: self.errors.get(&row).map(|why| (0, why.clone())).into_iter().collect() }
    }

    /// Everything, types and all; NaN is no equal of itself, its text is.
    fn exactly(&self) -> String {
        format!("{self:?}")
    }

    /// Rows and errors with values as text, numbers written one way.
    fn as_text(&self) -> (Vec<Vec<(String, String)>>, Vec<String>) {
        let row = |(_, table): &(usize, Table)| {
            let mut row: Vec<_> = table.iter().map(|(name, value)| (name.clone(), as_text(value))).collect();
            row.sort();
            row
        };
        (self.rows.iter().map(row).collect(), self.errors.values().cloned().collect())
    }
}

fn as_text(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    };
    match text.parse::<f64>() {
        Ok(number) => format!("{number:?}"),
        Err(_) => text,
    }
}

fn call<P: Parser>(parser: &mut P, contract: &Contract, rows: &[&[u8]]) -> Answer {
    let input = batch(rows);
    let mut output = Parsed::new(rows.len());
    let parsed = parser.parse(&input, &Context { now: None, state: None }, &mut output);
    parsed.unwrap_or_else(|error| panic!("the batch failed: {error}"));
    let answer = output.into_wire().unwrap_or_else(|error| panic!("{error}"));
    check_columns(&answer.columns, answer.rows as usize, contract).unwrap_or_else(|error| panic!("{error}"));
    answer.columns.iter().for_each(|column| check_text(column, &input));
    let mut names: Vec<&str> = answer.columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "two columns have one name: {names:?}");
    let count = answer.errors.len();
    let errors: BTreeMap<usize, String> =
        answer.errors.into_iter().map(|error| (error.row as usize, error.message)).collect();
    assert_eq!(count, errors.len(), "a row has two errors");
    assert!(errors.keys().all(|row| *row < rows.len()), "an error of a row that there is not: {errors:?}");
    assert!(errors.values().all(|message| !message.is_empty()), "an error without a word");
    let origin = answer
        .origin
        .unwrap_or_else(|| (0..rows.len() as u32).filter(|row| !errors.contains_key(&(*row as usize))).collect());
    assert!(origin.iter().all(|row| !errors.contains_key(&(*row as usize))), "a row is there and an error as well");
    let shown = shown_rows(answer.columns, &input, answer.rows as usize).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(shown.len(), origin.len(), "as many rows as origins");
    Answer { rows: origin.iter().map(|row| *row as usize).zip(shown).collect(), errors }
}

fn batch(rows: &[&[u8]]) -> Batch {
    let (mut bodies, mut timestamps) = (Binaries::default(), Timestamps::default());
    for row in rows {
        bodies.push(row);
        timestamps.push(ARRIVED);
    }
    let columns = [("body", bodies.build()), ("timestamp", timestamps.build())];
    let column = |(name, (values, validity)): (&str, _)| wire::Column { name: name.to_owned(), values, validity };
    Batch::new(rows.len(), columns.into_iter().map(column).collect())
}

/// Text is UTF-8, offsets and spans stay inside of what they point at.
fn check_text(column: &wire::Column, input: &Batch) {
    let var_bytes = |values: &wire::VarBytes| {
        assert_eq!(values.offsets.first(), Some(&0), "column `{}`: its first offset is 0", column.name);
        assert!(values.offsets.windows(2).all(|pair| pair[0] <= pair[1]), "column `{}`: offsets go back", column.name);
        let end = values.offsets.last().copied().unwrap_or_default() as usize;
        assert_eq!(end, values.data.len(), "column `{}`: the last offset is the end", column.name);
        for pair in values.offsets.windows(2) {
            let value = &values.data[pair[0] as usize..pair[1] as usize];
            assert!(std::str::from_utf8(value).is_ok(), "column `{}`: not UTF-8: {value:?}", column.name);
        }
    };
    match &column.values {
        wire::Values::Utf8(values) => var_bytes(values),
        wire::Values::DictUtf8(dictionary) => var_bytes(&dictionary.values),
        wire::Values::SlicedUtf8(_) => {
            cut_out(column.clone(), input).unwrap_or_else(|error| panic!("{error}"));
        }
        _ => {}
    }
}
