//! the corpus that fuzzing left, replayed; `cargo fuzz run logfmt` in `plugins/fuzz` makes it grow

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/logfmt");
    tidemill_plugin::fuzz::replay::<logfmt::Logfmt>(&include!("../../fuzz/settings/logfmt.rs"), folder);
}
