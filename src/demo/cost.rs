//! how dear one hash is: scrypt's parameters, and how to choose them for this machine
//!
//! A hash costs `N × r × p`; `r` stays 8, `N = 2^k` is the memory of it (1 KiB × N) and `p` repeats it, which is what makes fine steps
//! possible: `2^10*9` is written for N = 1024, p = 9.
//!
//! **Always:** a cost is chosen from a measurement on this machine, so a slow laptop and a debug build show the same demo.

use crate::error::{Error, Result};
use crate::units::Cores;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The memory of a measured hash: N = 2^10, one mebibyte.
const UNIT_LOG_N: u8 = 10;
/// scrypt's block size.
const BLOCK: u32 = 8;
/// More memory than this for one hash (N × 1 KiB) is refused: 2^20 is a gibibyte.
const LOG_N_MAX: u8 = 20;
/// How often a hash may repeat itself.
const REPEAT_MAX: u32 = 1024;
/// How many hashes a measurement takes; the middle one counts.
const RUNS: usize = 21;

/// scrypt's parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// log2 of N
    pub log_n: u8,
    /// p
    pub repeat: u32,
}

impl Cost {
    /// What one unit of measurement costs.
    pub const UNIT: Cost = Cost { log_n: UNIT_LOG_N, repeat: 1 };

    /// The digest of a password. The salt is fixed, so that the same password shows the same digest: right for a demo, wrong for a
    /// real password.
    pub fn hash(self, password: &[u8]) -> Result<[u8; 32]> {
        let wrong = |_| Error::invalid(format!("scrypt refuses the cost `{self}`; take a smaller one"));
        let params = scrypt::Params::new(self.log_n, BLOCK, self.repeat, 32).map_err(wrong)?;
        let mut digest = [0; 32];
        scrypt::scrypt(password, b"tidemill demo", &params, &mut digest)
            .map_err(|_| Error::internal("scrypt refuses to write 32 bytes"))?;
        Ok(digest)
    }

    /// Processor time of one hash at this cost, measured here and now. It blocks for RUNS hashes.
    pub fn measure(self) -> Result<Duration> {
        let mut runs = Vec::with_capacity(RUNS);
        for run in 0..RUNS {
            let before = processor_time();
            self.hash(&run.to_le_bytes())?;
            runs.push(processor_time().saturating_sub(before));
        }
        runs.sort_unstable();
        Ok(runs.get(RUNS / 2).copied().unwrap_or_default().max(Duration::from_micros(1)))
    }

    /// The cost at which a replica that has this share of a core does about `per_second` hashes a second, when one hash at
    /// [`Cost::UNIT`] takes `unit` of processor time.
    pub fn choose(unit: Duration, share: Cores, per_second: f64) -> Cost {
        let wanted = f64::from(share.millis) / 1000.0 / per_second;
        let units = wanted / unit.as_secs_f64().max(1e-6);
        let mut cost = Cost::UNIT;
        let mut repeat = units;
        while repeat > 16.0 && cost.log_n < LOG_N_MAX - 4 {
            cost.log_n += 1;
            repeat /= 2.0;
        }
        while repeat < 6.0 && cost.log_n > 1 {
            cost.log_n -= 1;
            repeat *= 2.0;
        }
        cost.repeat = (repeat.round() as u32).clamp(1, REPEAT_MAX);
        cost
    }

    /// Processor time of one hash at this cost, from the time of one at [`Cost::UNIT`].
    pub fn estimate(self, unit: Duration) -> Duration {
        let units = f64::from(self.repeat) * 2f64.powi(i32::from(self.log_n) - i32::from(UNIT_LOG_N));
        unit.mul_f64(units)
    }
}

/// Processor time that this thread has used.
pub(super) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.repeat {
            1 => write!(f, "2^{}", self.log_n),
            repeat => write!(f, "2^{}*{repeat}", self.log_n),
        }
    }
}

impl FromStr for Cost {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "`{text}` is not a cost; write it like `2^13` or `2^10*9`, up to 2^{LOG_N_MAX} and *{REPEAT_MAX}"
            ))
        };
        let (power, repeat) = text.split_once('*').unwrap_or((text, "1"));
        let log_n = power.trim().strip_prefix("2^").and_then(|log_n| log_n.parse().ok()).ok_or_else(wrong)?;
        let repeat = repeat.trim().parse().map_err(|_| wrong())?;
        if !(1..=LOG_N_MAX).contains(&log_n) || !(1..=REPEAT_MAX).contains(&repeat) {
            return Err(wrong());
        }
        Ok(Cost { log_n, repeat })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_read_as_written() {
        for (text, log_n, repeat) in [("2^13", 13, 1), ("2^10*9", 10, 9), ("2^1 * 3", 1, 3)] {
            assert_eq!(text.parse::<Cost>().unwrap(), Cost { log_n, repeat }, "{text}");
        }
        for text in ["", "13", "2^", "2^0", "2^21", "2^99999", "2^10*0", "2^10*", "2^10*x", "2^-1", "2^10*9999"] {
            assert!(text.parse::<Cost>().is_err(), "{text}");
        }
        for text in ["2^13", "2^10*9"] {
            assert_eq!(text.parse::<Cost>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn any_machine_gets_a_cost_that_fits_its_share() {
        let share = Cores { millis: 200 };
        for micros in [1, 50, 900, 3_300, 20_000, 400_000] {
            let unit = Duration::from_micros(micros);
            let cost = Cost::choose(unit, share, 7.5);
            let per_second = 0.2 / cost.estimate(unit).as_secs_f64();
            assert!((6.8..8.2).contains(&per_second), "{micros} µs a unit: {cost}, {per_second} a second");
            assert_eq!(cost.to_string().parse::<Cost>().unwrap(), cost);
        }
    }

    #[test]
    fn the_same_password_has_the_same_digest_and_takes_time() {
        let cost = Cost { log_n: 4, repeat: 2 };
        assert_eq!(cost.hash(b"open sesame").unwrap(), cost.hash(b"open sesame").unwrap());
        assert_ne!(cost.hash(b"open sesame").unwrap(), cost.hash(b"open barley").unwrap());
        assert!(Cost::UNIT.measure().unwrap() > Duration::from_micros(10));
    }
}
