//! columns that the events name themselves: they grow as names appear, with nulls before
//!
//! ```text
//! set, set, … ─► commit_row ─► set, … ─► commit_row ─► finish ─► columns
//!        └► discard_row
//! ```
//!
//! A column has one type a batch. Where its values have several: integers and floats become float64 if no integer
//! loses a digit by it; everything else becomes text, each value as it is written in JSON (text without its quotes).
//!
//! **Always:** the last of several values for one name in one row wins; the others are fields of the JSON text `__more`.
//! **Never:** an integer loses a digit. One beyond 2^53 does not become a float, one beyond i64 becomes text.

use std::collections::HashMap;

use crate::builders::{Booleans, Build, Floats, Ints, Texts};
use crate::output::Parsed;

/// One value of an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value: the same as an absent name.
    Null,
    /// true or false
    Bool(bool),
    /// A number as it is written in JSON.
    Number(&'a str),
    /// Text; bytes that are not UTF-8 become U+FFFD.
    Text(&'a [u8]),
}

/// A set of columns that grows.
#[derive(Debug, Default)]
pub struct OpenColumns {
    columns: Vec<Column>,
    index_of: HashMap<String, usize>,
    /// The names of events come in the same order again and again: the likely next one.
    expected: Vec<(String, usize)>,
    position: usize,
    rows: usize,
    staged: Vec<(usize, Cell)>,
    /// Earlier values of names that came again in the row at hand, as the inside of a JSON object.
    earlier: String,
    arena: Vec<u8>,
    arena_committed: usize,
}

/// Names that the host gives to columns of its own.
const RESERVED: [&str; 4] = ["body", "source", "timestamp", MORE];

/// Where earlier values of a name go.
const MORE: &str = "__more";

/// More names than this in one batch are not fields but data in the place of names.
pub const COLUMNS_MAX: usize = 4_096;

impl OpenColumns {
    /// No columns and no rows.
    pub fn new() -> OpenColumns {
        OpenColumns::default()
    }

    /// A value of the row at hand.
    ///
    /// The names `body`, `source`, `timestamp` and `__more` are not the event's: they become `body_field` and so on. An empty name
    /// becomes `_`.
    pub fn set(&mut self, name: &str, value: Value<'_>) {
        let column = self.column_of(name);
        let cell = self.cell(value);
        let staged_at = self.columns[column].staged_at;
        match self.staged.get_mut(staged_at) {
            Some((owner, staged)) if *owner == column => {
                if !matches!(cell, Cell::Null) {
                    let before = std::mem::replace(staged, cell);
                    self.keep_earlier(column, before);
                }
            }
            _ => {
                self.columns[column].staged_at = self.staged.len();
                self.staged.push((column, cell));
            }
        }
    }

    /// The row at hand is complete. It fails, and the row is gone, if there are too many columns by it.
    pub fn commit_row(&mut self) -> Result<(), String> {
        if self.columns.len() > COLUMNS_MAX {
            self.forget_new_columns();
            self.discard_row();
            return Err(format!("more than {COLUMNS_MAX} different field names in one batch; are they data?"));
        }
        self.stage_earlier();
        let rows = self.rows;
        for (column, cell) in self.staged.drain(..) {
            self.columns[column].push(rows, cell);
        }
        self.arena_committed = self.arena.len();
        self.start_row(rows + 1);
        Ok(())
    }

    /// The row at hand was a mistake: nothing of it stays.
    pub fn discard_row(&mut self) {
        self.staged.clear();
        self.earlier.clear();
        self.arena.truncate(self.arena_committed);
        self.start_row(self.rows);
    }

    /// Every column that has a value, as long as there are rows.
    pub fn finish(self, output: &mut Parsed) {
        for column in self.columns {
            column.finish(self.rows, &self.arena, output);
        }
    }

    /// A value that another one of the same row takes the place of.
    fn keep_earlier(&mut self, column: usize, cell: Cell) {
        let value = match cell {
            Cell::Null => return,
            Cell::Bool(value) => value.to_string(),
            Cell::Int(value) => value.to_string(),
            Cell::Float(value) => format!("{value:?}"),
            Cell::Text(start, end) => {
                let text = String::from_utf8_lossy(&self.arena[start as usize..end as usize]);
                serde_json::Value::from(text.as_ref()).to_string()
            }
        };
        let name = serde_json::Value::from(self.columns[column].name.as_str());
        let comma = if self.earlier.is_empty() { "" } else { "," };
        self.earlier.push_str(&format!("{comma}{name}:{value}"));
    }

    fn stage_earlier(&mut self) {
        if !self.earlier.is_empty() {
            let text = format!("{{{}}}", std::mem::take(&mut self.earlier));
            let known = self.columns.iter().position(|column| column.name == MORE);
            let column = known.unwrap_or_else(|| {
                self.columns.push(Column::new(MORE.to_owned()));
                self.columns.len() - 1
            });
            let cell = self.text_cell(text.as_bytes());
            self.staged.push((column, cell));
        }
    }

    fn start_row(&mut self, rows: usize) {
        self.rows = rows;
        self.position = 0;
    }

    fn column_of(&mut self, name: &str) -> usize {
        let position = self.position;
        self.position += 1;
        if let Some((expected, column)) = self.expected.get(position)
            && expected == name
        {
            return *column;
        }
        let column = match self.index_of.get(name) {
            Some(column) => *column,
            None => self.add_column(name),
        };
        if position == self.expected.len() && position < COLUMNS_MAX {
            self.expected.push((name.to_owned(), column));
        } else if let Some(expected) = self.expected.get_mut(position) {
            *expected = (name.to_owned(), column);
        }
        column
    }

    fn add_column(&mut self, name: &str) -> usize {
        let shown = match name {
            "" => "_".to_owned(),
            name if RESERVED.contains(&name) => format!("{name}_field"),
            name => name.to_owned(),
        };
        let column = match self.index_of.get(&shown) {
            Some(column) => *column,
            None => {
                self.columns.push(Column::new(shown.clone()));
                self.index_of.insert(shown, self.columns.len() - 1);
                self.columns.len() - 1
            }
        };
        self.index_of.insert(name.to_owned(), column);
        column
    }

    /// A row with thousands of new names must not leave them behind for the rows after it.
    fn forget_new_columns(&mut self) {
        let kept = self.columns.iter().rposition(|column| column.rows() > 0).map_or(0, |last| last + 1);
        self.columns.truncate(kept);
        self.index_of.retain(|_, column| *column < kept);
        self.expected.clear();
    }

    fn cell(&mut self, value: Value<'_>) -> Cell {
        match value {
            Value::Null => Cell::Null,
            Value::Bool(value) => Cell::Bool(value),
            Value::Text(text) => self.text_cell(text),
            Value::Number(text) => self.number_cell(text),
        }
    }

    fn number_cell(&mut self, text: &str) -> Cell {
        let is_float = text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        let number = match is_float {
            true => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Cell::Float),
            false if text == "-0" => Some(Cell::Float(-0.0)),
            false => text.parse().ok().map(Cell::Int),
        };
        number.unwrap_or_else(|| self.text_cell(text.as_bytes()))
    }

    fn text_cell(&mut self, text: &[u8]) -> Cell {
        let start = self.arena.len();
        self.arena.extend_from_slice(text);
        Cell::Text(start as u32, self.arena.len() as u32)
    }
}

