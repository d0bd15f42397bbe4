//! what a plugin may use: time, memory, tables, output

use crate::units::{ByteSize, GIB, HOUR, Span, within};
use serde::Deserialize;
use std::time::Duration;

/// The `limits = { … }` of a stage or scaler. Every one has a default, chosen so that plugins in Python and JavaScript fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processor time of one call; a batch that needs more is halved before it is judged.
    #[serde(deserialize_with = "within::<1, HOUR, _, _>")]
    pub time: Span,
    /// Linear memory of one instance.
    #[serde(deserialize_with = "within::<65_536, { 4 * GIB }, _, _>")]
    pub memory: ByteSize,
    /// What one call may hand back.
    #[serde(deserialize_with = "within::<1, { 4 * GIB }, _, _>")]
    pub output: ByteSize,
    /// Entries of one instance's tables of functions.
    #[serde(deserialize_with = "within::<1, { u32::MAX as u64 }, _, _>")]
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
