#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<pid::Pid>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
