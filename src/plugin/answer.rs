//! what a plugin answered, checked as a whole before anybody believes it
//!
//! **Always:** a row is named once and is one of the batch; a column is one of the contract, comes once, and is as long as it must be.
//! What is unpacked counts as what came: all columns of an answer together have [`Limits::output`].

use super::boundary as wit;
use super::fault::{Fault, FaultKind};
use super::{Limits, Proposal, World, read};
use crate::error::did_you_mean;
use crate::event::columns::LABELS;
use crate::event::{Kind, Type, labels};
use arrow::array::{ArrayRef, RecordBatch};
use std::collections::{HashMap, HashSet};

/// Columns of a contract or an answer; more than any table has.
const COLUMNS_MAX: usize = 5000;
/// Bytes of a column's name.
const NAME_BYTES_MAX: usize = 1024;
/// Bytes of what a plugin says about a row or a batch; the rest is cut.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Why an answer is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// the interface does not allow it
    Malformed(String),
    /// it is larger than it may be
    Large(String),
}

impl From<String> for Flaw {
    fn from(what: String) -> Flaw {
        Flaw::Malformed(what)
    }
}

impl From<Flaw> for Fault {
    fn from(flaw: Flaw) -> Fault {
        match flaw {
            Flaw::Malformed(what) => Fault::malformed(what),
            Flaw::Large(what) => Fault::new(FaultKind::Output, what),
        }
    }
}

/// What stands for the time in what a plugin reads.
fn time_of(world: World) -> &'static str {
    match world {
        World::Parser | World::Filter | World::Enricher => "context.now",
        World::Autoscaler => "request.now",
    }
}

/// What a configured plugin reads and makes.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// columns to hand over; `prefix.*` and `*` stand for many
    pub reads: Vec<String>,
    /// its answers depend on the time that it is told
    pub reads_time: bool,
    /// columns that come back, with their types
    pub writes: Vec<(String, Type)>,
    /// columns beyond `writes` may come back
    pub open_schema: bool,
    /// state goes in and comes back
    pub keeps_state: bool,
    /// what a parser makes
    pub produces: Kind,
}

impl Contract {
    /// Whether a column crosses to the plugin, or one of the labels in it.
    pub fn hands_over(&self, column: &str) -> bool {
        self.reads.iter().any(|pattern| match pattern.strip_suffix('*') {
            _ if column == LABELS && pattern.starts_with(labels::PREFIX) => true,
            Some(start) => column.starts_with(start),
            None => pattern == column,
        })
    }

    /// What an autoscaler cannot do without and its scaler does not have, in words.
    pub fn unmet<'a>(&self, signals: impl Iterator<Item = &'a str> + Clone, has_advisers: bool) -> Option<String> {
        self.reads.iter().find_map(|wanted| match wanted.strip_prefix("advisers.") {
            Some(_) if has_advisers => None,
            Some(_) => Some("it needs advisers, and there are none; write [scalers.<name>.advisers.<name>]".to_owned()),
            None if wanted.contains('*') || signals.clone().any(|signal| signal == wanted) => None,
            None => {
                let hint = did_you_mean(wanted, signals.clone());
                Some(format!("it needs a signal `{wanted}`, and there is none of that name{hint}"))
            }
        })
    }
}

/// A row that the plugin itself could not handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// which row of the input
    pub row: usize,
    /// why
    pub message: String,
}

/// What comes out of a parser.
#[derive(Debug)]
pub struct Parsed {
    /// rows that come out
    pub rows: usize,
    /// the columns it made
    pub columns: Vec<(String, ArrayRef)>,
    /// for each row that comes out the row it came from; none = the rows not in `errors`, in order
    pub origin: Option<Vec<u32>>,
    /// rows that could not be handled
    pub errors: Vec<RowError>,
    /// for the next call
    pub state: Option<Vec<u8>>,
}

/// What comes out of a filter.
#[derive(Debug)]
pub struct Kept {
    /// one a row: whether it goes on
    pub keep: arrow::buffer::BooleanBuffer,
    /// rows that could not be handled
    pub errors: Vec<RowError>,
    /// for the next call
    pub state: Option<Vec<u8>>,
}

/// What comes out of an enricher.
#[derive(Debug)]
pub struct Enriched {
    /// the columns it made, as long as the input
    pub columns: Vec<(String, ArrayRef)>,
    /// rows that could not be handled
    pub errors: Vec<RowError>,
    /// for the next call
    pub state: Option<Vec<u8>>,
}

