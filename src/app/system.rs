//! the tables about Tidemill itself: those that are stored, and those that are looked up when asked

use super::ledger::{self, Ledger};
use super::sources::Sources;
use super::swaps;
use crate::error::Result;
use crate::event::columns::field;
use crate::event::{Kind, TableName, Type, dead_letter, replay};
use crate::query::SystemTable;
use crate::scale::{Actuator, DECISIONS, decision};
use crate::source::Progress;
use crate::store::{self, Store};
use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// A table that is looked up: its name, its columns, and what fills them.
struct Looked {
    name: &'static str,
    columns: &'static [(&'static str, Type)],
    rows: Box<dyn Fn() -> Vec<Vec<Cell>> + Send + Sync>,
}

/// A value of a looked-up table.
enum Cell {
    Text(String),
    Number(i64),
    /// ns UTC; 0 is null
    Time(i64),
}

const TABLES: &[(&str, Type)] = &[
    ("name", Type::Utf8),
    ("kind", Type::Utf8),
    ("rows", Type::Int64),
    ("hot_rows", Type::Int64),
    ("segments", Type::Int64),
    ("bytes", Type::Int64),
    ("time_min", Type::Timestamp),
    ("time_max", Type::Timestamp),
    ("columns", Type::Utf8),
];

const SEGMENTS: &[(&str, Type)] = &[
    ("table", Type::Utf8),
    ("path", Type::Utf8),
    ("rows", Type::Int64),
    ("bytes", Type::Int64),
    ("time_min", Type::Timestamp),
    ("time_max", Type::Timestamp),
    ("seq_first", Type::Int64),
    ("seq_last", Type::Int64),
    ("created_at", Type::Timestamp),
];

const TARGETS: &[(&str, Type)] = &[
    ("source", Type::Utf8),
    ("target", Type::Utf8),
    ("caught_up_at", Type::Timestamp),
    ("behind", Type::Int64),
    ("events", Type::Int64),
    ("bytes", Type::Int64),
    ("cuts", Type::Int64),
    ("error", Type::Utf8),
    ("error_at", Type::Timestamp),
];

const REPLICAS: &[(&str, Type)] = &[
    ("workload", Type::Utf8),
    ("replica", Type::Int64),
    ("name", Type::Utf8),
    ("phase", Type::Utf8),
    ("pid", Type::Int64),
    ("address", Type::Utf8),
    ("since", Type::Timestamp),
    ("restarts", Type::Int64),
    ("connections", Type::Int64),
    ("message", Type::Utf8),
];

/// The tables that are written like any other, with the columns they start with.
pub(super) fn stored() -> Result<Vec<(TableName, Kind, SchemaRef)>> {
    Ok(vec![
        (dead_letter::table(), Kind::Logs, dead_letter::schema()),
        (replay::table(), Kind::Logs, replay::schema()),
        (TableName::system(DECISIONS), Kind::Logs, decision::schema()?),
        (store::drift::table(), Kind::Logs, store::drift::schema()),
        (ledger::table(), Kind::Logs, ledger::schema()),
        (swaps::table(), Kind::Logs, swaps::schema()),
        (TableName::system("logs"), Kind::Logs, logs()),
        (TableName::system("metrics"), Kind::Metrics, Kind::Metrics.base()),
    ])
}

/// What our own logs have beside what all logs have; each field of one is a column more, `fields.<name>`.
fn logs() -> SchemaRef {
    let base = Kind::Logs.base();
    let ours = [Arc::new(field("level", Type::Utf8)), Arc::new(field("target", Type::Utf8))];
    Arc::new(Schema::new(base.fields().iter().cloned().chain(ours).collect::<Vec<_>>()))
}

/// Every system table with its columns, for whoever checks a query before anything runs.
pub fn schemas() -> Result<Vec<(TableName, SchemaRef)>> {
    let stored = stored()?.into_iter().map(|(name, _, schema)| (name, schema));
    let looked = [("tables", TABLES), ("segments", SEGMENTS), ("targets", TARGETS), ("replicas", REPLICAS)];
    Ok(stored.chain(looked.map(|(name, columns)| (TableName::system(name), schema(columns)))).collect())
}

/// The tables that are looked up when asked.
pub(super) fn tables(
    store: &Store,
    sources: &Sources,
    ledger: &Ledger,
    workloads: Vec<(String, Arc<dyn Actuator>)>,
) -> Vec<Arc<dyn SystemTable>> {
    let (tables, segments) = (store.clone(), store.clone());
    let progress = sources.progress();
    let looked = [
        Looked { name: "tables", columns: TABLES, rows: Box::new(move || table_rows(&tables)) },
        Looked { name: "segments", columns: SEGMENTS, rows: Box::new(move || segment_rows(&segments)) },
        Looked { name: "targets", columns: TARGETS, rows: Box::new(move || target_rows(&progress)) },
        Looked { name: "replicas", columns: REPLICAS, rows: Box::new(move || replica_rows(&workloads)) },
    ];
    let looked = looked.into_iter().map(|table| Arc::new(table) as Arc<dyn SystemTable>);
    looked.chain([Arc::new(ledger.clone()) as Arc<dyn SystemTable>]).collect()
}

