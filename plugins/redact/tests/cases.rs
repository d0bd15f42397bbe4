#[test]
fn cases() {
    tidemill_plugin::cases::enricher::<redact::Redact>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
