//! the series of all metrics, and what has been added up in each

use std::collections::{BTreeMap, HashMap};

use tidemill_plugin::state::{Reader, Writer};

use crate::metric::{Kind, Metric};
use crate::rows::{Labels, Rows};

/// Every series, by the metric's number and its labels.
#[derive(Debug, Default)]
pub struct AllSeries {
    series: BTreeMap<(usize, Labels), Series>,
    /// How many each metric has.
    counts: HashMap<usize, usize>,
    /// The time of the newest row that went out.
    latest: Option<i64>,
}

/// Totals, and what this batch did to them.
#[derive(Debug, Default)]
pub struct Series {
    /// The value of a counter or gauge; the sum of a histogram.
    value: f64,
    /// A histogram's observations by bucket, each in the first that takes it; the last one takes all.
    buckets: Vec<u64>,
    changed: Option<Changed>,
}

#[derive(Debug)]
struct Changed {
    /// The last row that did.
    row: usize,
    time: Option<i64>,
    value_before: f64,
    buckets_before: Vec<u64>,
}

impl AllSeries {
    /// What an earlier batch left; `None` if it cannot be read.
    pub fn read(mut state: Reader<'_>, metrics: &[Metric]) -> Option<AllSeries> {
        let mut all = AllSeries::default();
        let has_latest = state.number()? == 1;
        let latest = state.signed()?;
        all.latest = has_latest.then_some(latest);
        for _ in 0..state.number()? {
            let number = usize::try_from(state.number()?).ok()?;
            let metric = metrics.get(number)?;
            let label = |state: &mut Reader<'_>| match state.number()? {
                0 => Some(None),
                _ => Some(Some(state.bytes()?.to_vec())),
            };
            let labels = metric.own_labels().map(|_| label(&mut state)).collect::<Option<Labels>>()?;
            let value = state.float()?;
            let buckets = (0..state.number()?).map(|_| state.number()).collect::<Option<Vec<u64>>>()?;
            all.series.insert((number, labels), Series { value, buckets, changed: None });
            *all.counts.entry(number).or_default() += 1;
        }
        state.is_at_end().then_some(all)
    }

    /// The series of these labels; of those beyond the limit, the one that all of them share.
    pub fn of(&mut self, number: usize, labels: Labels, metric: &Metric, series_max: usize) -> &mut Series {
        let count = self.counts.entry(number).or_default();
        let mut key = (number, labels);
        if *count >= series_max && !self.series.contains_key(&key) {
            key.1.iter_mut().for_each(|label| *label = Some(b"other".to_vec()));
        }
        self.series.entry(key).or_insert_with(|| {
            *count += 1;
            let buckets = if metric.kind == Kind::Histogram { vec![0; metric.buckets.len() + 1] } else { Vec::new() };
            Series { buckets, ..Series::default() }
        })
    }

    /// Rows for everything that this batch changed.
    ///
    /// A series' rows have the time of its newest event, but none is older than a row that went out before: a total
    /// that is larger must not look earlier. `now`, where there is one, keeps a clock that is ahead from setting the time.
    pub fn changed(&mut self, metrics: &[Metric], delta: bool, now: Option<i64>, rows: &mut Rows) {
        let before = self.latest;
        for ((number, labels), series) in &mut self.series {
            let (Some(changed), Some(metric)) = (series.changed.take(), metrics.get(*number)) else { continue };
            let time = changed.time.map(|time| now.map_or(time, |now| time.min(now)));
            let time = if metric.kind == Kind::Gauge { time } else { time.max(before.filter(|_| time.is_some())) };
            self.latest = self.latest.max(time);
            let of = |total: f64, before: f64| if delta { total - before } else { total };
            let mut push = |suffix: &str, kind: &str, bound: Option<f64>, value: f64| {
                rows.push(changed.row, time, &format!("{}{suffix}", metric.name), kind, metric, labels, bound, value);
            };
            match metric.kind {
                Kind::Gauge => push("", "gauge", None, series.value),
                Kind::Counter => {
                    let kind = if delta { "delta" } else { "counter" };
                    push("", kind, None, of(series.value, changed.value_before));
                }
                Kind::Histogram => {
                    let kind = if delta { "delta" } else { "histogram" };
                    let bounds = metric.buckets.iter().copied().chain([f64::INFINITY]);
                    let mut count = 0.0;
                    for ((bound, total), before) in bounds.zip(&series.buckets).zip(&changed.buckets_before) {
                        count += of(*total as f64, *before as f64);
                        push("_bucket", kind, Some(bound), count);
                    }
                    push("_sum", kind, None, of(series.value, changed.value_before));
                    push("_count", kind, None, count);
                }
            }
        }
    }

    /// Twenty bytes and the labels a counter, and two or so more a bucket.
    pub fn write(&self, state: &mut Writer) {
        state.number(u64::from(self.latest.is_some()));
        state.signed(self.latest.unwrap_or_default());
        state.number(self.series.len() as u64);
        for ((number, labels), series) in &self.series {
            state.number(*number as u64);
            for label in labels {
                state.number(u64::from(label.is_some()));
                label.iter().for_each(|label| state.bytes(label));
            }
            state.float(series.value);
            state.number(series.buckets.len() as u64);
            series.buckets.iter().for_each(|count| state.number(*count));
        }
    }
}

impl Series {
    /// An event's value. A counter takes none that would let it shrink.
    pub fn observe(&mut self, value: f64, row: usize, time: Option<i64>, metric: &Metric) {
        if metric.kind == Kind::Counter && value < 0.0 {
            return;
        }
        let changed = self.changed.get_or_insert_with(|| Changed {
            row,
            time,
            value_before: self.value,
            buckets_before: self.buckets.clone(),
        });
        changed.row = row;
        changed.time = if metric.kind == Kind::Gauge { time.or(changed.time) } else { changed.time.max(time) };
        match metric.kind {
            Kind::Counter => self.value += value,
            Kind::Gauge => self.value = value,
            Kind::Histogram => {
                self.value += value;
                let bucket = metric.buckets.partition_point(|bound| *bound < value);
                if let Some(count) = self.buckets.get_mut(bucket) {
                    *count += 1;
                }
            }
        }
    }
}
