#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tidemill_plugin::fuzz::parser::<regex::Regex>(&include!("../settings/regex.rs"), bytes);
});
