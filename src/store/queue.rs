//! what waits to be written, in order
//!
//! Those who can wait (patient) and those who cannot have a budget of bytes each, so that file tails waiting for a full disk never
//! keep a push from hearing about it.
//!
//! **Always:** whoever has no room waits in [`Queue::send`], in order; after [`Queue::close`] nothing new comes in.

use super::{Append, TableOptions};
use crate::error::Result;
use crate::event::{Ack, Kind, TableName};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Bytes that may wait, for each of the two budgets.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// The unit of the budgets; an append takes at least one.
const UNIT_BYTES: usize = 1 << 10;
/// Declarations that may wait.
const DECLARATIONS_MAX: usize = 10_000;

/// One append in the queue.
pub(super) struct Waiting {
    pub append: Append,
    pub ack: Ack,
    pub bytes: usize,
    _room: OwnedSemaphorePermit,
}

/// A table to be made.
pub(super) struct Declaration {
    pub table: TableName,
    pub kind: Kind,
    pub options: TableOptions,
    pub reply: oneshot::Sender<Result<()>>,
}

pub(super) enum Job {
    Append(Box<Waiting>),
    Declare(Box<Declaration>),
}

/// What the writer got.
pub(super) struct Taken {
    pub jobs: Vec<Job>,
    pub ending: Ending,
    /// nothing came in the time
    pub timed_out: bool,
}

/// Whether more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// more will come
    No,
    /// nothing more comes; what is there is to be written
    Drain,
    /// end at once
    Now,
}

pub(super) struct Queue {
    jobs: Mutex<Jobs>,
    ready: Condvar,
    patient: Arc<Semaphore>,
    impatient: Arc<Semaphore>,
}

struct Jobs {
    waiting: VecDeque<Job>,
    ending: Ending,
}

impl Queue {
    pub(super) fn new() -> Self {
        let budget = || Arc::new(Semaphore::new(QUEUE_BYTES_MAX / UNIT_BYTES));
        Queue {
            jobs: Mutex::new(Jobs { waiting: VecDeque::new(), ending: Ending::No }),
            ready: Condvar::new(),
            patient: budget(),
            impatient: budget(),
        }
    }

    /// Takes a place at the end, waiting for room. When the store is closing, the ack says so.
    pub(super) async fn send(&self, append: Append, ack: Ack) {
        let bytes: usize = append.tables.iter().map(|(_, _, batch)| super::state::bytes_of(batch)).sum();
        let units = (bytes / UNIT_BYTES + 1).min(QUEUE_BYTES_MAX / UNIT_BYTES) as u32;
        let budget = if append.patient { &self.patient } else { &self.impatient };
        let Ok(room) = budget.clone().acquire_many_owned(units).await else { return };
        self.push(Job::Append(Box::new(Waiting { append, ack, bytes, _room: room })));
    }

    /// A declaration, at the end as well.
    pub(super) fn declare(&self, declaration: Declaration) {
        self.push(Job::Declare(Box::new(declaration)));
    }

    fn push(&self, job: Job) {
        let mut jobs = self.lock();
        let full =
            matches!(job, Job::Declare(_)) && jobs.waiting.len() > DECLARATIONS_MAX + QUEUE_BYTES_MAX / UNIT_BYTES * 2;
        if jobs.ending == Ending::No && !full {
            jobs.waiting.push_back(job);
            self.ready.notify_one();
        }
    }

    /// Takes everything that waits, waiting for something to come.
    pub(super) fn take(&self, wait_max: Option<Duration>) -> Taken {
        let mut jobs = self.lock();
        let mut timed_out = false;
        while jobs.waiting.is_empty() && jobs.ending == Ending::No && !timed_out {
            match wait_max {
                None => jobs = self.ready.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => timed_out = true,
                Some(wait_max) => {
                    let (held, outcome) =
                        self.ready.wait_timeout(jobs, wait_max).unwrap_or_else(PoisonError::into_inner);
                    jobs = held;
                    timed_out = outcome.timed_out();
                }
            }
        }
        Taken { jobs: jobs.waiting.drain(..).collect(), ending: jobs.ending, timed_out }
    }

    /// Nothing more comes in.
    pub(super) fn close(&self, ending: Ending) {
        let dropped = {
            let mut jobs = self.lock();
            jobs.ending = ending;
            if ending == Ending::Now { std::mem::take(&mut jobs.waiting) } else { VecDeque::new() }
        };
        drop(dropped);
        self.patient.close();
        self.impatient.close();
        self.ready.notify_all();
    }

    /// Whether everything is to end at once.
    pub(super) fn is_ending_now(&self) -> bool {
        self.lock().ending == Ending::Now
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
