//! an autoscaler's ticks, one after the other, with the state that each leaves for the next

use super::cell::nanos;
use super::table::{batch, columns};
use super::written::{count, list, only, table_of, text_of};
use super::{Answer, Change, Failure, Place, Tick};
use crate::error::{Error, Result, did_you_mean};
use crate::plugin::autoscaler::{Advice, Decided, Member};
use crate::plugin::{Freshness, Instance, Request, Signal};
use arrow::array::RecordBatch;
use toml::{Table, Value};

/// Asks the plugin tick by tick.
pub(super) fn run(mut instance: Instance, ticks: &[Tick]) -> Vec<Failure> {
    let mut state = Vec::new();
    let mut failures = Vec::new();
    for (number, tick) in ticks.iter().enumerate() {
        let request = Request { state: state.clone(), ..tick.request.clone() };
        let came = match instance.decide(&request) {
            Ok(proposal) => {
                state = proposal.state;
                Answer::Proposal { replicas: proposal.replicas, reason: Some(proposal.reason) }
            }
            Err(fault) => Answer::Error(fault.message),
        };
        if tick.wanted.as_ref().is_none_or(|wanted| !meets(&came, wanted)) {
            failures.push(failure(number, tick.wanted.as_ref(), came));
        }
    }
    failures
}

fn meets(came: &Answer, wanted: &Answer) -> bool {
    match (came, wanted) {
        (Answer::Error(message), Answer::Error(part)) => message.contains(part),
        (Answer::Proposal { replicas, reason }, Answer::Proposal { replicas: wanted, reason: part }) => {
            replicas == wanted && reason.as_deref().unwrap_or_default().contains(part.as_deref().unwrap_or_default())
        }
        _ => false,
    }
}

fn failure(number: usize, wanted: Option<&Answer>, came: Answer) -> Failure {
    let shown = |answer: &Answer| match answer {
        Answer::Proposal { replicas, reason } => match reason {
            Some(reason) => format!("{replicas} replicas: {reason}"),
            None => format!("{replicas} replicas"),
        },
        Answer::Error(message) => format!("the error: {message}"),
    };
    let wanted = wanted.map_or_else(|| "(the case does not say)".to_owned(), shown);
    let shown = format!("expected  {wanted}\ngot       {}", shown(&came));
    Failure { place: Place::Tick(number), shown, change: Some(Change::Answer(came)) }
}

/// What an autoscaler is asked, as a case writes it.
pub(super) fn request(written: &Table) -> Result<Request> {
    only(
        written,
        &["now", "workload", "replicas", "ready", "min", "max", "members", "signals", "decisions", "advice"],
    )?;
    let missing = |key: &str| Error::invalid(format!("`{key}` is missing"));
    let replicas = count(written, "replicas")?.ok_or_else(|| missing("replicas"))?;
    let now = nanos(text_of(written, "now")?.ok_or_else(|| missing("now"))?)?;
    let signals = table_of(written, "signals")?.into_iter().flatten();
    let signals =
        signals.map(|(name, value)| signal(name, value).map_err(|error| error.within(format!("signal `{name}`"))));
    let each = |key: &str| Ok::<_, Error>(list(written, key)?.unwrap_or_default());
    Ok(Request {
        now,
        workload: text_of(written, "workload")?.unwrap_or("web").to_owned(),
        replicas,
        ready: count(written, "ready")?.unwrap_or(replicas),
        min: count(written, "min")?.unwrap_or(1),
        max: count(written, "max")?.unwrap_or(10),
        members: each("members")?.into_iter().map(|table| member(table, now)).collect::<Result<_>>()?,
        signals: signals.collect::<Result<_>>()?,
        decisions: each("decisions")?.into_iter().map(decided).collect::<Result<_>>()?,
        advice: each("advice")?.into_iter().map(advice).collect::<Result<_>>()?,
        state: Vec::new(),
    })
}

