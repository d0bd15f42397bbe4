//! the last word about a proposal: evidence, tolerance, windows, rates, flaps, freezes, an operator's order, minimum and maximum
//!
//!     proposal ─► plugin failed? ─► evidence ─► tolerance ─► stabilization ─► steps, rates ─► cooldown ─► flaps ─► freeze
//!                                                              order of an operator ─► min, max ─► decision
//!
//! It is arithmetic on values: no clock, no disk, no plugin. Every rule that changes the number leaves a [`Clamp`], so that the
//! decision can be told in words.
//!
//! **Always:** the decision is within `[min, max]`, also when it holds a number that was outside. Only who may not act at all
//! ([`Decision::stand_by`]) decides nothing: the number stays what it was found to be.
//! **Never:** a signal that is not fresh, or a plugin that failed, takes a replica away; a missing or failed one adds none either, but a
//! schedule may.

pub mod freeze;
pub mod history;
pub mod words;

pub use freeze::{Direction, Freeze};
pub use history::History;
pub use words::replicas;

use crate::error::Error;
use crate::plugin::{Freshness, Proposal, Signal};
use crate::units::{Rate, Span};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use words::{although, own_sentence, sentence, short, tell};

/// What a scaler's proposals must keep to. It is written into every decision, so that the decision can be taken again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// least replicas
    pub min: u32,
    /// most replicas
    pub max: u32,
    /// a change smaller than this share of the present number is none
    pub tolerance: f64,
    /// more replicas only when every proposal of this while asked for more
    pub stabilize_up: Span,
    /// fewer replicas only when every proposal of this while asked for fewer
    pub stabilize_down: Span,
    /// most replicas to start in one tick
    pub up_max: Option<u32>,
    /// most replicas to stop in one tick
    pub down_max: Option<u32>,
    /// most replicas to start in a while
    pub up_rate: Option<Rate>,
    /// most replicas to stop in a while
    pub down_rate: Option<Rate>,
    /// how long after a change nothing is stopped
    pub cooldown: Option<Span>,
    /// how often the direction may turn in a while
    pub flap_budget: Option<Rate>,
    /// when the number stays as it is
    pub freeze: Vec<Freeze>,
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

/// An operator's word: so many replicas, for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// how many
    pub replicas: u32,
    /// the first moment at which it no longer holds, ns UTC
    pub until: i64,
    /// for whom reads the decision
    pub why: String,
}

/// What a decision is taken from.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// the tick's time, ns UTC
    pub now: i64,
    /// replicas asked for at present
    pub current: u32,
    /// what the plugin proposed, or why it did not
    pub proposal: std::result::Result<&'a Proposal, &'a Error>,
    /// the signals that the proposal rests on
    pub beliefs: &'a [Belief],
    /// the most that those ask for who go by the time of day, if anybody does: it needs no signal
    pub by_time: Option<u32>,
    /// what was done and proposed before
    pub history: &'a History,
    /// an operator's word
    pub order: Option<&'a Order>,
}

/// One rule that changed the number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Clamp {
    /// the rule: `plugin_failed`, `evidence`, `tolerance`, `stabilize_up`, `stabilize_down`, `up_max`, `down_max`, `up_rate`, `down_rate`,
    /// `cooldown`, `flap_budget`, `freeze`, `order`, `min`, `max`; `standby`
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
    /// what the windows remember of this tick: the proposal as far as it could be believed
    pub believed: u32,
    /// the rules that changed it, in order
    pub clamps: Vec<Clamp>,
    /// the plugin's reason and the clamps, as sentences
    pub reason: String,
}

impl Decision {
    /// The same by somebody who may not act now, with the reason: the number stays as it is.
    pub fn stand_by(mut self, current: u32, why: &str) -> Decision {
        self.clamps.push(Clamp { name: "standby", from: self.replicas, to: current, why: short(why) });
        self.reason = format!("{} {}", self.reason, own_sentence(why));
        self.replicas = current;
        self
    }
}

impl Belief {
    /// How far a signal can be believed.
    pub fn of(signal: &Signal) -> Belief {
        Belief { name: signal.name.clone(), freshness: signal.freshness, message: signal.message.clone() }
    }
}

impl Policy {
    /// A policy of bounds alone.
    pub fn bounds(min: u32, max: u32) -> Policy {
        Policy {
            min,
            max,
            tolerance: 0.0,
            stabilize_up: Span(Duration::ZERO),
            stabilize_down: Span(Duration::ZERO),
            up_max: None,
            down_max: None,
            up_rate: None,
            down_rate: None,
            cooldown: None,
            flap_budget: None,
            freeze: Vec::new(),
        }
    }

    /// The number within `[min, max]`.
    pub fn within(&self, replicas: u32) -> u32 {
        replicas.max(self.min).min(self.max)
    }