#[derive(Clone, Copy, Debug)]
enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// from and to in the arena
    Text(u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Nothing,
    Bools,
    Ints,
    Floats,
    IntsAndFloats,
    Texts,
}

/// The cells of one column up to its last value; what is missing behind is null.
#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
    cells: Vec<Cell>,
    /// An integer here has more digits than a float64 keeps.
    has_long_int: bool,
    text_bytes: usize,
    /// Where this column's value of the row at hand is staged, if that place is this column's.
    staged_at: usize,
}

const FLOAT_INTEGERS: std::ops::RangeInclusive<i64> = -(1 << 53)..=(1 << 53);

impl Column {
    fn new(name: String) -> Column {
        Column { name, kind: Kind::Nothing, cells: Vec::new(), has_long_int: false, text_bytes: 0, staged_at: 0 }
    }

    fn rows(&self) -> usize {
        self.cells.len()
    }

    fn push(&mut self, row: usize, cell: Cell) {
        let kind = match cell {
            Cell::Null => return,
            Cell::Bool(_) => Kind::Bools,
            Cell::Int(_) => Kind::Ints,
            Cell::Float(_) => Kind::Floats,
            Cell::Text(..) => Kind::Texts,
        };
        match cell {
            Cell::Int(value) => self.has_long_int |= !FLOAT_INTEGERS.contains(&value),
            Cell::Text(start, end) => self.text_bytes += (end - start) as usize,
            Cell::Null | Cell::Bool(_) | Cell::Float(_) => {}
        }
        self.kind = self.kind.and(kind);
        self.cells.resize(row, Cell::Null);
        self.cells.push(cell);
    }

