#[test]
fn cases() {
    tidemill_plugin::cases::parser::<access_log::AccessLog>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
