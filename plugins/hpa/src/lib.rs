//! replicas as the Kubernetes Horizontal Pod Autoscaler counts them, with reasons
//!
//!     each signal ─► Reading ─► what it asks for ─┐
//!     each signal ─► Reading ─► what it asks for ─┴► the largest ─► stabilization window ─► proposal
//!
//! `settings` checks what is wanted, `signal` reads the figures, `count` is the arithmetic of one signal,
//! `window` remembers proposals, `known` what a stale level is measured against. This file puts them together and says why in words.
//!
//! **Always:** while a signal is not fresh, no fewer replicas than now are proposed; a stale one may ask for more, a missing or
//! failed one asks for nothing.
//! **Never:** min and max are looked at; the host's policy has the last word.

mod count;
mod known;
mod settings;
mod signal;
mod window;

use tidemill_plugin::{Autoscaler, Contract, Plugin, Proposal, Request, time};

use count::Count;
use known::Known;
use settings::Settings;
use signal::Reading;
use window::Window;

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
        Ok((Hpa { settings }, Contract::new().keeps_state()))
    }
}

impl Autoscaler for Hpa {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let now = request.workload.replicas;
        let known = Known::read(&request.state, now);
        let verdicts = self.verdicts(request, known)?;
        let known = if verdicts.iter().all(Verdict::is_fresh) { Known { replicas: now } } else { known };
        let (asked, reason) = combine(now, &verdicts);
        let mut window = Window::read(&request.state, self.settings.scale_down_stabilization, request.now, now);
        let (replicas, held) = window.stabilise(asked, now);
        let reason = match held {
            Some(since) => format!(
                "{reason}; held at {replicas}: {} were proposed {} ago, within scale_down_stabilization = {}",
                since.replicas,
                time::format_duration((request.now - since.at) / 1_000_000_000 * 1_000_000_000),
                time::format_duration(self.settings.scale_down_stabilization),
            ),
            None => reason,
        };
        let mut state = window.write();
        state.extend(known.write());
        Ok(Proposal { replicas, reason, state })
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
    fn verdicts(&self, request: &Request, known: Known) -> Result<Vec<Verdict>, String> {
        let mut verdicts = Vec::new();
        for signal in &request.signals {
            let name = signal.name.as_str();
            let target = self
                .settings
                .target_of(name)
                .ok_or_else(|| format!("signal `{name}` has no target; set `target`, or name it in `targets`"))?;
            let count = |value, replicas| Count::new(name, value, target, replicas, self.settings.tolerance);
            verdicts.push(match Reading::of(signal) {
                Reading::Value(value) => Verdict::Asks(count(value, request.workload.replicas)),
                Reading::Stale(value, why) => Verdict::AsksStale(count(value, known.replicas), format!("{name} {why}")),
                Reading::Blind(why) => Verdict::Blind(format!("{name} {why}")),
            });
        }
        for name in self.settings.targets_without(|name| request.signal(name).is_some()) {
            verdicts.push(Verdict::Blind(format!("{name} is no signal of this scaler")));
        }
        Ok(verdicts)
    }
}

/// The largest wish wins; a signal that is not fresh keeps the replicas from getting fewer.
fn combine(now: u32, verdicts: &[Verdict]) -> (u32, String) {
    let words: Vec<String> = verdicts.iter().map(Verdict::words).collect();
    let words = words.join("; ");
    let doubtful = !verdicts.iter().all(Verdict::is_fresh);
    match verdicts.iter().filter_map(Verdict::replicas).max() {
        None if verdicts.is_empty() => (now, format!("held at {now}: there is no signal")),
        None => (now, format!("held at {now}: {words}")),
        Some(most) if doubtful && most < now => {
            (now, format!("held at {now}: {words}; no fewer replicas while a signal is not fresh"))
        }
        Some(most) => (most, format!("{words}; was {now}")),
    }
}

tidemill_plugin::export_autoscaler!(Hpa);
