//! one metric: which events it sees, which of their values, and under which labels

use serde::Deserialize;
use tidemill_conditions::Where;
use tidemill_plugin::{Batch, Column};

/// What a metric is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// How many, or the sum of a field.
    Counter,
    /// The latest value of a field.
    Gauge,
    /// How often a field's value was at most each bound.
    Histogram,
}

/// A checked metric.
#[derive(Clone, Debug)]
pub struct Metric {
    pub name: String,
    pub kind: Kind,
    pub field: Option<String>,
    /// Rising, without the last, which is infinite.
    pub buckets: Vec<f64>,
    /// Label and field, by label.
    pub labels: Vec<(String, String)>,
    pub condition: Option<Where>,
}

/// A metric looking at a batch.
pub struct Observer<'a> {
    /// One byte a row: whether the metric sees it.
    seen: Option<Vec<u8>>,
    field: Option<Option<Column<'a>>>,
    labels: Vec<Option<Column<'a>>>,
}

impl Metric {
    /// The labels that its rows can have.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let bounds = (self.kind == Kind::Histogram).then_some("le");
        self.own_labels().chain(bounds)
    }

    /// The labels of its series, in the order of [`Observer::labels`].
    pub fn own_labels(&self) -> impl Iterator<Item = &str> {
        self.labels.iter().map(|(label, _)| label.as_str())
    }

    /// The columns it needs.
    pub fn reads(&self) -> impl Iterator<Item = &str> {
        let labels = self.labels.iter().map(|(_, field)| field.as_str());
        labels.chain(self.field.as_deref()).chain(self.condition.as_ref().map(Where::field))
    }

    /// Looks at a batch.
    pub fn observer<'a>(&self, input: &'a Batch) -> Observer<'a> {
        let seen = self.condition.as_ref().map(|condition| {
            let mut seen = vec![0; input.rows()];
            condition.mark(input, &mut seen);
            seen
        });
        Observer {
            seen,
            field: self.field.as_ref().map(|field| input.column(field)),
            labels: self.labels.iter().map(|(_, field)| input.column(field)).collect(),
        }
    }
}

impl Observer<'_> {
    /// What a row adds: a number, or text that reads as one. Nothing where the metric does not see the row.
    pub fn value(&mut self, row: usize) -> Option<f64> {
        if self.seen.as_ref().is_some_and(|seen| seen.get(row) != Some(&1)) {
            return None;
        }
        let Some(field) = self.field else { return Some(1.0) };
        let column = field?;
        let value = match column.ints() {
            Some(ints) => ints.get(row)? as f64,
            None => std::str::from_utf8(&column.text_of(row)?).ok()?.trim().parse().ok()?,
        };
        value.is_finite().then_some(value)
    }

    /// A row's labels, each absent where its field is.
    pub fn labels(&self, row: usize) -> Vec<Option<Vec<u8>>> {
        let text =
            |column: &Option<Column<'_>>| column.and_then(|column| column.text_of(row)).map(|text| text.into_owned());
        self.labels.iter().map(text).collect()
    }
}
