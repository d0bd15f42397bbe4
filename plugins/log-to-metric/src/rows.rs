//! the rows that go out, a column for each label

use tidemill_plugin::{Floats, Parsed, Timestamps, Words};

use crate::metric::Metric;

/// A series' labels, in the order in which the metric has them.
pub type Labels = Vec<Option<Vec<u8>>>;

/// Rows of metrics.
pub struct Rows<'a> {
    origin: Vec<u32>,
    name: Words,
    kind: Words,
    value: Floats,
    time: Timestamps,
    labels: Vec<(&'a str, Words)>,
}

impl<'a> Rows<'a> {
    /// None yet; these are all labels that will come.
    pub fn new(labels: &'a [String]) -> Rows<'a> {
        Rows {
            origin: Vec::new(),
            name: Words::default(),
            kind: Words::default(),
            value: Floats::default(),
            time: Timestamps::default(),
            labels: labels.iter().map(|label| (label.as_str(), Words::default())).collect(),
        }
    }

    /// A row that came from this one of the batch.
    #[allow(clippy::too_many_arguments, reason = "a row has so many columns")]
    pub fn push(
        &mut self,
        row: usize,
        time: Option<i64>,
        name: &str,
        kind: &str,
        metric: &Metric,
        labels: &Labels,
        bound: Option<f64>,
        value: f64,
    ) {
        self.origin.push(row as u32);
        self.name.push(name);
        self.kind.push(kind);
        self.value.push(value);
        self.time.push_option(time);
        for (label, column) in &mut self.labels {
            let own = metric.own_labels().position(|own| own == *label).and_then(|at| labels.get(at)?.as_ref());
            match (own, bound) {
                (Some(text), _) => column.push(text),
                (None, Some(bound)) if *label == "le" => column.push(shown(bound)),
                (None, _) => column.push_null(),
            }
        }
    }

    /// Hands them over.
    pub fn finish(self, output: &mut Parsed) {
        output.origin(self.origin);
        output.column("name", self.name);
        output.column("kind", self.kind);
        output.column("value", self.value);
        output.column("timestamp", self.time);
        for (label, column) in self.labels {
            output.column(format!("labels.{label}"), column);
        }
    }
}

/// As Prometheus writes bounds: `0.5`, `1`, `+Inf`.
fn shown(bound: f64) -> String {
    if bound == f64::INFINITY { "+Inf".to_owned() } else { bound.to_string() }
}
