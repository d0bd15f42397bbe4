//! the time, from a clock that a test can hold in its hand

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where everybody reads the time. Cloning shares it.
#[derive(Clone)]
pub struct Clock(Arc<Kind>);

enum Kind {
    System,
    Held(AtomicI64),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Clock(Arc::new(Kind::System))
    }

    /// A clock that stands at `now` (nanoseconds since 1970) until it is moved.
    pub fn held(now: i64) -> Self {
        Clock(Arc::new(Kind::Held(AtomicI64::new(now))))
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub fn now(&self) -> i64 {
        match &*self.0 {
            #[allow(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
            Kind::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
            }
            Kind::Held(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a held clock forward; the machine's clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Kind::Held(now) = &*self.0 {
            now.fetch_add(nanos(by), Ordering::SeqCst);
        }
    }

    /// Sets a held clock forth, or back, by so many nanoseconds: as an operator does, or a time server.
    pub fn jump(&self, by: i64) {
        if let Kind::Held(now) = &*self.0 {
            now.fetch_add(by, Ordering::SeqCst);
        }
    }
}

/// A span in nanoseconds, as timestamps count.
pub fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
