#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<panic::Panic>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
