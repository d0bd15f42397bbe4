//! the corpus that fuzzing left, replayed; `cargo fuzz run klog` in `plugins/fuzz` makes it grow

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/klog");
    tidemill_plugin::fuzz::replay::<klog::Klog>(&include!("../../fuzz/settings/klog.rs"), folder);
}
