//! all files of one source: found, known again, read in turn
//!
//!     scan: patterns ─► new, renamed, lost files
//!     decide: a new file is one of its own, or a copy (copy-truncate) of a tailed one ─► where to start
//!     read: each file in its turn, a batch each ─► chunks, with the position after them
//!
//! Rename rotation: a file is its inode; it is read to its end under any name, then, once no pattern finds it and it stayed quiet
//! for `rotate_wait`, closed.
//!
//! Copy-truncate rotation (`cp x.log x.log.1; truncate x.log`): a new file with a name like that of a tailed one, that has the same
//! bytes, is a copy. Its lines are read from the original while that is whole. When the original is found truncated, the copy is
//! read on from the place where reading the original stopped, and only then the original anew. So each line that is in either is
//! read once. Lines that the rotation itself lost, between copying and truncating, nobody can read.

use super::pattern;
use super::print::{Likeness, Saved, is_start_of};
use super::tail::{Key, State, Step, Tail};
use super::{Config, Start};
use crate::clock::{Clock, nanos};
use crate::codec::lines::{Limits, Lines, Taken};
use crate::codec::multiline::{self, Joiner};
use crate::codec::{Decoded, Received};
use crate::error::Result;
use crate::event::Position;
use crate::source::{Outlet, Progress};
use glob::Pattern;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often patterns are looked at.
const SCAN: Duration = Duration::from_secs(1);
/// Deliveries of one file without an answer.
const IN_FLIGHT_FILE_MAX: usize = 4;
/// Deliveries of one source without an answer.
const IN_FLIGHT_MAX: usize = 16;
/// Batches handed over at once.
const CHUNKS_MAX: usize = 8;
/// Bytes read at once.
const BUFFER_BYTES: usize = 512 << 10;
/// What files were that are no longer there: the oldest goes first.
const PASTS_MAX: usize = 256;
/// A copy that has less than this may be a file of its own that starts with the same words.
const COPY_BYTES_SURE: u64 = 1024;
/// A batch to hand over.
pub struct Chunk {
    /// the file it is from; none if it only moves positions
    pub key: Option<Key>,
    /// the events
    pub decoded: Decoded,
    /// where reading stands after it
    pub positions: Vec<Position>,
}

/// What a file was that is no longer there, but may be in a copy.
struct Past {
    key: Key,
    saved: Saved,
}

/// The files of one source.
pub struct Tailer {
    config: Config,
    /// for each file that is opened
    joiner: Option<Joiner>,
    /// no file gets more than it has
    once: bool,
    source: Arc<str>,
    progress: Arc<Progress>,
    clock: Clock,
    tails: BTreeMap<Key, Tail>,
    restored: HashMap<Key, Saved>,
    restored_paths: BTreeSet<String>,
    pasts: Vec<Past>,
    /// positions to be written with the next delivery
    moved: Vec<Position>,
    scans: u64,
    scanned_at: i64,
    rescan: bool,
    turn: usize,
    told_empty: BTreeSet<String>,
    unopened: BTreeSet<String>,
    buffer: Vec<u8>,
}

impl Tailer {
    /// Nothing found yet. `positions` are those of this source, as the store has them.
    pub fn new(config: Config, outlet: &Outlet, positions: Vec<(String, Vec<u8>)>, once: bool) -> Tailer {
        let saved = |(name, value): (String, Vec<u8>)| {
            Some((Key::of_position(&name, &outlet.name)?, serde_json::from_slice::<Saved>(&value).ok()?))
        };
        let restored: HashMap<Key, Saved> = positions.into_iter().filter_map(saved).collect();
        Tailer {
            joiner: config.multiline.as_ref().map(multiline::Config::joiner),
            config,
            once,
            source: outlet.name.clone(),
            progress: outlet.progress.clone(),
            clock: outlet.clock.clone(),
            tails: BTreeMap::new(),
            restored_paths: restored.values().map(|saved| saved.path.clone()).collect(),
            restored,
            pasts: Vec::new(),
            moved: Vec::new(),
            scans: 0,
            scanned_at: 0,
            rescan: true,
            turn: 0,
            told_empty: BTreeSet::new(),
            unopened: BTreeSet::new(),
            buffer: Vec::new(),
        }
    }

