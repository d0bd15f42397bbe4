//! the list of sources, and what every source gets to work with
//!
//! A source reads bytes from the world, has its codec make columns of them, and hands [`Delivery`]s to its [`Outlet`]. It moves its
//! position only inside a delivery, so that what it has read and what is stored can never disagree.
//!
//! **Always:** a source says when it is caught up ([`Progress::caught_up`]): nothing of what it should have read is still waiting.
//! **Never:** a source does not know tables, plugins or SQL.

mod progress;

pub use progress::{Progress, Standing};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Delivery;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a source works with while it runs.
#[derive(Clone)]
pub struct Outlet {
    /// the source's name in the pipeline file
    pub name: Arc<str>,
    /// where deliveries go; bounded, so a source waits when the pipeline is behind
    pub deliveries: mpsc::Sender<Delivery>,
    /// what the source tells of itself
    pub progress: Arc<Progress>,
    /// says when to stop: finish what was handed over, then return
    pub stop: CancellationToken,
    /// the time
    pub clock: Clock,
}

impl Outlet {
    /// Hands a delivery over, waiting while the pipeline is behind. Fails only when the pipeline is gone.
    pub async fn send(&self, delivery: Delivery) -> Result<()> {
        self.deliveries
            .send(delivery)
            .await
            .map_err(|_| Error::new(ErrorKind::Unavailable, "tidemill is stopping; send it again later"))
    }
}
