//! the door to the store
//!
//! One thread writes, one flushes; everybody else comes through here.
//!
//! **Always:** appends become durable in the order in which [`Store::submit`] took them in.

use super::disk::Disk;
use super::flusher::{Flusher, Signal};
use super::keys::Keys;
use super::queue::{Declaration, Ending, Queue};
use super::recovery;
use super::state::State;
use super::stats::{Counters, Stats};
use super::wal::Wal;
use super::writer::Writer;
use super::{Append, Options, TableOptions, View};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Accepted, Ack, Kind, TableName};
use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use tokio::sync::oneshot;

/// The store. Cloning shares it; when the last one is dropped without [`Store::close`], it stops as if the process had ended:
/// what was acknowledged is in the WAL.
#[derive(Clone)]
pub struct Store(Arc<Owner>);

/// What the threads share.
pub(super) struct Shared {
    pub root: PathBuf,
    pub options: Options,
    pub disk: Arc<dyn Disk>,
    pub clock: Clock,
    pub queue: Queue,
    pub state: State,
    pub signal: Signal,
    pub counters: Counters,
    log: Mutex<Log>,
}

/// The WAL, and the keys in it.
pub(super) struct Log {
    pub wal: Wal,
    pub keys: Keys,
}

impl Log {
    /// Both at once.
    pub(super) fn parts(&mut self) -> (&mut Wal, &mut Keys) {
        (&mut self.wal, &mut self.keys)
    }
}

impl Shared {
    /// The WAL and the keys; held by the writer while it syncs.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the threads with the last handle.
struct Owner {
    shared: Arc<Shared>,
    running: Mutex<Option<Running>>,
}

struct Running {
    writer: JoinHandle<()>,
    flusher: JoinHandle<()>,
    lock: Box<dyn Any + Send>,
}

impl Store {
    /// Opens a data directory, making it if it is not there. Reads the catalog and the WAL, so it takes its time; not for an async
    /// thread that others wait for.
    pub fn open(root: &Path, options: Options) -> Result<Store> {
        let root = std::path::absolute(root).map_err(|error| Error::io(format!("`{}`", root.display()), error))?;
        let recovered = recovery::recover(&root, &options)?;
        let shared = Arc::new(Shared {
            root,
            disk: options.disk.clone(),
            clock: options.clock.clone(),
            options,
            queue: Queue::new(),
            state: State::of(recovered.inner),
            signal: Signal::new(),
            counters: Counters::default(),
            log: Mutex::new(Log { wal: recovered.wal, keys: recovered.keys }),
        });
        Counters::add(&shared.counters.wal_damaged, recovered.found.damaged);
        let flusher = start(&shared, "store-flusher", |shared| {
            let _over = Over(shared.clone());
            Flusher::new(shared.clone()).run();
            shared.signal.ended();
        })?;
        let writer = start(&shared, "store-writer", |shared| {
            let _over = Over(shared.clone());
            Writer::new(shared).run();
        });
        let writer = writer.inspect_err(|_| shared.signal.abandon())?;
        let running = Running { writer, flusher, lock: recovered.lock };
        Ok(Store(Arc::new(Owner { shared, running: Mutex::new(Some(running)) })))
    }

    /// Makes a table, or adds columns to it and changes its options. A table that an append names and nobody declared is made with
    /// the default options.
    pub async fn declare(&self, table: &TableName, kind: Kind, options: TableOptions) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.0.shared.queue.declare(Declaration { table: table.clone(), kind, options, reply });
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Stores an append: answers when it is safe and can be seen. Its place is taken as in [`Store::submit`]; once taken, dropping
    /// the future changes nothing about the append.
    pub async fn append(&self, append: Append) -> Result<Accepted> {
        let (ack, answer) = Ack::new();
        self.submit(append, ack).await;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Takes an append in, waiting while too much waits already, and returns as soon as it has its place; the ack answers when it is
    /// safe and can be seen. Order is the order in which this returns, so a caller that awaits one before the next keeps its order.
    pub async fn submit(&self, append: Append, ack: Ack) {
        self.0.shared.queue.send(append, ack).await;
    }

    /// Everything that can be read, as it is now. Cheap when nothing changed since the last one.
    pub fn view(&self) -> Arc<View> {
        self.0.shared.state.view()
    }

    /// Where a source stands.
    pub fn position(&self, name: &str) -> Option<Vec<u8>> {
        self.0.shared.state.lock().positions.get(name).cloned()
    }

    /// All positions whose names start so, sorted by name.
    pub fn positions(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let inner = self.0.shared.state.lock();
        let from = inner.positions.range(prefix.to_owned()..);
        from.take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Moves everything hot to segments.
    pub async fn flush(&self) -> Result<()> {
        self.0.shared.signal.flush().await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Writes what was submitted, flushes everything, and ends. Afterwards appends are refused and the directory is free; views can
    /// still be taken. A second call does nothing.
    pub async fn close(&self) -> Result<()> {
        let running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return Ok(()) };
        let shared = self.0.shared.clone();
        shared.queue.close(Ending::Drain);
        let (reply, answer) = oneshot::channel();
        // Waiting for threads is for a thread.
        let waiting = thread::Builder::new().name("store-close".to_owned()).spawn(move || {
            let ended = running.writer.join();
            let outcome = shared.signal.end().blocking_recv().unwrap_or_else(|_| Err(stopping()));
            let ended = ended.and(running.flusher.join());
            drop(running.lock);
            let outcome =
                if ended.is_err() { Err(Error::internal("a thread of the store ended in a panic")) } else { outcome };
            // Whoever closed may have stopped waiting.
            let _ = reply.send(outcome);
        });
        waiting.map_err(|error| Error::io("cannot start the thread `store-close`", error))?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// How it is doing.
    pub fn stats(&self) -> Stats {
        let shared = &self.0.shared;
        let heat = shared.state.heat();
        let mut stats = shared.counters.stats();
        stats.hot_bytes = heat.iter().map(|heat| heat.bytes as u64).sum();
        stats.hot_rows = heat.iter().map(|heat| heat.rows as u64).sum();
        let log = shared.log();
        stats.wal_bytes = log.wal.bytes();
        stats.wal_files = log.wal.files() as u64;
        stats.wal_fsyncs = log.wal.fsyncs;
        stats.keys = log.keys.len() as u64;
        stats
    }

    /// The data directory.
    pub fn root(&self) -> &Path {
        &self.0.shared.root
    }
}

fn start(shared: &Arc<Shared>, name: &str, run: fn(Arc<Shared>)) -> Result<JoinHandle<()>> {
    let shared = shared.clone();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(shared));
    thread.map_err(|error| Error::io(format!("cannot start the thread `{name}`"), error))
}

/// Held by a thread: should it end in a panic, nobody waits for it any more.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("a thread of the store ended in a panic; nothing more is stored");
            self.0.queue.close(Ending::Now);
            self.0.signal.abandon();
            self.0.signal.ended();
        }
    }
}

fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "tidemill is stopping; send it again later")
}

impl Drop for Owner {
    fn drop(&mut self) {
        let running = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return };
        self.shared.queue.close(Ending::Now);
        self.shared.signal.abandon();
        // At most one sync or one file away. A panic there was reported by the thread itself.
        let _ = running.writer.join();
        let _ = running.flusher.join();
        drop(running.lock);
    }
}
