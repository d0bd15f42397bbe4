#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<combine::Combine>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
