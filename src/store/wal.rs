//! what was accepted and may not be in a segment yet, in the order it was accepted
//!
//!     wal/<first seq>.wal:   header: magic, format, first seq, previous file and how long it is valid, crc
//!                            record: length, crc, seq, payload     (its crc goes on from the crc before it)
//!
//! A write or sync that failed leaves nobody knowing what the file holds. The file is cut back and never written again: the next
//! one's header says how far it is valid, and only then is anything accepted. A sequence number is used up only by a record that is
//! safe, so a file in which nothing was accepted has the name of the next one, which replaces it.
//!
//! **Always:** a file goes only after the catalog names the segments that have its rows, the oldest first.
//! **Never:** a descriptor is synced again after its sync failed.

use super::disk::{Disk, DiskFile};
use super::keys::Keys;
use super::record::Record;
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"TIDEWAL\n";
const FORMAT: u32 = 1;
const HEADER_BYTES: usize = 40;
const RECORD_HEADER_BYTES: usize = 16;

/// The longest payload of a record.
pub(super) const RECORD_BYTES_MAX: usize = 1 << 30;

/// The log of all tables.
pub(super) struct Wal {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    file_bytes_max: u64,
    /// files with records in them that are not written any more, oldest first
    sealed: VecDeque<Sealed>,
    current: Option<Current>,
    /// the last file that has records, and how long it is valid
    previous: (u64, u64),
    next_seq: u64,
    buffer: Vec<u8>,
    pub(super) fsyncs: u64,
}

struct Sealed {
    path: PathBuf,
    first: u64,
    last: u64,
    bytes: u64,
    damaged: bool,
}

struct Current {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    first: u64,
    /// up to here it is safe
    bytes: u64,
    crc: u32,
}

/// What was found when the log was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub records: u64,
    /// places where records that had been accepted cannot be read any more
    pub damaged: u64,
}

