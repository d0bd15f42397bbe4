//! a breaker: a stage that keeps failing is left alone for a while
//!
//!     closed ─ a search that ran out of time, or 5 batches lost in a row ─► open 1 s, 2 s … 60 s ─► one batch tries ─► closed or open

use std::time::Duration;

/// Batches lost wholly, in a row, that open it.
const LOST_MAX: u32 = 5;
const OPEN_MIN: Duration = Duration::from_secs(1);
const OPEN_MAX: Duration = Duration::from_secs(60);

/// Whether a stage is called at present. Times are nanoseconds of the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    lost: u32,
    opened: u32,
    open_until: i64,
}

/// How a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// some of it came through, or all
    Through,
    /// every event of it was lost to faults
    Lost,
    /// the search for the events at fault ran out of time
    GivenUp,
}

impl Breaker {
    /// Whether the stage may be called now.
    pub fn closed(&self, now: i64) -> bool {
        now >= self.open_until
    }

    /// Takes note of a batch; answers for how long the breaker opens, if it does.
    pub fn note(&mut self, went: Went, now: i64) -> Option<Duration> {
        match went {
            Went::Through => {
                *self = Breaker::default();
                return None;
            }
            Went::Lost => self.lost += 1,
            Went::GivenUp => self.lost = LOST_MAX,
        }
        if self.lost < LOST_MAX {
            return None;
        }
        // The next batch after the pause is the only one that tries: one more loss opens it again.
        self.lost = LOST_MAX - 1;
        let pause = OPEN_MIN.saturating_mul(1 << self.opened.min(6)).min(OPEN_MAX);
        self.opened += 1;
        self.open_until = now.saturating_add(crate::clock::nanos(pause));
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_five_lost_batches_and_waits_longer_each_time() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert_eq!(breaker.note(Went::Lost, 0), None);
        }
        assert_eq!(breaker.note(Went::Lost, 0), Some(Duration::from_secs(1)));
        assert!(!breaker.closed(999_999_999) && breaker.closed(1_000_000_000));
        assert_eq!(breaker.note(Went::Lost, 1_000_000_000), Some(Duration::from_secs(2)));
        assert_eq!(breaker.note(Went::Through, 3_000_000_000), None);
        assert_eq!(breaker, Breaker::default());
        assert_eq!(breaker.note(Went::GivenUp, 0), Some(Duration::from_secs(1)));
        for _ in 0..20 {
            breaker.note(Went::GivenUp, 0);
        }
        assert_eq!(breaker.note(Went::GivenUp, 0), Some(Duration::from_secs(60)));
    }
}
