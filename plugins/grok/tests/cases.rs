#[test]
fn cases() {
    tidemill_plugin::cases::parser::<grok::Grok>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