    /// A delivery was answered.
    pub fn answered(&mut self, key: Option<Key>) {
        if let Some(tail) = key.and_then(|key| self.tails.get_mut(&key)) {
            tail.in_flight = tail.in_flight.saturating_sub(1);
        }
    }

    /// Looks at everything once. Blocks on the disk.
    pub fn pass(&mut self) -> Result<Vec<Chunk>> {
        let now = self.clock.now();
        if self.rescan || now - self.scanned_at >= nanos(SCAN) || now < self.scanned_at {
            self.scan(now);
        }
        self.decide(now);
        let mut chunks = Vec::new();
        let mut in_flight: usize = self.tails.values().map(|tail| tail.in_flight).sum();
        let mut keys: Vec<Key> = self.tails.keys().copied().collect();
        let turn = self.turn.checked_rem(keys.len()).unwrap_or(0);
        keys.rotate_left(turn);
        for key in keys {
            if chunks.len() >= CHUNKS_MAX || in_flight >= IN_FLIGHT_MAX {
                break;
            }
            self.turn = self.turn.wrapping_add(1);
            if let Some(chunk) = self.look(key, now)? {
                in_flight += 1;
                chunks.push(chunk);
            }
        }
        self.tell(now);
        if chunks.is_empty() && !self.moved.is_empty() {
            let taken = Lines::new(Limits::default()).take()?;
            chunks.push(Chunk { key: None, decoded: self.decoded(taken, now)?, positions: Vec::new() });
        }
        if let Some(first) = chunks.first_mut() {
            // The chunk's own position is later than what was known before it was read.
            let own = std::mem::take(&mut first.positions);
            first.positions = std::mem::take(&mut self.moved);
            first.positions.retain(|moved| own.iter().all(|own| own.name != moved.name));
            first.positions.extend(own);
        }
        Ok(chunks)
    }

    /// One file's turn.
    fn look(&mut self, key: Key, now: i64) -> Result<Option<Chunk>> {
        let Some(tail) = self.tails.get_mut(&key) else { return Ok(None) };
        if tail.state != State::Reading || tail.in_flight >= IN_FLIGHT_FILE_MAX {
            return Ok(None);
        }
        if self.buffer.is_empty() {
            self.buffer.resize(BUFFER_BYTES, 0);
        }
        let seen = tail.print.seen;
        let step = tail.step(&mut self.buffer, now);
        if step.is_ok() {
            tail.looked_at = now;
        }
        match step {
            Ok(Step::Lines(taken)) => {
                tail.active_at = now;
                self.chunk(key, taken, now).map(Some)
            }
            Ok(Step::Truncated) => {
                // It is no longer in the file, and its copy, if there is one, is read on from behind it.
                let held = tail.release()?;
                let chunk = if held.bytes > 0 { Some(self.chunk(key, held, now)?) } else { None };
                self.truncated(key);
                Ok(chunk)
            }
            Ok(Step::Nothing) => {
                if tail.print.seen != seen {
                    tail.active_at = now;
                }
                self.idle(key, now)
            }
            Err(error) => {
                let chunk = self.overdue(key, now)?;
                self.unreadable(key, &error, now);
                Ok(chunk)
            }
        }
    }

    /// An event that no further line has come for.
    fn overdue(&mut self, key: Key, now: i64) -> Result<Option<Chunk>> {
        let timeout = self.config.multiline.as_ref().map_or(0, |multiline| nanos(multiline.timeout.0));
        let overdue = |tail: &&mut Tail| tail.held_since().is_some() && now - tail.active_at >= timeout;
        let Some(tail) = self.tails.get_mut(&key).filter(overdue) else { return Ok(None) };
        let taken = tail.release()?;
        self.chunk(key, taken, now).map(Some)
    }

