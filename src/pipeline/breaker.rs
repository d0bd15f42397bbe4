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
    open_since: i64,
    open_until: i64,
}

/// How a stage's breaker stands, for `tidemill.plugins`. Times are ns UTC; 0 where it is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// when it opened
    pub since: i64,
    /// until when nothing is tried; past: the next batch tries
    pub until: i64,
    /// how often it opened in a row
    pub openings: u32,
    /// why it opened last
    pub reason: String,
}

impl Standing {
    /// `closed`, `open` or `half-open`.
    pub fn word(&self, now: i64) -> &'static str {
        match (self.openings, self.until > now) {
            (0, _) => "closed",
            (_, true) => "open",
            (_, false) => "half-open",
        }
    }
}

/// The standing of the lane that is open longest; each lane has a breaker of its own.
pub fn worst<'a>(lanes: impl Iterator<Item = &'a Standing>, now: i64) -> Standing {
    lanes
        .max_by_key(|standing| (standing.until > now, standing.openings > 0, standing.until))
        .cloned()
        .unwrap_or_default()
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

    /// How it stands, with the reason of its last opening.
    pub fn standing(&self, reason: &str) -> Standing {
        match self.opened {
            0 => Standing::default(),
            openings => {
                Standing { since: self.open_since, until: self.open_until, openings, reason: reason.to_owned() }
            }
        }
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
        if self.opened == 0 {
            self.open_since = now;
        }
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
        let standing = breaker.standing("it trapped");
        assert_eq!((standing.since, standing.until, standing.openings), (0, 3_000_000_000, 2));
        assert_eq!((standing.word(2_999_999_999), standing.word(3_000_000_000)), ("open", "half-open"));
        assert_eq!(worst([&Standing::default(), &standing].into_iter(), 0), standing);
        assert_eq!(breaker.note(Went::Through, 3_000_000_000), None);
        assert_eq!(breaker.standing("it trapped").word(0), "closed");
        assert_eq!(breaker, Breaker::default());
        assert_eq!(breaker.note(Went::GivenUp, 0), Some(Duration::from_secs(1)));
        for _ in 0..20 {
            breaker.note(Went::GivenUp, 0);
        }
        assert_eq!(breaker.note(Went::GivenUp, 0), Some(Duration::from_secs(60)));
    }
}
