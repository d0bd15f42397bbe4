//! the corpus that fuzzing left, replayed; `cargo fuzz run access-log` in `plugins/fuzz` makes it grow

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/access-log");
    tidemill_plugin::fuzz::replay::<access_log::AccessLog>(&include!("../../fuzz/settings/access-log.rs"), folder);
}
