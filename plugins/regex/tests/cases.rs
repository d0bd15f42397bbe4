#[test]
fn cases() {
    tidemill_plugin::cases::parser::<regex::Regex>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
