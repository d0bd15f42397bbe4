//! samples collected into the columns of metrics

use crate::error::Result;
use crate::event::columns::Kind;
use crate::event::labels::LabelsBuilder;
use arrow::array::{ArrayRef, Float64Array, StringArray, StringBuilder, TimestampNanosecondArray};
use arrow::record_batch::RecordBatch;
use std::sync::Arc;

/// The columns of metrics, while they are built.
pub struct Samples {
    timestamps: Vec<i64>,
    names: StringBuilder,
    kinds: StringBuilder,
    values: Vec<f64>,
    labels: LabelsBuilder,
}

impl Samples {
    /// No sample yet.
    #[allow(clippy::new_without_default, reason = "a builder is always asked for by name")]
    pub fn new() -> Self {
        Samples {
            timestamps: Vec::new(),
            names: StringBuilder::new(),
            kinds: StringBuilder::new(),
            values: Vec::new(),
            labels: LabelsBuilder::new(),
        }
    }

    /// One more sample.
    pub fn push<'a>(
        &mut self,
        timestamp: i64,
        name: &str,
        kind: &str,
        value: f64,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<()> {
        self.labels.push(labels)?;
        self.timestamps.push(timestamp);
        self.names.append_value(name);
        self.kinds.append_value(kind);
        self.values.push(value);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// The columns.
    pub fn finish(mut self, source: &str) -> Result<RecordBatch> {
        let rows = self.len();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(self.timestamps).with_timezone("UTC")),
            Arc::new(self.names.finish()),
            Arc::new(self.kinds.finish()),
            Arc::new(Float64Array::from(self.values)),
            self.labels.finish(),
            Arc::new(StringArray::new_repeated(source, rows)),
        ];
        Ok(RecordBatch::try_new(Kind::Metrics.base(), columns)?)
    }
}
