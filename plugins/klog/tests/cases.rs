#[test]
fn cases() {
    tidemill_plugin::cases::parser::<klog::Klog>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
