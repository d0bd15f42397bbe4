//! how the store comes up: the directory, the catalog, the WAL, and what may be swept away
//!
//!     FORMAT ─► LOCK ─► catalog ─► WAL: rows no segment has, positions, keys ─► leftovers removed
//!
//! **Always:** a directory of a newer format, or one in use, is left exactly as it was.
//! **Never:** a file that is not named as ours are is removed; nothing is removed when the catalog was damaged.

use super::catalog::{self, Catalog, Origin};
use super::disk::{self, Disk};
use super::keys::{Key, Keys};
use super::record::Record;
use super::state::{Hot, Inner, Table, merge_last};
use super::wal::{Found, Wal};
use super::{Options, Segment, TableOptions, drift, segment, writer};
use crate::error::{Error, ErrorKind, Result};
use crate::event::conform::Shape;
use crate::event::{Kind, TableName};
use std::any::Any;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::collections::btree_map::Entry;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The format of the data directory that this version writes.
pub const FORMAT: u32 = 1;

/// What came up.
pub(super) struct Recovered {
    pub inner: Inner,
    pub wal: Wal,
    pub keys: Keys,
    pub found: Found,
    pub lock: Box<dyn Any + Send>,
}

/// Opens a data directory.
pub(super) fn recover(root: &Path, options: &Options) -> Result<Recovered> {
    let disk = &*options.disk;
    let failed = |what: &str| {
        let what = format!("{what} `{}`", root.display());
        move |error: io::Error| Error::io(what, error)
    };
    let is_new = check_format(disk, root)?;
    make_root(disk, root).map_err(failed("cannot make the data directory"))?;
    let lock = lock(disk, root)?;
    let wal_folder = root.join("wal");
    for folder in [root.join("tables"), wal_folder.clone()] {
        disk.create_dir(&folder).map_err(failed("cannot make a folder in"))?;
    }
    // What a process before wrote may not be safe yet; from here on it is relied on.
    disk.sync_dir(&wal_folder).and_then(|()| disk.sync_dir(root)).map_err(failed("cannot sync"))?;
    if is_new {
        let written = disk::replace(disk, &root.join("FORMAT"), format!("{FORMAT}\n").as_bytes());
        written.map_err(failed("cannot write FORMAT in"))?;
    }
    let (catalog, origin) = Catalog::load(disk, root)?;
    let mut replay = Replay {
        now: options.clock.now(),
        inner: Inner::default(),
        flushed: BTreeMap::new(),
        catalog_seq: catalog.seq,
        keys: Keys::load(disk, &wal_folder).map_err(failed("cannot read the delivery keys in"))?,
    };
    replay.load(root, &catalog, origin, disk)?;
    let (wal, found) =
        Wal::open(options.disk.clone(), wal_folder, options.wal_file_bytes, catalog.seq, &mut |seq, record| {
            replay.take(seq, record)
        })?;
    replay.inner.seq = replay.inner.seq.max(wal.last_seq());
    if let Entry::Vacant(drift) = replay.inner.tables.entry(drift::table()) {
        drift.insert(Table::new(Kind::Logs, Shape::new(&drift::schema(), true)?));
    }
    replay.keys.expire(options.clock.now());
    if origin != Origin::Old {
        sweep(disk, root, &replay.inner);
    }
    tracing::info!(path = %root.display(), tables = replay.inner.tables.len(), replayed = found.records, "the store is open");
    Ok(Recovered { inner: replay.inner, wal, keys: replay.keys, found, lock })
}

/// Whether the directory is new; refused if its format is not ours.
fn check_format(disk: &dyn Disk, root: &Path) -> Result<bool> {
    let path = root.join("FORMAT");
    let text = match disk.read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::io(format!("cannot read `{}`", path.display()), error)),
    };
    match text.parse::<u32>() {
        Ok(FORMAT) => Ok(false),
        Ok(newer) if newer > FORMAT => Err(Error::invalid(format!(
            "the data directory `{}` has format {newer}, written by a newer tidemill; this one reads format {FORMAT}: run the newer tidemill, or choose another directory",
            root.display()
        ))),
        _ => Err(Error::invalid(format!(
            "`{}` says `{}`, which is no format of tidemill; choose another directory, or restore the file from a backup",
            path.display(),
            text.chars().take(40).collect::<String>()
        ))),
    }
}

fn make_root(disk: &dyn Disk, root: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = root
        .ancestors()
        .take_while(|folder| {
            folder.parent().is_some() && disk.space(folder).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        })
        .collect();
    for folder in missing.into_iter().rev().chain([root]) {
        disk.create_dir(folder)?;
        match disk.sync_dir(disk::parent(folder)) {
            // A folder that was there before may stand in one that we cannot open.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn lock(disk: &dyn Disk, root: &Path) -> Result<Box<dyn Any + Send>> {
    let path = root.join("LOCK");
    disk.lock(&path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let holder = disk::lock_holder(&path).map(|pid| format!(" {pid}")).unwrap_or_default();
            Error::new(
                ErrorKind::Unavailable,
                format!(
                    "the data directory `{}` is in use by process{holder}; stop that one, or choose another directory",
                    root.display()
                ),
            )
        }
        _ => Error::io(format!("cannot lock `{}`", path.display()), error),
    })
}

/// What is put together from catalog and WAL.
struct Replay {
    now: i64,
    inner: Inner,
    /// by table: up to here its rows are in segments
    flushed: BTreeMap<TableName, u64>,
    /// up to here the catalog has positions
    catalog_seq: u64,
    keys: Keys,
}

