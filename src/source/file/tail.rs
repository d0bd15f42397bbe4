//! one file, read from where it was left

use super::print::{Print, Saved};
use crate::codec::lines::{Limits, Lines, Taken};
use crate::codec::multiline::Joiner;
use crate::error::Result;
use crate::event::Position;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// Bytes read before another file has its turn, though no line ended in them.
const TURN_BYTES_MAX: u64 = 32 << 20;

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// the device
    pub device: u64,
    /// the inode
    pub inode: u64,
}

/// What is done with a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// It is new: is it a file of its own, or a copy of one that is tailed?
    Undecided,
    /// So far it has the same bytes as a file that is tailed: its lines are read there.
    CopyOf {
        /// the file it is a copy of
        of: Key,
        /// how much of it was compared
        checked: u64,
    },
    /// It is read.
    Reading,
}

/// A file that is tailed.
pub struct Tail {
    /// which file
    pub key: Key,
    /// where it was seen last
    pub path: PathBuf,
    /// what people call it
    pub name: String,
    /// the file
    pub file: File,
    /// what is done with it
    pub state: State,
    /// the scan that found it
    pub scan: u64,
    /// whether a position of it was known when it was found
    pub known: bool,
    /// whether it is no longer what its path stands for: it was renamed, removed, or is a finished copy
    pub rotated: bool,
    /// whether no pattern finds it any more
    pub lost: bool,
    /// when it last had something new, ns UTC
    pub active_at: i64,
    /// when it was last looked at without a mistake, ns UTC
    pub looked_at: i64,
    /// deliveries without an answer
    pub in_flight: usize,
    /// where the first line starts that was not handed over
    pub offset: u64,
    /// its size when last looked at
    pub size: u64,
    /// what is remembered of the bytes that were read
    pub print: Print,
    changed: (i64, i64),
    lines: Lines,
    limits: Limits,
    joiner: Option<Joiner>,
    /// the number of the first line of what is held, and when it was read, ns UTC
    held: Option<(u64, i64)>,
    /// A writer that does not append leaves zeros before its next line when its file is truncated.
    skip_zeros: bool,
}

/// What came of looking at a file.
pub enum Step {
    /// nothing new, or no line that ended
    Nothing,
    /// lines
    Lines(Taken),
    /// what was read is no longer there
    Truncated,
}

impl Key {
    /// The key of a file.
    pub fn of(metadata: &Metadata) -> Key {
        Key { device: metadata.dev(), inode: metadata.ino() }
    }

    /// The name of its position.
    pub fn position(self, source: &str) -> String {
        format!("{source}:{}:{}", self.device, self.inode)
    }

    /// Reads the name of a position of this source.
    pub fn of_position(name: &str, source: &str) -> Option<Key> {
        let (device, inode) = name.strip_prefix(source)?.strip_prefix(':')?.split_once(':')?;
        Some(Key { device: device.parse().ok()?, inode: inode.parse().ok()? })
    }
}

impl Tail {
    /// A file that was just found.
    pub fn new(
        file: File,
        metadata: &Metadata,
        path: PathBuf,
        cut: (Limits, Option<Joiner>),
        scan: u64,
        now: i64,
    ) -> Tail {
        let (limits, joiner) = cut;
        Tail {
            key: Key::of(metadata),
            name: path.display().to_string(),
            path,
            file,
            state: State::Undecided,
            scan,
            known: false,
            rotated: false,
            lost: false,
            active_at: now,
            looked_at: 0,
            in_flight: 0,
            offset: 0,
            size: metadata.len(),
            print: Print::default(),
            changed: (0, 0),
            lines: Lines::joined(limits, joiner.clone()),
            limits,
            joiner,
            held: None,
            skip_zeros: false,
        }
    }

    /// Reads from there on.
    pub fn start_at(&mut self, offset: u64) -> io::Result<()> {
        self.print = Print::load(&self.file, offset)?;
        self.lines = Lines::joined(self.limits, self.joiner.clone());
        self.held = None;
        self.offset = offset;
        self.state = State::Reading;
        Ok(())
    }

