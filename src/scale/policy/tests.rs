//! every rule by itself, and ten thousand random traces through all of them

use super::*;
use Freshness::{Failed, Fresh, Missing, Stale};

const SECOND: i64 = 1_000_000_000;

fn policy() -> Policy {
    Policy::bounds(1, 5)
}

fn span(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}

fn rate(count: u32, seconds: u64) -> Rate {
    Rate { count, per: span(seconds) }
}

/// Changes at these seconds, each from one number to another.
fn history(policy: &Policy, moves: &[(i64, u32, u32)]) -> History {
    let mut history = History::default();
    for (at, from, to) in moves {
        history.note(policy, at * SECOND, *to, *from, *to);
    }
    history
}

fn beliefs(all: &[Freshness]) -> Vec<Belief> {
    let message = |freshness| if freshness == Fresh { "" } else { "file is behind" };
    let belief = |(at, &freshness): (usize, &Freshness)| Belief {
        name: format!("s{at}"),
        freshness,
        message: message(freshness).to_owned(),
    };
    all.iter().enumerate().map(belief).collect()
}

fn check(policy: &Policy, current: u32, desired: Option<u32>, signals: &[Freshness], after: u32, names: &[&str]) {
    check_after(policy, &[(95, current + 1, current)], current, desired, signals, after, names);
}

