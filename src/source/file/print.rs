//! how a file is known again: its first bytes, and the last ones before the place where reading stopped
//!
//! A path says little (logs are renamed) and an inode is used again after its file is gone. What was read says it all: if both
//! ends of it are still there, the file is the same, or a copy; if not, it was cut off and written anew.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes kept of the start.
const HEAD_BYTES_MAX: usize = 1024;
/// Bytes kept before the place where reading stopped.
const LAST_BYTES_MAX: usize = 256;

/// What is remembered of the bytes that were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Print {
    head: Vec<u8>,
    last: Vec<u8>,
    /// how far the file was read
    pub seen: u64,
}

/// The same as a position in the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// where the file was
    pub path: String,
    /// where the first line starts that was not handed over
    pub offset: u64,
    seen: u64,
    head: Hashed,
    last: Hashed,
}

/// Some bytes, by their number and their hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hashed {
    bytes: usize,
    sha256: String,
}

/// What a file is to something that was read earlier.
#[derive(Debug, PartialEq)]
pub enum Likeness {
    /// it has all that was read
    Same,
    /// it ends earlier, and starts the same
    Shorter,
    /// it is something else
    Different,
}

impl Print {
    /// These bytes come next.
    pub fn extend(&mut self, bytes: &[u8]) {
        let missing = HEAD_BYTES_MAX - self.head.len().min(HEAD_BYTES_MAX);
        self.head.extend(bytes.iter().take(missing));
        self.last.extend_from_slice(bytes.get(bytes.len().saturating_sub(LAST_BYTES_MAX)..).unwrap_or_default());
        let surplus = self.last.len().saturating_sub(LAST_BYTES_MAX);
        self.last.drain(..surplus);
        self.seen += bytes.len() as u64;
    }

    /// The print of a file read up to `seen`.
    pub fn load(file: &File, seen: u64) -> io::Result<Print> {
        let length = |max: usize| usize::try_from(seen).unwrap_or(usize::MAX).min(max);
        let head = exactly(file, 0, length(HEAD_BYTES_MAX))?.unwrap_or_default();
        let last = exactly(file, seen - length(LAST_BYTES_MAX) as u64, length(LAST_BYTES_MAX))?.unwrap_or_default();
        Ok(Print { head, last, seen })
    }

    /// Whether all that was read is still there, as far as both ends tell.
    pub fn is_of(&self, file: &File) -> io::Result<bool> {
        let last = exactly(file, self.seen - self.last.len() as u64, self.last.len())?;
        if last.as_deref() != Some(self.last.as_slice()) {
            return Ok(false);
        }
        Ok(exactly(file, 0, self.head.len())?.as_deref() == Some(self.head.as_slice()))
    }

    /// For the store.
    pub fn saved(&self, path: &str, offset: u64) -> Saved {
        let (head, last) = (Hashed::of(&self.head), Hashed::of(&self.last));
        Saved { path: path.to_owned(), offset, seen: self.seen, head, last }
    }
}

impl Saved {
    /// What a file is to the one that was read.
    pub fn likeness(&self, file: &File) -> io::Result<Likeness> {
        let head = exactly(file, 0, self.head.bytes)?;
        if !head.is_some_and(|head| Hashed::of(&head) == self.head) {
            return Ok(Likeness::Different);
        }
        match exactly(file, self.seen.saturating_sub(self.last.bytes as u64), self.last.bytes)? {
            Some(last) if Hashed::of(&last) == self.last => Ok(Likeness::Same),
            Some(_) => Ok(Likeness::Different),
            None => Ok(Likeness::Shorter),
        }
    }
}

impl Hashed {
    fn of(bytes: &[u8]) -> Hashed {
        let sha256 = Sha256::digest(bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Hashed { bytes: bytes.len(), sha256 }
    }
}

/// So many bytes from there, or none if the file ends earlier.
fn exactly(file: &File, at: u64, count: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; count];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `copy`'s first `size` bytes are those of `original`, beginning at `from`; says how far they are if so.
pub fn is_start_of(copy: &File, original: &File, from: u64, size: u64) -> io::Result<bool> {
    let (mut at, mut left, mut right) = (from, vec![0; 64 << 10], vec![0; 64 << 10]);
    while at < size {
        let count = usize::try_from(size - at).unwrap_or(usize::MAX).min(left.len());
        let (Some(left), Some(right)) = (left.get_mut(..count), right.get_mut(..count)) else { return Ok(false) };
        for (file, bytes) in [(copy, &mut *left), (original, &mut *right)] {
            match file.read_exact_at(bytes, at) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        if left != right {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_is_known_again() {
        let mut file = tempfile::tempfile().unwrap();
        let text: Vec<u8> = (0..500).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        file.write_all(&text).unwrap();
        let mut print = Print::default();
        for chunk in text[..4000].chunks(7) {
            print.extend(chunk);
        }
        assert_eq!(print, Print::load(&file, 4000).unwrap());
        let saved = print.saved("x", 3990);
        assert!(print.is_of(&file).unwrap());
        assert_eq!(saved.likeness(&file).unwrap(), Likeness::Same);
        file.set_len(3999).unwrap();
        assert!(!print.is_of(&file).unwrap());
        assert_eq!(saved.likeness(&file).unwrap(), Likeness::Shorter);
        file.set_len(0).unwrap();
        assert_eq!(saved.likeness(&file).unwrap(), Likeness::Different);
        assert!(Print::default().is_of(&file).unwrap());
    }
}