impl Wal {
    /// Reads what is there, oldest first, and makes ready to go on after it.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        file_bytes_max: u64,
        seq_min: u64,
        take: &mut dyn FnMut(u64, Record) -> Result<()>,
    ) -> Result<(Wal, Found)> {
        let mut wal = Wal {
            disk,
            folder,
            file_bytes_max,
            sealed: VecDeque::new(),
            current: None,
            previous: (0, 0),
            next_seq: seq_min + 1,
            buffer: Vec::new(),
            fsyncs: 0,
        };
        let mut found = Found::default();
        let files = wal.list()?;
        for (at, (first, path)) in files.iter().enumerate() {
            let valid = files.get(at + 1..).unwrap_or_default().iter().find_map(|(_, later)| {
                let header = Header::read(&wal.disk.read_start(later, HEADER_BYTES).ok()?)?;
                (header.previous == *first).then_some(header.previous_bytes)
            });
            let last_file = at + 1 == files.len();
            wal.read_file(*first, path, valid, last_file, &mut found, take)?;
        }
        Ok((wal, found))
    }

    fn list(&self) -> Result<Vec<(u64, PathBuf)>> {
        let listed = self.disk.list(&self.folder).map_err(|e| Error::io(format!("`{}`", self.folder.display()), e))?;
        let numbered = listed.into_iter().filter_map(|entry| {
            let first = entry.name.strip_suffix(".wal")?.parse().ok()?;
            Some((first, self.folder.join(entry.name)))
        });
        let mut files: Vec<_> = numbered.collect();
        files.sort();
        Ok(files)
    }

    fn read_file(
        &mut self,
        first: u64,
        path: &Path,
        valid: Option<u64>,
        last_file: bool,
        found: &mut Found,
        take: &mut dyn FnMut(u64, Record) -> Result<()>,
    ) -> Result<()> {
        let failed = |error| Error::io(format!("cannot read `{}`", path.display()), error);
        if last_file {
            // A process that was killed may have left its last records in the page cache only; from here on they are relied on.
            self.disk.open(path).and_then(|mut file| file.sync_data()).map_err(failed)?;
        }
        let bytes = self.disk.read(path).map_err(failed)?;
        if first > self.next_seq {
            found.damaged += 1;
            tracing::error!(path = %path.display(), expected = self.next_seq, first, "a file of the WAL before this one is missing");
        }
        let mut scan = Scan::new(&bytes, first, valid);
        let before = found.records;
        let mut last = None;
        while let Some((seq, payload)) = scan.next() {
            match Record::read(payload) {
                Ok(record) => {
                    take(seq, record).map_err(|error| error.within(path.display()))?;
                    found.records += 1;
                    last = Some(seq);
                }
                Err(_) => scan.damaged += 1,
            }
        }
        if scan.damaged > 0 {
            found.damaged += scan.damaged;
            tracing::error!(path = %path.display(), places = scan.damaged, read = found.records - before, valid_bytes = scan.at,
                "the WAL is damaged: events that had been accepted cannot be read");
        }
        if let Some(last) = last {
            self.previous = (first, scan.at as u64);
            self.next_seq = self.next_seq.max(last + 1);
        }
        // A file with nothing accepted in it is replaced by the next one of its name, or goes with the others.
        let last = last.unwrap_or(first.saturating_sub(1));
        let damaged = scan.damaged > 0;
        if damaged {
            self.next_seq = self.next_seq.max(first + 1);
        }
        self.sealed.push_back(Sealed { path: path.to_owned(), first, last, bytes: bytes.len() as u64, damaged });
        Ok(())
    }

    /// Writes a record and makes it safe. After a failure nothing of it is there, and the next one goes to a new file. `InvalidData`
    /// says that it was not the disk: this record can never be written.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<u64> {
        let seq = self.next_seq;
        if self.current.as_ref().is_some_and(|current| current.bytes >= self.file_bytes_max) {
            self.seal();
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = self.append_with(seq, record, &mut buffer);
        buffer.clear();
        buffer.shrink_to(2 << 20);
        self.buffer = buffer;
        outcome?;
        self.next_seq += 1;
        Ok(seq)
    }

    fn append_with(&mut self, seq: u64, record: &Record, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        buffer.resize(RECORD_HEADER_BYTES, 0);
        record.write(buffer).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let length = buffer.len() - RECORD_HEADER_BYTES;
        if length > RECORD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes at once are too many")));
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.start(seq)?,
        };
        let crc = frame(buffer, seq, current.crc);
        let written = current.file.write_all(buffer).and_then(|()| {
            self.fsyncs += 1;
            current.file.sync_data()
        });
        match written {
            Ok(()) => {
                current.bytes += buffer.len() as u64;
                current.crc = crc;
                self.current = Some(current);
                Ok(())
            }
            Err(error) => {
                // Whether this works does not matter: the next header says how far the file is valid.
                let _ = current.file.truncate(current.bytes);
                self.current = Some(current);
                self.seal();
                Err(error)
            }
        }
    }

    /// A new file, safe with its header and its name.
    fn start(&mut self, seq: u64) -> io::Result<Current> {
        let path = self.folder.join(format!("{seq:020}.wal"));
        self.sealed.retain(|sealed| sealed.first != seq);
        let mut file = self.disk.create(&path)?;
        let header = Header { first: seq, previous: self.previous.0, previous_bytes: self.previous.1 }.write();
        file.write_all(&header)?;
        file.sync_data()?;
        self.disk.sync_dir(&self.folder)?;
        self.fsyncs += 2;
        Ok(Current { file, path, first: seq, bytes: HEADER_BYTES as u64, crc: crc32c::crc32c(&header) })
    }

    /// The current file is not written any more.
    fn seal(&mut self) {
        let Some(current) = self.current.take() else { return };
        if current.first < self.next_seq {
            self.previous = (current.first, current.bytes);
        }
        self.sealed.push_back(Sealed {
            path: current.path,
            first: current.first,
            last: self.next_seq - 1,
            bytes: current.bytes,
            damaged: false,
        });
    }

    /// Removes the files all of whose records are up to `through`; keys that still count are set aside first.
    pub(super) fn remove_through(&mut self, through: u64, keys: &mut Keys, now: i64) -> io::Result<()> {
        let emptied = self.current.as_ref().is_some_and(|current| current.first < self.next_seq);
        if emptied && self.next_seq - 1 <= through {
            self.seal();
        }
        while let Some(oldest) = self.sealed.front().filter(|oldest| oldest.last <= through) {
            keys.set_aside(&*self.disk, &self.folder, oldest.first, oldest.last, now)?;
            if oldest.damaged {
                // What cannot be read is kept for whoever can.
                self.disk.rename(&oldest.path, &oldest.path.with_extension("damaged"))?;
            } else {
                match self.disk.remove(&oldest.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            // One by one: were a file back after a crash, the next one would have to say how far it is valid.
            self.disk.sync_dir(&self.folder)?;
            self.sealed.pop_front();
        }
        keys.tidy(&*self.disk, now);
        Ok(())
    }

    /// The last number that was used.
    pub(super) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Bytes in all files.
    pub(super) fn bytes(&self) -> u64 {
        self.sealed.iter().map(|sealed| sealed.bytes).sum::<u64>() + self.current.as_ref().map_or(0, |c| c.bytes)
    }

    /// How many files there are.
    pub(super) fn files(&self) -> usize {
        self.sealed.len() + usize::from(self.current.is_some())
    }
}

/// Fills in a record's header; returns its crc.
fn frame(buffer: &mut [u8], seq: u64, crc_before: u32) -> u32 {
    let length = (buffer.len() - RECORD_HEADER_BYTES) as u32;
    let Some((header, payload)) = buffer.split_at_mut_checked(RECORD_HEADER_BYTES) else { return crc_before };
    let crc = record_crc(crc_before, length, seq, payload);
    let parts = length.to_le_bytes().into_iter().chain(crc.to_le_bytes()).chain(seq.to_le_bytes());
    header.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    crc
}

fn record_crc(before: u32, length: u32, seq: u64, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(before, &length.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &seq.to_le_bytes()), payload)
}

