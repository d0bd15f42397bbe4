//! the last word about a proposal: evidence, steps, minimum and maximum
//!
//!     proposal ─► plugin failed? ─► evidence ─► step ─► cooldown ─► min, max ─► decision
//!
//! It is arithmetic on values: no clock, no disk, no plugin. Every rule that changes the number leaves a [`Clamp`], so that the
//! decision can be told in words.
//!
//! **Always:** the decision is within `[min, max]`, also when it holds a number that was outside.
//! **Never:** a signal that is not fresh, or a plugin that failed, takes a replica away; a missing or failed one adds none either.

use crate::error::Error;
use crate::plugin::{Freshness, Proposal};
use serde::Serialize;
use std::time::Duration;

/// What a scaler's proposals must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// least replicas
    pub min: u32,
    /// most replicas
    pub max: u32,
    /// most replicas to start in one tick
    pub up_max: Option<u32>,
    /// most replicas to stop in one tick
    pub down_max: Option<u32>,
    /// how long after a change nothing is stopped
    pub cooldown: Option<Duration>,
}

/// How far one signal could be believed.
#[derive(Clone, Debug)]
pub struct Belief {
    /// the signal's name
    pub name: String,
    /// how far
    pub freshness: Freshness,
    /// why not further; empty when fresh
    pub message: String,
}

/// What a decision is taken from.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// replicas asked for at present
    pub current: u32,
    /// what the plugin proposed, or why it did not
    pub proposal: std::result::Result<&'a Proposal, &'a Error>,
    /// the signals that the proposal rests on
    pub beliefs: &'a [Belief],
    /// time since the number last changed; nothing if it never did
    pub unchanged: Option<Duration>,
}

/// One rule that changed the number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clamp {
    /// the rule: `plugin_failed`, `evidence`, `up_max`, `down_max`, `cooldown`, `min`, `max`
    pub name: &'static str,
    /// the number before it
    pub from: u32,
    /// the number after it
    pub to: u32,
    /// why, as a sentence without its full stop
    pub why: String,
}

/// How many replicas should run, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// how many
    pub replicas: u32,
    /// what the plugin wanted; nothing if it failed
    pub desired: Option<u32>,
    /// the rules that changed it, in order
    pub clamps: Vec<Clamp>,
    /// the plugin's reason and the clamps, as sentences
    pub reason: String,
}

/// The longest reason that is kept of a plugin, in characters.
const REASON_CHARS_MAX: usize = 600;

impl Policy {
    /// The number within `[min, max]`.
    pub fn within(&self, replicas: u32) -> u32 {
        replicas.max(self.min).min(self.max)
    }

    /// What to run now.
    pub fn decide(&self, case: Case) -> Decision {
        let mut steps = Steps { replicas: case.current, clamps: Vec::new() };
        let desired = case.proposal.ok().map(|proposal| proposal.replicas);
        let mut sentences = Vec::new();
        match case.proposal {
            Ok(proposal) => {
                steps.replicas = proposal.replicas;
                sentences.push(sentence(&proposal.reason));
                self.evidence(&mut steps, &case);
                self.pace(&mut steps, &case);
            }
            Err(error) => {
                let why = short(&format!("holding {}, because the plugin failed: {error}", replicas(case.current)));
                steps.clamps.push(Clamp { name: "plugin_failed", from: case.current, to: case.current, why });
            }
        }
        self.range(&mut steps);
        if steps.replicas > case.current && desired > Some(case.current) {
            sentences.extend(although(case.beliefs));
        }
        sentences.extend(steps.clamps.iter().map(|clamp| own_sentence(&clamp.why)));
        sentences.retain(|sentence| !sentence.is_empty());
        if sentences.is_empty() {
            sentences.push(format!("The plugin asks for {} and gave no reason.", replicas(steps.replicas)));
        }
        Decision { replicas: steps.replicas, desired, clamps: steps.clamps, reason: sentences.join(" ") }
    }

