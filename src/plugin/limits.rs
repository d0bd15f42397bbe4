//! what a plugin may use: time, memory, tables, output, and how much it may ask of its host

use crate::units::{ByteSize, GIB, HOUR, MIB, Span, within};
use serde::Deserialize;
use std::time::Duration;

/// More entries than the tables of any one plugin may have.
pub(super) const TABLE_ELEMENTS_MAX: usize = 1 << 20;

/// The `limits = { … }` of a stage or scaler. Every one has a default, chosen so that plugins in Python and JavaScript fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processor time of one call; a batch that needs more is halved before it is judged.
    #[serde(deserialize_with = "within::<1, HOUR, _, _>")]
    pub time: Span,
    /// Processor time until an instance is started and has taken its settings: a language's runtime may start in it.
    #[serde(deserialize_with = "within::<1, HOUR, _, _>")]
    pub start_time: Span,
    /// Linear memory of one instance, all its memories together.
    #[serde(deserialize_with = "within::<65_536, { 4 * GIB }, _, _>")]
    pub memory: ByteSize,
    /// An instance that has grown beyond this is replaced by a fresh one after its call: memory of WebAssembly never shrinks.
    /// Half of `memory` unless given.
    #[serde(deserialize_with = "within::<0, { 4 * GIB }, _, _>")]
    pub memory_kept: Option<ByteSize>,
    /// What one call may hand back, as it comes and unpacked.
    #[serde(deserialize_with = "within::<1, { 4 * GIB }, _, _>")]
    pub output: ByteSize,
    /// What one call may hand back to remember: it is committed with every batch.
    #[serde(deserialize_with = "within::<1, { 64 * MIB }, _, _>")]
    pub state: ByteSize,
    /// Entries of one instance's tables of functions, all its tables together.
    #[serde(deserialize_with = "within::<1, { TABLE_ELEMENTS_MAX as u64 }, _, _>")]
    pub table_elements: u32,
    /// Calls to the host, for a line in the log or a lookup, in one call.
    #[serde(deserialize_with = "within::<0, { u32::MAX as u64 }, _, _>")]
    pub host_calls: u32,
    /// Bytes that go over in them, there and back.
    #[serde(deserialize_with = "within::<0, { 4 * GIB }, _, _>")]
    pub host_bytes: ByteSize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            time: Span(Duration::from_millis(200)),
            start_time: Span(Duration::from_secs(10)),
            memory: ByteSize(256 << 20),
            memory_kept: None,
            output: ByteSize(64 << 20),
            state: ByteSize(4 << 20),
            table_elements: 100_000,
            host_calls: 10_000,
            host_bytes: ByteSize(64 << 20),
        }
    }
}

impl Limits {
    /// What an instance that began with `first` bytes may have grown to and still be kept. One that needs most of it from the
    /// start is not replaced for a little growth.
    pub fn memory_kept(&self, first: usize) -> usize {
        let kept = self.memory_kept.map_or(self.memory.as_usize() / 2, |kept| kept.as_usize());
        match self.memory_kept {
            Some(_) => kept.max(first),
            None => kept.max(first.saturating_mul(2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_instance_may_grow_to() {
        let of = |memory, kept: Option<u64>| Limits {
            memory: ByteSize(memory),
            memory_kept: kept.map(ByteSize),
            ..Limits::default()
        };
        assert_eq!(of(256, None).memory_kept(10), 128);
        assert_eq!(of(256, None).memory_kept(100), 200);
        assert_eq!(of(256, Some(20)).memory_kept(10), 20);
        assert_eq!(of(256, Some(0)).memory_kept(10), 10);
    }

    #[test]
    fn silly_limits_are_refused() {
        let refusal =
            |text: &str| toml::from_str::<Limits>(text).map(|_| ()).map_err(|error| error.message().to_owned());
        assert_eq!(refusal(""), Ok(()));
        for (text, says) in [
            ("time = \"0s\"", "`0s` is too little; write at least `1ms`"),
            ("start_time = \"2h\"", "`2h` is too much; write at most `1h`"),
            ("memory = \"1KiB\"", "`1KiB` is too little; write at least `64KiB`"),
            ("memory_kept = \"5GiB\"", "`5GiB` is too much; write at most `4GiB`"),
            ("output = \"0\"", "write at least `1B`"),
            ("state = \"65MiB\"", "`65MiB` is too much; write at most `64MiB`"),
            ("table_elements = 0", "`0` is too little; write at least `1`"),
            ("host_calls = -1", "invalid value"),
            ("host_bytes = \"5GiB\"", "`5GiB` is too much; write at most `4GiB`"),
            ("cpu = 1", "unknown field `cpu`"),
        ] {
            let told = refusal(text).unwrap_err();
            assert!(told.contains(says), "{text}: {told}");
        }
    }
}