/// An answer's size, for the account.
pub(super) trait Weight {
    /// bytes that came over
    fn bytes(&self) -> usize;
}

impl Weight for wit::Parsed {
    fn bytes(&self) -> usize {
        columns_bytes(&self.columns) + self.origin.as_ref().map_or(0, |rows| 4 * rows.len()) + state_bytes(&self.state)
    }
}

impl Weight for wit::Kept {
    fn bytes(&self) -> usize {
        self.keep.len() + state_bytes(&self.state)
    }
}

impl Weight for wit::Enriched {
    fn bytes(&self) -> usize {
        columns_bytes(&self.columns) + state_bytes(&self.state)
    }
}

impl Weight for wit::ProposalOut {
    fn bytes(&self) -> usize {
        self.reason.len() + self.state.len()
    }
}

fn state_bytes(state: &Option<Vec<u8>>) -> usize {
    state.as_ref().map_or(0, Vec::len)
}

fn columns_bytes(columns: &[wit::Column]) -> usize {
    let bytes = |column: &wit::Column| {
        let values = match &column.values {
            wit::Values::Boolean(bytes) => bytes.len(),
            wit::Values::Int64(numbers) | wit::Values::Timestamp(numbers) => 8 * numbers.len(),
            wit::Values::Float64(numbers) => 8 * numbers.len(),
            wit::Values::Utf8(bytes) | wit::Values::Binary(bytes) => 4 * bytes.offsets.len() + bytes.data.len(),
            wit::Values::DictUtf8(dictionary) => {
                4 * (dictionary.indices.len() + dictionary.values.offsets.len()) + dictionary.values.data.len()
            }
            wit::Values::SlicedUtf8(slices) => 4 * slices.spans.len() + slices.extra.len(),
        };
        values + column.validity.as_ref().map_or(0, Vec::len)
    };
    columns.iter().map(bytes).sum()
}

/// What a plugin says it reads and makes.
pub(super) fn contract(contract: wit::ContractOut, world: World) -> Result<Contract, Flaw> {
    if contract.reads.len() > COLUMNS_MAX || contract.writes.len() > COLUMNS_MAX {
        return Err(Flaw::Malformed(format!("its contract names more than {COLUMNS_MAX} columns")));
    }
    for pattern in &contract.reads {
        named(pattern)?;
    }
    let (times, reads): (Vec<_>, Vec<_>) = contract.reads.into_iter().partition(|name| name == time_of(world));
    let writes = contract.writes.into_iter().map(|field| {
        let r#type = match field.data_type {
            wit::DataType::Boolean => Type::Boolean,
            wit::DataType::Int64 => Type::Int64,
            wit::DataType::Float64 => Type::Float64,
            wit::DataType::Timestamp => Type::Timestamp,
            wit::DataType::Utf8 => Type::Utf8,
            wit::DataType::Binary => Type::Binary,
        };
        named(&field.name)?;
        Ok((field.name, r#type))
    });
    Ok(Contract {
        reads,
        reads_time: !times.is_empty(),
        writes: writes.collect::<Result<_, Flaw>>()?,
        open_schema: contract.open_schema,
        keeps_state: contract.keeps_state,
        produces: match contract.produces {
            wit::EventKind::Logs => Kind::Logs,
            wit::EventKind::Metrics => Kind::Metrics,
        },
    })
}

/// What a parser made of this input.
pub(super) fn parsed(
    answer: wit::Parsed,
    input: &RecordBatch,
    contract: &Contract,
    limits: &Limits,
) -> Result<Parsed, Flaw> {
    let rows = input.num_rows();
    let errors = row_errors(answer.errors, rows)?;
    let out = answer.rows as usize;
    match &answer.origin {
        Some(origin) if origin.len() != out => {
            return Err(Flaw::Malformed(format!("it says where {} rows came from, and has {out}", origin.len())));
        }
        Some(origin) => {
            if let Some(past) = origin.iter().find(|row| **row as usize >= rows) {
                return Err(Flaw::Malformed(format!("a row came from row {past} of a batch of {rows}")));
            }
        }
        None if out != rows - errors.len() => {
            let count = errors.len();
            let first = errors.first().map(|error| format!(" (row {} is: `{}`)", error.row, error.message));
            let first = first.unwrap_or_default();
            return Err(Flaw::Malformed(format!(
                "{rows} rows went in, {count} of them are errors{first}, and {out} came out"
            )));
        }
        None => (),
    }
    let columns = columns(answer.columns, out, input, contract, limits)?;
    let state = state(answer.state, limits)?;
    Ok(Parsed { rows: out, columns, origin: answer.origin, errors, state })
}

/// What a filter said of so many rows.
pub(super) fn kept(answer: wit::Kept, rows: usize, limits: &Limits) -> Result<Kept, Flaw> {
    let errors = row_errors(answer.errors, rows)?;
    if answer.keep.len() != rows {
        return Err(Flaw::Malformed(format!("its mask has {} entries for {rows} rows", answer.keep.len())));
    }
    Ok(Kept { keep: read::bits(&answer.keep), errors, state: state(answer.state, limits)? })
}

/// What an enricher made of this input.
pub(super) fn enriched(
    answer: wit::Enriched,
    input: &RecordBatch,
    contract: &Contract,
    limits: &Limits,
) -> Result<Enriched, Flaw> {
    let errors = row_errors(answer.errors, input.num_rows())?;
    let columns = columns(answer.columns, input.num_rows(), input, contract, limits)?;
    Ok(Enriched { columns, errors, state: state(answer.state, limits)? })
}

/// What an autoscaler proposes.
pub(super) fn proposal(answer: wit::ProposalOut, limits: &Limits) -> Result<Proposal, Flaw> {
    let state = state(Some(answer.state), limits)?.unwrap_or_default();
    Ok(Proposal { replicas: answer.replicas, reason: cut(answer.reason), state })
}

/// What a plugin says in words, short enough to be kept with every event.
pub(super) fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}

