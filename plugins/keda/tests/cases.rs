#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<keda::Keda>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
