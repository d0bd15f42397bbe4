//! a disk for tests that fails when told to, and forgets what was not synced

use super::disk::{Disk, DiskFile, Entry, Space};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Block in which a torn write is whole or absent.
const SECTOR_BYTES: usize = 512;

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies: all that was written is there.
    Process,
    /// The power goes: only what was synced is there.
    Power,
    /// The power goes: of what was not synced, any sectors and the first few names are there, as the number says.
    Torn(u64),
}

/// What goes wrong, and when (counted in operations that change something).
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// at this operation everything ends
    pub crash_at: Option<u64>,
    /// these operations (from, to) fail
    pub fail: Option<(u64, u64, Fault)>,
    /// files with this in their path cannot be made
    pub broken: Option<&'static str>,
    /// bytes that fit on the disk
    pub capacity_bytes: Option<u64>,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Full,
    Broken,
}

/// A simulated disk. Cloning shares it.
#[derive(Clone, Default)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    plan: Plan,
    operations: u64,
    crashed: bool,
    names: BTreeMap<PathBuf, Node>,
    safe_names: BTreeMap<PathBuf, Node>,
    pending: Vec<Change>,
    files: Vec<Inode>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Folder,
    File(usize),
}

#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    safe: Vec<u8>,
    /// a sync failed: the kernel may call its pages clean and yet not have written them
    lost: bool,
}

