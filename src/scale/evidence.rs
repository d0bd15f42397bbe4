//! the answers a decision rests on, and how far each can be believed
//!
//! Fresh means that every source behind the answer had read all there was *before* the question was asked: a quiet service is
//! fresh, a stalled tail is not, however recent its last event.

use crate::error::Result;
use crate::event::TableName;
use crate::event::columns::VALUE;
use crate::plugin::{Freshness, Signal};
use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::record_batch::RecordBatch;
use futures::future::{BoxFuture, join_all};
use std::sync::Arc;
use std::time::Duration;

/// Answers SQL. The implementation bounds how many rows come back; dropping the future gives the query up.
pub trait Ask: Send + Sync {
    /// The first rows of the answer.
    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RecordBatch>>;
}

/// Knows which sources stand behind a table and how far they are.
pub trait Fresh: Send + Sync {
    /// Why a source behind one of these tables is not caught up at `now` (ns UTC), as a part of a sentence; nothing if all are.
    fn stale(&self, tables: &[TableName], now: i64) -> Option<String>;
    /// How far the slowest source behind one of these tables had come, ns UTC; nothing where no source stands behind them.
    fn caught_up_at(&self, tables: &[TableName]) -> Option<i64>;
}

/// One signal as the pipeline file asks for it.
#[derive(Clone, Debug)]
pub struct Question {
    /// its name
    pub name: String,
    /// the query
    pub sql: String,
    /// the tables that it reads
    pub tables: Vec<TableName>,
}

/// One signal's answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// as the plugin sees it
    pub signal: Signal,
    /// the query
    pub sql: String,
    /// its figure, where it has one: column `value` (else the first) of the first row
    pub value: Option<f64>,
    /// rows answered
    pub rows: usize,
}

/// Asks everything at once; no answer takes longer than `limit`.
pub async fn gather(
    questions: &[Question],
    ask: &dyn Ask,
    fresh: &dyn Fresh,
    now: i64,
    limit: Duration,
) -> Vec<Answer> {
    // Whether a source is caught up is looked at before its rows are read: what it catches up on later is not in the answer.
    let standing: Vec<(Option<String>, Option<i64>)> = questions
        .iter()
        .map(|question| (fresh.stale(&question.tables, now), fresh.caught_up_at(&question.tables)))
        .collect();
    let answers = questions.iter().zip(standing).map(async |(question, (stale, caught_up_at))| {
        let outcome = match tokio::time::timeout(limit, ask.ask(&question.sql)).await {
            Ok(Ok(table)) => Ok(table),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {}", humantime::format_duration(limit))),
        };
        let mut answer = judge(question, outcome, stale);
        answer.signal.caught_up_at = caught_up_at;
        answer
    });
    join_all(answers).await
}

/// What an outcome is worth.
fn judge(question: &Question, outcome: std::result::Result<RecordBatch, String>, stale: Option<String>) -> Answer {
    let empty = || RecordBatch::new_empty(Arc::new(Schema::empty()));
    let (rows, value, table, freshness, message) = match outcome {
        Err(message) => (0, None, empty(), Freshness::Failed, message),
        Ok(table) => match figure(&table) {
            Err(why) => (table.num_rows(), None, table.slice(0, 0), Freshness::Missing, why.to_owned()),
            Ok(value) => {
                let freshness = if stale.is_some() { Freshness::Stale } else { Freshness::Fresh };
                (table.num_rows(), value, table, freshness, stale.unwrap_or_default())
            }
        },
    };
    let signal = Signal { name: question.name.clone(), freshness, table, message, caught_up_at: None };
    Answer { signal, sql: question.sql.clone(), value, rows }
}

