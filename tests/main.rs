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
mod capture;
mod cluster;
mod crash;
mod disk_full;
mod examples;
mod files;
mod followers;
mod fuzz;
mod http;
mod import;
mod kubernetes;
mod languages;
mod mill;
mod native;
mod nested;
mod parquet;
mod plugin_sql;
mod plugins;
mod poison;
mod replay;
mod scale;
mod scaling;
mod swap;
mod workers;
mod zoo;