    fn finish(mut self, rows: usize, arena: &[u8], output: &mut Parsed) {
        self.cells.resize(rows, Cell::Null);
        match self.kind {
            Kind::Nothing => {}
            Kind::Bools => {
                let mut values = Booleans::with_rows(rows);
                self.cells.iter().for_each(|cell| values.push_option(cell.bool()));
                output.column(self.name, values);
            }
            Kind::Ints => {
                let mut values = Ints::with_rows(rows);
                self.cells.iter().for_each(|cell| values.push_option(cell.int()));
                output.column(self.name, values);
            }
            Kind::Floats => self.finish_floats(output),
            Kind::IntsAndFloats if !self.has_long_int => self.finish_floats(output),
            Kind::IntsAndFloats | Kind::Texts => self.finish_texts(arena, output),
        }
    }

    fn finish_floats(self, output: &mut Parsed) {
        let mut values = Floats::with_rows(self.cells.len());
        self.cells.iter().for_each(|cell| values.push_option(cell.float()));
        output.column(self.name, values);
    }

    fn finish_texts(self, arena: &[u8], output: &mut Parsed) {
        let mut values = Texts::with_rows(self.cells.len(), self.text_bytes);
        for cell in &self.cells {
            match *cell {
                Cell::Null => values.push_null(),
                Cell::Text(start, end) => values.push(&arena[start as usize..end as usize]),
                Cell::Bool(value) => values.push(if value { "true" } else { "false" }),
                Cell::Int(value) => values.push(value.to_string()),
                Cell::Float(value) => values.push(format!("{value:?}")),
            }
        }
        debug_assert_eq!(values.rows(), self.cells.len());
        output.column(self.name, values);
    }
}

impl Kind {
    fn and(self, other: Kind) -> Kind {
        match (self, other) {
            (Kind::Nothing, other) => other,
            (same, other) if same == other => same,
            (Kind::Ints | Kind::Floats | Kind::IntsAndFloats, Kind::Ints | Kind::Floats) => Kind::IntsAndFloats,
            _ => Kind::Texts,
        }
    }
}