/// `{ name = "a", ready = true, started_at = "…", changed_at = "…" }`; ready for as long as it runs, if nothing else is said.
fn member(written: &Table, now: i64) -> Result<Member> {
    only(written, &["name", "ready", "started_at", "changed_at"]).map_err(|error| error.within("members"))?;
    let started_at = text_of(written, "started_at")?.map(nanos).transpose()?.unwrap_or(now);
    Ok(Member {
        name: text_of(written, "name")?.unwrap_or_default().to_owned(),
        ready: written.get("ready").and_then(Value::as_bool).unwrap_or(true),
        started_at,
        changed_at: text_of(written, "changed_at")?.map(nanos).transpose()?.unwrap_or(started_at),
    })
}

/// `{ at = "…", replicas = 2, proposed = 3, decided = 3, reason = "…" }`; without `proposed` the plugin had failed.
fn decided(written: &Table) -> Result<Decided> {
    let within = |error: Error| error.within("decisions");
    only(written, &["at", "replicas", "proposed", "decided", "reason"]).map_err(within)?;
    let missing = |key: &str| within(Error::invalid(format!("`{key}` is missing")));
    Ok(Decided {
        at: nanos(text_of(written, "at")?.ok_or_else(|| missing("at"))?)?,
        replicas: count(written, "replicas")?.ok_or_else(|| missing("replicas"))?,
        proposed: count(written, "proposed")?,
        decided: count(written, "decided")?.ok_or_else(|| missing("decided"))?,
        reason: text_of(written, "reason")?.unwrap_or_default().to_owned(),
    })
}

/// `{ name = "steady", replicas = 4, reason = "…" }`; without `replicas` it failed.
fn advice(written: &Table) -> Result<Advice> {
    only(written, &["name", "replicas", "reason"]).map_err(|error| error.within("advice"))?;
    Ok(Advice {
        name: text_of(written, "name")?.unwrap_or_default().to_owned(),
        replicas: count(written, "replicas")?,
        reason: text_of(written, "reason")?.unwrap_or_default().to_owned(),
    })
}

const SIGNAL: &[&str] = &["value", "stale", "rows", "missing", "failed"];

/// `{ value = 1 }`, `{ stale = 1 }`, `{ missing = true }`, `{ failed = "why" }` or `{ rows = [{..}] }`, and `caught_up_at = "…"`.
fn signal(name: &str, written: &Value) -> Result<Signal> {
    let hint = || format!("write one of {}", SIGNAL.join(", "));
    let written = written.as_table().ok_or_else(|| Error::invalid(hint()))?;
    let mut said = written.iter().filter(|(key, _)| key.as_str() != "caught_up_at");
    let (Some((key, value)), None) = (said.next(), said.next()) else {
        return Err(Error::invalid(hint()));
    };
    let one = |value: &Value| table(&[&Table::from_iter([("value".to_owned(), value.clone())])]);
    let (freshness, table, message) = match key.as_str() {
        "value" => (Freshness::Fresh, one(value)?, ""),
        "stale" => (Freshness::Stale, one(value)?, ""),
        "rows" => (Freshness::Fresh, table(&list(written, "rows")?.unwrap_or_default())?, ""),
        "missing" => (Freshness::Missing, table(&[])?, ""),
        "failed" => (Freshness::Failed, table(&[])?, value.as_str().unwrap_or_default()),
        other => {
            let near = did_you_mean(other, SIGNAL.iter().copied());
            return Err(Error::invalid(format!("unknown key `{other}`{near}; {}", hint())));
        }
    };
    let caught_up_at = text_of(written, "caught_up_at")?.map(nanos).transpose()?;
    Ok(Signal { name: name.to_owned(), freshness, table, message: message.to_owned(), caught_up_at })
}

fn table(rows: &[&Table]) -> Result<RecordBatch> {
    batch(columns(rows)?, rows.len())
}
