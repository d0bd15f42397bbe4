//! rows of `tidemill.decisions`
//!
//! | column | decision | outcome |
//! |---|---|---|
//! | `timestamp` | the tick | when it was done |
//! | `body` | all of it as one line | the same |
//! | `event` | `decision`; `command` for what an operator said; `found` for a number that others made or that could not be seen; `lost` for replicas that ended or fell silent by themselves; `waiting` for a first decision that cannot be taken yet | `outcome` |
//! | `scaler`, `workload`, `tick` | who, for whom, and a number that joins an outcome to its decision | the same |
//! | `replicas`, `ready` | before | `replicas` is null, `ready` afterwards |
//! | `desired` | what the plugin proposed; null if it failed or was not asked | null |
//! | `decided` | what was decided | the same |
//! | `value`, `signals` | the first signal's figure; all as JSON: `{"rps": {"value", "freshness", "message", "sql"}}` | null |
//! | `clamps`, `reason` | each rule that changed the number, as JSON; all of it in sentences | null |
//! | `min`, `max` | the policy's | null |
//! | `plugin_name`, `plugin` | the plugin's name and hash | the same |
//! | `dry_run` | whether nothing is really started | the same |
//! | `advice` | what advisers and the shadow propose, as JSON: `{"forecast": {"replicas", "reason", "seconds"}}` | null |
//! | `signals_seconds`, `plugin_seconds` | how long the queries and the plugin took | null |
//! | `settings` | the plugin's settings as JSON | the same |
//! | `under_way` | what was decided earlier and is not done yet; null where nothing is | null |
//! | `record` | all that the decision was made from, packed: `tidemill scale replay` makes it again | null |
//! | `outcome`, `ok`, `seconds` | null | what became of it, whether it is as decided, how long it took |
//!
//! `SELECT timestamp, replicas, desired, decided, reason FROM tidemill.decisions WHERE decided <> replicas` explains every change.

use super::actuator::Outcome;
use super::evidence::Answer;
use super::policy::Decision;
use crate::error::{Error, Result};
use crate::event::Type;
use crate::event::columns::{BODY, SOURCE, TIMESTAMP, VALUE};
use crate::plugin::Advice;
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use serde::Serialize;
use std::sync::Arc;

/// The table's name within the schema `tidemill`.
pub const DECISIONS: &str = "decisions";

/// Who decides, for whom, with what: the same in every row of a scaler.
#[derive(Clone, Debug, Default)]
pub struct Who {
    /// the scaler's name
    pub scaler: String,
    /// the workload's name
    pub workload: String,
    /// the plugin's name
    pub plugin_name: String,
    /// the plugin's hash
    pub plugin: String,
    /// its settings as JSON
    pub settings: String,
    /// nothing is really started or stopped
    pub dry_run: bool,
}

/// One tick's decision with what it came from.
pub struct Decided<'a> {
    /// the tick's time, ns UTC
    pub tick: i64,
    /// replicas asked for before
    pub replicas: u32,
    /// replicas that were ready
    pub ready: u32,
    /// the policy's least and most
    pub range: (u32, u32),
    /// the answers
    pub answers: &'a [Answer],
    /// the decision
    pub decision: &'a Decision,
    /// what advisers and the shadow propose, with the time each took
    pub advice: &'a [(Advice, f64)],
    /// how long the queries and the plugin took, in seconds
    pub seconds: (f64, f64),
    /// what is still being done, as a sentence without its full stop; empty where nothing is
    pub under_way: String,
    /// the tick as it was, packed; empty where nothing was asked
    pub record: Vec<u8>,
}

/// What became of a decision.
pub struct Followed<'a> {
    /// the tick of the decision, ns UTC
    pub tick: i64,
    /// when it was done, ns UTC
    pub now: i64,
    /// what was decided
    pub decided: u32,
    /// replicas that are ready
    pub ready: u32,
    /// how it went
    pub outcome: std::result::Result<&'a Outcome, &'a Error>,
    /// how long it took
    pub seconds: f64,
}

/// One row, all columns of it.
#[derive(Default)]
struct Row {
    timestamp: i64,
    body: String,
    event: &'static str,
    tick: i64,
    replicas: Option<u32>,
    ready: Option<u32>,
    desired: Option<u32>,
    decided: Option<u32>,
    value: Option<f64>,
    signals: Option<String>,
    clamps: Option<String>,
    reason: Option<String>,
    min: Option<u32>,
    max: Option<u32>,
    advice: Option<String>,
    signals_seconds: Option<f64>,
    plugin_seconds: Option<f64>,
    under_way: Option<String>,
    record: Option<Vec<u8>>,
    outcome: Option<String>,
    ok: Option<bool>,
    seconds: Option<f64>,
}

