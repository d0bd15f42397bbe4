//! the corpus that fuzzing left, replayed; `cargo fuzz run regex` in `plugins/fuzz` makes it grow

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/regex");
    tidemill_plugin::fuzz::replay::<regex::Regex>(&include!("../../fuzz/settings/regex.rs"), folder);
}
