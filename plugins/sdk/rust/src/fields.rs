//! columns whose names and types the settings give, for parsers that cut a line into named fields
//!
//! ```text
//! names + types + timestamp ─► Fields ─► contract            once
//! a line's values, in order of the names ─► FieldColumns ─► columns      for every line, all of it or nothing
//! ```
//!
//! **Always:** a line with a value that is not of its type is an error that names the field.

use std::collections::BTreeMap;

use crate::time_format::{TimeFormat, parse_offset};
use crate::{
    Batch, Booleans, BytesColumn, Contract, DataType, Floats, Ints, OpenColumns, Parsed, Slices, Timestamps, lines,
    time,
};

/// What a field becomes.
#[derive(Clone, Debug)]
pub enum FieldType {
    /// `"utf8"`: as it stands in the line
    Utf8,
    /// `"int64"`
    Int64,
    /// `"float64"`
    Float64,
    /// `"boolean"`: true and false, yes and no, on and off, 1 and 0, in any case
    Boolean,
    /// `"timestamp"`, or `"timestamp:%Y-%m-%d …"`
    Timestamp(TimeFormat),
    /// `"auto"`: numbers and booleans as JSON writes them become such, batch by batch; all else is text
    Auto,
}

/// What the settings say of a parser's fields. Each parser has keys of these names in its own settings.
#[derive(Clone, Debug, Default)]
pub struct FieldSettings<'s> {
    /// The field that says when the event happened, or several, with a space between them. Without it the usual names are tried.
    pub timestamp: Option<&'s str>,
    /// How that is written. Without it: RFC 3339, or a number since 1970.
    pub timestamp_format: Option<&'s str>,
    /// The offset of times that do not say theirs.
    pub timezone: Option<&'s str>,
    /// A type by field.
    pub types: Option<&'s BTreeMap<String, String>>,
}

/// Fields by name, with their types.
#[derive(Clone, Debug)]
pub struct Fields {
    /// What the parser calls them, and what their columns are called.
    names: Vec<(String, String)>,
    types: Vec<FieldType>,
    time: Option<TimeField>,
}

/// Which field is the event's time.
#[derive(Clone, Debug)]
struct TimeField {
    /// One field, or several, that are read with a space between them.
    indices: Vec<usize>,
    format: TimeFormat,
    /// The settings name it: it has to be there and readable. Else it stays a column where it is not.
    required: bool,
}

impl FieldType {
    /// As it is written in the settings.
    pub fn parse(written: &str, offset_seconds: i64) -> Result<FieldType, String> {
        Ok(match written {
            "utf8" => FieldType::Utf8,
            "int64" => FieldType::Int64,
            "float64" => FieldType::Float64,
            "boolean" => FieldType::Boolean,
            "timestamp" => FieldType::Timestamp(TimeFormat::standard()),
            "auto" => FieldType::Auto,
            other => match other.strip_prefix("timestamp:") {
                Some(format) => FieldType::Timestamp(TimeFormat::new(format, offset_seconds)?),
                None => {
                    return Err(format!(
                        "`{other}` is not a type; it is one of utf8, int64, float64, boolean, timestamp, timestamp:FORMAT, auto"
                    ));
                }
            },
        })
    }

    fn data_type(&self) -> Option<DataType> {
        match self {
            FieldType::Utf8 => Some(DataType::Utf8),
            FieldType::Int64 => Some(DataType::Int64),
            FieldType::Float64 => Some(DataType::Float64),
            FieldType::Boolean => Some(DataType::Boolean),
            FieldType::Timestamp(_) => Some(DataType::Timestamp),
            FieldType::Auto => None,
        }
    }
}

