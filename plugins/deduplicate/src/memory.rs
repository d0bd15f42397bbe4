//! which events were there, and when: hashes in the order in which they came, as many as there may be

use std::collections::{HashMap, VecDeque};

use tidemill_plugin::state::{Reader, Writer};

/// Hashes and their times, the oldest first.
#[derive(Debug, Default)]
pub struct Memory {
    /// The time, and which entry of `order` is the valid one.
    entries: HashMap<u64, (i64, u64)>,
    order: VecDeque<(u64, u64)>,
    next: u64,
    latest: i64,
}

impl Memory {
    /// What an earlier batch left; `None` if it cannot be read.
    pub fn read(mut state: Reader<'_>) -> Option<Memory> {
        let mut memory = Memory::default();
        let count = usize::try_from(state.number()?).ok()?;
        let mut time = 0i64;
        for _ in 0..count {
            let hash = state.fixed()?;
            time = time.wrapping_add(state.signed()?);
            memory.put(hash, time, count);
        }
        memory.latest = time.wrapping_add(state.signed()?);
        state.is_at_end().then_some(memory)
    }

    /// The time of the last event of the batch before.
    pub fn latest(&self) -> i64 {
        self.latest
    }

    /// When it was there.
    pub fn time_of(&self, hash: u64) -> Option<i64> {
        self.entries.get(&hash).map(|(time, _)| *time)
    }

    /// Remembers one as the newest; the oldest makes room.
    pub fn put(&mut self, hash: u64, time: i64, keys_max: usize) {
        let number = self.next;
        self.next += 1;
        self.entries.insert(hash, (time, number));
        self.order.push_back((hash, number));
        while self.entries.len() > keys_max {
            self.forget_oldest();
        }
        // Places of entries that came again are left behind; they must not become many.
        while self.order.len() > 2 * self.entries.len().max(64) {
            self.order.retain(|(hash, number)| self.entries.get(hash).is_some_and(|(_, valid)| valid == number));
        }
    }

    fn forget_oldest(&mut self) {
        while let Some((hash, number)) = self.order.pop_front() {
            if self.entries.get(&hash).is_some_and(|(_, valid)| *valid == number) {
                self.entries.remove(&hash);
                return;
            }
        }
    }

    /// Nine or ten bytes an entry.
    pub fn write(&self, latest: i64, state: &mut Writer) {
        let valid = |(hash, number): &(u64, u64)| {
            self.entries.get(hash).filter(|(_, valid)| valid == number).map(|(time, _)| (*hash, *time))
        };
        state.number(self.entries.len() as u64);
        let mut before = 0i64;
        for (hash, time) in self.order.iter().filter_map(valid) {
            state.fixed(hash);
            state.signed(time.wrapping_sub(before));
            before = time;
        }
        state.signed(latest.wrapping_sub(before));
    }
}
