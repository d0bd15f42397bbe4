#[test]
fn cases() {
    tidemill_plugin::cases::parser::<key_value::KeyValue>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
