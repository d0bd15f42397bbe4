//! what is left to say at the end: the phases, what scaling did, and why

use super::Machine;
use super::aligned::aligned;
use super::latency::words;
use super::record::{Phase, Record};
use super::view::WHY;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use std::time::Duration;

/// How long one question may take at the end.
const ASK_MAX: Duration = Duration::from_secs(3);

/// The end of a demo.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// the phases, with their figures in words
    pub phases: Vec<String>,
    /// what scaling did
    pub verdict: Option<String>,
    /// the most replicas that were ready at a phase's end, and those at the end of the last
    pub replicas: (u32, u32),
    /// rows and decisions
    pub counts: Vec<String>,
    /// the query that explains the changes, and its answer
    pub why: Vec<String>,
}

impl Summary {
    /// What the record says, and what the machine answers. A question that fails is told in the place of its answer.
    pub async fn of(record: &Record, machine: &dyn Machine, width: usize) -> Summary {
        if record.phases().next().is_none() {
            return Summary::default();
        }
        let most = record.phases().map(|phase| phase.to.max(phase.from)).max().unwrap_or(0);
        let last = record.phases().last().map_or(0, |phase| phase.to);
        Summary {
            phases: phases(record),
            verdict: record.compared().map(|(before, after)| verdict(before, after)),
            replicas: (most, last),
            counts: counts(machine).await,
            why: why(machine, width).await,
        }
    }

    /// All of it.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = self.phases.clone();
        for part in [self.verdict.as_slice(), &self.counts, &self.why] {
            if !part.is_empty() {
                lines.push(String::new());
                lines.extend_from_slice(part);
            }
        }
        lines
    }
}

fn phases(record: &Record) -> Vec<String> {
    let row = |cells: [String; 8]| {
        let [name, offered, requests, completed, failed, p50, p95, replicas] = cells;
        format!("{name:<18}{offered:>9}{requests:>10}{completed:>11}{failed:>8}{p50:>9}{p95:>9}  {replicas}")
    };
    let head = ["phase", "offered/s", "requests", "completed", "failed", "p50", "p95", "replicas"];
    let mut lines = vec![row(head.map(str::to_owned))];
    for phase in record.phases() {
        let tally = &phase.tally;
        lines.push(row([
            phase.name.to_owned(),
            format!("{:.1}", phase.per_second),
            tally.offered.to_string(),
            tally.completed.to_string(),
            (tally.failed + tally.timed_out).to_string(),
            words(tally.latencies.quantile(0.5)),
            words(tally.latencies.quantile(0.95)),
            replicas(phase),
        ]));
    }
    lines
}

fn replicas(phase: &Phase) -> String {
    match phase.from == phase.to {
        true => phase.to.to_string(),
        false => format!("{} → {}", phase.from, phase.to),
    }
}

fn verdict(before: &Phase, after: &Phase) -> String {
    let p95 = |phase: &Phase| phase.tally.latencies.quantile(0.95);
    let went = match p95(before) > p95(after) {
        true => "fell",
        false => "went",
    };
    format!(
        "p95 {went} from {} to {} at the same {:.0} requests a second, after scaling {} → {}",
        words(p95(before)),
        words(p95(after)),
        after.per_second,
        before.from,
        after.to
    )
}

async fn counts(machine: &dyn Machine) -> Vec<String> {
    let decisions = "SELECT count(*) AS ticks, count(*) FILTER (WHERE decided <> replicas) AS changes FROM tidemill.decisions WHERE event = 'decision'";
    let tables = "SELECT (SELECT count(*) FROM access) AS access, (SELECT count(*) FROM metrics) AS metrics";
    let mut lines = Vec::new();
    match ask(machine, decisions).await {
        Ok(batch) => lines.push(format!("{} decisions, {} of them changes", number(&batch, 0), number(&batch, 1))),
        Err(why) => lines.push(why),
    }
    match ask(machine, tables).await {
        Ok(batch) => lines.push(format!("{} rows in access, {} in metrics", number(&batch, 0), number(&batch, 1))),
        Err(why) => lines.push(why),
    }
    lines
}

async fn why(machine: &dyn Machine, width: usize) -> Vec<String> {
    let mut lines = vec!["why:".to_owned()];
    lines.extend(super::view::wrapped(WHY, width.max(40), 8));
    lines.push(String::new());
    match ask(machine, WHY).await {
        Ok(batch) => match aligned(&batch, width) {
            Ok(table) => lines.extend(table),
            Err(error) => lines.push(error.to_string()),
        },
        Err(why) => lines.push(why),
    }
    lines
}

async fn ask(machine: &dyn Machine, sql: &str) -> Result<RecordBatch, String> {
    match tokio::time::timeout(ASK_MAX, machine.ask(sql)).await {
        Ok(Ok(batch)) => Ok(batch),
        Ok(Err(error)) => Err(format!("no answer to `{sql}`: {error}")),
        Err(_) => Err(format!("no answer within {} s to `{sql}`", ASK_MAX.as_secs())),
    }
}

fn number(batch: &RecordBatch, column: usize) -> i64 {
    let column = batch.columns().get(column).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.filter(|column| !column.is_empty()).map_or(0, |column| column.value(0))
}
