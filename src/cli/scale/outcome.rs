//! what came of a backtest's runs, as a table

use crate::scale::backtest::{Report, Setup};

/// A line a run; `*` marks those that no other beats on cost and on requests over the objective.
pub(super) fn table(outcomes: &[(String, Report)], edge: &[bool], cost: f64, setup: &Setup) -> String {
    let mut lines = vec![
        ["", "run", "replica-hours", "cost", "over objective", "requests over", "worst", "changes", "flaps", "most"]
            .map(str::to_owned),
    ];
    for ((name, report), best) in outcomes.iter().zip(edge) {
        lines.push([
            if *best && outcomes.len() > 1 { "*" } else { "" }.to_owned(),
            name.clone(),
            format!("{:.1}", report.replica_hours),
            format!("{:.2}", report.replica_hours * cost),
            format!("{:.0} s", report.seconds_over),
            format!("{:.3} %", 100.0 * report.share_over),
            format!("{:.2} s", report.latency_worst),
            report.changes.to_string(),
            report.flaps.to_string(),
            report.replicas_most.to_string(),
        ]);
    }
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..10).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            if column < 2 { format!("{cell}{space}") } else { format!("{space}{cell}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    let model = setup.model;
    let gaps = outcomes.first().map_or(0.0, |(_, report)| report.gap_seconds);
    text.push_str(&format!(
        "{} to {}; a replica serves {}/s, {} s each, {} s after its start; objective {} s{}{}\n",
        time(setup.from),
        time(setup.until),
        model.capacity,
        model.service_time,
        model.start,
        model.objective,
        if outcomes.len() > 1 { "; * no other is at most as dear and as slow" } else { "" },
        if gaps > 0.0 {
            format!("; for {gaps:.0} s the trace has gaps, in which signals are missing")
        } else {
            String::new()
        },
    ));
    text
}

/// A moment as RFC 3339, to the second.
pub(super) fn time(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