    /// How long a move matters to some rule.
    pub(super) fn reach(&self) -> Duration {
        let rates = [self.up_rate, self.down_rate, self.flap_budget].into_iter().flatten().map(|rate| rate.per.0);
        rates.chain(self.cooldown.map(|span| span.0)).max().unwrap_or_default()
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
                self.tolerance(&mut steps, &case);
            }
            Err(error) => {
                let why = short(&format!("holding {}, because the plugin failed: {error}", replicas(case.current)));
                steps.clamps.push(Clamp { name: "plugin_failed", from: case.current, to: case.current, why });
            }
        }
        let believed = steps.replicas;
        self.stabilize(&mut steps, &case);
        self.pace(&mut steps, &case);
        self.cooldown(&mut steps, &case);
        self.flaps(&mut steps, &case);
        self.freezes(&mut steps, &case);
        if let Some(order) = case.order.filter(|order| case.now < order.until) {
            let until = humantime::format_rfc3339_seconds(system_time(order.until));
            let why = if order.why.is_empty() { String::new() } else { format!(": {}", order.why) };
            steps.to("order", order.replicas, format!("{} by order until {until}{why}", replicas(order.replicas)));
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
        Decision { replicas: steps.replicas, desired, believed, clamps: steps.clamps, reason: sentences.join(" ") }
    }

    /// Down only when every signal is fresh; up also on what a stale one last said, and as far as a schedule asks.
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
            let most = case.by_time.unwrap_or_default().max(case.current);
            if steps.replicas > most {
                steps.to("evidence", most, format!("not scaled up without any value: {}", tell(&doubts)));
            }
        }
    }

    /// A small change is none.
    fn tolerance(&self, steps: &mut Steps, case: &Case) {
        let change = f64::from(steps.replicas.abs_diff(case.current));
        if steps.replicas != case.current && change <= self.tolerance * f64::from(case.current) {
            let share = self.tolerance;
            steps.to("tolerance", case.current, format!("a change by {change} is within the tolerance of {share}"));
        }
    }

    /// In a direction only when every proposal of a while went there.
    fn stabilize(&self, steps: &mut Steps, case: &Case) {
        if steps.replicas < case.current
            && let Some(highest) = case.history.highest(case.now, self.stabilize_down.0)
            && highest.replicas > steps.replicas
        {
            let why = format!(
                "{} were proposed {} ago, and stabilize_down is {}",
                highest.replicas,
                ago(case.now, highest.at),
                self.stabilize_down
            );
            steps.to("stabilize_down", highest.replicas.min(case.current), why);
        }
        if steps.replicas > case.current
            && let Some(lowest) = case.history.lowest(case.now, self.stabilize_up.0)
            && lowest.replicas < steps.replicas
        {
            let why = format!(
                "only {} were proposed {} ago, and stabilize_up is {}",
                lowest.replicas,
                ago(case.now, lowest.at),
                self.stabilize_up
            );
            steps.to("stabilize_up", lowest.replicas.max(case.current), why);
        }
    }

    /// So many in one tick, and so many in a while.
    fn pace(&self, steps: &mut Steps, case: &Case) {
        let mut up = |name, room: u32, why| {
            let most = case.current.saturating_add(room);
            if steps.replicas > most {
                steps.to(name, most, why);
            }
        };
        if let Some(up_max) = self.up_max {
            up("up_max", up_max, format!("at most {up_max} more in one tick"));
        }
        if let Some(rate) = self.up_rate {
            let added = case.history.added(case.now, rate.per.0);
            let why = format!("at most {} more in {}, and {added} came already", rate.count, rate.per);
            up("up_rate", rate.count.saturating_sub(added), why);
        }
        let mut down = |name, room: u32, why| {
            let least = case.current.saturating_sub(room);
            if steps.replicas < least {
                steps.to(name, least, why);
            }
        };
        if let Some(down_max) = self.down_max {
            down("down_max", down_max, format!("at most {down_max} fewer in one tick"));
        }
        if let Some(rate) = self.down_rate {
            let taken = case.history.taken(case.now, rate.per.0);
            let why = format!("at most {} fewer in {}, and {taken} went already", rate.count, rate.per);
            down("down_rate", rate.count.saturating_sub(taken), why);
        }
    }

    /// Down only when nothing has changed for a while.
    fn cooldown(&self, steps: &mut Steps, case: &Case) {
        let Some((cooldown, unchanged)) = self.cooldown.zip(case.history.unchanged(case.now)) else { return };
        let left = crate::clock::nanos(cooldown.0).saturating_sub(unchanged);
        if steps.replicas < case.current && left > 0 {
            let left = Duration::from_secs(u64::try_from(left / 1_000_000_000).unwrap_or(0).max(1));
            let why = format!("nothing is stopped for another {} (cooldown)", humantime::format_duration(left));
            steps.to("cooldown", case.current, why);
        }
    }

    /// The direction turns down only while a turn up would still be within the budget: nobody waits for replicas because of it. What an
    /// operator ordered is no number of ours: a turn is one from where we had been.
    fn flaps(&self, steps: &mut Steps, case: &Case) {
        let Some(budget) = self.flap_budget else { return };
        let own = case.history.own_number(case.current);
        if steps.replicas >= case.current || steps.replicas >= own || !case.history.would_turn(own, steps.replicas) {
            return;
        }
        let turns = case.history.turns(case.now, budget.per.0);
        if turns.saturating_add(2) > budget.count {
            let why = format!(
                "not scaled down: the direction turned {turns} times in {}, and of {} turns the last is kept for scaling up (flap_budget)",
                budget.per, budget.count
            );
            steps.to("flap_budget", own.min(case.current), why);
        }
    }

    /// As it is, while a freeze holds.
    fn freezes(&self, steps: &mut Steps, case: &Case) {
        let direction = match steps.replicas.cmp(&case.current) {
            std::cmp::Ordering::Equal => return,
            std::cmp::Ordering::Greater => Direction::Up,
            std::cmp::Ordering::Less => Direction::Down,
        };
        let holding = self.freeze.iter().find_map(|freeze| Some((freeze, freeze.holds(case.now, direction)?)));
        if let Some((freeze, until)) = holding {
            let why = freeze.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            let until = until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            steps.to("freeze", case.current, format!("frozen until {until}{why}"));
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

fn ago(now: i64, then: i64) -> humantime::FormattedDuration {
    let seconds = u64::try_from(now.saturating_sub(then) / 1_000_000_000).unwrap_or(0);
    humantime::format_duration(Duration::from_secs(seconds))
}

fn system_time(nanos: i64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
