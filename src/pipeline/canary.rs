//! whether a version on trial is as good as the one that runs: evidence in, verdict out
//!
//!     both ran a batch ─► Pair ─► Evidence ─ rules, age ─► wait │ promote │ roll back, with the figures
//!
//! Time is compared on the same batches only, and only where both answered: what makes one batch dearer makes it so for both.
//!
//! **Always:** the same evidence has the same verdict; no clock and no plugin is asked here.

use super::config::Canary;
use std::time::Duration;

/// Batches that both versions took before time counts, or before a version is promoted.
pub const BATCHES_MIN: u64 = 10;

/// What one version made of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Went {
    /// it trapped, exceeded a limit, or its answer could not be believed
    Fault(String),
    /// it answered
    Answer {
        /// rows that came out
        rows: u64,
        /// events that it could not handle
        dead: u64,
        /// processor time, ns
        nanos: u64,
    },
}

/// What both versions made of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// events of the batch
    pub events: u64,
    /// the version that runs
    pub old: Went,
    /// the version on trial
    pub new: Went,
    /// both have run before: a first call is dearer
    pub warm: bool,
}

/// What is known of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// batches that both were given
    pub batches: u64,
    /// events of those
    pub events: u64,
    /// batches whose time is compared
    timed: u64,
    timed_events: u64,
    old_nanos: u64,
    new_nanos: u64,
    /// of the timed batches, those for which the new one took too long
    slower: u64,
    /// batches on which only the new one failed, and what it said first
    faults: u64,
    fault: String,
    /// batches of which something else came out, and what
    different: u64,
    difference: String,
}

/// What becomes of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// more evidence is needed
    Wait,
    /// the new version runs from now on, for this reason
    Promote(String),
    /// the old version goes on, for this reason
    RollBack(String),
}

impl Pair {
    /// Whether the new version's answer may be used.
    pub fn is_sound(&self, rules: &Canary) -> bool {
        matches!(self.new, Went::Answer { .. }) && self.difference(rules).is_none()
    }

    /// What differs in a way that the rules do not allow. An event that was lost before may come out as a row now.
    fn difference(&self, rules: &Canary) -> Option<String> {
        let (Went::Answer { rows, dead, .. }, Went::Answer { rows: new_rows, dead: new_dead, .. }) =
            (&self.old, &self.new)
        else {
            return None;
        };
        let saved = dead.saturating_sub(*new_dead);
        let as_good = new_dead <= dead && (*rows..=rows + saved).contains(new_rows);
        (!as_good && !rules.rows_may_differ).then(|| {
            let events = self.events;
            format!("of a batch of {events} events it made {new_rows} rows and {new_dead} dead letters, the version before {rows} and {dead}")
        })
    }
}

impl Evidence {
    /// Takes note of a batch.
    pub fn note(&mut self, pair: &Pair, rules: &Canary) {
        self.batches += 1;
        self.events += pair.events;
        match (&pair.old, &pair.new) {
            (Went::Answer { .. }, Went::Fault(reason)) => {
                if self.faults == 0 {
                    self.fault.clone_from(reason);
                }
                self.faults += 1;
            }
            (Went::Answer { nanos: old, .. }, Went::Answer { nanos: new, .. }) => {
                if let Some(difference) = pair.difference(rules) {
                    if self.different == 0 {
                        self.difference = difference;
                    }
                    self.different += 1;
                }
                if pair.warm {
                    self.timed += 1;
                    self.timed_events += pair.events;
                    self.old_nanos = self.old_nanos.saturating_add(*old);
                    self.new_nanos = self.new_nanos.saturating_add(*new);
                    self.slower += u64::from(*new as f64 > *old as f64 * rules.slower_max);
                }
            }
            // Where the old one fails, the new one can only be better or the same.
            (Went::Fault(_), _) => (),
        }
    }

    /// What follows from it after a trial of this age.
    pub fn verdict(&self, rules: &Canary, age: Duration) -> Verdict {
        let (batches, events) = (self.batches, self.events);
        if self.faults > 0 {
            let (faults, fault) = (self.faults, &self.fault);
            return Verdict::RollBack(format!(
                "it failed on {faults} of {batches} batches ({events} events) where the version before did not: {fault}"
            ));
        }
        if self.different > 0 {
            return Verdict::RollBack(format!(
                "what came out differs for {} of {batches} batches: {}; a change that is meant says `rows_may_differ = true`",
                self.different, self.difference
            ));
        }
        if self.is_slower(rules) {
            return Verdict::RollBack(format!("it is too slow: {}", self.times(rules)));
        }
        if age >= rules.r#for.0 && batches >= BATCHES_MIN && events >= rules.events_min {
            return Verdict::Promote(format!("it took {batches} batches as well: {}", self.times(rules)));
        }
        Verdict::Wait
    }

    /// Enough was timed, the sums say so, and so do two batches of three: one dear batch is no evidence.
    fn is_slower(&self, rules: &Canary) -> bool {
        self.timed >= BATCHES_MIN
            && self.timed_events >= rules.events_min
            && self.new_nanos as f64 > self.old_nanos as f64 * rules.slower_max
            && self.slower * 3 >= self.timed * 2
    }

    fn times(&self, rules: &Canary) -> String {
        let each = |nanos: u64| nanos.checked_div(self.timed_events).unwrap_or(0);
        let ratio = self.new_nanos as f64 / self.old_nanos.max(1) as f64;
        format!(
            "{} ns an event against {}, {ratio:.2} times as long (at most {} is allowed), over {} events",
            each(self.new_nanos),
            each(self.old_nanos),
            rules.slower_max,
            self.timed_events
        )
    }
}

