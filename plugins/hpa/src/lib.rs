//! replicas as the Kubernetes Horizontal Pod Autoscaler counts them, with reasons
//!
//!     each signal ─► Reading ─► what it asks for ─┐
//!     each signal ─► Reading ─► what it asks for ─┴► the largest ─► stabilization ─► rates ─► proposal
//!
//! `settings` checks what is wanted, `signal` reads the figures, `count` is the arithmetic of one figure, `replicas` that of a figure
//! for each replica, `behavior` the windows and rates, `memory` what they remember. This file puts them together and says why in words.
//!
//! **Always:** while a signal is not fresh, no fewer replicas than now are proposed; a stale one may ask for more, a missing or
//! failed one asks for nothing.
//! **Never:** min and max are looked at; the host's policy has the last word.

mod behavior;
mod count;
mod memory;
mod replicas;
mod settings;
mod signal;

use tidemill_plugin::{Autoscaler, Contract, Freshness, Plugin, Proposal, Request, time};

use count::{Count, Replicas};
use memory::Memory;
use settings::Settings;
use signal::Reading;

/// A configured autoscaler.
pub struct Hpa {
    settings: Settings,
}

impl Plugin for Hpa {
    type Settings = settings::Written;
    const NAME: &'static str = "hpa";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(written: settings::Written) -> Result<(Hpa, Contract), String> {
        let settings = Settings::check(written)?;
        let contract = settings.targeted().fold(Contract::new().keeps_state(), Contract::reads);
        Ok((Hpa { settings }, contract))
    }
}

impl Autoscaler for Hpa {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let current = request.workload.replicas;
        let mut memory = Memory::read(request, &self.settings.behavior);
        let verdicts = self.verdicts(request, memory.known(current))?;
        match verdicts.iter().all(Verdict::is_fresh) {
            true => memory.all_fresh(current),
            false => memory.not_fresh(current),
        }
        let (asked, mut reason) = combine(current, &verdicts);
        match asked {
            Some(asked) => memory.propose(request.now, asked),
            None => memory.hold(request.now, current),
        }
        let stable = self.stabilise(asked.unwrap_or(current), current, &memory, request.now, &mut reason);
        let replicas = self.pace(stable, current, &memory, request.now, &mut reason);
        Ok(Proposal { replicas, reason, state: memory.write() })
    }
}

impl Hpa {
    /// Up not above the lowest proposal of its window, down not below the highest of its own.
    fn stabilise(&self, asked: u32, current: u32, memory: &Memory, now: i64, reason: &mut String) -> u32 {
        let behavior = &self.settings.behavior;
        let held = match asked.cmp(&current) {
            std::cmp::Ordering::Equal => return current,
            std::cmp::Ordering::Less => {
                memory.highest().map(|at| (at, at.replicas.min(current), behavior.down.window, "scaleDown"))
            }
            std::cmp::Ordering::Greater => {
                memory.lowest().map(|at| (at, at.replicas.max(current), behavior.up.window, "scaleUp"))
            }
        };
        match held {
            Some((proposed, stable, window, direction)) if stable != asked && window > 0 => {
                reason.push_str(&format!(
                    "; held at {stable}: {} were proposed {} ago, within {direction}.stabilizationWindowSeconds = {window}",
                    proposed.replicas,
                    time::format_duration((now - proposed.at) / 1_000_000_000 * 1_000_000_000)
                ));
                stable
            }
            _ => asked,
        }
    }

    /// No more in a period than its policies allow.
    fn pace(&self, stable: u32, current: u32, memory: &Memory, now: i64, reason: &mut String) -> u32 {
        let behavior = &self.settings.behavior;
        let (limit, direction) = match stable.cmp(&current) {
            std::cmp::Ordering::Equal => return current,
            std::cmp::Ordering::Less => (
                behavior.down.least(now, current, &memory.added, &memory.taken).map(|least| stable.max(least)),
                "scaleDown",
            ),
            std::cmp::Ordering::Greater => {
                (behavior.up.most(now, current, &memory.added, &memory.taken).map(|most| stable.min(most)), "scaleUp")
            }
        };
        match limit {
            Some(limited) if limited != stable => {
                reason.push_str(&format!("; {limited} is as far as {direction}'s policies go now"));
                limited
            }
            _ => stable,
        }
    }
}

