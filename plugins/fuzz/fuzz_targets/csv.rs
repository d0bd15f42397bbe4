#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tidemill_plugin::fuzz::parser::<csv::Csv>(&include!("../settings/csv.rs"), bytes);
});
