//! replicas as the Kubernetes Horizontal Pod Autoscaler counts them, with reasons
//!
//!     each signal ─► Reading ─► what it asks for ─┐
//!     each signal ─► Reading ─► what it asks for ─┴► the largest ─► stabilization window ─► proposal
//!
//! `settings` checks what is wanted, `signal` reads the figures, `count` is the arithmetic of one signal,
//! `window` remembers proposals. This file puts them together and says why in words.
//!
//! **Always:** while a signal is not fresh, no fewer replicas than now are proposed; while none is, as many as now.
//! **Never:** min and max are looked at; the host's policy has the last word.

mod count;
mod settings;
mod signal;
mod window;

use tidemill_plugin::{Autoscaler, Contract, Plugin, Proposal, Request, time};

use count::Count;
use settings::{Settings, Target};
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
        let verdicts = self.verdicts(request)?;
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
        Ok(Proposal { replicas, reason, state: window.write() })
    }
}

/// What one signal leads to.
enum Verdict {
    Asks(Count),
    /// It cannot be believed: which one and why.
    Blind(String),
}

impl Hpa {
    fn verdicts(&self, request: &Request) -> Result<Vec<Verdict>, String> {
        let mut verdicts = Vec::new();
        for signal in &request.signals {
            let target = self.settings.target_of(&signal.name).ok_or_else(|| {
                format!("signal `{}` has no target; set `target`, or name it in `targets`", signal.name)
            })?;
            verdicts.push(self.verdict(&signal.name, Reading::of(signal), target, request.workload.replicas));
        }
        for name in self.settings.targets_without(|name| request.signal(name).is_some()) {
            verdicts.push(Verdict::Blind(format!("{name} is no signal of this scaler")));
        }
        Ok(verdicts)
    }

    fn verdict(&self, name: &str, reading: Reading, target: Target, replicas: u32) -> Verdict {
        match reading {
            Reading::Value(value) => Verdict::Asks(Count::new(name, value, target, replicas, self.settings.tolerance)),
            Reading::Blind(why) => Verdict::Blind(format!("{name} {why}")),
        }
    }
}

/// The largest wish wins; a signal that cannot be believed keeps the replicas from getting fewer.
fn combine(now: u32, verdicts: &[Verdict]) -> (u32, String) {
    let asks = |verdict: &Verdict| match verdict {
        Verdict::Asks(count) => Some(count.replicas),
        Verdict::Blind(_) => None,
    };
    let words: Vec<&str> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Asks(count) => count.words.as_str(),
            Verdict::Blind(why) => why.as_str(),
        })
        .collect();
    let words = words.join("; ");
    let any_blind = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Blind(_)));
    match verdicts.iter().filter_map(asks).max() {
        None if verdicts.is_empty() => (now, format!("held at {now}: there is no signal")),
        None => (now, format!("held at {now}: {words}")),
        Some(most) if any_blind && most < now => {
            (now, format!("held at {now}: {words}; no fewer replicas while a signal is missing"))
        }
        Some(most) => (most, format!("{words}; was {now}")),
    }
}

tidemill_plugin::export_autoscaler!(Hpa);
