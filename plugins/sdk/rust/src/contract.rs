//! what a configured plugin reads and makes

use crate::wire::DataType;

/// What a configured plugin reads and makes. Only what it reads crosses the boundary.
///
/// ```
/// use tidemill_plugin::{Contract, DataType};
/// let contract = Contract::new().reads("body").writes("status", DataType::Int64);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Contract {
    pub(crate) reads: Vec<String>,
    pub(crate) writes: Vec<(String, DataType)>,
    pub(crate) open_schema: bool,
    pub(crate) keeps_state: bool,
    pub(crate) produces_metrics: bool,
}

impl Contract {
    /// Reads nothing, writes nothing, produces logs.
    pub fn new() -> Contract {
        Contract::default()
    }

    /// A column to hand over: `labels.job` is one label of a metric, `labels.*` every label, `*` every column.
    /// Of an autoscaler: a signal that it cannot do without, or `advisers.*`, at least one adviser. `context.now`, or of an autoscaler
    /// `request.now`, is the time: the answers depend on it, as those of a schedule do.
    pub fn reads(mut self, column: impl Into<String>) -> Contract {
        self.reads.push(column.into());
        self
    }

    /// A column the plugin makes or replaces.
    pub fn writes(mut self, column: impl Into<String>, data_type: DataType) -> Contract {
        self.writes.push((column.into(), data_type));
        self
    }

    /// Columns beyond `writes` may appear, named by the events themselves.
    pub fn open_schema(mut self) -> Contract {
        self.open_schema = true;
        self
    }

    /// The calls need memory across batches: state goes in and comes back.
    pub fn keeps_state(mut self) -> Contract {
        self.keeps_state = true;
        self
    }

    /// What comes out of this parser is metrics: columns `name`, `kind`, `value`, `labels.*`, `timestamp`.
    pub fn produces_metrics(mut self) -> Contract {
        self.produces_metrics = true;
        self
    }

    /// The columns it writes, in order.
    pub fn written(&self) -> impl Iterator<Item = (&str, DataType)> {
        self.writes.iter().map(|(name, data_type)| (name.as_str(), *data_type))
    }
}