    /// Where the last line starts that has not ended.
    pub fn end(&self) -> io::Result<u64> {
        let size = self.file.metadata()?.len();
        let start = size.saturating_sub(64 << 10);
        let mut bytes = vec![0; usize::try_from(size - start).unwrap_or(0)];
        let read = self.file.read_at(&mut bytes, start)?;
        let newline = memchr::memrchr(b'\n', bytes.get(..read).unwrap_or_default());
        Ok(newline.map_or(size, |at| start + at as u64 + 1))
    }

    /// What was read was truncated: forget it and start anew. Gives what the file was.
    pub fn restart(&mut self) -> Saved {
        let saved = self.saved();
        self.print = Print::default();
        self.lines = Lines::joined(self.limits, self.joiner.clone());
        self.held = None;
        self.offset = 0;
        self.skip_zeros = true;
        saved
    }

    /// What to know it by.
    pub fn saved(&self) -> Saved {
        self.print.saved(&self.path.to_string_lossy(), self.offset)
    }

    /// The same, for the store.
    pub fn position(&self, source: &str) -> Result<Position> {
        let value = serde_json::to_vec(&self.saved())
            .map_err(|error| crate::error::Error::internal(format!("a position cannot be written: {error}")))?;
        Ok(Position { name: self.key.position(source), value })
    }

    /// Whether what was read is no longer there.
    pub fn is_truncated(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() < self.print.seen || !self.print.is_of(&self.file)?)
    }

    /// Bytes read of a line that has not ended.
    pub fn partial(&self) -> u64 {
        self.lines.partial()
    }

    /// When the first line was read of an event that may get further ones.
    pub fn held_since(&self) -> Option<i64> {
        self.held.map(|(_, at)| at)
    }

    /// The line that has not ended, and the event that is held, will get no more.
    pub fn end_partial(&mut self) -> Result<Taken> {
        self.lines.end_partial();
        self.take()
    }

    /// The event that is held has waited long enough.
    pub fn release(&mut self) -> Result<Taken> {
        self.lines.release();
        self.take()
    }

    /// Reads on, at most a batch.
    pub fn step(&mut self, buffer: &mut [u8], now: i64) -> io::Result<Step> {
        let metadata = self.file.metadata()?;
        self.size = metadata.len();
        let changed = (metadata.mtime(), metadata.mtime_nsec());
        if self.size < self.print.seen {
            return Ok(Step::Truncated);
        }
        if self.size == self.print.seen {
            let rewritten = changed != self.changed && !self.print.is_of(&self.file)?;
            self.changed = changed;
            return Ok(if rewritten { Step::Truncated } else { Step::Nothing });
        }
        let before = self.print.clone();
        let lines = self.lines.held().map(|_| self.lines.clone());
        self.read(buffer)?;
        // Looked at after reading: what was read now follows what was read before only if that is still there.
        if !before.is_of(&self.file)? {
            self.print = before;
            // What is held has nothing of the new content.
            self.lines = lines.unwrap_or_else(|| Lines::joined(self.limits, self.joiner.clone()));
            return Ok(Step::Truncated);
        }
        self.changed = changed;
        self.held = self.lines.held().map(|number| match self.held {
            Some((of, at)) if of == number => (number, at),
            _ => (number, now),
        });
        if self.lines.is_empty() {
            return Ok(Step::Nothing);
        }
        let taken = self.take().map_err(|error| io::Error::other(error.message().to_owned()))?;
        Ok(Step::Lines(taken))
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let start = self.print.seen;
        while !self.lines.is_full() && self.print.seen - start < TURN_BYTES_MAX {
            let read = match self.file.read_at(buffer, self.print.seen) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let mut bytes = buffer.get(..read).unwrap_or_default();
            if self.skip_zeros {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                let (skipped, rest) = bytes.split_at_checked(zeros).unwrap_or((bytes, &[]));
                self.print.extend(skipped);
                self.offset += skipped.len() as u64;
                self.skip_zeros = rest.is_empty();
                bytes = rest;
            }
            let used = self.lines.feed(bytes);
            self.print.extend(bytes.get(..used).unwrap_or_default());
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Taken> {
        let taken = self.lines.take()?;
        self.offset += taken.bytes;
        self.held = self.held.filter(|(number, _)| self.lines.held() == Some(*number));
        Ok(taken)
    }
}