    /// Down only when every signal is fresh; up also on what a stale one last said.
    fn evidence(&self, steps: &mut Steps, case: &Case) {
        let fresh = |belief: &&Belief| belief.freshness == Freshness::Fresh;
        let valued = |belief: &Belief| matches!(belief.freshness, Freshness::Fresh | Freshness::Stale);
        let doubts: Vec<&Belief> = case.beliefs.iter().filter(|belief| !fresh(belief)).collect();
        if doubts.is_empty() {
            return;
        }
        if steps.replicas < case.current {
            steps.to("evidence", case.current, format!("not scaled down: {}", tell(&doubts)));
        } else if steps.replicas > case.current && !case.beliefs.iter().any(valued) {
            steps.to("evidence", case.current, format!("not scaled up without any value: {}", tell(&doubts)));
        }
    }

    /// So many in one tick, and down only after the cooldown.
    fn pace(&self, steps: &mut Steps, case: &Case) {
        if let Some(up_max) = self.up_max {
            let most = case.current.saturating_add(up_max);
            if steps.replicas > most {
                steps.to("up_max", most, format!("at most {up_max} more in one tick"));
            }
        }
        if let Some(down_max) = self.down_max {
            let least = case.current.saturating_sub(down_max);
            if steps.replicas < least {
                steps.to("down_max", least, format!("at most {down_max} fewer in one tick"));
            }
        }
        if let (Some(cooldown), Some(unchanged)) = (self.cooldown, case.unchanged)
            && steps.replicas < case.current
            && unchanged < cooldown
        {
            let left = Duration::from_secs((cooldown - unchanged).as_secs().max(1));
            let why = format!("nothing is stopped for another {} (cooldown)", humantime::format_duration(left));
            steps.to("cooldown", case.current, why);
        }
    }

    fn range(&self, steps: &mut Steps) {
        if steps.replicas < self.min {
            steps.to("min", self.min, format!("never fewer than {}", self.min));
        }
        if steps.replicas > self.max {
            steps.to("max", self.max, format!("never more than {}", self.max));
        }
    }
}

/// The number on its way through the rules.
struct Steps {
    replicas: u32,
    clamps: Vec<Clamp>,
}

impl Steps {
    fn to(&mut self, name: &'static str, to: u32, why: String) {
        self.clamps.push(Clamp { name, from: self.replicas, to, why });
        self.replicas = to;
    }
}

/// The sentence that more replicas rest on stale values, where some do.
fn although(beliefs: &[Belief]) -> Option<String> {
    let stale = beliefs.iter().filter(|belief| belief.freshness == Freshness::Stale);
    let names: Vec<String> = stale.map(|belief| format!("`{}`", belief.name)).collect();
    let (signals, are, values, their) = match names.len() {
        0 => return None,
        1 => ("signal", "is", "value", "its"),
        _ => ("signals", "are", "values", "their"),
    };
    let names = names.join(", ");
    Some(format!(
        "Scaled up although {signals} {names} {are} stale: {their} last {values} may add replicas, never take any."
    ))
}

fn tell(doubts: &[&Belief]) -> String {
    let told: Vec<String> = doubts
        .iter()
        .map(|doubt| {
            let word = word(doubt.freshness);
            match doubt.message.is_empty() {
                true => format!("signal `{}` {word}", doubt.name),
                false => format!("signal `{}` {word} ({})", doubt.name, doubt.message),
            }
        })
        .collect();
    told.join(", ")
}

fn word(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Fresh => "is fresh",
        Freshness::Stale => "is stale",
        Freshness::Missing => "is missing",
        Freshness::Failed => "failed",
    }
}

/// `1 replica`, `3 replicas`.
pub fn replicas(count: u32) -> String {
    if count == 1 { "1 replica".to_owned() } else { format!("{count} replicas") }
}

/// Text of whoever as one sentence: one line, bounded, closing with a full stop.
fn sentence(text: &str) -> String {
    let mut line = short(text.trim());
    if !line.is_empty() && !line.ends_with(['.', '!', '?']) {
        line.push('.');
    }
    line
}

