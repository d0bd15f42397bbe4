#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<forecast::Forecast>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