/// The same at second 100, after these moves.
fn check_after(
    policy: &Policy,
    moves: &[(i64, u32, u32)],
    current: u32,
    desired: Option<u32>,
    signals: &[Freshness],
    after: u32,
    names: &[&str],
) {
    let proposal = desired.map(|replicas| Proposal { replicas, reason: "load is 120".to_owned(), state: Vec::new() });
    let error = Error::internal("it trapped");
    let case = Case {
        now: 100 * SECOND,
        current,
        proposal: proposal.as_ref().ok_or(&error),
        beliefs: &beliefs(signals),
        by_time: None,
        history: &history(policy, moves),
        order: None,
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
    check(&policy(), 2, Some(3), &[Fresh], 3, &[]);
    check(&policy(), 3, Some(2), &[Fresh], 2, &[]);
    check(&policy(), 3, Some(3), &[Stale], 3, &[]);
    check(&policy(), 3, Some(9), &[Fresh], 5, &["max"]);
    check(&policy(), 3, Some(0), &[Fresh], 1, &["min"]);
    for doubtful in [Stale, Missing, Failed] {
        check(&policy(), 3, Some(1), &[Fresh, doubtful], 3, &["evidence"]);
        check(&policy(), 3, Some(4), &[Fresh, doubtful], 4, &[]);
        check(&policy(), 3, Some(4), &[Stale, doubtful], 4, &[]);
        check(&policy(), 3, Some(1), &[Stale, doubtful], 3, &["evidence"]);
        check(&policy(), 3, Some(0), &[doubtful], 3, &["evidence"]);
    }
    check(&policy(), 3, Some(4), &[Stale], 4, &[]);
    check(&policy(), 3, Some(9), &[Stale], 5, &["max"]);
    check(&policy(), 3, Some(4), &[Missing], 3, &["evidence"]);
    check(&policy(), 3, Some(4), &[Failed, Missing], 3, &["evidence"]);
    check(&policy(), 3, None, &[Fresh], 3, &["plugin_failed"]);
    check(&policy(), 9, None, &[Fresh], 5, &["plugin_failed", "max"]);
    check(&policy(), 0, None, &[Stale], 1, &["plugin_failed", "min"]);
    check(&policy(), 9, Some(2), &[Stale], 5, &["evidence", "max"]);
    check(&policy(), 2, Some(4), &[], 4, &[]);
    check(&policy(), 4, Some(2), &[], 2, &[]);
    let paced = Policy { up_max: Some(1), down_max: Some(2), ..policy() };
    check(&paced, 1, Some(5), &[Fresh], 2, &["up_max"]);
    check(&paced, 5, Some(1), &[Fresh], 3, &["down_max"]);
    check(&paced, 20, Some(1), &[Fresh], 5, &["down_max", "max"]);
    let cool = Policy { cooldown: Some(span(30)), ..policy() };
    check(&cool, 3, Some(2), &[Fresh], 3, &["cooldown"]);
    check(&cool, 3, Some(4), &[Fresh], 4, &[]);
    check(&Policy { cooldown: Some(span(3)), ..policy() }, 3, Some(2), &[Fresh], 2, &[]);
}

#[test]
fn a_small_change_is_none() {
    let tolerant = Policy { max: 100, tolerance: 0.1, ..policy() };
    check(&tolerant, 20, Some(22), &[Fresh], 20, &["tolerance"]);
    check(&tolerant, 20, Some(18), &[Fresh], 20, &["tolerance"]);
    check(&tolerant, 20, Some(23), &[Fresh], 23, &[]);
    check(&tolerant, 2, Some(3), &[Fresh], 3, &[]);
    check(&Policy { min: 0, ..tolerant }, 0, Some(1), &[Fresh], 1, &[]);
}

#[test]
fn windows_heed_what_was_proposed_before() {
    let slow = Policy { max: 20, stabilize_down: span(30), stabilize_up: span(10), ..policy() };
    // 8 were proposed at 80 s, 6 at 95 s: within 30 s the highest counts.
    check_after(&slow, &[(80, 5, 8), (95, 8, 6)], 9, Some(2), &[Fresh], 8, &["stabilize_down"]);
    check_after(&slow, &[(80, 5, 8), (95, 8, 6)], 6, Some(2), &[Fresh], 6, &["stabilize_down"]);
    check_after(&slow, &[(60, 5, 8), (95, 8, 6)], 9, Some(2), &[Fresh], 6, &["stabilize_down"]);
    check_after(&slow, &[(60, 5, 8)], 9, Some(2), &[Fresh], 2, &[]);
    // More only when the lowest of 10 s is more.
    check_after(&slow, &[(95, 3, 4)], 4, Some(9), &[Fresh], 4, &["stabilize_up"]);
    check_after(&slow, &[(95, 3, 6)], 4, Some(9), &[Fresh], 6, &["stabilize_up"]);
    check_after(&slow, &[(80, 3, 4)], 4, Some(9), &[Fresh], 9, &[]);
    let begun = History::begin(99 * SECOND, 7);
    assert_eq!(begun.highest(100 * SECOND, Duration::from_secs(30)).unwrap().replicas, 7);
}

#[test]
fn rates_count_what_was_done() {
    let paced = Policy { max: 50, up_rate: Some(rate(4, 60)), down_rate: Some(rate(2, 60)), ..policy() };
    check_after(&paced, &[], 5, Some(30), &[Fresh], 9, &["up_rate"]);
    check_after(&paced, &[(50, 2, 5)], 5, Some(30), &[Fresh], 6, &["up_rate"]);
    check_after(&paced, &[(30, 2, 5)], 5, Some(30), &[Fresh], 9, &["up_rate"]);
    check_after(&paced, &[(50, 7, 5)], 5, Some(1), &[Fresh], 5, &["down_rate"]);
    check_after(&paced, &[(50, 6, 5)], 5, Some(1), &[Fresh], 4, &["down_rate"]);
}

#[test]
fn the_last_turn_of_a_budget_is_kept_for_scaling_up() {
    let steady = Policy { flap_budget: Some(rate(2, 60)), ..policy() };
    check_after(&steady, &[(90, 2, 4)], 4, Some(2), &[Fresh], 2, &[]);
    check_after(&steady, &[(80, 2, 4), (85, 4, 2), (90, 2, 4)], 4, Some(2), &[Fresh], 4, &["flap_budget"]);
    check_after(&steady, &[(80, 2, 4), (85, 4, 2)], 2, Some(4), &[Fresh], 4, &[]);
    check_after(&steady, &[(80, 2, 4), (85, 4, 3)], 3, Some(2), &[Fresh], 2, &[]);
    check_after(&steady, &[(10, 2, 4), (20, 4, 2), (30, 2, 4)], 4, Some(2), &[Fresh], 2, &[]);
}

#[test]
fn freezes_and_orders() {
    let always =
        Freeze { from: Some("1970-01-01T00:00:00Z".into()), until: Some("1970-01-02T00:00:00Z".into()), ..nothing() };
    let frozen = Policy { freeze: vec![Freeze { only: Some(Direction::Down), ..always }], ..policy() };
    check(&frozen, 3, Some(2), &[Fresh], 3, &["freeze"]);
    check(&frozen, 3, Some(4), &[Fresh], 4, &[]);
    let order = Order { replicas: 9, until: 101 * SECOND, why: "a sale".to_owned() };
    let proposal = Proposal { replicas: 2, reason: "load is 1".to_owned(), state: Vec::new() };
    let history = History::default();
    let case = Case {
        now: 100 * SECOND,
        current: 3,
        proposal: Ok(&proposal),
        beliefs: &[],
        by_time: None,
        history: &history,
        order: Some(&order),
    };
    let decision = policy().decide(case);
    assert_eq!(decision.replicas, 5);
    assert_eq!(
        decision.reason,
        "Load is 1. 9 replicas by order until 1970-01-01T00:01:41Z: a sale. Never more than 5."
            .replacen("Load", "load", 1)
    );
    assert_eq!(policy().decide(Case { now: 101 * SECOND, ..case }).replicas, 2);
}

fn nothing() -> Freeze {
    Freeze { from: None, until: None, cron: None, r#for: None, timezone: None, only: None, why: None }
}

#[test]
fn a_reason_reads_as_sentences() {
    let proposal = Proposal { replicas: 9, reason: "rps is 450:\n9 × 50".to_owned(), state: Vec::new() };
    let history = History::default();
    let case = Case {
        now: 0,
        current: 3,
        proposal: Ok(&proposal),
        beliefs: &[],
        by_time: None,
        history: &history,
        order: None,
    };
    assert_eq!(policy().decide(case).reason, "rps is 450: 9 × 50. Never more than 5.");
    let silent = Proposal { reason: " ".to_owned(), replicas: 2, state: Vec::new() };
    let case = Case { proposal: Ok(&silent), ..case };
    assert_eq!(policy().decide(case).reason, "The plugin asks for 2 replicas and gave no reason.");
}

#[test]
fn more_replicas_on_a_stale_value_are_explained() {
    let proposal = Proposal { replicas: 4, reason: "rps is 450".to_owned(), state: Vec::new() };
    let told = |signals: &[Freshness], current| {
        let beliefs = beliefs(signals);
        let history = History::default();
        let case = Case {
            now: 0,
            current,
            proposal: Ok(&proposal),
            beliefs: &beliefs,
            by_time: None,
            history: &history,
            order: None,
        };
        policy().decide(case).reason
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
    let history = History::default();
    let case = Case {
        now: 0,
        current: 5,
        proposal: Ok(&more),
        beliefs: &beliefs(&[Stale]),
        by_time: None,
        history: &history,
        order: None,
    };
    assert_eq!(policy().decide(case).reason, "rps is 450. Never more than 5.");
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
    let (mut downs, mut turns) = (0, 0);
    for trace in 0..10_000_u64 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15 ^ (trace + 1).wrapping_mul(0x2545_F491_4F6C_DD1D));
        let min = dice.below(5);
        let policy = Policy {
            min,
            max: min.max(1) + dice.below(10),
            tolerance: f64::from(dice.below(3)) / 10.0,
            stabilize_up: span(dice.below(20).into()),
            stabilize_down: span(dice.below(60).into()),
            up_max: dice.maybe(4),
            down_max: dice.maybe(4),
            up_rate: dice.maybe(6).map(|count| rate(count, 30)),
            down_rate: dice.maybe(6).map(|count| rate(count, 30)),
            cooldown: dice.maybe(60).map(|seconds| span(seconds.into())),
            flap_budget: dice.maybe(4).map(|count| rate(count + 1, 120)),
            freeze: Vec::new(),
        };
        let mut current = dice.below(20);
        let mut now = 1_000 * SECOND;
        let mut history = History::begin(now, current);
        let mut moves: Vec<(i64, bool)> = Vec::new();
        for _ in 0..60 {
            // Ticks come late, and clocks jump ahead; a scaler's ticks never go back.
            now += SECOND * i64::from(if dice.below(30) == 0 { dice.below(600) } else { 1 + dice.below(5) });
            // A restart knows what was written down.
            if dice.below(20) == 0 {
                history = serde_json::from_str(&serde_json::to_string(&history).unwrap()).unwrap();
            }
            let signals: Vec<Freshness> = (0..dice.below(4))
                .map(|_| match dice.below(8) {
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
            let decision = policy.decide(Case {
                now,
                current,
                proposal: if failed { Err(&error) } else { Ok(&proposal) },
                beliefs: &beliefs(&signals),
                by_time: None,
                history: &history,
                order: None,
            });
            let decided = decision.replicas;
            assert!((policy.min..=policy.max).contains(&decided), "trace {trace}: {decided} of {policy:?}");
            let doubtful = failed || signals.iter().any(|&freshness| freshness != Fresh);
            let held = policy.within(current);
            assert!(!doubtful || decided >= held, "trace {trace}: {current} to {decided} on {signals:?}");
            let blind = !signals.is_empty() && signals.iter().all(|&freshness| matches!(freshness, Missing | Failed));
            assert!(!blind || decided == held, "trace {trace}: {current} to {decided} on {signals:?}");
            history.note(&policy, now, decision.believed, current, decided);
            if decided != current {
                moves.push((now, decided > current));
            }
            let within = |at: i64, seconds: u64| now - at < SECOND * i64::try_from(seconds).unwrap();
            let turned = moves.windows(2).filter(|pair| pair[0].1 != pair[1].1 && within(pair[1].0, 120)).count();
            if let Some(budget) = policy.flap_budget {
                // What `min` and `max` force is no flap of ours: only the first tick can be outside of them.
                let forced = usize::from(moves.first().is_some_and(|first| within(first.0, 120)));
                assert!(turned <= budget.count as usize + forced, "trace {trace}: {turned} turns of {policy:?}");
                turns += turned;
            }
            downs += u32::from(decided < held);
            current = decided;
        }
    }
    assert!(downs > 1000 && turns > 1000, "the traces must also scale down, and turn: {downs}, {turns}");
}
