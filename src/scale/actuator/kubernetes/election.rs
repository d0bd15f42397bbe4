//! who may act: the rules of a Lease, as values and times
//!
//!     nobody's, given back ─► take    ours ─► renew    another's, renewed within its duration ─► stand by
//!                                                      another's, seen unchanged for its duration ─► take over
//!
//! The rules are client-go's: what counts is how long a candidate has *seen* the lease unchanged, by a clock of its own, so that
//! clocks that differ do no harm. Whoever holds it acts for two thirds of its duration, counted from before the request was sent; the last
//! third is for what may still be on its way.
//!
//! **Always:** times are of one monotonic clock; nothing here asks for the time, sends or waits.
//! **Never:** two that keep to the rules may act at once.

use std::time::Duration;
use tokio::time::Instant;

/// A lease as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// who holds it; empty where it was given back
    pub holder: String,
    /// changes with each change of the lease
    pub version: String,
    /// how long it holds after it was renewed; zero where it does not say
    pub duration: Duration,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// there is none: make one
    Create,
    /// make it ours
    Take,
    /// it is ours: renew it
    Renew,
    /// it is another's
    StandBy,
}

/// A candidate.
#[derive(Clone, Debug)]
pub struct Election {
    identity: String,
    duration: Duration,
    /// what was last read, and since when it has been so
    seen: Option<(Held, Instant)>,
    /// the first moment at which we may no longer act
    until: Option<Instant>,
}

impl Election {
    /// A candidate that has not looked yet.
    pub fn new(identity: &str, duration: Duration) -> Election {
        Election { identity: identity.to_owned(), duration, seen: None, until: None }
    }

    /// What to do about a lease as it was read at `now`.
    pub fn step(&mut self, read: Option<Held>, now: Instant) -> Step {
        let Some(held) = read else {
            (self.seen, self.until) = (None, None);
            return Step::Create;
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == held => *since,
            Some(_) | None => now,
        };
        self.seen = Some((held.clone(), since));
        if held.holder == self.identity {
            return Step::Renew;
        }
        self.until = None;
        let duration = if held.duration.is_zero() { self.duration } else { held.duration };
        match held.holder.is_empty() || now.duration_since(since) >= duration {
            true => Step::Take,
            false => Step::StandBy,
        }
    }

    /// The lease was made ours, or renewed, by a request that was begun then.
    pub fn won(&mut self, begun: Instant) {
        self.until = Some(begun + self.duration * 2 / 3);
    }

    /// Somebody else changed it first: until it is read again, it counts as another's.
    pub fn overtaken(&mut self) {
        self.until = None;
    }

    /// Until when we may act; nothing while we may not.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| now < *until)
    }

    /// Who held it when it was last read; empty if nobody, or if it was never read.
    pub fn holder(&self) -> &str {
        self.seen.as_ref().map_or("", |(held, _)| held.holder.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const DURATION: Duration = Duration::from_secs(15);

    fn held(holder: &str, version: &str) -> Option<Held> {
        Some(Held { holder: holder.to_owned(), version: version.to_owned(), duration: DURATION })
    }

    #[test]
    fn a_lease_is_taken_renewed_and_lost() {
        let begun = Instant::now();
        let at = |seconds: u32| begun + SECOND * seconds;
        let mut a = Election::new("a", DURATION);
        assert_eq!(
            (a.step(None, at(0)), a.until(at(0))),
            (Step::Create, None),
            "nothing is ours before we are told so"
        );
        a.won(at(0));
        assert_eq!((a.until(at(9)), a.until(at(10))), (Some(at(10)), None), "two thirds of fifteen seconds");
        assert_eq!(a.step(held("a", "1"), at(3)), Step::Renew);
        a.won(at(3));
        assert_eq!(a.until(at(12)), Some(at(13)));
        a.overtaken();
        assert_eq!(a.until(at(4)), None);
        assert_eq!(a.step(held("a", "2"), at(4)), Step::Renew, "it was our own request, whose answer was lost");
        a.won(at(4));
        assert_eq!(a.step(held("b", "3"), at(5)), Step::StandBy, "somebody took it by force");
        assert_eq!((a.until(at(5)), a.holder()), (None, "b"));
        assert_eq!(a.step(held("", "4"), at(6)), Step::Take, "given back");
        a.won(at(6));
        assert_eq!((a.step(None, at(7)), a.until(at(7))), (Step::Create, None), "deleted: anybody may make it now");
    }

    #[test]
    fn anothers_lease_is_taken_once_it_was_seen_unchanged_for_its_duration() {
        let begun = Instant::now();
        let at = |seconds: u32| begun + SECOND * seconds;
        let mut b = Election::new("b", DURATION);
        for (second, version, step) in [
            (0, "1", Step::StandBy),
            (14, "1", Step::StandBy),
            (14, "2", Step::StandBy),
            (28, "2", Step::StandBy),
            (29, "2", Step::Take),
            (30, "3", Step::StandBy),
        ] {
            assert_eq!(b.step(held("a", version), at(second)), step, "{second}");
        }
        let silent = Some(Held { holder: "c".into(), version: "4".into(), duration: Duration::ZERO });
        assert_eq!(b.step(silent.clone(), at(31)), Step::StandBy);
        assert_eq!(b.step(silent, at(46)), Step::Take, "a lease that does not say how long holds as long as ours");
    }

    /// A hundred thousand turns of three candidates, whose requests and answers are lost, late, or overtaken: at no moment may two act.
    #[test]
    fn never_two_may_act() {
        let base = Instant::now();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut dice = move |sides: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % sides
        };
        let mut now = base;
        let mut stored: Option<Held> = None;
        let mut version = 0_u64;
        let mut candidates: Vec<Election> = ["a", "b", "c"].map(|name| Election::new(name, DURATION)).into();
        // A request on its way: whose, when begun, when it arrives, against which version, whether its answer gets back.
        let mut sent: Vec<(usize, Instant, Instant, Option<String>, bool)> = Vec::new();
        let (mut acted, mut changes, mut last) = (0, 0, String::new());
        for _ in 0..100_000 {
            now += Duration::from_millis(dice(800));
            let arrived: Vec<_> = sent.extract_if(.., |request| request.2 <= now).collect();
            for (who, begun, _, against, answered) in arrived {
                if stored.as_ref().map(|held| held.version.clone()) == against {
                    version += 1;
                    let name = ["a", "b", "c"][who].to_owned();
                    changes += usize::from(last != name);
                    last.clone_from(&name);
                    stored = Some(Held { holder: name, version: version.to_string(), duration: DURATION });
                    if answered {
                        candidates[who].won(begun);
                    }
                } else if answered {
                    candidates[who].overtaken();
                }
            }
            let who = usize::try_from(dice(3)).unwrap();
            // Now and then a candidate says nothing for long, and now and then a lease is given back.
            if dice(40) == 0 {
                now += SECOND * u32::try_from(dice(20)).unwrap();
            }
            let step = candidates[who].step(stored.clone(), now);
            let on_its_way = sent.iter().any(|request| request.0 == who);
            if step != Step::StandBy && !on_its_way {
                let arrives = now + Duration::from_millis(dice(3000));
                sent.push((who, now, arrives, stored.as_ref().map(|held| held.version.clone()), dice(3) > 0));
            }
            let acting: Vec<&str> =
                candidates.iter().filter(|one| one.until(now).is_some()).map(|one| one.identity.as_str()).collect();
            assert!(acting.len() <= 1, "{acting:?}");
            acted += acting.len();
        }
        assert!(acted > 10_000 && changes > 100, "nobody acted, or nobody took over: {acted} {changes}");
    }
}