/// The columns of the table.
pub fn schema() -> Result<SchemaRef> {
    Ok(row(&Who::default(), Row::default())?.schema())
}

/// A decision as a row.
pub fn decision_row(who: &Who, decided: &Decided) -> Result<RecordBatch> {
    let decision = decided.decision;
    let change = match decision.replicas == decided.replicas {
        true => format!("{} stays at {}", who.workload, decision.replicas),
        false => format!("{} from {} to {}", who.workload, decided.replicas, decision.replicas),
    };
    let under_way = match decided.under_way.is_empty() {
        true => String::new(),
        false => format!(" Meanwhile {}.", decided.under_way),
    };
    row(
        who,
        Row {
            timestamp: decided.tick,
            body: format!("{change}: {}{under_way}", decision.reason),
            event: "decision",
            tick: decided.tick,
            replicas: Some(decided.replicas),
            ready: Some(decided.ready),
            desired: decision.desired,
            decided: Some(decision.replicas),
            value: decided.answers.first().and_then(|answer| answer.value),
            signals: Some(signals_json(decided.answers)),
            clamps: Some(json(&decision.clamps)?),
            reason: Some(decision.reason.clone()),
            min: Some(decided.range.0),
            max: Some(decided.range.1),
            advice: Some(advice_json(decided.advice)),
            signals_seconds: Some(decided.seconds.0),
            plugin_seconds: Some(decided.seconds.1),
            under_way: Some(decided.under_way.clone()).filter(|words| !words.is_empty()),
            record: Some(decided.record.clone()).filter(|record| !record.is_empty()),
            ..Row::default()
        },
    )
}

/// An outcome as a row.
pub fn outcome_row(who: &Who, followed: &Followed) -> Result<RecordBatch> {
    let (words, ok) = match followed.outcome {
        Ok(outcome) => (outcome.words.clone(), outcome.reached),
        Err(error) => (error.to_string(), false),
    };
    row(
        who,
        Row {
            timestamp: followed.now,
            body: format!("{} to {}: {words}", who.workload, followed.decided),
            event: "outcome",
            tick: followed.tick,
            ready: Some(followed.ready),
            decided: Some(followed.decided),
            outcome: Some(words),
            ok: Some(ok),
            seconds: Some(followed.seconds),
            ..Row::default()
        },
    )
}

/// What an operator said, as a row.
pub fn note_row(who: &Who, at: i64, replicas: u32, words: &str) -> Result<RecordBatch> {
    told_row(who, "command", at, replicas, words)
}

/// What was found of a workload that others change too, as a row.
pub fn found_row(who: &Who, at: i64, replicas: u32, words: &str) -> Result<RecordBatch> {
    told_row(who, "found", at, replicas, words)
}

/// What became of replicas that were ready, as a row.
pub fn lost_row(who: &Who, at: i64, replicas: u32, words: &str) -> Result<RecordBatch> {
    told_row(who, "lost", at, replicas, words)
}

fn told_row(who: &Who, event: &'static str, at: i64, replicas: u32, words: &str) -> Result<RecordBatch> {
    row(
        who,
        Row {
            timestamp: at,
            body: words.to_owned(),
            event,
            tick: at,
            replicas: Some(replicas),
            decided: Some(replicas),
            reason: Some(words.to_owned()),
            ..Row::default()
        },
    )
}

/// Why a first decision is not taken yet, as a row.
pub fn waiting_row(who: &Who, at: i64, words: &str) -> Result<RecordBatch> {
    row(
        who,
        Row {
            timestamp: at,
            body: words.to_owned(),
            event: "waiting",
            tick: at,
            reason: Some(words.to_owned()),
            ..Row::default()
        },
    )
}

