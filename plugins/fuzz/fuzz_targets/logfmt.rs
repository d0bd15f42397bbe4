#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tidemill_plugin::fuzz::parser::<logfmt::Logfmt>(&include!("../settings/logfmt.rs"), bytes);
});
