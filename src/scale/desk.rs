//! where operators reach a scaler, and followers see where it stands

use super::policy::Order;
use super::standing::Standing;
use crate::error::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait for a tick.
const WAITING_MAX: usize = 8;

/// A command, and where its answer goes.
pub(super) type Handed = (Command, oneshot::Sender<Result<String>>);

/// What an operator asks of a scaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// so many replicas for a while, whatever the plugin says
    Order(Order),
    /// the order, if any, no longer holds
    Release,
    /// the shadow decides from now on, and the plugin that did is the shadow
    Promote,
}

/// Where operators reach a scaler, and followers see where it stands.
#[derive(Clone)]
pub struct Desk {
    commands: mpsc::Sender<Handed>,
    standing: watch::Receiver<Standing>,
}

impl Desk {
    /// A desk that shows this, and the commands that are handed over at it.
    pub(super) fn new(standing: watch::Receiver<Standing>) -> (Desk, mpsc::Receiver<Handed>) {
        let (commands, waiting) = mpsc::channel(WAITING_MAX);
        (Desk { commands, standing }, waiting)
    }

    /// Hands a command over; when it returns, it is on disk, and the answer says what it changed.
    pub async fn hand(&self, command: Command) -> Result<String> {
        let busy = || Error::new(ErrorKind::Unavailable, "the scaler has stopped, or too many commands wait for it");
        let (answer, answered) = oneshot::channel();
        self.commands.try_send((command, answer)).map_err(|_| busy())?;
        answered.await.map_err(|_| busy())?
    }

    /// Where the scaler stands, tick by tick; it ends when the scaler does.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }
}
