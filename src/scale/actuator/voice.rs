//! what replicas print, as lines of our own log
//!
//! **Always:** a replica's pipes are read, however much it prints; lines too long are cut and lines too many are counted, not kept.

use crate::clock::Clock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Child;
use tokio::task::JoinHandle;

/// The longest line that is kept, in bytes.
const LINE_BYTES_MAX: usize = 4096;
/// The most lines of one stream that are kept in a second.
const LINES_PER_SECOND_MAX: u32 = 100;

/// Listens to one replica until it is dropped.
pub struct Voice {
    last: Arc<Mutex<String>>,
    listeners: Vec<JoinHandle<()>>,
}

/// Whom a line is from.
#[derive(Clone)]
pub struct Speaker {
    /// the workload's name
    pub workload: String,
    /// the replica's number
    pub replica: u32,
    /// the time
    pub clock: Clock,
}

impl Voice {
    /// Listens to what of the child's output is piped.
    pub fn listen(child: &mut Child, speaker: &Speaker) -> Voice {
        let last = Arc::<Mutex<String>>::default();
        let mut listeners = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            listeners.push(tokio::spawn(hear(pipe, "stdout", speaker.clone(), last.clone())));
        }
        if let Some(pipe) = child.stderr.take() {
            listeners.push(tokio::spawn(hear(pipe, "stderr", speaker.clone(), last.clone())));
        }
        Voice { last, listeners }
    }

    /// The last line it printed, once its pipes are empty; it has ended, so that takes no time unless a child of its own lives on.
    pub async fn last_words(&mut self) -> String {
        let all = futures::future::join_all(&mut self.listeners);
        // Whoever still holds a pipe is about to be killed; what it says then is not the replica's last word.
        let _ = tokio::time::timeout(Duration::from_millis(200), all).await;
        self.listeners.retain(|listener| !listener.is_finished());
        lock(&self.last).clone()
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

async fn hear(pipe: impl AsyncRead + Unpin, stream: &'static str, speaker: Speaker, last: Arc<Mutex<String>>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    let mut pace = Pace { second: 0, lines: 0, left_out: 0 };
    let mut say = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        line.clear();
        if text.is_empty() {
            return;
        }
        if let Some(left_out) = pace.admit(speaker.clock.now()) {
            let Speaker { workload, replica, .. } = &speaker;
            if left_out > 0 {
                tracing::warn!(workload, replica, stream, left_out, "replica said too much");
            }
            tracing::info!(workload, replica, stream, line = text, "replica said");
        }
        *lock(&last) = text;
    };
    while let Ok(chunk) = reader.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        let end = memchr::memchr(b'\n', chunk);
        let used = end.map_or(chunk.len(), |at| at + 1);
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(chunk.get(..used.min(room)).unwrap_or_default());
        reader.consume(used);
        if end.is_some() {
            say(&mut line);
        }
    }
    say(&mut line);
}

/// Counts lines by the second.
struct Pace {
    second: i64,
    lines: u32,
    left_out: u64,
}

impl Pace {
    /// Whether a line may pass, with the number of those left out before it.
    fn admit(&mut self, now: i64) -> Option<u64> {
        let second = now / 1_000_000_000;
        if second != self.second {
            (self.second, self.lines) = (second, 0);
        }
        if self.lines >= LINES_PER_SECOND_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

fn lock(last: &Mutex<String>) -> MutexGuard<'_, String> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_and_paced() {
        let (clock, last) = (Clock::held(0), Arc::<Mutex<String>>::default());
        let speaker = Speaker { workload: "web".to_owned(), replica: 1, clock };
        let mut text = vec![b'x'; 100_000];
        text.extend_from_slice(b"\nbye \xff\n");
        hear(&text[..], "stdout", speaker, last.clone()).await;
        assert_eq!(*lock(&last), "bye \u{fffd}");
        let mut pace = Pace { second: 0, lines: 0, left_out: 0 };
        let admitted = (0..300).filter_map(|_| pace.admit(5)).count();
        assert_eq!(admitted, 100);
        assert_eq!(pace.admit(2_000_000_000), Some(200));
    }
}
