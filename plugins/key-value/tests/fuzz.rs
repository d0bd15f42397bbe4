//! the corpus that fuzzing left, replayed; `cargo fuzz run key-value` in `plugins/fuzz` makes it grow

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/key-value");
    tidemill_plugin::fuzz::replay::<key_value::KeyValue>(&include!("../../fuzz/settings/key-value.rs"), folder);
}
