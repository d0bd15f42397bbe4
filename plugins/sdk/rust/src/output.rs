//! the answer of a call, filled in by the plugin and checked before it leaves
//!
//! A column of the wrong length is found here, where the message can name it, and not by the host.

use crate::builders::Build;
use crate::wire;

/// What a parser makes of a batch.
#[derive(Debug)]
pub struct Parsed {
    rows_in: usize,
    columns: Columns,
    origin: Option<Vec<u32>>,
    errors: Vec<wire::RowError>,
    state: Option<Vec<u8>>,
}

/// What a filter makes of a batch.
#[derive(Debug)]
pub struct Kept {
    keep: Vec<u8>,
    errors: Vec<wire::RowError>,
    state: Option<Vec<u8>>,
}

/// What an enricher makes of a batch.
#[derive(Debug)]
pub struct Enriched {
    rows_in: usize,
    columns: Columns,
    errors: Vec<wire::RowError>,
    state: Option<Vec<u8>>,
}

macro_rules! errors_and_state {
    () => {
        /// This row could not be handled: it becomes a dead letter with this message, the others go on.
        pub fn error(&mut self, row: usize, message: impl Into<String>) {
            self.errors.push(wire::RowError { row: row as u32, message: message.into() });
        }

        /// The rows named so far, with their messages.
        pub fn errors(&self) -> impl Iterator<Item = (usize, &str)> {
            self.errors.iter().map(|error| (error.row as usize, error.message.as_str()))
        }

        /// What the next call gets in its context, where the contract says `keeps_state`.
        pub fn state(&mut self, state: Vec<u8>) {
            self.state = Some(state);
        }
    };
}

impl Parsed {
    /// An empty answer to a batch of so many rows.
    pub fn new(rows_in: usize) -> Parsed {
        Parsed { rows_in, columns: Columns::default(), origin: None, errors: Vec::new(), state: None }
    }

    /// A column, as long as there are rows that come out.
    pub fn column(&mut self, name: impl Into<String>, values: impl Build) {
        self.columns.add(name.into(), values);
    }

    /// For each row that comes out, the row it came from. Without it: row by row, in order, without the rows in error.
    pub fn origin(&mut self, rows: Vec<u32>) {
        self.origin = Some(rows);
    }

    errors_and_state!();

    fn rows_out(&self) -> usize {
        match &self.origin {
            Some(origin) => origin.len(),
            None => self.rows_in.saturating_sub(distinct_rows(&self.errors)),
        }
    }

    /// The answer as it crosses, if every column is as long as there are rows.
    pub fn into_wire(self) -> Result<ParsedWire, String> {
        let rows = self.rows_out();
        let columns = self.columns.checked(rows).map_err(|flaw| match self.errors.first() {
            Some(error) => format!("{flaw}, and not for one in error; row {} is: {}", error.row, error.message),
            None => flaw,
        })?;
        if let Some(row) = self.origin.iter().flatten().find(|row| **row as usize >= self.rows_in) {
            return Err(format!("a row claims to come from row {row} of a batch of {}", self.rows_in));
        }
        Ok(ParsedWire { rows: rows as u32, columns, origin: self.origin, errors: self.errors, state: self.state })
    }
}

/// A parser's answer in the wire's own types.
#[derive(Clone, Debug)]
pub struct ParsedWire {
    /// How many rows come out.
    pub rows: u32,
    /// The columns made, each of `rows` values.
    pub columns: Vec<wire::Column>,
    /// For each row that comes out, the row it came from.
    pub origin: Option<Vec<u32>>,
    /// The rows that could not be handled.
    pub errors: Vec<wire::RowError>,
    /// What the next call gets.
    pub state: Option<Vec<u8>>,
}

impl Kept {
    /// An answer that keeps each of so many rows.
    pub fn new(rows_in: usize) -> Kept {
        Kept { keep: vec![1; rows_in], errors: Vec::new(), state: None }
    }

    /// This row ends here.
    #[inline]
    pub fn drop_row(&mut self, row: usize) {
        if let Some(keep) = self.keep.get_mut(row) {
            *keep = 0;
        }
    }

    /// One byte a row, 1 keeps it: for a tight loop over a whole column.
    pub fn mask(&mut self) -> &mut [u8] {
        &mut self.keep
    }

    errors_and_state!();

    /// The mask, the rows in error and the state, as they cross.
    pub fn into_wire(self) -> (Vec<u8>, Vec<wire::RowError>, Option<Vec<u8>>) {
        (self.keep, self.errors, self.state)
    }
}

impl Enriched {
    /// An empty answer to a batch of so many rows.
    pub fn new(rows_in: usize) -> Enriched {
        Enriched { rows_in, columns: Columns::default(), errors: Vec::new(), state: None }
    }

    /// A column, as long as the input.
    pub fn column(&mut self, name: impl Into<String>, values: impl Build) {
        self.columns.add(name.into(), values);
    }

    /// A column in the wire's own types, such as one that a lookup gave, under a name of its own.
    pub fn wire_column(&mut self, name: impl Into<String>, column: wire::Column) {
        let rows = wire_rows(&column.values);
        self.columns.0.push((wire::Column { name: name.into(), ..column }, rows));
    }

    errors_and_state!();

    /// The columns, the rows in error and the state, as they cross.
    #[allow(clippy::type_complexity)]
    pub fn into_wire(self) -> Result<(Vec<wire::Column>, Vec<wire::RowError>, Option<Vec<u8>>), String> {
        Ok((self.columns.checked(self.rows_in)?, self.errors, self.state))
    }
}

/// Columns and how many rows each has.
#[derive(Debug, Default)]
struct Columns(Vec<(wire::Column, usize)>);

impl Columns {
    fn add(&mut self, name: String, values: impl Build) {
        let rows = values.rows();
        let (values, validity) = values.build();
        self.0.push((wire::Column { name, values, validity }, rows));
    }

    fn checked(self, rows: usize) -> Result<Vec<wire::Column>, String> {
        match self.0.iter().find(|(_, length)| *length != rows) {
            Some((column, length)) => Err(format!(
                "column `{}` has {length} rows where {rows} come out; push once for every row",
                column.name
            )),
            None => Ok(self.0.into_iter().map(|(column, _)| column).collect()),
        }
    }
}

fn wire_rows(values: &wire::Values) -> usize {
    match values {
        wire::Values::Boolean(values) => values.len(),
        wire::Values::Int64(values) | wire::Values::Timestamp(values) => values.len(),
        wire::Values::Float64(values) => values.len(),
        wire::Values::Utf8(values) | wire::Values::Binary(values) => values.offsets.len().saturating_sub(1),
        wire::Values::DictUtf8(dictionary) => dictionary.indices.len(),
        wire::Values::SlicedUtf8(slices) => slices.spans.len() / 2,
    }
}

/// A row named twice is still one row less.
fn distinct_rows(errors: &[wire::RowError]) -> usize {
    let in_order = errors.windows(2).all(|pair| pair[0].row < pair[1].row);
    if in_order {
        return errors.len();
    }
    errors.iter().map(|error| error.row).collect::<std::collections::BTreeSet<_>>().len()
}
