//! a pipeline for tests of sources: it keeps all it is given and answers

use super::{Outlet, Progress};
use crate::clock::Clock;
use crate::event::{Accepted, DeadLetter, Delivery, Kind, labels};
use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What was given.
#[derive(Default)]
pub struct Kept {
    pub batches: Vec<RecordBatch>,
    pub dead: Vec<DeadLetter>,
    pub positions: BTreeMap<String, Vec<u8>>,
    pub keys: Vec<Option<String>>,
}

pub struct Pipeline {
    pub outlet: Outlet,
    pub kept: Arc<Mutex<Kept>>,
    held: Arc<AtomicBool>,
}

impl Pipeline {
    pub fn start(name: &str) -> Pipeline {
        Pipeline::with_positions(name, BTreeMap::new())
    }

    pub fn with_positions(name: &str, positions: BTreeMap<String, Vec<u8>>) -> Pipeline {
        let (deliveries, came) = mpsc::channel(2);
        let clock = Clock::system();
        let progress = Arc::new(Progress::new(clock.clone()));
        let outlet = Outlet { name: name.into(), deliveries, progress, stop: CancellationToken::new(), clock };
        let kept = Arc::new(Mutex::new(Kept { positions, ..Kept::default() }));
        let held = Arc::new(AtomicBool::new(false));
        tokio::spawn(keep(came, kept.clone(), held.clone()));
        Pipeline { outlet, kept, held }
    }

    /// Stops or goes on answering.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }

    pub fn lines(&self) -> Vec<String> {
        self.snapshot().0
    }

    /// Lines and positions as they are at one moment, as a store would have them after a kill.
    pub fn snapshot(&self) -> (Vec<String>, BTreeMap<String, Vec<u8>>) {
        let kept = self.kept.lock().unwrap();
        let bodies = kept.batches.iter().flat_map(|batch| {
            let body = batch.column_by_name("body").unwrap().as_binary::<i32>().clone();
            (0..body.len()).map(|row| String::from_utf8_lossy(body.value(row)).into_owned()).collect::<Vec<_>>()
        });
        (bodies.collect(), kept.positions.clone())
    }

    pub fn metrics(&self) -> Vec<(String, i64)> {
        self.kept.lock().unwrap().batches.iter().flat_map(shown).collect()
    }

    pub fn dead(&self) -> Vec<DeadLetter> {
        self.kept.lock().unwrap().dead.clone()
    }

    pub fn deliveries(&self) -> usize {
        self.kept.lock().unwrap().batches.len()
    }

    pub fn keys(&self) -> Vec<Option<String>> {
        self.kept.lock().unwrap().keys.clone()
    }

    pub fn positions(&self) -> BTreeMap<String, Vec<u8>> {
        self.kept.lock().unwrap().positions.clone()
    }

    /// Waits until what was given is as wanted; ten seconds at most.
    pub async fn wait(&self, wanted: impl Fn(&[RecordBatch]) -> bool) {
        for _ in 0..2000 {
            if wanted(&self.kept.lock().unwrap().batches) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("waited for too long; have {:?}", self.outlet.progress.standings());
    }

    /// Waits until something else is as wanted.
    pub async fn until(&self, wanted: impl Fn() -> bool) {
        for _ in 0..2000 {
            if wanted() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("waited for too long; have {:?}", self.outlet.progress.standings());
    }

    pub async fn wait_lines(&self, count: usize) {
        self.wait(|batches| batches.iter().map(RecordBatch::num_rows).sum::<usize>() >= count).await;
    }
}

async fn keep(mut came: mpsc::Receiver<Delivery>, kept: Arc<Mutex<Kept>>, held: Arc<AtomicBool>) {
    while let Some(delivery) = came.recv().await {
        while held.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let accepted = Accepted {
            rows: delivery.batch.columns.num_rows() as u64,
            dead: delivery.dead.len() as u64,
            repeated: false,
        };
        {
            let mut kept = kept.lock().unwrap();
            if delivery.batch.columns.num_rows() > 0 || !delivery.dead.is_empty() {
                kept.keys.push(delivery.key.map(|key| key.name));
                kept.batches.push(delivery.batch.columns);
            }
            kept.dead.extend(delivery.dead);
            for position in delivery.positions {
                match position.value.is_empty() {
                    true => kept.positions.remove(&position.name),
                    false => kept.positions.insert(position.name, position.value),
                };
            }
        }
        delivery.ack.answer(Ok(accepted));
    }
}

/// Metrics as text, `kind name{label=value} value`, with their times.
pub fn shown(batch: &RecordBatch) -> Vec<(String, i64)> {
    assert_eq!(batch.schema(), Kind::Metrics.base());
    let text = |name: &str, row: usize| batch.column_by_name(name).unwrap().as_string::<i32>().value(row).to_owned();
    let values = batch.column_by_name("value").unwrap().as_primitive::<Float64Type>();
    let times = batch.column_by_name("timestamp").unwrap().as_primitive::<TimestampNanosecondType>();
    let maps = labels::map(batch.column_by_name("labels").unwrap()).unwrap();
    (0..batch.num_rows())
        .map(|row| {
            let labels: Vec<String> = labels::of_row(maps, row).iter().map(|(k, v)| format!("{k}={v}")).collect();
            let line =
                format!("{} {}{{{}}} {}", text("kind", row), text("name", row), labels.join(","), values.value(row));
            (line, times.value(row))
        })
        .collect()
}
