#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<step::Step>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
