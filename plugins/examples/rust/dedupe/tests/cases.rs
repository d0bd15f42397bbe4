#[test]
fn cases() {
    tidemill_plugin::cases::filter::<dedupe::Dedupe>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
