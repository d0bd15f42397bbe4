#[test]
fn cases() {
    tidemill_plugin::cases::filter::<sample::Sample>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
