//! `tidemill scale explain NAME`

use super::{nothing, quoted};
use crate::cli::query::print;
use crate::cli::server::Server;
use crate::error::{Error, Result};
use serde_json::Value;
use std::fmt::Write;
use std::process::ExitCode;

/// How long after a loss decisions tell of it, in nanoseconds.
const LOSS_TOLD: i64 = 600_000_000_000;

/// Tells one decision, or the last few, from the query to the replicas.
#[derive(clap::Args)]
pub(super) struct Explain {
    /// The scaler.
    name: String,
    /// The last decision at or before this time (RFC 3339); the latest if not given.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Only decisions that changed the number.
    #[arg(long)]
    changes: bool,
    /// How many, the latest last.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    last: u32,
}

impl Explain {
    pub(super) async fn run(self, server: &Server) -> Result<ExitCode> {
        let mut conditions =
            vec![format!("scaler = {}", quoted(&self.name)), "event NOT IN ('outcome', 'lost')".to_owned()];
        if let Some(at) = &self.at {
            let wrong = |_| Error::invalid(format!("`{at}` is no time; write it like `2026-11-24T18:00:00Z`"));
            chrono::DateTime::parse_from_rfc3339(at).map_err(wrong)?;
            conditions.push(format!("timestamp <= TIMESTAMP {}", quoted(at)));
        }
        if self.changes {
            conditions.push("decided <> replicas".to_owned());
        }
        let sql = format!(
            "SELECT timestamp, event, workload, tick, replicas, ready, desired, decided, signals, clamps, reason, min, max, plugin_name, \
             plugin, settings, dry_run, advice, signals_seconds, plugin_seconds, under_way FROM tidemill.decisions WHERE {} \
             ORDER BY tick DESC LIMIT {}",
            conditions.join(" AND "),
            self.last
        );
        let decisions = server.objects(&sql).await?;
        if decisions.is_empty() {
            return Err(nothing(server, &self.name, if self.changes { "changed" } else { "decided" }).await);
        }
        for decision in decisions.iter().rev() {
            // The latest up to it: its own, or an earlier one that may have failed.
            let name = quoted(&self.name);
            let tick = decision.get("tick").and_then(Value::as_i64).unwrap_or_default();
            let outcome = format!(
                "SELECT outcome, seconds, ok, tick, timestamp FROM tidemill.decisions \
                 WHERE scaler = {name} AND event = 'outcome' AND tick <= {tick} ORDER BY tick DESC, timestamp DESC LIMIT 1"
            );
            let outcomes = server.objects(&outcome).await?;
            let lost = format!(
                "SELECT timestamp, reason FROM tidemill.decisions WHERE scaler = {name} AND event = 'lost' AND tick <= {tick} \
                 AND tick > {tick} - {LOSS_TOLD} ORDER BY tick DESC LIMIT 1"
            );
            let losses = server.objects(&lost).await?;
            print(&told(&self.name, decision, outcomes.first(), losses.first()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A decision in sentences, a line for each thing that it came from.
fn told(scaler: &str, decision: &Value, outcome: Option<&Value>, loss: Option<&Value>) -> String {
    let text = |name: &str| decision.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| decision.get(name).and_then(Value::as_i64);
    let seconds = |name: &str| decision.get(name).and_then(Value::as_f64).map(took).unwrap_or_default();
    let json = |name: &str| serde_json::from_str::<Value>(text(name)).unwrap_or_default();
    let mut out = String::new();
    let mut line = |label: &str, words: String| {
        // A plugin's words come from outside: no line of theirs, and nothing that a terminal obeys.
        let words = words.replace(|c: char| c.is_control(), " ");
        let _ = writeln!(out, "  {label:<10}{words}");
    };
    let (before, decided) = (number("replicas").unwrap_or_default(), number("decided").unwrap_or_default());
    if text("event") != "decision" {
        line(text("event"), text("reason").to_owned());
        return format!("{scaler} at {}\n{out}", text("timestamp"));
    }
    let change = match before == decided {
        true => format!("stays at {decided}"),
        false => format!("{before} → {decided} replicas"),
    };
    line("why", text("reason").to_owned());
    for (name, signal) in json("signals").as_object().into_iter().flatten() {
        line("signal", of_signal(name, signal, number("tick").unwrap_or_default()));
        let sql: Vec<&str> = signal.get("sql").and_then(Value::as_str).unwrap_or_default().split_whitespace().collect();
        line("", sql.join(" "));
    }
    for (name, advice) in json("advice").as_object().into_iter().flatten() {
        let replicas = advice
            .get("replicas")
            .and_then(Value::as_i64)
            .map_or("failed".to_owned(), |count| format!("proposed {count}"));
        let reason = advice.get("reason").and_then(Value::as_str).unwrap_or_default();
        line(if name == "shadow" { "shadow" } else { "adviser" }, format!("{name} {replicas}: {reason}"));
    }
    let hash: String = text("plugin").chars().take(12).collect();
    let proposed = match number("desired") {
        Some(count) => format!("proposed {count}"),
        None => "proposed nothing".to_owned(),
    };
    line(
        "plugin",
        format!(
            "{} ({hash}) {proposed}{}, settings {}",
            text("plugin_name"),
            seconds("plugin_seconds"),
            text("settings")
        ),
    );
    for clamp in json("clamps").as_array().into_iter().flatten() {
        let of = |name: &str| clamp.get(name).and_then(Value::as_i64).unwrap_or_default();
        let word = |name: &str| clamp.get(name).and_then(Value::as_str).unwrap_or_default();
        line("rule", format!("{}: {} → {}, {}", word("name"), of("from"), of("to"), word("why")));
    }
    let range = format!("within {} to {}", number("min").unwrap_or_default(), number("max").unwrap_or_default());
    line(
        "decided",
        format!(
            "{decided}, {range}; {} were ready; queries{}",
            number("ready").unwrap_or_default(),
            seconds("signals_seconds")
        ),
    );
    if let Some(loss) = loss {
        let of = |name: &str| loss.get(name).and_then(Value::as_str).unwrap_or_default();
        line("lost", format!("at {}: {}", of("timestamp"), of("reason")));
    }
    if !text("under_way").is_empty() {
        line("under way", text("under_way").to_owned());
    }
    let is_own = |outcome: &&Value| outcome.get("tick") == decision.get("tick");
    let failed = |outcome: &&Value| outcome.get("ok").and_then(Value::as_bool) == Some(false);
    match outcome.filter(is_own) {
        Some(outcome) => {
            let words = outcome.get("outcome").and_then(Value::as_str).unwrap_or_default();
            let seconds = outcome.get("seconds").and_then(Value::as_f64).map(took).unwrap_or_default();
            line("done", format!("{words}{seconds}"));
        }
        None if outcome.is_some_and(|outcome| failed(&outcome)) => {
            let of = |name: &str| outcome.and_then(|row| row.get(name)?.as_str()).unwrap_or_default();
            line("done", format!("nothing new; the last change failed at {}: {}", of("timestamp"), of("outcome")));
        }
        None if before == decided => line("done", "nothing had to be done".to_owned()),
        None => line("done", "it is under way, or a later decision took its place".to_owned()),
    }
    let dry = if decision.get("dry_run").and_then(Value::as_bool) == Some(true) { " (dry run)" } else { "" };
    format!("{scaler} at {}: {} {change}{dry}\n{out}", text("timestamp"), text("workload"))
}

/// `arrivals = 5.7 (fresh, caught up 0.4s before)`.
fn of_signal(name: &str, signal: &Value, tick: i64) -> String {
    let text = |key: &str| signal.get(key).and_then(Value::as_str).unwrap_or_default();
    let rows = signal.get("rows").and_then(Value::as_i64).unwrap_or_default();
    let value = match signal.get("value").and_then(Value::as_f64) {
        Some(value) => format!("= {value}"),
        None => format!("has no single figure ({rows} rows)"),
    };
    let age = signal.get("caught_up_at").and_then(Value::as_i64).filter(|at| *at > 0);
    let age =
        age.map(|at| format!(", caught up {:.1}s before", tick.saturating_sub(at) as f64 / 1e9)).unwrap_or_default();
    let message = if text("message").is_empty() { String::new() } else { format!(": {}", text("message")) };
    format!("{name} {value} ({}{age}){message}", text("freshness"))
}

fn took(seconds: f64) -> String {
    format!(" in {:.0} ms", seconds * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_decision_is_told_in_sentences() {
        let decision = json!({
            "timestamp": "2026-11-24T18:00:00Z", "event": "decision", "workload": "web", "tick": 2_000_000_000_i64, "replicas": 2, "ready": 2,
            "desired": 9, "decided": 3, "reason": "Load is 450. At most 1 more in one tick.", "min": 1, "max": 6, "plugin_name": "hpa",
            "plugin": "0123456789abcdef", "settings": "{\"target\":50}", "dry_run": false, "signals_seconds": 0.004, "plugin_seconds": 0.001,
            "signals": json!({"rps": {"value": 450.0, "rows": 1, "freshness": "fresh", "message": "", "caught_up_at": 1_500_000_000_i64, "sql": "SELECT\n 1"}}).to_string(),
            "clamps": json!([{"name": "up_max", "from": 9, "to": 3, "why": "at most 1 more in one tick"}]).to_string(),
            "advice": json!({"shadow": {"replicas": 4, "reason": "always"}}).to_string(),
            "under_way": "the change to 2 replicas has been under way for 9 s",
        });
        let outcome = json!({"tick": 2_000_000_000_i64, "outcome": "started 1 replica", "seconds": 0.5, "ok": true});
        let expected = "\
web at 2026-11-24T18:00:00Z: web 2 → 3 replicas
  why       Load is 450. At most 1 more in one tick.
  signal    rps = 450 (fresh, caught up 0.5s before)
            SELECT 1
  shadow    shadow proposed 4: always
  plugin    hpa (0123456789ab) proposed 9 in 1 ms, settings {\"target\":50}
  rule      up_max: 9 → 3, at most 1 more in one tick
  decided   3, within 1 to 6; 2 were ready; queries in 4 ms
  lost      at 2026-11-24T17:58:00Z: Replica 2 was ready, and is waiting: it ended with exit code 1.
  under way the change to 2 replicas has been under way for 9 s
  done      started 1 replica in 500 ms
";
        let loss = json!({"timestamp": "2026-11-24T17:58:00Z", "reason": "Replica 2 was ready, and is waiting: it ended with exit code 1."});
        assert_eq!(told("web", &decision, Some(&outcome), Some(&loss)), expected);
        let earlier =
            json!({"tick": 1, "outcome": "it answered 400", "ok": false, "timestamp": "2026-11-24T17:59:00Z"});
        let failed = "  done      nothing new; the last change failed at 2026-11-24T17:59:00Z: it answered 400\n";
        assert!(told("web", &decision, Some(&earlier), None).ends_with(failed));
        let well = json!({"tick": 1, "outcome": "started 1 replica", "ok": true});
        assert!(told("web", &decision, Some(&well), None).ends_with("under way, or a later decision took its place\n"));
    }
}
