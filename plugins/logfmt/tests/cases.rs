#[test]
fn cases() {
    tidemill_plugin::cases::parser::<logfmt::Logfmt>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
