//! what an event is known by: the values of some of its fields, as one hash
//!
//! ```text
//! fields, row ─► for each field in order: absent is 00; a value is 01, its length in 8 bytes (little endian), its bytes ─► xxh3
//! ```
//!
//! Values are bytes as text shows them: `200`, `true`, `2026-01-31T12:00:00Z`. The lengths keep `a,bc` and `ab,c` apart.
//!
//! **Always:** the same on every machine and in every version: plugins keep these hashes as their state, and write them.

#![warn(missing_docs)]

use serde::Deserialize;
use tidemill_plugin::{Batch, Column};
use xxhash_rust::xxh3::Xxh3;

/// Anything that takes the bytes an event is known by.
pub trait Digest {
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]);
}

impl Digest for Xxh3 {
    fn take(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// The columns of a batch that events are known by.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    columns: Vec<Option<Column<'a>>>,
}

impl<'a> Fields<'a> {
    /// These columns, in this order.
    pub fn of(input: &'a Batch, names: &[String]) -> Fields<'a> {
        Fields { columns: names.iter().map(|name| input.column(name)).collect() }
    }

    /// A row's hash under a seed; `None` where none of the fields has a value.
    pub fn hash(&self, row: usize, seed: u64) -> Option<u64> {
        let mut hasher = Xxh3::with_seed(seed);
        self.feed(row, &mut hasher).then(|| hasher.digest())
    }

    /// Hands a row's fields to a digest; whether any of them has a value.
    pub fn feed(&self, row: usize, digest: &mut impl Digest) -> bool {
        let mut any = false;
        for column in &self.columns {
            match column.and_then(|column| column.text_of(row)) {
                Some(value) => {
                    any = true;
                    digest.take(&[1]);
                    digest.take(&(value.len() as u64).to_le_bytes());
                    digest.take(&value);
                }
                None => digest.take(&[0]),
            }
        }
        any
    }
}

/// Which clock a plugin goes by.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Time {
    /// The event's own `timestamp`.
    #[default]
    Event,
    /// The host's clock, where the stage has `clock = true`.
    Clock,
}

/// A hash of settings, for the tag of a state.
pub fn tag(settings: &impl std::fmt::Debug) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{settings:?}").as_bytes())
}
