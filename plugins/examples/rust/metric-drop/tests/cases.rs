#[test]
fn cases() {
    tidemill_plugin::cases::filter::<metric_drop::MetricDrop>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