#[derive(Clone)]
enum Change {
    Set(PathBuf, Node),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl SimulatedDisk {
    /// Sets what goes wrong from now on, counting anew.
    pub fn plan(&self, plan: Plan) {
        let mut state = self.state();
        state.plan = plan;
        state.operations = 0;
    }

    /// Operations since the plan was made.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The disk as it is found after the crash.
    pub fn after(&self, crash: Crash) -> SimulatedDisk {
        let state = self.state();
        if crash == Crash::Process {
            // What was written is there, and still not safe.
            let files = state.files.iter().map(|f| Inode { data: f.data.clone(), safe: f.safe.clone(), lost: f.lost });
            let (names, safe_names, pending) = (state.names.clone(), state.safe_names.clone(), state.pending.clone());
            let fresh = State { names, safe_names, pending, files: files.collect(), ..State::default() };
            return SimulatedDisk(Arc::new(Mutex::new(fresh)));
        }
        let mut random = match crash {
            Crash::Torn(seed) => seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            _ => 1,
        };
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut names = state.safe_names.clone();
        if let Crash::Torn(_) = crash {
            let kept = (next() as usize) % (state.pending.len() + 1);
            for change in state.pending.iter().take(kept) {
                apply(&mut names, change);
            }
        }
        names.retain(|path, _| path.ancestors().skip(1).all(|up| root(up) || state.safe_names.contains_key(up)));
        let files = state.files.iter().map(|inode| {
            let data = match crash {
                Crash::Torn(_) => torn(inode, &mut next),
                _ => inode.safe.clone(),
            };
            Inode { safe: data.clone(), data, lost: false }
        });
        let fresh = State { safe_names: names.clone(), names, files: files.collect(), ..State::default() };
        SimulatedDisk(Arc::new(Mutex::new(fresh)))
    }

    /// Flips a bit of a file.
    pub fn damage(&self, path: &Path, at: usize) {
        let mut state = self.state();
        if let Some(Node::File(file)) = state.names.get(path).copied() {
            let inode = &mut state.files[file];
            inode.data[at] ^= 1;
            inode.safe = inode.data.clone();
        }
    }

    /// Every file's path.
    pub fn paths(&self) -> Vec<PathBuf> {
        let state = self.state();
        state.names.iter().filter(|(_, node)| **node != Node::Folder).map(|(path, _)| path.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn root(path: &Path) -> bool {
    path == Path::new("/") || path == Path::new("")
}

fn torn(inode: &Inode, next: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut data = inode.safe.clone();
    let length = match next() % 3 {
        0 => inode.safe.len().min(inode.data.len()),
        1 => inode.data.len(),
        _ => inode.safe.len() + (next() as usize) % (inode.data.len().saturating_sub(inode.safe.len()) + 1),
    };
    data.resize(length, 0);
    for (at, sector) in data.chunks_mut(SECTOR_BYTES).enumerate() {
        if next().is_multiple_of(2) {
            let start = at * SECTOR_BYTES;
            let end = (start + sector.len()).min(inode.data.len());
            if start < end {
                sector[..end - start].copy_from_slice(&inode.data[start..end]);
            }
        }
    }
    data
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, change: &Change) {
    match change {
        Change::Set(path, node) => {
            names.insert(path.clone(), *node);
        }
        Change::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
        Change::Remove(path) => {
            names.remove(path);
        }
    }
}

impl State {
    /// Counts an operation and fails it if it is its turn.
    fn step(&mut self) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("the machine is gone"));
        }
        let at = self.operations;
        self.operations += 1;
        if self.plan.crash_at == Some(at) {
            self.crashed = true;
            return Err(io::Error::other("the machine is gone"));
        }
        match self.plan.fail {
            Some((from, to, Fault::Full)) if (from..to).contains(&at) => Err(io::ErrorKind::StorageFull.into()),
            Some((from, to, Fault::Broken)) if (from..to).contains(&at) => Err(io::Error::other("input/output error")),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.pending.push(change);
    }

    fn used(&self) -> u64 {
        let live = self.names.values().filter_map(|node| match node {
            Node::File(file) => Some(self.files[*file].data.len() as u64),
            Node::Folder => None,
        });
        live.sum()
    }
}

impl Disk for SimulatedDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.step()?;
        if state.plan.broken.is_some_and(|part| path.to_str().unwrap().contains(part)) {
            return Err(io::Error::other("input/output error"));
        }
        let folder = path.parent().unwrap();
        if !root(folder) && !state.names.contains_key(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let file = match state.names.get(path).copied() {
            Some(Node::File(file)) => {
                state.files[file].data.clear();
                state.files[file].lost = false;
                file
            }
            _ => {
                state.files.push(Inode::default());
                let file = state.files.len() - 1;
                state.change(Change::Set(path.to_owned(), Node::File(file)));
                file
            }
        };
        Ok(Box::new(SimulatedFile { disk: self.clone(), file }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self.state().names.get(path).copied() {
            Some(Node::File(file)) => Ok(Box::new(SimulatedFile { disk: self.clone(), file })),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        match state.names.get(path).copied() {
            Some(Node::File(file)) => Ok(state.files[file].data.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read_start(&self, path: &Path, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(path)?;
        bytes.truncate(length);
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if !state.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if !state.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            state.step()?;
            state.change(Change::Set(path.to_owned(), Node::Folder));
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let pending = std::mem::take(&mut state.pending);
        for change in pending {
            let here = match &change {
                Change::Set(name, _) | Change::Remove(name) => name.parent() == Some(path),
                Change::Rename(from, to) => from.parent() == Some(path) || to.parent() == Some(path),
            };
            match here {
                true => apply(&mut state.safe_names, &change),
                false => state.pending.push(change),
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state();
        let here = state.names.iter().filter(|(name, _)| name.parent() == Some(path));
        Ok(here
            .map(|(name, node)| Entry {
                name: name.file_name().unwrap().to_str().unwrap().to_owned(),
                folder: *node == Node::Folder,
                bytes: match node {
                    Node::File(file) => state.files[*file].data.len() as u64,
                    Node::Folder => 0,
                },
            })
            .collect())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.state();
        let total_bytes = state.plan.capacity_bytes.unwrap_or(1 << 40);
        Ok(Space { free_bytes: total_bytes.saturating_sub(state.used()), total_bytes })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Any + Send>> {
        if !self.state().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock(self.clone(), path.to_owned())))
    }
}

struct Lock(SimulatedDisk, PathBuf);

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.state().locks.remove(&self.1);
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: usize,
}

impl DiskFile for SimulatedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let room = state.plan.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used()));
        let outcome = state.step();
        let fits = (room as usize).min(bytes.len());
        // A failed write may have written a part, or all of it.
        let kept = if outcome.is_ok() { fits } else { bytes.len() * (state.operations as usize % 3) / 2 };
        let kept = if state.crashed { bytes.len() } else { kept.min(bytes.len()) };
        state.files[self.file].data.extend_from_slice(&bytes[..kept]);
        outcome?;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.step();
        let crashed = state.crashed;
        let inode = &mut state.files[self.file];
        if outcome.is_err() && !crashed {
            inode.lost = true;
        } else if outcome.is_ok() && !inode.lost {
            inode.safe = inode.data.clone();
        }
        outcome
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        state.files[self.file].data.resize(length as usize, 0);
        Ok(())
    }
}
