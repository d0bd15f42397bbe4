//! the corpus that fuzzing left, replayed; `cargo fuzz run grok` in `plugins/fuzz` makes it grow

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/grok");
    tidemill_plugin::fuzz::replay::<grok::Grok>(&include!("../../fuzz/settings/grok.rs"), folder);
}