    /// A file that was opened cannot be read. One that is gone besides will not be read any more, and nobody waits for it for ever.
    fn unreadable(&mut self, key: Key, error: &io::Error, now: i64) {
        let Some(tail) = self.tails.get(&key) else { return };
        self.progress.failed(&tail.name, format!("cannot read `{}`: {error}", tail.name));
        if tail.lost && tail.in_flight == 0 && now - tail.active_at >= nanos(self.config.rotate_wait.0) {
            tracing::warn!(source = &*self.source, file = tail.name, %error, "given up: the file is gone, and cannot be read");
            self.close(key);
        }
    }

    fn chunk(&mut self, key: Key, taken: Taken, now: i64) -> Result<Chunk> {
        let (bytes, cuts) = (taken.bytes, taken.cuts());
        let decoded = self.decoded(taken, now)?;
        let Some(tail) = self.tails.get_mut(&key) else {
            return Ok(Chunk { key: None, decoded, positions: Vec::new() });
        };
        tail.in_flight += 1;
        self.progress.read(&tail.name, decoded.columns.num_rows() as u64, bytes);
        self.progress.cut(&tail.name, cuts);
        Ok(Chunk { key: Some(key), decoded, positions: vec![tail.position(&self.source)?] })
    }

    fn decoded(&self, taken: Taken, now: i64) -> Result<Decoded> {
        self.config.codec.decode(taken, &Received { source: self.source.clone(), at: now })
    }

    /// A file has nothing new: perhaps it never will.
    fn idle(&mut self, key: Key, now: i64) -> Result<Option<Chunk>> {
        if let Some(chunk) = self.overdue(key, now)? {
            return Ok(Some(chunk));
        }
        let Some(tail) = self.tails.get_mut(&key) else { return Ok(None) };
        let is_open = tail.partial() > 0 || tail.held_since().is_some();
        if self.once && is_open {
            let taken = tail.end_partial()?;
            return self.chunk(key, taken, now).map(Some);
        }
        if !tail.rotated {
            // The path may stand for another file by now.
            self.rescan |= fs::metadata(&tail.path).map_or(true, |metadata| Key::of(&metadata) != key);
            return Ok(None);
        }
        if now - tail.active_at < nanos(self.config.rotate_wait.0) {
            return Ok(None);
        }
        if is_open {
            let taken = tail.end_partial()?;
            return self.chunk(key, taken, now).map(Some);
        }
        if tail.lost && tail.in_flight == 0 {
            self.close(key);
        }
        Ok(None)
    }

    fn close(&mut self, key: Key) {
        if let Some(tail) = self.tails.remove(&key) {
            self.progress.gone(&tail.name);
            self.moved.push(Position { name: key.position(&self.source), value: Vec::new() });
            self.remember(key, tail.saved());
            tracing::debug!(source = &*self.source, file = tail.name, "file is finished");
        }
    }

    /// The copy, if there is one, is looked for before a line of the new content is read.
    fn truncated(&mut self, key: Key) {
        if let Some(tail) = self.tails.get_mut(&key) {
            tracing::info!(source = &*self.source, file = tail.name, read = tail.print.seen, "file was truncated");
            let saved = tail.restart();
            self.remember(key, saved);
        }
        for tail in self.tails.values_mut() {
            if matches!(tail.state, State::CopyOf { of, .. } if of == key) {
                tail.state = State::Undecided;
            }
        }
        self.rescan = true;
    }

    fn remember(&mut self, key: Key, saved: Saved) {
        if saved.offset > 0 {
            self.pasts.push(Past { key, saved });
        }
        let surplus = self.pasts.len().saturating_sub(PASTS_MAX);
        self.pasts.drain(..surplus);
    }

