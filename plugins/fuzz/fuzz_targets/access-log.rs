#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tidemill_plugin::fuzz::parser::<access_log::AccessLog>(&include!("../settings/access-log.rs"), bytes);
});
