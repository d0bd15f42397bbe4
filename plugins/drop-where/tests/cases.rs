#[test]
fn cases() {
    tidemill_plugin::cases::filter::<drop_where::DropWhere>(concat!(env!("CARGO_MANIFEST_DIR"), "/cases"));
}