    /// Tells where every file stands. Of one that had no turn nothing new is known.
    fn tell(&self, now: i64) {
        for tail in self.tails.values() {
            match tail.state {
                State::Undecided if tail.size > 0 => self.progress.behind(&tail.name, tail.size),
                State::Undecided | State::CopyOf { .. } => self.progress.caught_up(&tail.name),
                State::Reading if tail.looked_at != now => {}
                State::Reading if tail.in_flight == 0 && tail.size <= tail.print.seen => match tail.held_since() {
                    None => self.progress.caught_up(&tail.name),
                    Some(_) if self.once => {}
                    Some(at) => self.progress.caught_up_until(&tail.name, at),
                },
                State::Reading => self.progress.behind(&tail.name, tail.size.saturating_sub(tail.offset)),
            }
        }
    }

    /// Looks for files that are new, renamed or lost.
    fn scan(&mut self, now: i64) {
        self.rescan = false;
        self.scanned_at = now;
        self.scans += 1;
        let found = self.found();
        for (key, tail) in &mut self.tails {
            match found.get(key) {
                Some(paths) if !paths.contains(&tail.path) => {
                    self.progress.gone(&tail.name);
                    tail.path = paths.first().cloned().unwrap_or_default();
                    tail.name = tail.path.display().to_string();
                    (tail.rotated, tail.lost) = (true, false);
                }
                Some(_) => tail.lost = false,
                None if !tail.lost => {
                    self.progress.gone(&tail.name);
                    tail.name = format!("{} (rotated, inode {})", tail.path.display(), key.inode);
                    (tail.rotated, tail.lost) = (true, true);
                    tail.active_at = now;
                }
                None => {}
            }
        }
        self.tails.retain(|_, tail| {
            let nothing = tail.lost
                && (tail.state != State::Reading && tail.size == 0 || matches!(tail.state, State::CopyOf { .. }));
            if nothing {
                self.progress.gone(&tail.name);
            }
            !nothing
        });
        self.open_new(&found, now);
        if self.scans == 1 {
            self.forget_missing(&found);
        }
    }

    /// All files that the patterns find, by what they are.
    fn found(&mut self) -> BTreeMap<Key, Vec<PathBuf>> {
        let exclude: Vec<Pattern> = self.config.exclude.iter().filter_map(|text| Pattern::new(text).ok()).collect();
        let mut found: BTreeMap<Key, Vec<PathBuf>> = BTreeMap::new();
        for pattern in &self.config.include {
            let there = pattern::find(pattern, &exclude);
            if there.files.is_empty() {
                let why = there.odd.unwrap_or_else(|| format!("no file matches `{pattern}` yet"));
                if self.told_empty.insert(pattern.clone()) {
                    tracing::warn!(source = &*self.source, pattern, why, "no file to read");
                }
                self.progress.failed(pattern, why);
            } else if self.told_empty.remove(pattern) {
                self.progress.gone(pattern);
            }
            for (key, path) in there.files {
                found.entry(key).or_default().push(path);
            }
        }
        if found.len() > self.config.files_max {
            let message = format!("{} files match, more than `files_max = {}`", found.len(), self.config.files_max);
            self.progress.failed("files_max", message);
            let surplus: Vec<Key> = found.keys().filter(|key| !self.tails.contains_key(key)).copied().collect();
            for key in surplus.into_iter().skip(self.config.files_max.saturating_sub(self.tails.len())) {
                found.remove(&key);
            }
        } else {
            self.progress.gone("files_max");
        }
        found
    }