/// A file's first bytes.
struct Header {
    first: u64,
    previous: u64,
    previous_bytes: u64,
}

impl Header {
    fn write(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.previous.to_le_bytes());
        bytes.extend_from_slice(&self.previous_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let (content, crc) = bytes.split_at_checked(HEADER_BYTES - 4)?;
        if !content.starts_with(MAGIC) || number::<4>(content, 8)? != FORMAT.to_le_bytes() {
            return None;
        }
        let whole = crc32c::crc32c(content).to_le_bytes() == *crc;
        whole.then_some(Header {
            first: u64::from_le_bytes(number(content, 12)?),
            previous: u64::from_le_bytes(number(content, 20)?),
            previous_bytes: u64::from_le_bytes(number(content, 28)?),
        })
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// A walk over the records of a file.
struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    crc: u32,
    next_seq: u64,
    /// how long the file is known to be valid
    valid: Option<u64>,
    damaged: u64,
}

impl<'a> Scan<'a> {
    fn new(bytes: &'a [u8], first: u64, valid: Option<u64>) -> Self {
        let limit = valid.and_then(|valid| usize::try_from(valid).ok()).unwrap_or(usize::MAX).min(bytes.len());
        let readable = bytes.get(..limit).unwrap_or_default();
        let mut scan = Scan { bytes: readable, at: HEADER_BYTES, crc: 0, next_seq: first, valid, damaged: 0 };
        match Header::read(readable) {
            Some(header) if header.first == first => {
                scan.crc = crc32c::crc32c(readable.get(..HEADER_BYTES).unwrap_or_default());
            }
            // A header is safe before anything is accepted: one that is torn has nothing behind it.
            _ if readable.len() > HEADER_BYTES && readable.iter().any(|byte| *byte != 0) => {
                scan.damaged += 1;
                scan.rescue();
            }
            _ => scan.at = readable.len(),
        }
        scan
    }

    /// The header cannot be read. The first record's own crc, taken as it stands, tells whether the second goes on from it.
    fn rescue(&mut self) {
        let first = self.header(HEADER_BYTES);
        let second = first.map(|(length, crc, _)| (HEADER_BYTES + RECORD_HEADER_BYTES + length, crc));
        match second.filter(|(at, crc)| self.verifies(*at, *crc)) {
            Some((at, crc)) => {
                self.at = at;
                self.crc = crc;
                self.next_seq += 1;
            }
            None => self.at = self.bytes.len(),
        }
    }

    fn header(&self, at: usize) -> Option<(usize, u32, u64)> {
        let length = u32::from_le_bytes(number(self.bytes, at)?) as usize;
        let crc = u32::from_le_bytes(number(self.bytes, at + 4)?);
        let seq = u64::from_le_bytes(number(self.bytes, at + 8)?);
        (length <= RECORD_BYTES_MAX).then_some((length, crc, seq))
    }

    /// Whether a whole record stands there that goes on from a crc.
    fn verifies(&self, at: usize, crc_before: u32) -> bool {
        let Some((length, crc, seq)) = self.header(at) else { return false };
        let start = at + RECORD_HEADER_BYTES;
        let payload = self.bytes.get(start..start + length);
        payload.is_some_and(|payload| record_crc(crc_before, length as u32, seq, payload) == crc)
    }

    /// The next record that can be read.
    fn next(&mut self) -> Option<(u64, &'a [u8])> {
        loop {
            if self.at >= self.bytes.len() {
                return self.end();
            }
            let whole = self.verifies(self.at, self.crc);
            let Some((length, crc, seq)) = self.header(self.at) else { return self.end() };
            let start = self.at + RECORD_HEADER_BYTES;
            let next = start + length;
            // Records are written and synced one after the other: a whole one behind a broken one means damage, not a torn end.
            if !whole && !self.verifies(next, crc) {
                return self.end();
            }
            self.at = next;
            self.crc = crc;
            if whole && seq >= self.next_seq {
                self.next_seq = seq + 1;
                return Some((seq, self.bytes.get(start..next)?));
            }
            self.next_seq += 1;
            self.damaged += 1;
        }
    }

    /// Nothing more can be read: was there anything?
    fn end(&mut self) -> Option<(u64, &'a [u8])> {
        if self.valid.is_some_and(|valid| (self.at as u64) < valid) {
            self.damaged += 1;
            self.valid = None;
        }
        None
    }
}
