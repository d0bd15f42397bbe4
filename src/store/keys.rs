//! the names of deliveries that were accepted, so that a repeated one is answered and not stored again
//!
//! A key is in the WAL record of its rows. When that WAL file goes before the key expires, the key moves to a small file beside it.
//!
//! **Always:** a key is remembered for [`KEEP`], or until a million newer ones came.

use super::disk::{self, Disk};
use super::record;
use crate::clock::nanos;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Accepted;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a key is remembered.
pub const KEEP: Duration = Duration::from_secs(15 * 60);
/// The most keys that are remembered; beyond it the oldest is forgotten.
pub const KEYS_MAX: usize = 1_000_000;

/// How the name of a file of keys ends.
const EXTENSION: &str = "keys";

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub key: Arc<str>,
    /// of what was sent under it
    pub digest: [u8; 32],
    /// when it was accepted, ns UTC
    pub at: i64,
    /// what was answered
    pub accepted: Accepted,
}

impl Key {
    /// What to answer to this name, sent again: the same if it is the same, or that it is not.
    pub(super) fn again(&self, digest: &[u8; 32]) -> Result<Accepted> {
        match self.digest == *digest {
            true => Ok(Accepted { repeated: true, ..self.accepted }),
            false => Err(Error::new(
                ErrorKind::Conflict,
                "the idempotency key was used for another body before, so this one was not stored; send it with a key of its own",
            )),
        }
    }
}

/// All that are remembered, by name and by age.
#[derive(Default)]
pub(super) struct Keys {
    by_name: HashMap<Arc<str>, (u64, Key)>,
    by_age: VecDeque<(u64, Arc<str>)>,
    /// files with keys of WAL files that are gone, and when the last of their keys expires
    files: Vec<(PathBuf, i64)>,
}

impl Keys {
    /// The key of this name, if it is remembered.
    pub(super) fn find(&self, name: &str, now: i64) -> Option<&Key> {
        let (_, key) = self.by_name.get(name)?;
        (!is_expired(key, now)).then_some(key)
    }

    /// Remembers a key of the record `seq`.
    pub(super) fn insert(&mut self, seq: u64, key: Key) {
        self.by_age.push_back((seq, key.key.clone()));
        self.by_name.insert(key.key.clone(), (seq, key));
        if self.by_age.len() > KEYS_MAX {
            self.forget_oldest();
        }
    }

    /// Forgets what has expired.
    pub(super) fn expire(&mut self, now: i64) {
        while let Some((_, name)) = self.by_age.front() {
            match self.by_name.get(name) {
                Some((_, key)) if !is_expired(key, now) => return,
                _ => self.forget_oldest(),
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((seq, name)) = self.by_age.pop_front()
            && self.by_name.get(&name).is_some_and(|(latest, _)| *latest == seq)
        {
            self.by_name.remove(&name);
        }
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Writes the keys of some records beside the WAL, before the file of those records goes.
    pub(super) fn set_aside(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        first: u64,
        last: u64,
        now: i64,
    ) -> io::Result<()> {
        let mut keys: Vec<Key> = Vec::new();
        let from = self.by_age.partition_point(|(seq, _)| *seq < first);
        let to = self.by_age.partition_point(|(seq, _)| *seq <= last);
        for (seq, name) in self.by_age.range(from..to.max(from)) {
            if let Some((latest, key)) = self.by_name.get(name)
                && latest == seq
                && !is_expired(key, now)
            {
                keys.push(key.clone());
            }
        }
        let Some(expires) = keys.iter().map(|key| key.at.saturating_add(nanos(KEEP))).max() else { return Ok(()) };
        let mut bytes = vec![0; 4];
        record::write_keys(&mut bytes, &keys);
        let sum = crc32c::crc32c(bytes.get(4..).unwrap_or_default());
        if let Some(place) = bytes.get_mut(..4) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        let path = folder.join(format!("{first:020}.{EXTENSION}"));
        disk::replace(disk, &path, &bytes)?;
        self.files.retain(|(known, _)| *known != path);
        self.files.push((path, expires));
        Ok(())
    }

    /// Removes the files whose keys have all expired.
    pub(super) fn tidy(&mut self, disk: &dyn Disk, now: i64) {
        self.files.retain(|(path, expires)| *expires > now || disk.remove(path).is_err());
    }

    /// Reads the keys that were set aside. A damaged file is told and left out.
    pub(super) fn load(disk: &dyn Disk, folder: &Path) -> io::Result<Keys> {
        let mut keys = Keys::default();
        for entry in disk.list(folder)? {
            let path = folder.join(&entry.name);
            let Some(first) = entry.name.strip_suffix(".keys").and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            let bytes = disk.read(&path)?;
            let found = bytes.split_at_checked(4).filter(|(sum, rest)| *sum == crc32c::crc32c(rest).to_le_bytes());
            let Some(Ok(mut found)) = found.map(|(_, rest)| record::read_keys(rest)) else {
                tracing::error!(path = %path.display(), "a file of delivery keys is damaged; deliveries repeated now may be stored twice");
                continue;
            };
            found.sort_by_key(|key| key.at);
            let expires = found.iter().map(|key| key.at.saturating_add(nanos(KEEP))).max().unwrap_or(0);
            keys.files.push((path, expires));
            found.into_iter().for_each(|key| keys.insert(first, key));
        }
        Ok(keys)
    }
}

fn is_expired(key: &Key, now: i64) -> bool {
    key.at.saturating_add(nanos(KEEP)) <= now
}
