//! how much one listener takes on

use crate::error::{Error, Result};
use crate::units::{ByteSize, DAY, GIB, HOUR, MIB, Span, within};
use serde::Deserialize;
use std::time::Duration;

/// Limits of a listener and of the HTTP server on it: the table `[server.limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at a time, at most half the files the process may open; beyond it, the one that has been silent longest is closed.
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub connections_max: usize,
    /// How long a new connection may take to its first whole request, TLS included.
    #[serde(deserialize_with = "within::<10, HOUR, _, _>")]
    pub header_wait_max: Span,
    /// How long a connection may be silent, or refuse to take its answer, before it is closed.
    #[serde(deserialize_with = "within::<100, DAY, _, _>")]
    pub idle_max: Span,
    /// The most bytes of a request's head; of its URL, a quarter of it.
    #[serde(deserialize_with = "within::<8192, { 16 * MIB }, _, _>")]
    pub head_max: ByteSize,
    /// The most bytes of a pushed body, as it comes and decompressed.
    #[serde(deserialize_with = "within::<1, { 4 * GIB }, _, _>")]
    pub body_max: ByteSize,
    /// The most bytes of all bodies being received at a time.
    #[serde(deserialize_with = "within::<1, { 1024 * GIB }, _, _>")]
    pub bodies_max: ByteSize,
    /// How long a body may take before its average speed must be 8 KiB/s.
    #[serde(deserialize_with = "within::<10, HOUR, _, _>")]
    pub body_wait_max: Span,
    /// Pushes handed to the pipeline at a time.
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub pushes_max: usize,
    /// How long a push may wait until it is safe on disk.
    #[serde(deserialize_with = "within::<10, HOUR, _, _>")]
    pub push_wait_max: Span,
    /// The most bytes of an SQL text.
    #[serde(deserialize_with = "within::<1, 65_536, _, _>")]
    pub sql_text_max: ByteSize,
    /// Queries answered at a time.
    #[serde(deserialize_with = "within::<1, 1_000_000, _, _>")]
    pub queries_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let (seconds, mebibytes) = (|n| Span(Duration::from_secs(n)), |n: u64| ByteSize(n << 20));
        Limits {
            connections_max: 1024,
            header_wait_max: seconds(10),
            idle_max: seconds(75),
            head_max: ByteSize(64 << 10),
            body_max: mebibytes(64),
            bodies_max: mebibytes(256),
            body_wait_max: seconds(20),
            pushes_max: 64,
            push_wait_max: seconds(60),
            sql_text_max: ByteSize(64 << 10),
            queries_max: 64,
        }
    }
}

impl Limits {
    /// One body must have room.
    pub fn check(&self) -> Result<()> {
        if self.bodies_max >= self.body_max {
            return Ok(());
        }
        let (all, one) = (self.bodies_max, self.body_max);
        Err(Error::invalid(format!(
            "`[server.limits]`: `bodies_max` is {all}, and one body may have {one} (`body_max`); raise the first or lower the second"
        )))
    }
}