impl Replay {
    fn load(&mut self, root: &Path, catalog: &Catalog, origin: Origin, disk: &dyn Disk) -> Result<()> {
        self.inner.seq = catalog.seq;
        for (name, entry) in &catalog.tables {
            let name = TableName::parse(name).map_err(|error| error.within("the catalog"))?;
            let folder = catalog::folder(root, &name);
            let mut table = Table::new(entry.kind, entry.shape()?);
            let mut flushed = entry.flushed_seq;
            let mut segments: Vec<Arc<Segment>> =
                entry.segments.iter().map(|segment| Arc::new(segment.segment(&folder))).collect();
            if origin == Origin::Old {
                flushed = flushed.max(adopt(disk, root, &folder, &mut table, &mut segments)?);
            }
            table.segments = Arc::new(segments);
            self.flushed.insert(name.clone(), flushed);
            self.inner.tables.insert(name, table);
        }
        for (name, value) in &catalog.positions {
            let value = catalog::from_hex(value)
                .ok_or_else(|| Error::internal(format!("the catalog has a position `{name}` that cannot be read")))?;
            self.inner.positions.insert(name.clone(), value);
        }
        Ok(())
    }

    /// One record of the WAL.
    fn take(&mut self, seq: u64, record: Record) -> Result<()> {
        for key in record.keys {
            self.keys.insert(seq, Key { at: key.at.min(self.now), ..key });
        }
        if seq > self.catalog_seq {
            for position in record.positions {
                match position.value.is_empty() {
                    true => drop(self.inner.positions.remove(&position.name)),
                    false => drop(self.inner.positions.insert(position.name, position.value)),
                }
            }
        }
        for rows in record.tables {
            if self.flushed.get(&rows.table).is_some_and(|flushed| seq <= *flushed) {
                continue;
            }
            let table = match self.inner.tables.entry(rows.table.clone()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => {
                    let options = TableOptions { body: rows.body, ..TableOptions::default() };
                    new.insert(Table::new(rows.kind, writer::new_shape(&rows.table, rows.kind, &options)?))
                }
            };
            let shape = Arc::make_mut(&mut table.shape);
            for batch in &rows.batches {
                shape.replay(batch)?;
            }
            let hot = rows.batches.iter().map(|batch| Arc::new(Hot::new(batch.clone(), seq, self.now)));
            Arc::make_mut(&mut table.hot).extend(hot);
            if let Some(merged) = merge_last(&table.hot)? {
                table.hot = Arc::new(merged);
            }
            if rows.table == drift::table() {
                self.remember_drift(rows.batches.iter().flat_map(drift::told));
            }
        }
        Ok(())
    }

    fn remember_drift(&mut self, told: impl Iterator<Item = (String, String, String)>) {
        for (table, column, arrived) in told {
            let table = TableName::parse(&table).ok().and_then(|name| self.inner.tables.get_mut(&name));
            if let Some(table) = table {
                Arc::make_mut(&mut table.shape).see(&column, &arrived);
            }
        }
    }
}

/// The catalog is the one before the latest: segments that came after it are found by their names and what they say of themselves.
/// They count only where the WAL no longer has their rows. Answers up to where rows are in segments now.
fn adopt(
    disk: &dyn Disk,
    root: &Path,
    folder: &Path,
    table: &mut Table,
    segments: &mut Vec<Arc<Segment>>,
) -> Result<u64> {
    let failed = |error| Error::io(format!("`{}`", folder.display()), error);
    let wal = disk.list(&root.join("wal")).map_err(failed)?;
    let wal_first: u64 =
        wal.iter().filter_map(|entry| entry.name.strip_suffix(".wal")?.parse().ok()).min().unwrap_or(u64::MAX);
    let mut flushed = 0;
    for entry in disk.list(folder).map_err(failed)? {
        let path = folder.join(&entry.name);
        if !segment::is_ours(&entry.name) || segments.iter().any(|segment| segment.path == path) {
            continue;
        }
        match segment::inspect(disk, &path) {
            Ok((segment, schema)) if segment.seq_first < wal_first => {
                tracing::warn!(path = %path.display(), rows = segment.rows, "a segment was taken in that the catalog did not name");
                let columns = schema.fields().iter().filter(|field| crate::event::Type::of(field.data_type()).is_ok());
                let columns = arrow::datatypes::Schema::new(columns.cloned().collect::<Vec<_>>());
                Arc::make_mut(&mut table.shape).add(&columns)?;
                flushed = flushed.max(segment.seq_last);
                segments.push(Arc::new(segment));
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "a segment cannot be read"),
        }
    }
    segments.sort_by_key(|segment| segment.seq_first);
    Ok(flushed)
}

/// Removes what a crash left: unfinished files, and segments that no catalog names (their rows are in the WAL).
fn sweep(disk: &dyn Disk, root: &Path, inner: &Inner) {
    let mut folders = vec![root.to_owned(), root.join("wal")];
    let named: HashSet<&Path> =
        inner.tables.values().flat_map(|table| table.segments.iter()).map(|segment| segment.path.as_path()).collect();
    let mut below = vec![root.join("tables")];
    while let Some(folder) = below.pop() {
        let entries = disk.list(&folder).unwrap_or_default();
        below.extend(entries.iter().filter(|entry| entry.folder).map(|entry| folder.join(&entry.name)));
        folders.push(folder);
    }
    for folder in folders {
        for entry in disk.list(&folder).unwrap_or_default().into_iter().filter(|entry| !entry.folder) {
            let path = folder.join(&entry.name);
            let unfinished = entry.name.ends_with(disk::TEMPORARY);
            let unnamed = segment::is_ours(&entry.name) && !named.contains(path.as_path());
            if (unfinished || unnamed) && disk.remove(&path).is_err() {
                tracing::warn!(path = %path.display(), "a leftover cannot be removed");
            }
        }
    }
}