impl Fields {
    /// Checks the settings against the fields there are. A field without a type in the settings keeps the one it comes with.
    pub fn new(fields: &[(String, FieldType)], settings: &FieldSettings<'_>) -> Result<Fields, String> {
        let offset = settings.timezone.map_or(Ok(0), parse_offset)?;
        let known = |name: &str| fields.iter().position(|(field, _)| field == name);
        let listed = || fields.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let mut types: Vec<FieldType> = fields.iter().map(|(_, field_type)| field_type.clone()).collect();
        for (name, written) in settings.types.into_iter().flatten() {
            let index =
                known(name).ok_or_else(|| format!("`types`: there is no field `{name}`, there are {}", listed()))?;
            types[index] = FieldType::parse(written, offset).map_err(|error| format!("`types`: `{name}`: {error}"))?;
        }
        let time = time_field(settings, offset, &types, known, listed)?;
        let names = fields.iter().map(|(name, _)| (name.clone(), column_name(name))).collect();
        Ok(Fields { names, types, time })
    }

    /// Adds what these fields read and write.
    pub fn contract(&self, contract: Contract) -> Contract {
        let mut contract = contract.reads("body").reads("timestamp").writes("timestamp", DataType::Timestamp);
        for (index, (_, column)) in self.names.iter().enumerate() {
            if !self.is_only_time(index) {
                contract = match self.types[index].data_type() {
                    Some(data_type) => contract.writes(column, data_type),
                    None => contract,
                };
            }
        }
        let is_open = self.types.iter().any(|field_type| matches!(field_type, FieldType::Auto));
        if is_open { contract.open_schema() } else { contract }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The field becomes `timestamp` and nothing else.
    fn is_only_time(&self, index: usize) -> bool {
        self.time.as_ref().is_some_and(|time| time.indices.contains(&index) && time.required)
    }
}

fn time_field(
    settings: &FieldSettings<'_>,
    offset: i64,
    types: &[FieldType],
    known: impl Fn(&str) -> Option<usize>,
    listed: impl Fn() -> String,
) -> Result<Option<TimeField>, String> {
    let format = match settings.timestamp_format {
        Some(format) => Some(TimeFormat::new(format, offset).map_err(|error| format!("`timestamp_format`: {error}"))?),
        None => None,
    };
    let index_of = |name: &str| {
        known(name).ok_or_else(|| format!("`timestamp`: there is no field `{name}`, there are {}", listed()))
    };
    let indices = match settings.timestamp {
        Some("") => return Err("`timestamp` is empty; name the field that says when the event happened".to_owned()),
        Some(name) if known(name).is_some() => vec![index_of(name)?],
        Some(names) => names.split(' ').map(index_of).collect::<Result<_, _>>()?,
        None => lines::TIMESTAMP_FIELDS.iter().find_map(|name| known(name)).into_iter().collect(),
    };
    let Some(index) = indices.first().copied() else {
        return match format {
            Some(_) => Err(format!(
                "`timestamp_format`: none of the fields is the time; name it in `timestamp`, there are {}",
                listed()
            )),
            None => Ok(None),
        };
    };
    let typed = match &types[index] {
        FieldType::Timestamp(format) if indices.len() == 1 => Some(format.clone()),
        _ => None,
    };
    let required = settings.timestamp.is_some() || format.is_some() || typed.is_some();
    let format = format.or(typed).unwrap_or_else(TimeFormat::standard);
    Ok(Some(TimeField { indices, format, required }))
}

/// What the column of a field is called: names that are the host's get `_field` behind.
pub fn column_name(field: &str) -> String {
    match field {
        "body" | "source" | "timestamp" => format!("{field}_field"),
        field => field.to_owned(),
    }
}

/// The columns of a batch on their way.
pub struct FieldColumns<'f, 'a> {
    fields: &'f Fields,
    timestamps: Timestamps,
    any_timestamp: bool,
    columns: Vec<FieldColumn<'a>>,
    open: OpenColumns,
    /// A row's values, read but not pushed yet.
    staged: Vec<Staged>,
}

enum FieldColumn<'a> {
    Slices(Slices<'a>),
    Ints(Ints),
    Floats(Floats),
    Booleans(Booleans),
    Timestamps(Timestamps),
    /// In the open columns, or nowhere.
    None,
}

#[derive(Clone, Copy)]
enum Staged {
    Null,
    Text,
    Int(i64),
    Float(f64),
    Boolean(bool),
}

impl<'f, 'a> FieldColumns<'f, 'a> {
    /// Room for the rows of a batch, whose text is cut out of `bodies`.
    pub fn new(fields: &'f Fields, input: &Batch, bodies: &BytesColumn<'a>) -> FieldColumns<'f, 'a> {
        let rows = input.rows();
        let columns = fields.types.iter().enumerate().map(|(index, field_type)| match field_type {
            _ if fields.is_only_time(index) => FieldColumn::None,
            FieldType::Utf8 => FieldColumn::Slices(Slices::with_rows(rows, bodies)),
            FieldType::Int64 => FieldColumn::Ints(Ints::with_rows(rows)),
            FieldType::Float64 => FieldColumn::Floats(Floats::with_rows(rows)),
            FieldType::Boolean => FieldColumn::Booleans(Booleans::with_rows(rows)),
            FieldType::Timestamp(_) => FieldColumn::Timestamps(Timestamps::with_rows(rows)),
            FieldType::Auto => FieldColumn::None,
        });
        FieldColumns {
            columns: columns.collect(),
            fields,
            timestamps: Timestamps::with_rows(rows),
            any_timestamp: false,
            open: OpenColumns::new(),
            staged: Vec::with_capacity(fields.count()),
        }
    }

