//! One binary for all tests that look at Tidemill from outside; what they are is in `tests/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod actuators;
mod architecture;
mod authors;
mod backtest;
mod bad_input;
mod crash;
mod disk_full;
mod examples;
mod files;
mod followers;
mod fuzz;
mod http;
mod languages;
mod mill;
mod native;
mod parquet;
mod plugins;
mod poison;
mod replay;
mod scale;
mod swap;
mod zoo;