/// What one signal leads to.
enum Verdict {
    Asks(Count),
    /// The same from what was last known, with why it is not known now.
    AsksStale(Count, String),
    /// It cannot be believed: which one and why.
    Blind(String),
}

impl Verdict {
    fn is_fresh(&self) -> bool {
        matches!(self, Verdict::Asks(_))
    }

    fn replicas(&self) -> Option<u32> {
        match self {
            Verdict::Asks(count) | Verdict::AsksStale(count, _) => Some(count.replicas),
            Verdict::Blind(_) => None,
        }
    }

    fn words(&self) -> String {
        match self {
            Verdict::Asks(count) => count.words.clone(),
            Verdict::AsksStale(count, why) => format!("{}, as last known: {why}", count.words),
            Verdict::Blind(why) => why.clone(),
        }
    }
}

impl Hpa {
    fn verdicts(&self, request: &Request, known: u32) -> Result<Vec<Verdict>, String> {
        let mut verdicts = Vec::new();
        let workload = &request.workload;
        for signal in request.signals.iter().filter(|signal| !self.settings.ignores(&signal.name)) {
            let name = signal.name.as_str();
            let target = self
                .settings
                .target_of(name)
                .ok_or_else(|| format!("signal `{name}` has no target; set `target`, or name it in `targets`"))?;
            let count = |value, replicas| {
                Count::new(name, value, target, Replicas::new(replicas, workload.ready), &self.settings)
            };
            let by_replica = match signal.freshness {
                Freshness::Fresh | Freshness::Stale => {
                    replicas::count(signal, target, &workload.members, request.now, workload.replicas, &self.settings)
                }
                Freshness::Missing | Freshness::Failed => None,
            };
            verdicts.push(match (by_replica, Reading::of(signal)) {
                (Some(Err(why)), _) => Verdict::Blind(format!("{name} {why}")),
                (Some(Ok(count)), _) if signal.freshness == Freshness::Stale => {
                    Verdict::AsksStale(count, format!("{name} is stale"))
                }
                (Some(Ok(count)), _) => Verdict::Asks(count),
                (None, Reading::Value(value)) => Verdict::Asks(count(value, workload.replicas)),
                (None, Reading::Stale(value, why)) => Verdict::AsksStale(count(value, known), format!("{name} {why}")),
                (None, Reading::Blind(why)) => Verdict::Blind(format!("{name} {why}")),
            });
        }
        for name in self.settings.targets_without(|name| request.signal(name).is_some()) {
            verdicts.push(Verdict::Blind(format!("{name} is no signal of this scaler")));
        }
        Ok(verdicts)
    }
}

/// The largest wish wins; a signal that is not fresh keeps the replicas from getting fewer. Nothing where the number is only held.
fn combine(now: u32, verdicts: &[Verdict]) -> (Option<u32>, String) {
    let words: Vec<String> = verdicts.iter().map(Verdict::words).collect();
    let words = words.join("; ");
    let doubtful = !verdicts.iter().all(Verdict::is_fresh);
    match verdicts.iter().filter_map(Verdict::replicas).max() {
        None if verdicts.is_empty() => (None, format!("held at {now}: there is no signal")),
        None => (None, format!("held at {now}: {words}")),
        Some(most) if doubtful && most < now => {
            (None, format!("held at {now}: {words}; no fewer replicas while a signal is not fresh"))
        }
        Some(most) => (Some(most), format!("{words}; was {now}")),
    }
}

tidemill_plugin::export_autoscaler!(Hpa);
