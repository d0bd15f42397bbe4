//! the corpus that fuzzing left, replayed; `cargo fuzz run csv` in `plugins/fuzz` makes it grow

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/csv");
    tidemill_plugin::fuzz::replay::<csv::Csv>(&include!("../../fuzz/settings/csv.rs"), folder);
}