    /// The next row: the value of each field in order. With an error there is no row.
    pub fn push<'v>(&mut self, arrived: Option<i64>, value: impl Fn(usize) -> Option<&'v [u8]>) -> Result<(), String> {
        self.staged.clear();
        let time = self.time(arrived, &value)?;
        for index in 0..self.fields.count() {
            let is_time =
                self.fields.time.as_ref().is_some_and(|field| field.indices.contains(&index) && time.is_some());
            let staged = match value(index) {
                Some(value) if !is_time => self.stage(index, value, arrived)?,
                _ => Staged::Null,
            };
            self.staged.push(staged);
        }
        for (index, field_type) in self.fields.types.iter().enumerate() {
            if let (FieldType::Auto, Staged::Text, Some(text)) = (field_type, self.staged[index], value(index)) {
                self.open.set(&self.fields.names[index].0, lines::typed(text));
            }
        }
        if let Err(error) = self.open.commit_row() {
            self.open.discard_row();
            return Err(error);
        }
        let time = time.or(arrived);
        self.any_timestamp |= time.is_some();
        self.timestamps.push_option(time);
        for (index, (column, staged)) in self.columns.iter_mut().zip(&self.staged).enumerate() {
            column.push(*staged, || value(index));
        }
        Ok(())
    }

