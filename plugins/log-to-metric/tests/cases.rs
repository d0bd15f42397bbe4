#[test]
fn cases() {
    tidemill_plugin::cases::parser::<log_to_metric::LogToMetric>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