/// The figure in the first row, none if it is not a number; or why the answer says nothing.
fn figure(table: &RecordBatch) -> std::result::Result<Option<f64>, &'static str> {
    if table.num_rows() == 0 {
        return Err("no row");
    }
    let column = match table.column_by_name(VALUE) {
        Some(column) => column,
        None => table.columns().first().ok_or("no column")?,
    };
    // Sometimes Arrow counts nulls only when asked logically (a column of type null has none of its own).
    if column.logical_null_count() == column.len() {
        return Err("only null");
    }
    match numbers(column) {
        None if table.columns().iter().all(|column| numbers(column).is_none()) => Err("no number in it"),
        None => Ok(None),
        Some(numbers) if !numbers.iter().flatten().any(f64::is_finite) => Err("not a number"),
        Some(numbers) => Ok(numbers.iter().next().flatten().filter(|value| value.is_finite())),
    }
}

fn numbers(column: &ArrayRef) -> Option<Float64Array> {
    if !column.data_type().is_numeric() && column.data_type() != &DataType::Boolean {
        return None;
    }
    let cast = arrow::compute::cast(column, &DataType::Float64).ok()?;
    Some(cast.as_primitive_opt::<Float64Type>()?.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, NullArray, StringArray};

    fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    fn check(columns: Vec<(&str, ArrayRef)>, stale: Option<&str>, freshness: Freshness, value: Option<f64>) {
        let question = Question { name: "rps".to_owned(), sql: "SELECT 1".to_owned(), tables: Vec::new() };
        let answer = judge(&question, Ok(table(columns)), stale.map(str::to_owned));
        assert_eq!((answer.signal.freshness, answer.value), (freshness, value), "{}", answer.signal.message);
        assert_eq!(answer.signal.message.is_empty(), freshness == Freshness::Fresh);
        let believed = matches!(freshness, Freshness::Fresh | Freshness::Stale);
        assert_eq!(answer.signal.table.num_rows() > 0, believed);
    }

    #[test]
    fn answers_are_judged() {
        let floats = |values: &[Option<f64>]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
        check(vec![("value", floats(&[Some(2.5)]))], None, Freshness::Fresh, Some(2.5));
        check(vec![("value", floats(&[Some(0.0)]))], None, Freshness::Fresh, Some(0.0));
        check(vec![("value", floats(&[Some(2.5)]))], Some("a.log is behind"), Freshness::Stale, Some(2.5));
        check(vec![("value", floats(&[]))], Some("a.log is behind"), Freshness::Missing, None);
        check(vec![("value", floats(&[None]))], None, Freshness::Missing, None);
        check(vec![("value", floats(&[None, Some(1.0)]))], None, Freshness::Fresh, None);
        check(vec![("value", floats(&[Some(f64::NAN)]))], None, Freshness::Missing, None);
        check(vec![("value", Arc::new(NullArray::new(1)))], None, Freshness::Missing, None);
        let count = Arc::new(Int64Array::from(vec![7])) as ArrayRef;
        check(vec![("n", count.clone())], None, Freshness::Fresh, Some(7.0));
        let name = Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
        check(vec![("name", name.clone()), ("value", count)], None, Freshness::Fresh, Some(7.0));
        check(vec![("name", name.clone()), ("n", floats(&[Some(1.0)]))], None, Freshness::Fresh, None);
        check(vec![("name", name)], None, Freshness::Missing, None);
    }

    struct Never;

    impl Ask for Never {
        fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RecordBatch>> {
            Box::pin(async move {
                if sql == "bad" {
                    return Err(crate::error::Error::invalid("unknown column `x`"));
                }
                std::future::pending().await
            })
        }
    }

    impl Fresh for Never {
        fn stale(&self, _: &[TableName], _: i64) -> Option<String> {
            None
        }

        fn caught_up_at(&self, _: &[TableName]) -> Option<i64> {
            None
        }
    }

    #[tokio::test]
    async fn errors_and_late_answers_are_failures() {
        let question = |sql: &str| Question { name: "s".to_owned(), sql: sql.to_owned(), tables: Vec::new() };
        let questions = [question("bad"), question("slow")];
        let answers = gather(&questions, &Never, &Never, 0, Duration::from_millis(50)).await;
        let told: Vec<_> = answers.iter().map(|a| (a.signal.freshness, a.signal.message.as_str())).collect();
        assert_eq!(told, [(Freshness::Failed, "unknown column `x`"), (Freshness::Failed, "no answer within 50ms")]);
    }
}
