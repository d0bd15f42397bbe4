//! counts and durations in log events become metrics
//!
//! ```text
//! event ─► each metric whose `where` it meets ─► the series of its labels ─► added up
//! end of the batch ─► a row for every series that changed (a histogram: a row a bucket, the sum, the count)
//! ```
//!
//! Counters and histograms are what Prometheus calls them: totals since the beginning, which only grow, as scraped
//! ones are. The totals are the plugin's state. With `delta = true` a row has what one batch added, and the kind
//! `delta`, so that nobody takes it for a total.
//!
//! **Always:** however events are batched, the last total is the same.
//! **Always:** series have an end: labels beyond `series_max` are counted under `other`, so that totals stay right.

mod metric;
mod rows;
mod series;
mod settings;

use tidemill_keys::tag;
use tidemill_plugin::state::{Reader, Writer};
use tidemill_plugin::{Batch, Context, Contract, DataType, Parsed, Parser, Plugin};

use metric::Metric;
use rows::Rows;
use series::AllSeries;
pub use settings::Settings;

/// A configured parser.
pub struct LogToMetric {
    metrics: Vec<Metric>,
    /// Every label that a row can have, in order.
    labels: Vec<String>,
    delta: bool,
    series_max: usize,
    tag: u64,
}

impl Plugin for LogToMetric {
    type Settings = Settings;
    const NAME: &'static str = "log-to-metric";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(LogToMetric, Contract), String> {
        let tag = tag(&settings);
        let (delta, series_max) = (settings.delta, settings.series_max()?);
        let metrics = settings.metrics()?;
        let mut labels: Vec<String> = metrics.iter().flat_map(Metric::labels).map(str::to_owned).collect();
        labels.sort();
        labels.dedup();
        let contract = metrics.iter().flat_map(Metric::reads).fold(Contract::new(), Contract::reads);
        let contract = contract
            .reads("timestamp")
            .writes("name", DataType::Utf8)
            .writes("kind", DataType::Utf8)
            .writes("value", DataType::Float64)
            .writes("timestamp", DataType::Timestamp);
        let contract =
            labels.iter().fold(contract, |contract, label| contract.writes(format!("labels.{label}"), DataType::Utf8));
        Ok((LogToMetric { metrics, labels, delta, series_max, tag }, contract.keeps_state().produces_metrics()))
    }
}

impl Parser for LogToMetric {
    fn parse(&mut self, input: &Batch, context: &Context, output: &mut Parsed) -> Result<(), String> {
        let state = Reader::new(context.state.as_deref(), self.tag);
        let mut all = state.and_then(|state| AllSeries::read(state, &self.metrics)).unwrap_or_default();
        let times = input.timestamps("timestamp")?;
        for (number, metric) in self.metrics.iter().enumerate() {
            let mut observer = metric.observer(input);
            for row in 0..input.rows() {
                if let Some(value) = observer.value(row) {
                    let series = all.of(number, observer.labels(row), metric, self.series_max);
                    series.observe(value, row, times.get(row), metric);
                }
            }
        }
        let mut rows = Rows::new(&self.labels);
        all.changed(&self.metrics, self.delta, context.now, &mut rows);
        rows.finish(output);
        let mut state = Writer::new(self.tag);
        all.write(&mut state);
        output.state(state.finish());
        Ok(())
    }
}

tidemill_plugin::export_parser!(LogToMetric);
