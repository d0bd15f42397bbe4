#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tidemill_plugin::fuzz::parser::<key_value::KeyValue>(&include!("../settings/key-value.rs"), bytes);
});
