//! Tidemill: logs and metrics through WebAssembly plugins into columns, answered with SQL, deciding how many replicas run.
//!
#![doc = include_str!("README.md")]

pub mod cli;
pub mod demo;
pub mod app;
pub mod config;
pub mod server;
pub mod scale;
pub mod case;
pub mod pipeline;
pub mod source;
pub mod query;
pub mod store;
pub mod plugin;
pub mod codec;
pub mod net;
pub mod event;
pub mod telemetry;
pub mod clock;
pub mod units;
pub mod error;
