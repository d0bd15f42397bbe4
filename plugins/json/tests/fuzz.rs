//! the corpus that fuzzing left, replayed; `cargo fuzz run json` in `plugins/fuzz` makes it grow

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/json");
    tidemill_plugin::fuzz::replay::<json::Json>(&include!("../../fuzz/settings/json.rs"), folder);
}
