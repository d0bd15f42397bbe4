#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tidemill_plugin::fuzz::parser::<json::Json>(&include!("../settings/json.rs"), bytes);
});
