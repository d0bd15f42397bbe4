//! the few things the store asks of a file system, so that a test can stand in for it
//!
//! **Always:** what was written is safe only after `sync_data`, and a new name only after `sync_dir` of its folder.

use crate::error::{Error, ErrorKind};
use std::any::Any;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file system.
pub trait Disk: Send + Sync {
    /// A new file, or the old one of that name emptied, open for writing.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// A file that is there, open for writing at its end.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The first bytes of a file, fewer if it is shorter.
    fn read_start(&self, path: &Path, length: usize) -> io::Result<Vec<u8>>;
    /// Gives a file another name, taking the place of any that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder, if it is not there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder safe.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// What is in a folder, by name; nothing if there is no such folder.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// The room on the disk.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Holds a file for this process until the answer is dropped. `WouldBlock` when another one holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>>;
}

/// A file open for writing.
pub trait DiskFile: Send {
    /// Writes at the end. After a failure, any part of it may be there.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written safe.
    fn sync_data(&mut self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// Something in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// its name
    pub name: String,
    /// whether it is a folder
    pub folder: bool,
    /// its size
    pub bytes: u64,
}

/// The room on a disk.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// what we may still write
    pub free_bytes: u64,
    /// how large the disk is
    pub total_bytes: u64,
}

/// Writes a file in the place of another, so that a reader finds the old one or the new one, whole.
pub(super) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    let mut file = disk.create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    drop(file);
    disk.rename(&temporary, path)?;
    disk.sync_dir(parent(path))
}

/// The name a file has until it is whole.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    name.into()
}

/// How the name of an unfinished file ends.
pub(super) const TEMPORARY: &str = ".unfinished";

/// The folder of a file.
pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// What a failed write or sync means for whoever wants to store something.
pub(super) fn refusal(folder: &Path, error: &io::Error) -> Error {
    let folder = folder.display();
    let message = match error.kind() {
        io::ErrorKind::InvalidData => {
            return Error::new(ErrorKind::Limit, format!("the append cannot be written: {error}"));
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("the disk is full at `{folder}`; accepted again when space is free")
        }
        _ => format!("`{folder}` cannot be written: {error}; accepted again when it can"),
    };
    Error::new(ErrorKind::Unavailable, message)
}

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(fs::File::create(path)?)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(fs::OpenOptions::new().append(true).open(path)?)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_start(&self, path: &Path, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let data = entry.metadata()?;
            // A name that is not text is none of ours.
            if let Ok(name) = entry.file_name().into_string() {
                found.push(Entry { name, folder: data.is_dir(), bytes: data.len() });
            }
        }
        found.sort();
        Ok(found)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let room = rustix::fs::statvfs(path)?;
        Ok(Space {
            free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
            total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>> {
        let mut file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        // The number is for people who meet the lock; the lock itself is the kernel's and ends with the process.
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Box::new(file))
    }
}

/// The number of the process that holds a lock, if it can be read.
pub(super) fn lock_holder(path: &Path) -> Option<u32> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

struct RealFile(fs::File);

impl DiskFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        self.0.seek(SeekFrom::Start(length)).map(|_| ())
    }
}
