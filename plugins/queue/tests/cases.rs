#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<queue::Queue>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
