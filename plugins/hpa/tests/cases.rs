#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<hpa::Hpa>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
