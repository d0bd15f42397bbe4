//! the settings, checked: which metrics there are, and what each is made of

use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_conditions::Where;

use crate::metric::{Kind, Metric};

/// The stage's `settings` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    metrics: Vec<One>,
    /// Rows have what a batch added, not the total.
    #[serde(default)]
    pub delta: bool,
    /// How many series each metric may have.
    #[serde(default = "a_thousand")]
    series_max: u64,
}

/// A metric as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    name: String,
    kind: Kind,
    /// Whose value is added, set or observed; a counter without it counts events.
    field: Option<String>,
    /// A histogram's upper bounds.
    buckets: Option<Vec<f64>>,
    /// Labels, and the fields that they come from.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Only events that meet this.
    #[serde(rename = "where")]
    condition: Option<tidemill_conditions::Settings>,
}

fn a_thousand() -> u64 {
    1_000
}

/// The state goes to disk with every batch.
const SERIES_MAX: u64 = 10_000;
const BUCKETS_MAX: usize = 100;

/// The bounds that Prometheus' libraries begin with, for seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Settings {
    /// How many series each metric may have.
    pub fn series_max(&self) -> Result<usize, String> {
        match self.series_max {
            1..=SERIES_MAX => Ok(self.series_max as usize),
            other => Err(format!("`series_max` is {other}; write 1 to {SERIES_MAX}")),
        }
    }

    /// The metrics; an error names the one at fault.
    pub fn metrics(self) -> Result<Vec<Metric>, String> {
        if self.metrics.is_empty() {
            return Err(
                "`metrics` is empty; give at least one: { name = \"requests_total\", kind = \"counter\" }".to_owned()
            );
        }
        let mut metrics: Vec<Metric> = Vec::new();
        for one in self.metrics {
            let name = one.name.clone();
            let metric = one.checked().map_err(|error| format!("`metrics`: `{name}`: {error}"))?;
            if metrics.iter().any(|other| other.name == name) {
                return Err(format!("`metrics`: `{name}` is there twice; give each a name of its own"));
            }
            metrics.push(metric);
        }
        Ok(metrics)
    }
}

impl One {
    fn checked(self) -> Result<Metric, String> {
        let One { name, kind, field, buckets, labels, condition } = self;
        if !is_name(&name, ":") {
            return Err("a name is letters, digits, `_` and `:`, and begins with no digit".to_owned());
        }
        if let Some(label) = labels.keys().find(|label| !is_name(label, "")) {
            return Err(format!("the label `{label}` is not letters, digits and `_`"));
        }
        if labels.contains_key("le") {
            return Err("the label `le` is for the bounds of buckets; call it by another name".to_owned());
        }
        if field.is_none() && kind != Kind::Counter {
            return Err("`field` is missing: name the field whose value is meant".to_owned());
        }
        if buckets.is_some() && kind != Kind::Histogram {
            return Err("`buckets` are for a histogram".to_owned());
        }
        let buckets = match (kind, buckets) {
            (Kind::Histogram, Some(buckets)) => bounds(buckets)?,
            (Kind::Histogram, None) => SECONDS.to_vec(),
            (Kind::Counter | Kind::Gauge, _) => Vec::new(),
        };
        let condition = condition.map(Where::new).transpose().map_err(|error| format!("`where`: {error}"))?;
        Ok(Metric { name, kind, field, buckets, labels: labels.into_iter().collect(), condition })
    }
}

fn bounds(mut buckets: Vec<f64>) -> Result<Vec<f64>, String> {
    // The last bucket takes everything anyway.
    buckets.retain(|bound| *bound != f64::INFINITY);
    if buckets.is_empty() || buckets.len() > BUCKETS_MAX {
        return Err(format!("`buckets` has {} bounds; write 1 to {BUCKETS_MAX}", buckets.len()));
    }
    match buckets.windows(2).all(|pair| pair[0] < pair[1]) && buckets.iter().all(|bound| bound.is_finite()) {
        true => Ok(buckets),
        false => Err("`buckets` have to rise, such as [0.1, 0.5, 1, 5]".to_owned()),
    }
}

fn is_name(name: &str, further: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || further.contains(letter);
    name.chars().all(fits) && name.chars().next().is_some_and(|first| !first.is_ascii_digit())
}
