//! the end of what a command says, however much it says

use std::collections::VecDeque;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The bytes of a stream that are kept.
pub const TAIL_BYTES_MAX: usize = 4096;
/// The characters of it that go into a table.
const WORDS_MAX: usize = 600;

/// The last bytes of a stream.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    bytes: VecDeque<u8>,
    /// bytes that are not kept any more
    lost: u64,
}

impl Tail {
    /// Takes more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(TAIL_BYTES_MAX);
        self.bytes.drain(..over);
        self.lost = self.lost.saturating_add(over as u64);
    }

    /// All of it; nothing if it was more than is kept.
    pub fn whole(&self) -> Option<String> {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        (self.lost == 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Its last lines on one line, for a table.
    pub fn words(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<String> = text
            .lines()
            .map(|line| {
                line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
            })
            .filter(|line| !line.is_empty())
            .collect();
        let line = lines.join(" / ");
        let over = line.chars().count().saturating_sub(WORDS_MAX);
        match over > 0 || self.lost > 0 {
            true => format!("… {}", line.chars().skip(over).collect::<String>()),
            false => line,
        }
    }
}

/// Reads a stream to its end.
pub async fn read(stream: Option<impl AsyncRead + Unpin>, mut into: impl FnMut(&[u8])) {
    let Some(mut stream) = stream else { return };
    let mut buffer = [0; 4096];
    while let Ok(count) = stream.read(&mut buffer).await {
        match buffer.get(..count) {
            Some(bytes) if count > 0 => into(bytes),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept() {
        let mut tail = Tail::default();
        tail.push(b"one\n\n two\x1b[0m\n");
        assert_eq!((tail.whole().unwrap().len(), tail.words().as_str()), (14, "one / two [0m"));
        for _ in 0..100_000 {
            tail.push(b"0123456789");
        }
        tail.push(b"\nlast \xff");
        assert_eq!((tail.bytes.len(), tail.whole()), (TAIL_BYTES_MAX, None));
        let words = tail.words();
        assert!(words.starts_with("… ") && words.ends_with("6789 / last \u{fffd}"), "{words}");
        assert_eq!(words.chars().count(), WORDS_MAX + 2);
    }
}
