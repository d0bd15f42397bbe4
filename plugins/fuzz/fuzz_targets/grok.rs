#![no_main]

use std::cell::RefCell;

use tidemill_plugin::fuzz::Checker;

thread_local! {
    static CHECKER: RefCell<Checker<grok::Grok>> = RefCell::new(Checker::new(&include!("../settings/grok.rs")));
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| CHECKER.with_borrow_mut(|checker| checker.check(bytes)));
