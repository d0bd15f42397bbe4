#[test]
fn cases() {
    tidemill_plugin::cases::parser::<json::Json>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
