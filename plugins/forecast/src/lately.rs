//! what the load was lately: its level, and how far it strays from it
//!
//!     level += (load − level) × share of 5 min       stray += (|load − level| − stray) × share of 1 h
//!
//! A load of few requests strays by a larger part of itself than one of many, so that one ratio for day and night is too much for one or
//! too little for the other.

use serde::{Deserialize, Serialize};

/// How fast the level follows, in nanoseconds.
const LEVEL: f64 = 300e9;
/// How fast the stray follows, in nanoseconds.
const STRAY: f64 = 3600e9;

/// Kept from tick to tick.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Lately {
    at: i64,
    level: f64,
    stray: f64,
}

impl Lately {
    /// From what the last tick handed back, with the load of now.
    pub fn next(state: &[u8], now: i64, load: f64) -> Lately {
        let Ok(before) = serde_json::from_slice::<Lately>(state) else {
            return Lately { at: now, level: load, stray: 0.0 };
        };
        let time = now.saturating_sub(before.at).max(0) as f64;
        let share = |span: f64| 1.0 - (-time / span).exp();
        let error = load - before.level;
        Lately {
            at: now,
            level: before.level + error * share(LEVEL),
            stray: before.stray + (error.abs() - before.stray) * share(STRAY),
        }
    }

    /// A base with so many strays above it.
    pub fn above(&self, base: f64, spread: f64) -> f64 {
        base.max(self.level) + spread * self.stray
    }

    pub fn state(&self) -> Result<Vec<u8>, String> {
        serde_json::to_vec(self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_load_that_strays_by_ten_is_known_to() {
        let mut lately = Lately::next(&[], 0, 100.0);
        assert_eq!(lately.above(100.0, 3.0), 100.0);
        for tick in 1..2000 {
            let load = if tick % 2 == 0 { 110.0 } else { 90.0 };
            lately = Lately::next(&lately.state().unwrap(), tick * 15 * SECOND, load);
        }
        let above = lately.above(0.0, 1.0);
        assert!((108.0..112.0).contains(&above), "{above}");
        assert!(lately.above(150.0, 2.0) > 168.0);
    }
}