    fn open_new(&mut self, found: &BTreeMap<Key, Vec<PathBuf>>, now: i64) {
        let mut unopened = BTreeSet::new();
        for (key, paths) in found {
            let Some(path) = paths.first().filter(|_| !self.tails.contains_key(key)) else { continue };
            if let Err(error) = self.open(path, now) {
                let name = path.display().to_string();
                let help = match error.kind() {
                    io::ErrorKind::PermissionDenied => "; let the user that runs tidemill read it",
                    _ => "",
                };
                if !self.unopened.contains(&name) {
                    tracing::warn!(source = &*self.source, file = name, %error, "file cannot be read");
                }
                self.progress.failed(&name, format!("cannot read `{name}`: {error}{help}"));
                unopened.insert(name);
            }
        }
        for name in self.unopened.difference(&unopened) {
            if !self.tails.values().any(|tail| tail.name == *name) {
                self.progress.gone(name);
            }
        }
        self.unopened = unopened;
    }

    fn open(&mut self, path: &Path, now: i64) -> io::Result<()> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let limits = Limits { line: self.config.line_bytes_max.as_usize(), ..Limits::default() };
        let mut tail = Tail::new(file, &metadata, path.to_owned(), (limits, self.joiner.clone()), self.scans, now);
        if self.tails.contains_key(&tail.key) || !metadata.is_file() {
            return Ok(());
        }
        if let Some(saved) = self.restored.get(&tail.key) {
            match saved.likeness(&tail.file)? {
                Likeness::Same => {
                    tail.known = true;
                    tail.start_at(saved.offset)?;
                }
                // Truncated while we did not look, or another file that was given the inode of one that is gone.
                Likeness::Shorter | Likeness::Different => {
                    let saved = saved.clone();
                    self.remember(tail.key, saved);
                }
            }
            self.restored.remove(&tail.key);
        }
        self.tails.insert(tail.key, tail);
        Ok(())
    }

    /// Positions of files that are gone are of no use, except to know a copy by. Where even the folder is missing, it may come back.
    fn forget_missing(&mut self, found: &BTreeMap<Key, Vec<PathBuf>>) {
        let missing: Vec<Key> = self.restored.keys().filter(|key| !found.contains_key(key)).copied().collect();
        for key in missing {
            let here = |saved: &Saved| Path::new(&saved.path).parent().is_some_and(Path::exists);
            if let Some(saved) = self.restored.get(&key).filter(|saved| here(saved)).cloned() {
                self.restored.remove(&key);
                self.moved.push(Position { name: key.position(&self.source), value: Vec::new() });
                self.remember(key, saved);
            }
        }
    }

    /// What to do with files that are new, and with copies.
    fn decide(&mut self, now: i64) {
        let open: Vec<Key> =
            self.tails.values().filter(|tail| tail.state != State::Reading).map(|tail| tail.key).collect();
        for key in open {
            if let Err(error) = self.decide_one(key, now) {
                self.unreadable(key, &error, now);
            }
        }
    }

    fn decide_one(&mut self, key: Key, now: i64) -> io::Result<()> {
        let Some(tail) = self.tails.get_mut(&key) else { return Ok(()) };
        let size = tail.file.metadata()?.len();
        if size != tail.size {
            (tail.size, tail.active_at) = (size, now);
        }
        if size == 0 {
            return Ok(());
        }
        let from_past = self.past_of(key, size)?;
        if let Some((at, offset)) = from_past {
            self.pasts.remove(at);
            return self.start(key, offset, true);
        }
        let (of, checked) = match self.tails.get(&key).map(|tail| tail.state) {
            Some(State::CopyOf { of, checked }) => (Some(of), checked),
            _ => (self.original_of(key), 0),
        };
        match of {
            None => self.start_own(key),
            Some(of) => self.compare(key, of, checked, size, now),
        }
    }

    /// Which file that is gone this one continues, and from where.
    fn past_of(&self, key: Key, size: u64) -> io::Result<Option<(usize, u64)>> {
        let Some(tail) = self.tails.get(&key) else { return Ok(None) };
        for (at, past) in self.pasts.iter().enumerate().rev() {
            if past.key == key || !is_named_after(&tail.path, Path::new(&past.saved.path)) {
                continue;
            }
            match past.saved.likeness(&tail.file)? {
                Likeness::Same => return Ok(Some((at, past.saved.offset))),
                // Its last lines were read from the original after it was copied.
                Likeness::Shorter => return Ok(Some((at, past.saved.offset.min(size)))),
                Likeness::Different => {}
            }
        }
        Ok(None)
    }

    /// A file that was tailed before this one came, of which it could be a copy by its name.
    fn original_of(&self, key: Key) -> Option<Key> {
        let copy = self.tails.get(&key)?;
        let could = |tail: &&Tail| {
            let earlier = tail.scan < copy.scan || (tail.known && !copy.known);
            let reading = tail.state == State::Reading && !tail.rotated;
            tail.key != key && earlier && reading && is_named_after(&copy.path, &tail.path)
        };
        let same_start =
            |tail: &&Tail| is_start_of(&copy.file, &tail.file, 0, copy.size.min(64 << 10)).unwrap_or(false);
        let truncated = |tail: &Tail| tail.is_truncated().unwrap_or(false);
        self.tails.values().filter(could).find(|tail| same_start(tail) || truncated(tail)).map(|tail| tail.key)
    }

    /// Goes on comparing a copy with its original.
    fn compare(&mut self, key: Key, of: Key, checked: u64, size: u64, now: i64) -> io::Result<()> {
        let (Some(copy), Some(original)) = (self.tails.get(&key), self.tails.get(&of)) else {
            // The original is gone; what it was is remembered.
            return self.set_state(key, State::Undecided);
        };
        let same = size == checked || (size > checked && is_start_of(&copy.file, &original.file, checked, size)?);
        let quiet = now - copy.active_at >= nanos(self.config.rotate_wait.0);
        let small = size < COPY_BYTES_SURE;
        // Looked at after comparing: only an original that is whole can say that this is no copy.
        if original.is_truncated()? {
            self.truncated(of);
            return self.set_state(key, State::Undecided);
        }
        match same && !(quiet && small) {
            true => self.set_state(key, State::CopyOf { of, checked: size }),
            false => self.start_own(key),
        }
    }

    fn set_state(&mut self, key: Key, state: State) -> io::Result<()> {
        if let Some(tail) = self.tails.get_mut(&key) {
            tail.state = state;
        }
        Ok(())
    }

    /// A file of its own.
    fn start_own(&mut self, key: Key) -> io::Result<()> {
        let Some(tail) = self.tails.get(&key) else { return Ok(()) };
        let skip = self.config.start == Start::End && tail.scan == 1 && !self.restored_paths.contains(&tail.name);
        let offset = if skip { tail.end()? } else { 0 };
        self.start(key, offset, false)
    }

    fn start(&mut self, key: Key, offset: u64, rotated: bool) -> io::Result<()> {
        let Some(tail) = self.tails.get_mut(&key) else { return Ok(()) };
        tail.start_at(offset)?;
        tail.rotated |= rotated;
        if offset > 0 {
            // Before anything else is read, so that a restart knows this file.
            self.moved.push(tail.position(&self.source).map_err(|error| io::Error::other(error.message().to_owned()))?);
        }
        Ok(())
    }
}

/// Whether logrotate and its like could have made `copy` of `original`: `access.log.1`, `access.log-20250101`, `access-20250101.log`.
fn is_named_after(copy: &Path, original: &Path) -> bool {
    let (Some(copy_name), Some(stem)) = (copy.file_name(), original.file_stem()) else { return false };
    copy != original && copy_name.as_encoded_bytes().starts_with(stem.as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_told_by_their_names() {
        let rows = [
            ("access.log.1", "access.log", true),
            ("access.log-20250101", "access.log", true),
            ("access-20250101.log", "access.log", true),
            ("old/access.log.1", "access.log", true),
            ("access.log", "access.log", false),
            ("error.log.1", "access.log", false),
            ("syslog.1", "syslog", true),
        ];
        for (copy, original, want) in rows {
            assert_eq!(is_named_after(Path::new(copy), Path::new(original)), want, "{copy} {original}");
        }
    }
}