fn named(name: &str) -> Result<(), Flaw> {
    match name.len() {
        0 => Err(Flaw::Malformed("a column has no name".to_owned())),
        1..=NAME_BYTES_MAX => Ok(()),
        bytes => Err(Flaw::Malformed(format!("the name of a column has {bytes} bytes; {NAME_BYTES_MAX} are allowed"))),
    }
}

fn state(state: Option<Vec<u8>>, limits: &Limits) -> Result<Option<Vec<u8>>, Flaw> {
    match state {
        Some(state) if state.len() > limits.state.as_usize() => {
            let (bytes, most) = (state.len(), limits.state);
            Err(Flaw::Large(format!("its state has {bytes} bytes; it may have {most}")))
        }
        state => Ok(state),
    }
}

/// Each row at most once, none beyond the batch.
fn row_errors(errors: Vec<wit::RowErrorOut>, rows: usize) -> Result<Vec<RowError>, Flaw> {
    let mut seen = vec![false; rows];
    let mut checked = Vec::with_capacity(errors.len().min(rows));
    for error in errors {
        let row = error.row as usize;
        match seen.get_mut(row) {
            Some(seen) if !*seen => *seen = true,
            Some(_) => continue,
            None => return Err(Flaw::Malformed(format!("it names row {row} of a batch of {rows}"))),
        }
        checked.push(RowError { row, message: cut(error.message) });
    }
    checked.sort_by_key(|error| error.row);
    Ok(checked)
}

/// The columns an answer may hold: declared, or any where the schema is open; each name once, each of the type declared.
fn columns(
    answer: Vec<wit::Column>,
    rows: usize,
    input: &RecordBatch,
    contract: &Contract,
    limits: &Limits,
) -> Result<Vec<(String, ArrayRef)>, Flaw> {
    if answer.len() > COLUMNS_MAX {
        return Err(Flaw::Malformed(format!("it has {} columns; {COLUMNS_MAX} are allowed", answer.len())));
    }
    let declared: HashMap<&str, Type> = contract.writes.iter().map(|(name, r#type)| (name.as_str(), *r#type)).collect();
    let mut seen: HashSet<String> = HashSet::with_capacity(answer.len());
    let mut checked: Vec<(String, ArrayRef)> = Vec::with_capacity(answer.len());
    let mut room = read::Room::of(limits);
    for column in answer {
        let name = &column.name;
        named(name)?;
        let found = read::type_of(&column.values);
        match declared.get(name.as_str()) {
            Some(r#type) if *r#type != found => {
                let (found, said) = (found.word(), r#type.word());
                return Err(Flaw::Malformed(format!("column `{name}` is {found}, and its contract says {said}")));
            }
            None if !contract.open_schema => {
                return Err(Flaw::Malformed(format!("column `{name}` is not in its contract")));
            }
            Some(_) | None => (),
        }
        if !seen.insert(name.clone()) {
            return Err(Flaw::Malformed(format!("column `{name}` comes twice")));
        }
        checked.push(read::column(column, rows, input, &mut room)?);
    }
    Ok(checked)
}
