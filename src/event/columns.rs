//! the columns every log and every metric has, and the types a column can be
//!
//! | logs | type | |
//! |---|---|---|
//! | `timestamp` | timestamp | when it happened, ns UTC; when it was received if the event does not say |
//! | `body` | binary on the way, utf8 in a table | the line as it came |
//! | `source` | utf8 | the name of the source in the pipeline file |
//! | any other | any | what the codec or a parser made of it |
//!
//! | metrics | type | |
//! |---|---|---|
//! | `timestamp` | timestamp | when it was measured, ns UTC |
//! | `name` | utf8 | as exposed: a histogram is its `_bucket`, `_sum` and `_count` samples, a row each, bucket bounds in the label `le` |
//! | `kind` | utf8 | `counter`, `gauge`, `histogram`, `summary`, `info`, `stateset` or `unknown` |
//! | `value` | float64 | |
//! | `labels` | map of utf8 to utf8 | sorted by name; `labels['job']` in SQL, the column `labels.job` in a plugin |
//! | `source` | utf8 | the name of the source in the pipeline file |
//!
//! Nested JSON becomes a column a leaf, `http.status`; arrays stay JSON text. When a value does not fit its column's type, it goes
//! to the sibling column `<name>__<type>` (see [`super::conform`]).

use crate::error::{Error, Result};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

/// The time of an event.
pub const TIMESTAMP: &str = "timestamp";
/// A log's line as it came.
pub const BODY: &str = "body";
/// The name of the source.
pub const SOURCE: &str = "source";
/// A metric's name.
pub const NAME: &str = "name";
/// A metric's kind.
pub const KIND: &str = "kind";
/// A metric's value.
pub const VALUE: &str = "value";
/// A metric's labels.
pub const LABELS: &str = "labels";
/// Which part of a larger event a log is, from 1; absent where it is whole.
pub const PART: &str = "part";
/// The original bytes of an event whose `body` is something else. It never reaches a table, only dead letters.
pub const RAW: &str = "__raw";

/// The dead letter that an event came as, on its way through a stage again. It never reaches a table or a plugin.
pub const LETTER: &str = "__letter";

/// The number of a row while somebody captures what a stage makes of it. It never leaves its stage.
pub const CAPTURED: &str = "__captured";

/// The most columns a table may have; beyond it, new columns of an event are kept as JSON text in `__more`.
pub const COLUMNS_MAX: usize = 1000;
/// The longest name of a column, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

/// Logs or metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Something that was said, at a time.
    Logs,
    /// Something that was measured, at a time.
    Metrics,
}

/// The types a column can be: the same in a plugin, in a table and in a sibling column's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// true or false
    Boolean,
    /// a whole number of 64 bits
    Int64,
    /// a number with a fraction, 64 bits
    Float64,
    /// nanoseconds since 1970 UTC
    Timestamp,
    /// text
    Utf8,
    /// bytes
    Binary,
    /// labels of a metric: a map of text to text
    Labels,
}

impl Kind {
    /// `logs` or `metrics`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Logs => "logs",
            Kind::Metrics => "metrics",
        }
    }

    /// The columns that every table of this kind starts with.
    pub fn base(self) -> SchemaRef {
        let fields = match self {
            Kind::Logs => vec![field(TIMESTAMP, Type::Timestamp), field(BODY, Type::Utf8), field(SOURCE, Type::Utf8)],
            Kind::Metrics => vec![
                field(TIMESTAMP, Type::Timestamp),
                field(NAME, Type::Utf8),
                field(KIND, Type::Utf8),
                field(VALUE, Type::Float64),
                field(LABELS, Type::Labels),
                field(SOURCE, Type::Utf8),
            ],
        };
        Arc::new(Schema::new(fields))
    }
}

impl Type {
    /// Every type, in the order people list them.
    pub const ALL: &[Type] =
        &[Type::Boolean, Type::Int64, Type::Float64, Type::Timestamp, Type::Utf8, Type::Binary, Type::Labels];

    /// The word for it: in `tidemill.tables`, in errors, in a sibling column's name.
    pub fn word(self) -> &'static str {
        match self {
            Type::Boolean => "boolean",
            Type::Int64 => "int64",
            Type::Float64 => "float64",
            Type::Timestamp => "timestamp",
            Type::Utf8 => "utf8",
            Type::Binary => "binary",
            Type::Labels => "labels",
        }
    }

    /// How Arrow holds it.
    pub fn arrow(self) -> DataType {
        match self {
            Type::Boolean => DataType::Boolean,
            Type::Int64 => DataType::Int64,
            Type::Float64 => DataType::Float64,
            Type::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            Type::Utf8 => DataType::Utf8,
            Type::Binary => DataType::Binary,
            Type::Labels => super::labels::data_type(),
        }
    }

    /// Which of our types an Arrow type is; dictionaries count as what they hold.
    pub fn of(arrow: &DataType) -> Result<Type> {
        match arrow {
            DataType::Boolean => Ok(Type::Boolean),
            DataType::Int64 => Ok(Type::Int64),
            DataType::Float64 => Ok(Type::Float64),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Ok(Type::Timestamp),
            DataType::Utf8 | DataType::Utf8View => Ok(Type::Utf8),
            DataType::Binary | DataType::BinaryView => Ok(Type::Binary),
            DataType::Map(_, _) => Ok(Type::Labels),
            DataType::Dictionary(_, value) => Type::of(value),
            other => Err(Error::internal(format!("a column cannot be of type {other}"))),
        }
    }
}

/// A nullable column of this name and type.
pub fn field(name: &str, r#type: Type) -> Field {
    Field::new(name, r#type.arrow(), true)
}

/// The sibling that holds the values of `name` that are of another type.
pub fn sibling(name: &str, r#type: Type) -> String {
    format!("{name}__{}", r#type.word())
}
