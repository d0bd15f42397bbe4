#[test]
fn cases() {
    tidemill_plugin::cases::filter::<rate_limit::RateLimit>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
