//! what a running stage gets and makes, as a case of its plugin
//!
//!     ask ─► the stage's slot listens ─ enough rows, or time is over ─► case ─ run once by the same plugin ─► told, if it differs
//!
//! **Never:** a setting that looks like a secret, or that a variable of the pipeline file stands in, is in a case.

use super::reload::Slots;
use crate::case::{self, Case};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::pipeline::Slot;
use crate::pipeline::capture::{Got, ROWS_MAX};
use crate::plugin::Library;
use crate::server::capture::{Asked, Captured};
use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Parts of the names of settings that are secrets.
const SECRETS: &[&str] =
    &["password", "passwd", "passphrase", "secret", "token", "credential", "api_key", "apikey", "private", "salt"];

/// Captures.
pub(super) struct Captor {
    pub slots: Slots,
    pub library: Library,
    /// texts of the pipeline files that variables stood in
    pub filled: BTreeSet<String>,
    pub clock: Clock,
}

/// Listens until it is dropped.
struct Listening<'a>(&'a Slot);

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        drop(self.0.capture.end());
    }
}

impl Captor {
    /// Listens to a stage, and writes what it got and made as a case.
    pub async fn capture(&self, asked: Asked) -> Result<Captured> {
        let stage = asked.stage.as_str();
        let slot = self.slots.stages.get(stage).ok_or_else(|| {
            let hint = did_you_mean(stage, self.slots.stages.keys().map(String::as_str));
            Error::new(ErrorKind::Missing, format!("there is no stage `{stage}`{hint}"))
        })?;
        if asked.rows == 0 || asked.rows > ROWS_MAX {
            return Err(Error::invalid(format!("{} rows cannot be captured; ask for 1 to {ROWS_MAX}", asked.rows)));
        }
        if !slot.capture.begin(asked.rows) {
            let message = format!("somebody else captures the stage `{stage}`; try again when they are through");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let listening = Listening(slot);
        let _ = tokio::time::timeout(asked.wait, slot.capture.over()).await;
        let got = slot.capture.end();
        drop(listening);
        if got.is_empty() {
            let why = match slot.view().trial {
                Some(_) => "a new version of it is on trial, and is not captured until that is over",
                None => "it captures what comes while it listens: send something, or wait longer",
            };
            let message = format!("no event came to the stage `{stage}` within {:?}; {why}", asked.wait);
            return Err(Error::new(ErrorKind::Missing, message));
        }
        let (stage, now) = (stage.to_owned(), self.clock.now());
        let (library, filled) = (self.library.clone(), self.filled.clone());
        let written = tokio::task::spawn_blocking(move || written(&stage, now, &library, &filled, &got));
        written.await.map_err(|error| Error::internal(format!("a capture was lost: {error}")))?
    }
}

fn written(stage: &str, now: i64, library: &Library, filled: &BTreeSet<String>, got: &[Got]) -> Result<Captured> {
    let missing = || Error::internal("a capture without rows");
    let version = &got.first().ok_or_else(missing)?.version;
    let (configured, plugin) = (&version.configured, &version.configured.plugin);
    let mut settings: Map<String, Value> = serde_json::from_str(&configured.settings).unwrap_or_default();
    let mut hidden = Vec::new();
    hide(&mut settings, "", filled, &mut hidden);
    let now = DateTime::from_timestamp_nanos(now).to_rfc3339_opts(SecondsFormat::Secs, true);
    let about = format!("what the stage {stage} got and made with {} at {now}", plugin.name());
    let (mut text, large) = case::captured(&about, &settings, configured, got)?;
    let mut notes: Vec<String> = Vec::new();
    if !hidden.is_empty() {
        let names = hidden.join("`, `");
        notes.push(format!("`{names}` may be secret and stands as \"{HIDDEN}\"; what comes out is what comes of that"));
    }
    if !large.is_empty() {
        notes.push(format!("too large for a case, to be put there by hand: the lookup tables {}", large.join(", ")));
    }
    if large.is_empty() {
        let failures = Case::read(&text)?.run(library.engine(), plugin)?;
        let refused = failures.iter().find(|failure| failure.is_of_settings());
        match (refused, failures.len()) {
            (Some(refused), _) => notes.push(format!("the plugin does not start with what is left: {refused}")),
            (None, 0) => (),
            (None, _) if !hidden.is_empty() => text = case::rewritten(&text, &failures)?,
            (None, several) if version.contract.keeps_state => {
                text = case::rewritten(&text, &failures)?;
                notes.push(format!(
                    "{several} rows came out otherwise beside the other rows of their batch; what is written comes of these alone"
                ));
            }
            (None, several) => notes.push(format!(
                "{several} rows come out otherwise when they are run again: the plugin's answer depends on more than its \
                 input, or on limits that a case has not"
            )),
        }
    }
    let rows = got.iter().map(|got| got.input.num_rows() as u64).sum();
    let (plugin, sha256) = (plugin.name().to_owned(), plugin.sha256().to_owned());
    Ok(Captured { plugin, sha256, rows, case: text, notes })
}

/// Puts something else in the place of what may be a secret, and tells the names.
fn hide(settings: &mut Map<String, Value>, path: &str, filled: &BTreeSet<String>, hidden: &mut Vec<String>) {
    for (name, value) in settings.iter_mut() {
        let full = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let lower = name.to_lowercase();
        let named = SECRETS.iter().any(|secret| lower.contains(secret));
        conceal(value, &full, named, filled, hidden);
    }
}

fn conceal(value: &mut Value, path: &str, named: bool, filled: &BTreeSet<String>, hidden: &mut Vec<String>) {
    match value {
        Value::String(text) if named || filled.contains(text) => {
            hidden.push(path.to_owned());
            HIDDEN.clone_into(text);
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| conceal(value, path, named, filled, hidden));
        }
        Value::Object(inner) => hide(inner, path, filled, hidden),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_are_not_written() {
        let settings = json!({
            "pattern": "x", "api_token": "t1", "deep": { "Secret": "t2", "list": ["fine", "from the environment"] }, "limit": 5,
        });
        let Value::Object(mut settings) = settings else { panic!() };
        let mut hidden = Vec::new();
        hide(&mut settings, "", &BTreeSet::from(["from the environment".to_owned()]), &mut hidden);
        assert_eq!(hidden, ["api_token", "deep.Secret", "deep.list"]);
        let wanted = json!({
            "pattern": "x", "api_token": "***", "deep": { "Secret": "***", "list": ["fine", "***"] }, "limit": 5,
        });
        assert_eq!(Value::Object(settings), wanted);
    }
}
