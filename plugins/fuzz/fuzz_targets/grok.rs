#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tidemill_plugin::fuzz::parser::<grok::Grok>(&include!("../settings/grok.rs"), bytes);
});