/// Whether the `turn`th batch (from 0) of a lane goes to both versions: the first, and then as many as `share` says, without a beat:
/// every tenth batch would never see what comes with every second one.
pub fn is_shared(turn: u64, share: f64) -> bool {
    // The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each turn has its number, always the same.
    let mut mixed = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    turn == 0 || (mixed >> 11) as f64 / ((1u64 << 53) as f64) < share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: u64, dead: u64, nanos: u64) -> Went {
        Went::Answer { rows, dead, nanos }
    }

    fn pair(old: Went, new: Went) -> Pair {
        Pair { events: 100, old, new, warm: true }
    }

    fn after(pairs: impl IntoIterator<Item = Pair>, rules: &Canary) -> Verdict {
        let mut evidence = Evidence::default();
        pairs.into_iter().for_each(|pair| evidence.note(&pair, rules));
        evidence.verdict(rules, rules.r#for.0)
    }

    fn why(verdict: Verdict) -> String {
        match verdict {
            Verdict::RollBack(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// Numbers without order, the same each time.
    fn dice() -> impl FnMut(u64) -> u64 {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        }
    }

    #[test]
    fn one_fault_or_one_other_count_is_enough() {
        let rules = Canary::default();
        let fine = || pair(answer(90, 10, 1000), answer(90, 10, 1000));
        let fault = pair(answer(90, 10, 1000), Went::Fault("it trapped".into()));
        let reason = why(after([fine(), fault], &rules));
        assert!(reason.starts_with("it failed on 1 of 2 batches (200 events)") && reason.ends_with("it trapped"));
        let reason = why(after([fine(), pair(answer(90, 10, 1000), answer(89, 10, 1000))], &rules));
        assert!(reason.contains("of a batch of 100 events it made 89 rows and 10 dead letters"), "{reason}");
        let meant = Canary { rows_may_differ: true, ..rules };
        assert_eq!(after([pair(answer(90, 10, 1000), answer(10, 0, 1000))], &meant), Verdict::Wait);
    }

    #[test]
    fn what_saves_events_is_sound_and_what_loses_them_is_not() {
        let rules = Canary::default();
        let sound = |old: Went, new: Went| pair(old, new).is_sound(&rules);
        assert!(sound(answer(90, 10, 1), answer(100, 0, 1)), "a parser that reads more");
        assert!(sound(answer(90, 10, 1), answer(90, 0, 1)), "a filter that drops what it could not read");
        assert!(sound(Went::Fault("trap".into()), answer(100, 0, 1)), "a mended plugin");
        assert!(!sound(answer(90, 10, 1), answer(101, 0, 1)));
        assert!(!sound(answer(90, 10, 1), answer(89, 11, 1)));
        assert!(!sound(answer(90, 10, 1), Went::Fault("trap".into())));
    }

    #[test]
    fn slower_needs_sums_and_most_batches() {
        let rules = Canary::default();
        let times = |new: &dyn Fn(u64) -> u64| {
            after((0..30).map(|at| pair(answer(100, 0, 1000), answer(100, 0, new(at)))), &rules)
        };
        let reason = why(times(&|_| 3000));
        assert!(reason.contains("30 ns an event against 10, 3.00 times as long"), "{reason}");
        assert!(matches!(times(&|_| 1900), Verdict::Promote(_)));
        assert!(matches!(times(&|at| if at == 7 { 1_000_000 } else { 900 }), Verdict::Promote(_)), "one dear batch");
        let few = (0..9).map(|_| pair(answer(100, 0, 1000), answer(100, 0, 9000)));
        assert_eq!(after(few, &rules), Verdict::Wait);
    }

    #[test]
    fn whatever_comes_a_worse_version_is_never_promoted_and_an_equal_one_is() {
        let (mut dice, rules) = (dice(), Canary::default());
        for _ in 0..2000 {
            let count = 1 + dice(60);
            let mut pairs: Vec<Pair> = (0..count)
                .map(|_| {
                    let (rows, dead, nanos) = (dice(100), dice(3), 1 + dice(10_000));
                    pair(answer(rows, dead, nanos), answer(rows, dead, nanos))
                })
                .collect();
            let enough = count >= BATCHES_MIN && count * 100 >= rules.events_min;
            assert_eq!(matches!(after(pairs.clone(), &rules), Verdict::Promote(_)), enough);
            let at = dice(count) as usize;
            pairs[at].new = Went::Fault("it trapped".into());
            assert!(matches!(after(pairs, &rules), Verdict::RollBack(_)));
        }
    }

    #[test]
    fn a_share_is_kept_to_also_of_every_second_batch() {
        for share in [0.01, 0.1, 0.33, 0.5, 1.0] {
            for beat in [1, 2, 7, 10] {
                let of = 100_000 / beat;
                let shared = (0..of).filter(|turn| is_shared(turn * beat, share)).count() as f64;
                let (wanted, spread) = (of as f64 * share, (of as f64 * share * (1.0 - share)).sqrt());
                assert!((shared - wanted).abs() <= 4.0 * spread + 1.0, "{share} of every {beat}th: {shared}");
            }
            assert!(is_shared(0, share));
        }
    }
}