fn schema(columns: &[(&str, Type)]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|(name, r#type)| field(name, *r#type)).collect::<Vec<_>>()))
}

impl SystemTable for Looked {
    fn name(&self) -> &str {
        self.name
    }

    fn schema(&self) -> SchemaRef {
        schema(self.columns)
    }

    fn rows(&self, _: Option<&store::TableView>) -> Result<RecordBatch> {
        let rows = (self.rows)();
        let column = |(at, (_, r#type)): (usize, &(&str, Type))| -> ArrayRef {
            let cells = rows.iter().map(|row| row.get(at));
            match r#type {
                Type::Int64 => Arc::new(Int64Array::from_iter(cells.map(|cell| match cell {
                    Some(Cell::Number(number)) => Some(*number),
                    _ => None,
                }))),
                Type::Timestamp => {
                    let times = cells.map(|cell| match cell {
                        Some(Cell::Time(time)) if *time != 0 => Some(*time),
                        _ => None,
                    });
                    Arc::new(TimestampNanosecondArray::from_iter(times).with_timezone("UTC"))
                }
                Type::Boolean | Type::Float64 | Type::Utf8 | Type::Binary | Type::Labels => {
                    Arc::new(StringArray::from_iter(cells.map(|cell| match cell {
                        Some(Cell::Text(text)) => Some(text.as_str()),
                        _ => None,
                    })))
                }
            }
        };
        let columns = self.columns.iter().enumerate().map(column).collect();
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

fn count(number: impl TryInto<i64>) -> Cell {
    Cell::Number(number.try_into().unwrap_or(i64::MAX))
}

fn table_rows(store: &Store) -> Vec<Vec<Cell>> {
    let view = store.view();
    let row = |(name, table): (&TableName, &store::TableView)| {
        let hot: usize = table.hot.iter().map(RecordBatch::num_rows).sum();
        let kept: u64 = table.segments.iter().map(|segment| segment.rows).sum();
        let (time_min, time_max) = table.times().unwrap_or_default();
        let columns: Vec<String> = table.schema.fields().iter().map(|field| field.name().clone()).collect();
        vec![
            Cell::Text(name.to_string()),
            Cell::Text(table.kind.word().into()),
            count(kept + hot as u64),
            count(hot),
            count(table.segments.len()),
            count(table.segments.iter().map(|segment| segment.bytes).sum::<u64>()),
            Cell::Time(time_min),
            Cell::Time(time_max),
            Cell::Text(columns.join(", ")),
        ]
    };
    view.tables.iter().map(row).collect()
}

fn segment_rows(store: &Store) -> Vec<Vec<Cell>> {
    let view = store.view();
    let each = view.tables.iter().flat_map(|(name, table)| table.segments.iter().map(move |segment| (name, segment)));
    each.map(|(name, segment)| {
        vec![
            Cell::Text(name.to_string()),
            Cell::Text(segment.path.display().to_string()),
            count(segment.rows),
            count(segment.bytes),
            Cell::Time(segment.time_min),
            Cell::Time(segment.time_max),
            count(segment.seq_first),
            count(segment.seq_last),
            Cell::Time(segment.created_at),
        ]
    })
    .collect()
}

fn target_rows(sources: &[(String, Arc<Progress>)]) -> Vec<Vec<Cell>> {
    let each = sources.iter().flat_map(|(name, progress)| {
        progress.standings().into_iter().map(move |(target, standing)| (name.clone(), target, standing))
    });
    each.map(|(name, target, standing)| {
        vec![
            Cell::Text(name),
            Cell::Text(target),
            Cell::Time(standing.caught_up_at),
            count(standing.behind),
            count(standing.events),
            count(standing.bytes),
            count(standing.cuts),
            Cell::Text(standing.error),
            Cell::Time(standing.error_at),
        ]
    })
    .collect()
}

fn replica_rows(workloads: &[(String, Arc<dyn Actuator>)]) -> Vec<Vec<Cell>> {
    let each = workloads.iter().flat_map(|(name, workload)| {
        workload.status().replicas.into_iter().map(move |replica| (name.clone(), replica))
    });
    each.map(|(name, replica)| {
        vec![
            Cell::Text(name),
            count(replica.number),
            Cell::Text(replica.called()),
            Cell::Text(replica.phase.word().into()),
            replica.pid.map_or(Cell::Time(0), count),
            Cell::Text(replica.address),
            Cell::Time(replica.since),
            count(replica.restarts),
            count(replica.open),
            Cell::Text(replica.message),
        ]
    })
    .collect()
}
