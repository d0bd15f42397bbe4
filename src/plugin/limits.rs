//! what a plugin may use: time, memory, tables, output

use crate::units::{ByteSize, Span};
use serde::Deserialize;
use std::time::Duration;

/// The `limits = { … }` of a stage or scaler. Every one has a default, chosen so that plugins in Python and JavaScript fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processor time of one call; a batch that needs more is halved before it is judged.
    pub time: Span,
    /// Linear memory of one instance.
    pub memory: ByteSize,
    /// What one call may hand back.
    pub output: ByteSize,
    /// Entries of one instance's tables of functions.
    pub table_elements: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            time: Span(Duration::from_millis(200)),
            memory: ByteSize(256 << 20),
            output: ByteSize(64 << 20),
            table_elements: 100_000,
        }
    }
}
