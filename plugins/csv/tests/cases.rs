#[test]
fn cases() {
    tidemill_plugin::cases::parser::<csv::Csv>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