fn row(who: &Who, row: Row) -> Result<RecordBatch> {
    let time = TimestampNanosecondArray::from(vec![row.timestamp]).with_data_type(Type::Timestamp.arrow());
    let columns: Vec<(&str, ArrayRef)> = vec![
        (TIMESTAMP, Arc::new(time)),
        (BODY, text(Some(&row.body))),
        (SOURCE, text(Some(&who.scaler))),
        ("event", text(Some(row.event))),
        ("scaler", text(Some(&who.scaler))),
        ("workload", text(Some(&who.workload))),
        ("tick", Arc::new(Int64Array::from(vec![row.tick]))),
        ("replicas", count(row.replicas)),
        ("ready", count(row.ready)),
        ("desired", count(row.desired)),
        ("decided", count(row.decided)),
        (VALUE, Arc::new(Float64Array::from(vec![row.value]))),
        ("signals", text(row.signals.as_deref())),
        ("clamps", text(row.clamps.as_deref())),
        ("reason", text(row.reason.as_deref())),
        ("min", count(row.min)),
        ("max", count(row.max)),
        ("plugin_name", text(Some(&who.plugin_name))),
        ("plugin", text(Some(&who.plugin))),
        ("settings", text(Some(&who.settings))),
        ("dry_run", Arc::new(BooleanArray::from(vec![who.dry_run]))),
        ("advice", text(row.advice.as_deref())),
        ("signals_seconds", Arc::new(Float64Array::from(vec![row.signals_seconds]))),
        ("plugin_seconds", Arc::new(Float64Array::from(vec![row.plugin_seconds]))),
        ("under_way", text(row.under_way.as_deref())),
        ("record", Arc::new(BinaryArray::from_opt_vec(vec![row.record.as_deref()]))),
        ("outcome", text(row.outcome.as_deref())),
        ("ok", Arc::new(BooleanArray::from(vec![row.ok]))),
        ("seconds", Arc::new(Float64Array::from(vec![row.seconds]))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))?)
}

fn text(value: Option<&str>) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

fn count(value: Option<u32>) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value.map(i64::from)]))
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("a decision does not become JSON: {error}")))
}

fn signals_json(answers: &[Answer]) -> String {
    let mut object = serde_json::Map::new();
    for answer in answers {
        let entry = serde_json::json!({
            "value": answer.value,
            "rows": answer.rows,
            "freshness": answer.signal.freshness.word(),
            "message": answer.signal.message,
            "caught_up_at": answer.signal.caught_up_at,
            "sql": answer.sql,
        });
        object.insert(answer.signal.name.clone(), entry);
    }
    serde_json::Value::Object(object).to_string()
}

fn advice_json(advice: &[(Advice, f64)]) -> String {
    let entry = |(advice, seconds): &(Advice, f64)| {
        let told = serde_json::json!({"replicas": advice.replicas, "reason": advice.reason, "seconds": seconds});
        (advice.name.clone(), told)
    };
    serde_json::Value::Object(advice.iter().map(entry).collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    #[test]
    fn the_reference_names_every_column() {
        let reference = include_str!("../../pipelines/README.md");
        let rows = reference.split("\n| `tidemill.decisions` | |\n").nth(1).unwrap();
        let rows = rows.split("\n\n").next().unwrap();
        let schema = schema().unwrap();
        let names =
            schema.fields().iter().map(|field| field.name().as_str()).filter(|name| ![BODY, SOURCE].contains(name));
        let missing: Vec<&str> = names.filter(|name| !rows.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn rows_have_the_columns_of_logs_and_one_schema() {
        let who = Who {
            scaler: "web".to_owned(),
            workload: "web".to_owned(),
            plugin_name: "hpa".to_owned(),
            plugin: "abc".to_owned(),
            settings: "def".to_owned(),
            dry_run: false,
        };
        let decision =
            Decision { replicas: 3, desired: Some(3), believed: 3, clamps: Vec::new(), reason: "Load.".to_owned() };
        let decided = Decided {
            tick: 7,
            replicas: 1,
            ready: 1,
            range: (1, 5),
            answers: &[],
            decision: &decision,
            advice: &[],
            seconds: (0.0, 0.0),
            under_way: "the change to 5 replicas has been under way for 9 s".to_owned(),
            record: vec![1],
        };
        let error = Error::internal("no port");
        let followed = Followed { tick: 7, now: 8, decided: 3, ready: 1, outcome: Err(&error), seconds: 0.5 };
        let rows = [decision_row(&who, &decided).unwrap(), outcome_row(&who, &followed).unwrap()];
        assert_eq!(rows[0].schema(), rows[1].schema());
        for field in Kind::Logs.base().fields() {
            assert_eq!(rows[0].schema().field_with_name(field.name()).unwrap().data_type(), field.data_type());
        }
        for field in rows[0].schema().fields() {
            assert!(Type::of(field.data_type()).is_ok(), "{field}");
        }
    }
}
