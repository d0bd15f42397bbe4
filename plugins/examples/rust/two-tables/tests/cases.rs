#[test]
fn cases() {
    tidemill_plugin::cases::autoscaler::<two_tables::TwoTables>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
