//! every file in cases/, run natively; `tidemill plugin test` runs them through WebAssembly

#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<plugin::PerReplica>(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/cases"
    ));
}
