#[test]
fn cases() {
    tidemill_plugin::cases::filter::<deduplicate::Deduplicate>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
