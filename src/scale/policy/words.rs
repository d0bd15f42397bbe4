//! what the policy says, as sentences

use super::Belief;
use crate::plugin::Freshness;

/// The longest reason that is kept of a plugin, in characters.
const REASON_CHARS_MAX: usize = 600;

/// The sentence that more replicas rest on stale values, where some do.
pub(super) fn although(beliefs: &[Belief]) -> Option<String> {
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

pub(super) fn tell(doubts: &[&Belief]) -> String {
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
pub(super) fn sentence(text: &str) -> String {
    let mut line = short(text.trim());
    if !line.is_empty() && !line.ends_with(['.', '!', '?']) {
        line.push('.');
    }
    line
}

/// The same for words of our own, opening with a capital.
pub(super) fn own_sentence(text: &str) -> String {
    let line = sentence(text);
    let mut letters = line.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Text of whoever as one bounded line.
pub(super) fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARS_MAX).collect()
}
