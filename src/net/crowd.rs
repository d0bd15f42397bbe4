//! the connections that are open, so that a new one never waits for a silent one
//!
//! A connection is *ours* while the next move is Tidemill's (a request is being answered), else the peer's. When all seats are
//! taken, the connection without a request that has been silent longest gives up its seat: sockets that are held open and say
//! nothing cannot keep anybody out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How many connections came and went; for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// opened so far
    pub accepted: AtomicU64,
    /// closed because they were silent, slow, or in the way of others
    pub evicted: AtomicU64,
    /// open now
    pub open: AtomicU64,
}

/// Everybody who has a seat.
pub(super) struct Crowd {
    seats: Arc<Semaphore>,
    taken: Mutex<BTreeMap<u64, Arc<Activity>>>,
    turns: Arc<AtomicU64>,
    counts: Arc<Counts>,
}

/// One connection's seat; dropping it makes room for the next.
pub(super) struct Seat {
    /// what the connection does
    pub activity: Arc<Activity>,
    crowd: Arc<Crowd>,
    _permit: OwnedSemaphorePermit,
}

/// What one connection does.
pub(super) struct Activity {
    opened: u64,
    turns: Arc<AtomicU64>,
    /// the crowd's turn when something last moved
    moved: AtomicU64,
    /// requests that are not answered to the end
    requests: AtomicUsize,
    /// those of them where the next move is ours
    ours: AtomicUsize,
    /// says that the seat is needed
    pub leave: CancellationToken,
}

/// One request on a connection, from its head to the end of its answer.
pub(super) struct Turn {
    activity: Arc<Activity>,
    ours: bool,
}

impl Crowd {
    pub fn new(seats: usize, counts: Arc<Counts>) -> Arc<Crowd> {
        let seats = Arc::new(Semaphore::new(seats.min(Semaphore::MAX_PERMITS)));
        Arc::new(Crowd { seats, taken: Mutex::default(), turns: Arc::default(), counts })
    }

    /// A seat for a new connection. Waits only while every connection is being served.
    pub async fn seat(self: &Arc<Self>) -> Option<Seat> {
        if self.seats.available_permits() == 0 {
            self.evict();
        }
        let permit = self.seats.clone().acquire_owned().await.ok()?;
        let opened = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
        let activity = Arc::new(Activity {
            opened,
            turns: self.turns.clone(),
            moved: AtomicU64::new(opened),
            requests: AtomicUsize::new(0),
            ours: AtomicUsize::new(0),
            leave: CancellationToken::new(),
        });
        self.lock().insert(opened, activity.clone());
        self.counts.accepted.fetch_add(1, Ordering::Relaxed);
        self.counts.open.fetch_add(1, Ordering::Relaxed);
        Some(Seat { activity, crowd: self.clone(), _permit: permit })
    }

    fn evict(&self) {
        let taken = self.lock();
        let silent = taken.values().filter(|activity| activity.is_idle() && !activity.leave.is_cancelled());
        if let Some(activity) = silent.min_by_key(|activity| activity.moved()) {
            activity.leave.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Activity>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The connection is closed against its peer's will.
    pub fn evicted(&self) {
        self.crowd.counts.evicted.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.lock().remove(&self.activity.opened);
        self.crowd.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    /// A request begins.
    pub fn begin(self: &Arc<Self>) -> Turn {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.ours.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Turn { activity: self.clone(), ours: true }
    }

    /// Whether no request ever began.
    pub fn is_new(&self) -> bool {
        self.moved() == self.opened
    }

    /// Whether no request is being answered.
    pub fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0
    }

    /// Whether the next move is the peer's: to ask, or to take what it asked for.
    pub fn is_theirs(&self) -> bool {
        self.ours.load(Ordering::Relaxed) == 0
    }

    /// Grows whenever something moves.
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) + 1;
        self.moved.store(turn, Ordering::Relaxed);
    }
}

impl Turn {
    /// The answer waits for us (`true`) or for the peer to take it.
    pub fn ours(&mut self, ours: bool) {
        self.activity.touch();
        match (self.ours, ours) {
            (false, true) => self.activity.ours.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.activity.ours.fetch_sub(1, Ordering::Relaxed),
            (true, true) | (false, false) => return,
        };
        self.ours = ours;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.ours(false);
        self.activity.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_longest_silent_gives_up_its_seat() {
        let crowd = Crowd::new(3, Arc::default());
        let (a, b, c) = (crowd.seat().await.unwrap(), crowd.seat().await.unwrap(), crowd.seat().await.unwrap());
        let busy = a.activity.begin();
        drop(b.activity.begin()); // b asked something after c came
        let waiting = tokio::spawn({
            let crowd = crowd.clone();
            async move { crowd.seat().await.is_some() }
        });
        c.activity.leave.cancelled().await;
        assert!(!a.activity.leave.is_cancelled() && !b.activity.leave.is_cancelled());
        drop(c);
        assert!(waiting.await.unwrap());
        drop(busy);
        assert!(a.activity.is_idle() && a.activity.is_theirs() && !a.activity.is_new());
    }
}
