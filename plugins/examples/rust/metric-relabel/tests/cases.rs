#[test]
fn cases() {
    tidemill_plugin::cases::enricher::<metric_relabel::MetricRelabel>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
