//! the buckets: for each key the time at which it will be full again
//!
//! **Always:** full buckets are forgotten at moments that depend on the events alone, not on how they were batched.

use std::collections::BTreeMap;

use tidemill_plugin::state::{Reader, Writer};

/// How fast buckets fill, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// From one new token to the next.
    interval: i64,
    /// From empty to full.
    full_after: i64,
    keys_max: usize,
}

impl Rate {
    /// `rate` tokens in each `per` nanoseconds, and at most `burst` at once.
    pub fn new(rate: u64, per: i64, burst: u64, keys_max: usize) -> Result<Rate, String> {
        if rate == 0 || burst == 0 {
            let setting = if rate == 0 { "rate" } else { "burst" };
            return Err(format!("`{setting}` is 0: no event would go through; write how many may"));
        }
        let interval = i128::from(per) / i128::from(rate);
        // Shorter, and a rate would be off by more than a thousandth.
        if interval < 1_000 {
            return Err("`rate` is above a million a second; write fewer, or a longer `per`".to_owned());
        }
        let full_after = i64::try_from(interval * i128::from(burst)).ok().filter(|_| burst <= 1 << 40);
        let full_after = full_after.ok_or("`burst` is more than comes in a year; write fewer")?;
        Ok(Rate { interval: interval as i64, full_after, keys_max })
    }
}

/// The buckets that are not full, by the hash of their keys.
#[derive(Debug, Default)]
pub struct Buckets {
    /// When each will be full; in order, so that a state is the same for the same buckets.
    full_at: BTreeMap<u64, i64>,
    /// When full ones may be looked for again.
    sweep_at: i64,
    latest: i64,
}

/// The bucket of all keys beyond `keys_max`.
const OTHERS: u64 = u64::MAX;

impl Buckets {
    /// What an earlier batch left; `None` if it cannot be read.
    pub fn read(mut state: Reader<'_>) -> Option<Buckets> {
        let count = state.number()?;
        let latest = state.signed()?;
        let sweep_at = state.signed()?;
        let mut full_at = BTreeMap::new();
        for _ in 0..count {
            full_at.insert(state.fixed()?, latest.wrapping_add(state.signed()?));
        }
        state.is_at_end().then_some(Buckets { full_at, sweep_at, latest })
    }

    /// The time of the last event of the batch before.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// Takes a token out of a key's bucket, if there is one.
    pub fn take(&mut self, key: u64, now: i64, rate: &Rate) -> bool {
        let key = self.bucket_of(key, now, rate);
        let full_at = self.full_at.entry(key).or_insert(now);
        // After a jump back in time a bucket is at worst empty.
        let from = (*full_at).clamp(now, now.saturating_add(rate.full_after));
        let taken = from.saturating_add(rate.interval);
        let has_token = taken.saturating_sub(now) <= rate.full_after;
        *full_at = if has_token { taken } else { from };
        has_token
    }

    fn bucket_of(&mut self, key: u64, now: i64, rate: &Rate) -> u64 {
        if self.full_at.len() < rate.keys_max || self.full_at.contains_key(&key) {
            return key;
        }
        if now >= self.sweep_at || now < self.sweep_at.saturating_sub(rate.full_after) {
            self.sweep_at = now.saturating_add(rate.full_after);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        if self.full_at.len() < rate.keys_max { key } else { OTHERS }
    }

    /// Ten bytes or so a bucket.
    pub fn write(&self, latest: i64, state: &mut Writer) {
        state.number(self.full_at.len() as u64);
        state.signed(latest);
        state.signed(self.sweep_at);
        for (key, full_at) in &self.full_at {
            state.fixed(*key);
            state.signed(full_at.wrapping_sub(latest));
        }
    }
}
