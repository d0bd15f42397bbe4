#[test]
fn cases() {
    tidemill_plugin::cases::enricher::<fingerprint::Fingerprint>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
