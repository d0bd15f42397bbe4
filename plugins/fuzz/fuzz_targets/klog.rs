#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tidemill_plugin::fuzz::parser::<klog::Klog>(&include!("../settings/klog.rs"), bytes);
});
