//! what a signal with a row for each replica asks for: unready ones, missing ones and young ones counted conservatively
//!
//! | of the replicas | counts |
//! |---|---|
//! | ready, with a value | as it is |
//! | without a value | the target (of a utilization 100 % if that is more) when the others would take replicas away, nothing when they would add some |
//! | not ready yet | nothing when the others would add replicas, else it is left out |
//!
//! Where these turn the direction or come within the tolerance, nothing changes; nor where the others are exactly at the target.
//! Being ready counts for the processor alone, whose use is high while a replica starts.
//! Source: kubernetes.io, Horizontal Pod Autoscaling, "Algorithm details".

use std::collections::BTreeMap;

use tidemill_plugin::{Replica, Signal};

use crate::count::{Count, ROUNDING, ceil, figure, in_replicas};
use crate::settings::{Settings, Target, TargetType};

/// What one replica uses, and what it asked for where that is known.
#[derive(Clone, Copy, Debug)]
struct Usage {
    value: f64,
    request: Option<f64>,
    /// when it was measured, ns; none if the signal does not say
    at: Option<i64>,
}

/// Reads a signal with a column `replica`; none if it has no such column.
pub fn count(
    signal: &Signal,
    target: Target,
    members: &[Replica],
    now: i64,
    current: u32,
    settings: &Settings,
) -> Option<Result<Count, String>> {
    signal.table.columns().find(|column| column.name() == "replica")?;
    Some(usages(signal).and_then(|usages| reckon(&signal.name, &usages, target, members, now, current, settings)))
}

fn usages(signal: &Signal) -> Result<BTreeMap<String, Usage>, String> {
    let column = |name: &str| signal.table.columns().find(|column| column.name() == name);
    let names = column("replica").ok_or("has no column `replica`")?;
    let values = column("value").and_then(|column| column.floats()).ok_or("has no column `value` of numbers")?;
    let requests = column("request").and_then(|column| column.floats());
    let times = column("timestamp").and_then(|column| column.timestamps());
    let mut usages = BTreeMap::new();
    for row in 0..signal.table.rows() {
        let Some(name) = names.text_of(row) else { continue };
        // A value that is no amount is a missing one.
        let Some(value) = values.get(row).filter(|value| value.is_finite() && *value >= 0.0) else { continue };
        let request = requests.as_ref().and_then(|requests| requests.get(row)).filter(|request| *request > 0.0);
        let at = times.as_ref().and_then(|times| times.get(row));
        usages.insert(String::from_utf8_lossy(&name).into_owned(), Usage { value, request, at });
    }
    match usages.is_empty() {
        true => Err("has no replica with a value".to_owned()),
        false => Ok(usages),
    }
}

/// The replicas in three groups.
struct Groups {
    measured: Vec<Usage>,
    missing: usize,
    unready: usize,
}

impl Groups {
    fn of(
        usages: &BTreeMap<String, Usage>,
        members: &[Replica],
        target: Target,
        now: i64,
        current: u32,
        settings: &Settings,
    ) -> Groups {
        let mut groups = Groups { measured: Vec::new(), missing: 0, unready: 0 };
        if members.is_empty() {
            // Nobody tells them apart: of as many as there should be, those without a row are missing.
            groups.measured.extend(usages.values());
            groups.missing = (current as usize).saturating_sub(usages.len());
            return groups;
        }
        for member in members {
            let usage = usages.get(&member.name);
            let not_started = member.started_at == 0;
            match usage {
                _ if not_started => groups.unready += 1,
                None => groups.missing += 1,
                Some(usage) if target.is_cpu && is_young(member, usage, now, settings) => groups.unready += 1,
                Some(usage) => groups.measured.push(*usage),
            }
        }
        groups
    }
}

/// Within the initialization period a sample counts only from a ready replica, taken after it became ready. Later a replica is unready
/// only if it never was ready.
fn is_young(member: &Replica, usage: &Usage, now: i64, settings: &Settings) -> bool {
    if member.started_at.saturating_add(settings.initialization_period) > now {
        return !member.ready || usage.at.is_some_and(|at| at < member.changed_at);
    }
    !member.ready && member.started_at.saturating_add(settings.readiness_delay) > member.changed_at
}

fn reckon(
    name: &str,
    usages: &BTreeMap<String, Usage>,
    target: Target,
    members: &[Replica],
    now: i64,
    current: u32,
    settings: &Settings,
) -> Result<Count, String> {
    let groups = Groups::of(usages, members, target, now, current, settings);
    if groups.measured.is_empty() {
        return Err("has no value of a ready replica".to_owned());
    }
    let measured = ratio(&groups.measured, target);
    let sum = format!(
        "{name} {} on average of {} / {} = ratio {}",
        figure(measured * target.value),
        in_replicas(groups.measured.len() as u32),
        figure(target.value),
        figure(measured)
    );
    let adds_unready = groups.unready > 0 && measured > 1.0;
    if !adds_unready && groups.missing == 0 {
        if settings.within_tolerance(measured) {
            return Ok(Count {
                replicas: current,
                words: format!("{sum}, within tolerance → {}", in_replicas(current)),
            });
        }
        let wanted = ceil(measured * groups.measured.len() as f64);
        return Ok(Count { replicas: wanted, words: format!("{sum} → {}", in_replicas(wanted)) });
    }
    if (measured - 1.0).abs() <= ROUNDING {
        let words = format!("{sum}; with {} missing → stays at {}", groups.missing, in_replicas(current));
        return Ok(Count { replicas: current, words });
    }
    let mut all = groups.measured.clone();
    let request = mean_request(&groups.measured);
    let filled = |share: f64| Usage { value: share * request.unwrap_or(1.0), request, at: None };
    if groups.missing > 0 {
        let assumed = match (measured < 1.0, target.kind, request) {
            (false, _, _) => 0.0,
            (true, TargetType::Utilization, Some(_)) => target.value.max(100.0) / 100.0,
            (true, TargetType::Utilization, None) => target.value.max(100.0),
            (true, _, _) => target.value,
        };
        all.extend(std::iter::repeat_n(filled(assumed), groups.missing));
    }
    if adds_unready {
        all.extend(std::iter::repeat_n(filled(0.0), groups.unready));
    }
    let counted = ratio(&all, target);
    let sum =
        format!("{sum}; with {} missing and {} not ready, ratio {}", groups.missing, groups.unready, figure(counted));
    let turned = (measured < 1.0 && counted > 1.0) || (measured > 1.0 && counted < 1.0);
    let wanted = ceil(counted * all.len() as f64);
    let against = (counted < 1.0 && wanted > current) || (counted > 1.0 && wanted < current);
    if settings.within_tolerance(counted) || turned || against {
        return Ok(Count { replicas: current, words: format!("{sum} → stays at {}", in_replicas(current)) });
    }
    Ok(Count { replicas: wanted, words: format!("{sum} → {}", in_replicas(wanted)) })
}

/// What is used over what should be: of a utilization in percent of what was asked for, where that is known.
fn ratio(usages: &[Usage], target: Target) -> f64 {
    let used: f64 = usages.iter().map(|usage| usage.value).sum();
    let asked: Option<f64> = usages.iter().map(|usage| usage.request).sum();
    match (target.kind, asked) {
        (TargetType::Utilization, Some(asked)) => used / asked * 100.0 / target.value,
        _ => used / usages.len() as f64 / target.value,
    }
}

fn mean_request(usages: &[Usage]) -> Option<f64> {
    let asked: Option<f64> = usages.iter().map(|usage| usage.request).sum();
    asked.map(|asked| asked / usages.len() as f64)
}
