//! how much of a core a replica of the demo has, and how it keeps to it where nobody else does
//!
//! The process actuator writes `TIDEMILL_CPU_MILLIS=200` into a replica's environment, and `TIDEMILL_CPU_ENFORCED=1` when a cgroup holds it
//! to that. Where none could be made, the server rests after each hash for as long as its share asks for.

use crate::units::Cores;
use std::time::Duration;

/// A replica's share of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// as much as it can get
    Whole,
    /// this much, held by a cgroup
    Held(Cores),
    /// this much, kept by resting
    Paced(Cores),
}

impl Share {
    /// What the environment says; an unreadable number counts as none.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Share {
        let millis = variable("TIDEMILL_CPU_MILLIS").and_then(|millis| millis.trim().parse().ok());
        let enforced = variable("TIDEMILL_CPU_ENFORCED").is_some_and(|enforced| enforced.trim() == "1");
        match millis {
            None | Some(0) => Share::Whole,
            Some(millis) if enforced => Share::Held(Cores { millis }),
            Some(millis) => Share::Paced(Cores { millis }),
        }
    }

    /// How long to rest after work that used this much processor time and took this long: the time in which somebody else had the processor
    /// was rest already.
    pub fn rest(self, used: Duration, took: Duration) -> Duration {
        match self {
            Share::Whole | Share::Held(_) => Duration::ZERO,
            Share::Paced(cores) => used.mul_f64(1000.0 / f64::from(cores.millis.max(1))).saturating_sub(took),
        }
    }

    /// The share in words: `200m of a core, held by a cgroup`.
    pub fn words(self) -> String {
        match self {
            Share::Whole => "as much of a core as it can get".to_owned(),
            Share::Held(cores) => format!("{}m of a core, held by a cgroup", cores.millis),
            Share::Paced(cores) => format!("{}m of a core, kept by resting after each hash", cores.millis),
        }
    }

    /// What the one who looks at its standard error should know.
    pub fn note(self) -> Option<String> {
        match self {
            Share::Whole | Share::Held(_) => None,
            Share::Paced(cores) => Some(format!(
                "no cgroup holds this process to {}m of a core; it rests after each hash instead",
                cores.millis
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_how_much_and_by_whom() {
        let share = |millis: Option<&str>, enforced: Option<&str>| {
            Share::from_environment(|name| match name {
                "TIDEMILL_CPU_MILLIS" => millis.map(str::to_owned),
                "TIDEMILL_CPU_ENFORCED" => enforced.map(str::to_owned),
                _ => None,
            })
        };
        let cores = Cores { millis: 200 };
        assert_eq!(share(Some("200"), Some("1")), Share::Held(cores));
        assert_eq!(share(Some("200"), Some("0")), Share::Paced(cores));
        assert_eq!(share(Some("200"), None), Share::Paced(cores));
        for millis in [None, Some("0"), Some("a lot")] {
            assert_eq!(share(millis, Some("1")), Share::Whole);
        }
    }

    #[test]
    fn a_fifth_of_a_core_rests_four_times_as_long_as_it_works() {
        let ms = Duration::from_millis;
        let share = Share::Paced(Cores { millis: 200 });
        assert_eq!(share.rest(ms(30), ms(30)), ms(120));
        assert_eq!(share.rest(ms(30), ms(100)), ms(50), "it did not have the processor for 70 ms");
        assert_eq!(share.rest(ms(30), ms(500)), ms(0));
        assert_eq!(Share::Whole.rest(ms(30), ms(30)), ms(0));
    }
}