impl Cell {
    fn bool(&self) -> Option<bool> {
        match self {
            Cell::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn int(&self) -> Option<i64> {
        match self {
            Cell::Int(value) => Some(*value),
            _ => None,
        }
    }

    fn float(&self) -> Option<f64> {
        match self {
            Cell::Float(value) => Some(*value),
            Cell::Int(value) => Some(*value as f64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    /// A column of one name, filled with these values a row each.
    fn column(values: &[Value<'_>]) -> wire::Column {
        let mut open = OpenColumns::new();
        for value in values {
            open.set("x", *value);
            open.commit_row().unwrap();
        }
        let mut output = Parsed::new(values.len());
        open.finish(&mut output);
        output.into_wire().unwrap().columns.remove(0)
    }

    fn texts(column: wire::Column) -> Vec<Option<String>> {
        let wire::Values::Utf8(values) = &column.values else { panic!("not text: {column:?}") };
        let batch = crate::Batch::new(values.offsets.len() - 1, vec![column]);
        let text = batch.text("x").unwrap();
        text.iter().map(|value| value.map(|value| value.into_owned())).collect()
    }

    #[test]
    fn integers_and_floats_are_floats_while_no_digit_is_lost() {
        let values = column(&[Value::Number("9007199254740992"), Value::Number("0.5")]).values;
        assert!(matches!(&values, wire::Values::Float64(floats) if floats == &[9007199254740992.0, 0.5]), "{values:?}");
        let values = texts(column(&[Value::Number("9007199254740993"), Value::Number("0.5")]));
        assert_eq!(values, [Some("9007199254740993".into()), Some("0.5".into())]);
    }

    #[test]
    fn integers_beyond_64_bits_are_text() {
        let values = texts(column(&[Value::Number("9223372036854775808"), Value::Null, Value::Number("1")]));
        assert_eq!(values, [Some("9223372036854775808".into()), None, Some("1".into())]);
        let values = column(&[Value::Number("9223372036854775807")]).values;
        assert!(matches!(values, wire::Values::Int64(ints) if ints == [i64::MAX]));
    }

    #[test]
    fn a_float_beyond_its_range_is_text() {
        assert_eq!(texts(column(&[Value::Number("1e999")])), [Some("1e999".into())]);
    }

    #[test]
    fn other_mixtures_are_text() {
        let values =
            texts(column(&[Value::Bool(true), Value::Number("1.50"), Value::Text(b"a"), Value::Text(b"\xff")]));
        assert_eq!(values, [Some("true".into()), Some("1.5".into()), Some("a".into()), Some("\u{fffd}".into())]);
    }

    #[test]
    fn a_discarded_row_leaves_nothing() {
        let mut open = OpenColumns::new();
        open.set("a", Value::Text(b"gone"));
        open.discard_row();
        open.set("b", Value::Text(b"one"));
        open.set("b", Value::Text(b"two"));
        open.commit_row().unwrap();
        let mut output = Parsed::new(1);
        open.finish(&mut output);
        let columns = output.into_wire().unwrap().columns;
        assert_eq!(columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["b", "__more"]);
    }

    #[test]
    fn names_of_the_host_and_names_without_letters() {
        let mut open = OpenColumns::new();
        open.set("body", Value::Number("1"));
        open.set("", Value::Number("2"));
        open.set("body_field", Value::Number("3"));
        open.commit_row().unwrap();
        let mut output = Parsed::new(1);
        open.finish(&mut output);
        let columns = output.into_wire().unwrap().columns;
        assert_eq!(
            columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
            ["body_field", "_", "__more"]
        );
        assert!(matches!(&columns[0].values, wire::Values::Int64(ints) if ints == &[3]));
    }

    #[test]
    fn a_row_of_too_many_names_fails_alone() {
        let mut open = OpenColumns::new();
        open.set("a", Value::Bool(true));
        open.commit_row().unwrap();
        (0..=COLUMNS_MAX).for_each(|name| open.set(&name.to_string(), Value::Bool(true)));
        assert!(open.commit_row().unwrap_err().contains("4096"));
        open.set("a", Value::Bool(false));
        open.set("z", Value::Bool(false));
        open.commit_row().unwrap();
        let mut output = Parsed::new(2);
        open.finish(&mut output);
        assert_eq!(output.into_wire().unwrap().columns.len(), 2);
    }
}
