#[test]
fn cases() {
    tidemill_plugin::cases::enricher::<geoip::Geoip>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