    fn time<'v>(
        &self,
        arrived: Option<i64>,
        value: &impl Fn(usize) -> Option<&'v [u8]>,
    ) -> Result<Option<i64>, String> {
        let Some(field) = &self.fields.time else { return Ok(None) };
        let [index] = field.indices.as_slice() else { return self.joined_time(field, arrived, value).map(Some) };
        let name = &self.fields.names[*index].0;
        match value(*index).filter(|text| !text.is_empty()) {
            Some(text) if field.required => {
                field.format.parse(text, arrived).map(Some).map_err(|error| format!("field `{name}`: {error}"))
            }
            Some(text) => Ok(std::str::from_utf8(text).ok().and_then(time::recognise)),
            None if field.required => Err(format!("field `{name}`, which is the time, has no value")),
            None => Ok(None),
        }
    }

    /// A time that stands in several fields.
    fn joined_time<'v>(
        &self,
        field: &TimeField,
        arrived: Option<i64>,
        value: &impl Fn(usize) -> Option<&'v [u8]>,
    ) -> Result<i64, String> {
        let parts = field.indices.iter().map(|index| {
            value(*index)
                .ok_or_else(|| format!("field `{}`, which is of the time, has no value", self.fields.names[*index].0))
        });
        let written = parts.collect::<Result<Vec<_>, _>>()?.join(&b' ');
        field.format.parse(&written, arrived)
    }

    fn stage(&self, index: usize, text: &[u8], arrived: Option<i64>) -> Result<Staged, String> {
        let field_type = &self.fields.types[index];
        match field_type {
            FieldType::Utf8 | FieldType::Auto => return Ok(Staged::Text),
            _ if self.fields.is_only_time(index) => return Ok(Staged::Null),
            _ => {}
        }
        let text = text.trim_ascii();
        if matches!(text, b"" | b"-") {
            return Ok(Staged::Null);
        }
        let written = std::str::from_utf8(text).unwrap_or_default();
        let staged = match field_type {
            FieldType::Int64 => written.parse().ok().map(Staged::Int),
            FieldType::Float64 => float(written).map(Staged::Float),
            FieldType::Boolean => boolean(text).map(Staged::Boolean),
            FieldType::Timestamp(format) => match format.parse(text, arrived) {
                Ok(nanoseconds) => Some(Staged::Int(nanoseconds)),
                Err(error) => return Err(format!("field `{}`: {error}", self.fields.names[index].0)),
            },
            FieldType::Utf8 | FieldType::Auto => Some(Staged::Text),
        };
        staged.ok_or_else(|| self.mismatch(index, text))
    }

    #[cold]
    fn mismatch(&self, index: usize, text: &[u8]) -> String {
        let wanted = match &self.fields.types[index] {
            FieldType::Int64 => "int64",
            FieldType::Float64 => "float64",
            FieldType::Boolean => "boolean",
            FieldType::Timestamp(_) => "timestamp",
            FieldType::Utf8 | FieldType::Auto => "utf8",
        };
        let shown = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
        format!("field `{}` is `{shown}`, and {wanted} is wanted", self.fields.names[index].0)
    }

    /// Hands the columns over.
    pub fn finish(self, output: &mut Parsed) {
        if self.any_timestamp {
            output.column("timestamp", self.timestamps);
        }
        for (column, (_, name)) in self.columns.into_iter().zip(&self.fields.names) {
            match column {
                FieldColumn::Slices(values) => output.column(name, values),
                FieldColumn::Ints(values) => output.column(name, values),
                FieldColumn::Floats(values) => output.column(name, values),
                FieldColumn::Booleans(values) => output.column(name, values),
                FieldColumn::Timestamps(values) => output.column(name, values),
                FieldColumn::None => {}
            }
        }
        self.open.finish(output);
    }
}

impl FieldColumn<'_> {
    fn push<'v>(&mut self, staged: Staged, text: impl Fn() -> Option<&'v [u8]>) {
        match (self, staged) {
            (FieldColumn::Slices(values), Staged::Text) => values.push_option(text()),
            (FieldColumn::Slices(values), _) => values.push_null(),
            (FieldColumn::Ints(values), Staged::Int(value)) => values.push(value),
            (FieldColumn::Ints(values), _) => values.push_null(),
            (FieldColumn::Floats(values), Staged::Float(value)) => values.push(value),
            (FieldColumn::Floats(values), _) => values.push_null(),
            (FieldColumn::Booleans(values), Staged::Boolean(value)) => values.push(value),
            (FieldColumn::Booleans(values), _) => values.push_null(),
            (FieldColumn::Timestamps(values), Staged::Int(value)) => values.push(value),
            (FieldColumn::Timestamps(values), _) => values.push_null(),
            (FieldColumn::None, _) => {}
        }
    }
}

/// Decimal digits, perhaps with a point and an exponent; the words `inf` and `nan` are none.
fn float(text: &str) -> Option<f64> {
    let starts_like_a_number =
        text.trim_start_matches(['+', '-']).starts_with(|first: char| first.is_ascii_digit() || first == '.');
    text.parse().ok().filter(|_| starts_like_a_number)
}

fn boolean(text: &[u8]) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    match () {
        () if is(["true", "yes", "on", "1"]) => Some(true),
        () if is(["false", "no", "off", "0"]) => Some(false),
        () => None,
    }
}
