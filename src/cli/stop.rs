//! SIGTERM and Ctrl-C: the first asks to stop, the second does not wait; SIGHUP asks to read files again

use crate::error::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// SIGHUPs as they come.
pub fn hangups() -> Result<Signal> {
    signal(SignalKind::hangup()).map_err(|error| Error::io("cannot watch for signals", error))
}

/// A token that the first signal cancels. The second ends the process at once.
pub fn on_signals() -> Result<CancellationToken> {
    let failed = |error| Error::io("cannot watch for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            if !first {
                std::process::exit(130);
            }
            token.cancel();
        }
    });
    Ok(stop)
}