/// The same for words of our own, opening with a capital.
fn own_sentence(text: &str) -> String {
    let line = sentence(text);
    let mut letters = line.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Text of whoever as one bounded line.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Freshness::{Failed, Fresh, Missing, Stale};

    const POLICY: Policy = Policy { min: 1, max: 5, up_max: None, down_max: None, cooldown: None };

    fn beliefs(all: &[Freshness]) -> Vec<Belief> {
        let message = |freshness| if freshness == Fresh { "" } else { "file is behind" };
        let belief = |(at, &freshness): (usize, &Freshness)| Belief {
            name: format!("s{at}"),
            freshness,
            message: message(freshness).to_owned(),
        };
        all.iter().enumerate().map(belief).collect()
    }

    fn check(policy: Policy, current: u32, desired: Option<u32>, signals: &[Freshness], after: u32, names: &[&str]) {
        let proposal =
            desired.map(|replicas| Proposal { replicas, reason: "load is 120".to_owned(), state: Vec::new() });
        let error = Error::internal("it trapped");
        let case = Case {
            current,
            proposal: proposal.as_ref().ok_or(&error),
            beliefs: &beliefs(signals),
            unchanged: Some(Duration::from_secs(5)),
        };
        let decision = policy.decide(case);
        let got: Vec<&str> = decision.clamps.iter().map(|clamp| clamp.name).collect();
        let told = format!("{current} {desired:?} {signals:?}: {}", decision.reason);
        assert_eq!((decision.replicas, got.as_slice()), (after, names), "{told}");
        assert_eq!(decision.desired, desired);
        assert!(decision.reason.ends_with('.') && !decision.reason.contains(".."), "{told}");
        let last = decision.clamps.last().map_or(desired.unwrap_or(current), |clamp| clamp.to);
        assert_eq!(last, decision.replicas, "{told}");
    }

    #[test]
    fn every_rule() {
        check(POLICY, 2, Some(3), &[Fresh], 3, &[]);
        check(POLICY, 3, Some(2), &[Fresh], 2, &[]);
        check(POLICY, 3, Some(3), &[Stale], 3, &[]);
        check(POLICY, 3, Some(9), &[Fresh], 5, &["max"]);
        check(POLICY, 3, Some(0), &[Fresh], 1, &["min"]);
        for doubtful in [Stale, Missing, Failed] {
            check(POLICY, 3, Some(1), &[Fresh, doubtful], 3, &["evidence"]);
            check(POLICY, 3, Some(4), &[Fresh, doubtful], 4, &[]);
            check(POLICY, 3, Some(4), &[Stale, doubtful], 4, &[]);
            check(POLICY, 3, Some(1), &[Stale, doubtful], 3, &["evidence"]);
            check(POLICY, 3, Some(0), &[doubtful], 3, &["evidence"]);
        }
        check(POLICY, 3, Some(4), &[Stale], 4, &[]);
        check(POLICY, 3, Some(9), &[Stale], 5, &["max"]);
        check(POLICY, 3, Some(4), &[Missing], 3, &["evidence"]);
        check(POLICY, 3, Some(4), &[Failed, Missing], 3, &["evidence"]);
        check(POLICY, 3, None, &[Fresh], 3, &["plugin_failed"]);
        check(POLICY, 9, None, &[Fresh], 5, &["plugin_failed", "max"]);
        check(POLICY, 0, None, &[Stale], 1, &["plugin_failed", "min"]);
        check(POLICY, 9, Some(2), &[Stale], 5, &["evidence", "max"]);
        check(POLICY, 2, Some(4), &[], 4, &[]);
        check(POLICY, 4, Some(2), &[], 2, &[]);
        let paced = Policy { up_max: Some(1), down_max: Some(2), ..POLICY };
        check(paced, 1, Some(5), &[Fresh], 2, &["up_max"]);
        check(paced, 5, Some(1), &[Fresh], 3, &["down_max"]);
        check(paced, 20, Some(1), &[Fresh], 5, &["down_max", "max"]);
        let cool = Policy { cooldown: Some(Duration::from_secs(30)), ..POLICY };
        check(cool, 3, Some(2), &[Fresh], 3, &["cooldown"]);
        check(cool, 3, Some(4), &[Fresh], 4, &[]);
        check(Policy { cooldown: Some(Duration::from_secs(3)), ..POLICY }, 3, Some(2), &[Fresh], 2, &[]);
    }

    #[test]
    fn a_reason_reads_as_sentences() {
        let proposal = Proposal { replicas: 9, reason: "rps is 450:\n9 × 50".to_owned(), state: Vec::new() };
        let case = Case { current: 3, proposal: Ok(&proposal), beliefs: &[], unchanged: None };
        assert_eq!(POLICY.decide(case).reason, "rps is 450: 9 × 50. Never more than 5.");
        let silent = Proposal { reason: " ".to_owned(), replicas: 2, state: Vec::new() };
        let case = Case { proposal: Ok(&silent), ..case };
        assert_eq!(POLICY.decide(case).reason, "The plugin asks for 2 replicas and gave no reason.");
    }

    #[test]
    fn more_replicas_on_a_stale_value_are_explained() {
        let proposal = Proposal { replicas: 4, reason: "rps is 450".to_owned(), state: Vec::new() };
        let told = |signals: &[Freshness], current| {
            let beliefs = beliefs(signals);
            POLICY.decide(Case { current, proposal: Ok(&proposal), beliefs: &beliefs, unchanged: None }).reason
        };
        assert_eq!(
            told(&[Fresh, Stale], 3),
            "rps is 450. Scaled up although signal `s1` is stale: its last value may add replicas, never take any."
        );
        assert_eq!(
            told(&[Stale, Missing, Stale], 3),
            "rps is 450. Scaled up although signals `s0`, `s2` are stale: their last values may add replicas, never take any."
        );
        assert_eq!(told(&[Stale], 4), "rps is 450.");
        let more = Proposal { replicas: 9, ..proposal.clone() };
        let case = Case { current: 5, proposal: Ok(&more), beliefs: &beliefs(&[Stale]), unchanged: None };
        assert_eq!(POLICY.decide(case).reason, "rps is 450. Never more than 5.");
        assert_eq!(
            told(&[Missing], 3),
            "rps is 450. Not scaled up without any value: signal `s0` is missing (file is behind)."
        );
        assert_eq!(told(&[Stale], 5), "rps is 450. Not scaled down: signal `s0` is stale (file is behind).");
    }

    /// A generator of its own, so that a failing trace can be run again.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, sides: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            u32::try_from(self.0 >> 33).unwrap_or(0) % sides
        }

        fn maybe(&mut self, sides: u32) -> Option<u32> {
            (self.below(2) == 0).then(|| 1 + self.below(sides))
        }
    }

    #[test]
    fn ten_thousand_traces_keep_the_promises() {
        let mut downs = 0;
        for trace in 0..10_000_u64 {
            let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (trace + 1).wrapping_mul(0x2545_F491_4F6C_DD1D));
            let min = dice.below(5);
            let policy = Policy {
                min,
                max: min.max(1) + dice.below(10),
                up_max: dice.maybe(4),
                down_max: dice.maybe(4),
                cooldown: dice.maybe(60).map(|seconds| Duration::from_secs(seconds.into())),
            };
            let mut current = dice.below(20);
            for _ in 0..30 {
                let signals: Vec<Freshness> = (0..dice.below(4))
                    .map(|_| match dice.below(6) {
                        0 => Stale,
                        1 => Missing,
                        2 => Failed,
                        _ => Fresh,
                    })
                    .collect();
                let wanted = if dice.below(20) == 0 { u32::MAX } else { dice.below(25) };
                let proposal = Proposal { replicas: wanted, reason: String::new(), state: Vec::new() };
                let error = Error::internal("it ran out of time");
                let failed = dice.below(8) == 0;
                let case = Case {
                    current,
                    proposal: if failed { Err(&error) } else { Ok(&proposal) },
                    beliefs: &beliefs(&signals),
                    unchanged: dice.maybe(90).map(|seconds| Duration::from_secs(seconds.into())),
                };
                let decided = policy.decide(case).replicas;
                assert!((policy.min..=policy.max).contains(&decided), "trace {trace}: {decided} of {policy:?}");
                let doubtful = failed || signals.iter().any(|&freshness| freshness != Fresh);
                let held = policy.within(current);
                assert!(!doubtful || decided >= held, "trace {trace}: {current} to {decided} on {signals:?}");
                let blind =
                    !signals.is_empty() && signals.iter().all(|&freshness| matches!(freshness, Missing | Failed));
                assert!(!blind || decided == held, "trace {trace}: {current} to {decided} on {signals:?}");
                downs += u32::from(decided < held);
                current = decided;
            }
        }
        assert!(downs > 1000, "the traces must also scale down: {downs}");
    }
}
