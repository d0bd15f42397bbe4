#[test]
fn cases() {
    tidemill_plugin::cases::enricher::<user_agent::UserAgent>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
