#[test]
fn cases() {
    tidemill_plugin::cases::enricher::<lookup::Lookup>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
