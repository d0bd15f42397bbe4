//! `GET /cart 200 12ms` becomes two metrics: a request counted, and how long it took
//!
//! Shows a parser that makes several events, of another kind, out of one: `produces_metrics` and `origin`.

use tidemill_plugin::{Batch, Context, Contract, DataType, Floats, NoSettings, Parsed, Parser, Plugin, Words};

pub struct LogToMetric;

impl Plugin for LogToMetric {
    type Settings = NoSettings;
    const NAME: &'static str = "log-to-metric";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(_: NoSettings) -> Result<(LogToMetric, Contract), String> {
        let contract = Contract::new()
            .reads("body")
            .writes("name", DataType::Utf8)
            .writes("kind", DataType::Utf8)
            .writes("value", DataType::Float64)
            .writes("labels.method", DataType::Utf8)
            .writes("labels.status", DataType::Utf8)
            .produces_metrics();
        Ok((LogToMetric, contract))
    }
}

impl Parser for LogToMetric {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        let mut metrics = Metrics::default();
        for (row, body) in input.text("body")?.iter().enumerate() {
            let body = body.unwrap_or_default();
            match Request::read(&body) {
                Some(request) => {
                    metrics.push(row, "requests", "counter", 1.0, &request);
                    metrics.push(row, "request_seconds", "gauge", request.milliseconds / 1000.0, &request);
                }
                None => output.error(row, format!("not `METHOD PATH STATUS DURATIONms`: `{body}`")),
            }
        }
        metrics.finish(output);
        Ok(())
    }
}

struct Request<'a> {
    method: &'a str,
    status: &'a str,
    milliseconds: f64,
}

impl Request<'_> {
    fn read(line: &str) -> Option<Request<'_>> {
        let mut words = line.split(' ');
        let (method, _path, status, took) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let milliseconds = took.strip_suffix("ms")?.parse().ok()?;
        Some(Request { method, status, milliseconds })
    }
}

#[derive(Default)]
struct Metrics {
    origin: Vec<u32>,
    name: Words,
    kind: Words,
    value: Floats,
    method: Words,
    status: Words,
}

impl Metrics {
    fn push(&mut self, row: usize, name: &str, kind: &str, value: f64, request: &Request<'_>) {
        self.origin.push(row as u32);
        self.name.push(name);
        self.kind.push(kind);
        self.value.push(value);
        self.method.push(request.method);
        self.status.push(request.status);
    }

    fn finish(self, output: &mut Parsed) {
        output.origin(self.origin);
        output.column("name", self.name);
        output.column("kind", self.kind);
        output.column("value", self.value);
        output.column("labels.method", self.method);
        output.column("labels.status", self.status);
    }
}

tidemill_plugin::export_parser!(LogToMetric);
