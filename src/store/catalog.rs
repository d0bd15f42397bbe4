//! what exists: tables, their columns, their segments, and how far the WAL is in them
//!
//! One JSON file behind a line with its length and checksum. It is replaced as a whole; the one before it is kept beside it.
//!
//! **Always:** a segment is safe, with its name, before the catalog names it.

use super::disk::{self, Disk};
use super::{Segment, state::Table};
use crate::error::{Error, Result};
use crate::event::conform::Shape;
use crate::event::{Kind, TableName, Type, columns};
use arrow::datatypes::{Field, Schema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file's name.
const NAME: &str = "catalog.json";
/// The name of the one before it.
const OLD: &str = "catalog.old.json";

/// Everything, as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Catalog {
    /// the last WAL record that positions, columns and bounds are of
    pub seq: u64,
    pub tables: BTreeMap<String, CatalogTable>,
    /// position by name, in hexadecimal
    pub positions: BTreeMap<String, String>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CatalogTable {
    pub kind: Kind,
    pub body: bool,
    /// name and type, in order
    pub columns: Vec<(String, String)>,
    /// least and greatest value of each int64 column
    pub bounds: BTreeMap<String, (i64, i64)>,
    /// column and type of every drift that was told
    pub drift: Vec<(String, String)>,
    /// every row of a WAL record up to here is in a segment
    pub flushed_seq: u64,
    pub segments: Vec<CatalogSegment>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct CatalogSegment {
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
    pub time_min: i64,
    pub time_max: i64,
    pub seq_first: u64,
    pub seq_last: u64,
    pub created_at: i64,
}

/// The first line of the file.
#[derive(Serialize, Deserialize)]
struct Seal {
    bytes: usize,
    crc32c: u32,
}

/// Where a catalog came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// there was none
    New,
    /// the latest
    Latest,
    /// the latest is damaged: the one before it
    Old,
}

impl Catalog {
    /// Reads it.
    pub(super) fn load(disk: &dyn Disk, root: &Path) -> Result<(Catalog, Origin)> {
        match read(disk, &root.join(NAME)) {
            Ok(Some(catalog)) => return Ok((catalog, Origin::Latest)),
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the catalog cannot be read; going on with the one before it"),
        }
        match read(disk, &root.join(OLD))? {
            Some(catalog) => Ok((catalog, Origin::Old)),
            None if exists(disk, &root.join(NAME)) => Err(Error::internal(format!(
                "`{}` is damaged and there is none before it; restore it from a backup, or move the directory away to start anew",
                root.join(NAME).display()
            ))),
            None => Ok((Catalog::default(), Origin::New)),
        }
    }

    /// Writes it in the place of the latest.
    pub(super) fn save(&self, disk: &dyn Disk, root: &Path) -> io::Result<()> {
        let content = serde_json::to_vec(self).map_err(io::Error::other)?;
        let seal = Seal { bytes: content.len(), crc32c: crc32c::crc32c(&content) };
        let mut bytes = serde_json::to_vec(&seal).map_err(io::Error::other)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&content);
        bytes.push(b'\n');
        let (latest, temporary) = (root.join(NAME), disk::temporary(&root.join(NAME)));
        let mut file = disk.create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        drop(file);
        match disk.rename(&latest, &root.join(OLD)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        disk.rename(&temporary, &latest)?;
        disk.sync_dir(root)
    }

    /// Adds a table; `first_hot` is the first record that has rows of it in no segment.
    pub(super) fn add(&mut self, name: &TableName, table: &Table, segments: &[Arc<Segment>], first_hot: Option<u64>) {
        let shape = &table.shape;
        let columns = shape.schema.fields().iter().filter_map(|field| {
            let r#type = Type::of(field.data_type()).ok()?;
            Some((field.name().clone(), r#type.word().to_owned()))
        });
        let entry = CatalogTable {
            kind: table.kind,
            body: shape.body,
            columns: columns.collect(),
            bounds: shape.bounds(),
            drift: shape.seen().cloned().collect(),
            flushed_seq: first_hot.map_or(self.seq, |first| first - 1),
            segments: segments.iter().map(|segment| CatalogSegment::of(segment)).collect(),
        };
        self.tables.insert(name.as_str().to_owned(), entry);
    }
}

impl CatalogTable {
    /// The table's shape.
    pub(super) fn shape(&self) -> Result<Shape> {
        let fields = self.columns.iter().map(|(name, word)| {
            let r#type = Type::ALL.iter().find(|r#type| r#type.word() == word);
            let r#type =
                r#type.ok_or_else(|| Error::internal(format!("the catalog has a column `{name}` of type `{word}`")))?;
            Ok(columns::field(name, *r#type))
        });
        let fields: Vec<Field> = fields.collect::<Result<_>>()?;
        let mut shape = Shape::new(&Schema::new(fields), self.body)?;
        self.bounds.iter().for_each(|(name, bounds)| shape.set_bounds(name, *bounds));
        self.drift.iter().for_each(|(column, arrived)| shape.see(column, arrived));
        Ok(shape)
    }
}

impl CatalogSegment {
    fn of(segment: &Segment) -> Self {
        CatalogSegment {
            file: segment.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            rows: segment.rows,
            bytes: segment.bytes,
            time_min: segment.time_min,
            time_max: segment.time_max,
            seq_first: segment.seq_first,
            seq_last: segment.seq_last,
            created_at: segment.created_at,
        }
    }

    /// The segment, in its table's folder.
    pub(super) fn segment(&self, folder: &Path) -> Segment {
        Segment {
            path: folder.join(&self.file),
            rows: self.rows,
            bytes: self.bytes,
            time_min: self.time_min,
            time_max: self.time_max,
            seq_first: self.seq_first,
            seq_last: self.seq_last,
            created_at: self.created_at,
        }
    }
}

/// Where a table's segments are.
pub(super) fn folder(root: &Path, table: &TableName) -> PathBuf {
    match table.parts() {
        (Some(schema), name) => root.join("tables").join(schema).join(name),
        (None, name) => root.join("tables").join(name),
    }
}

fn exists(disk: &dyn Disk, path: &Path) -> bool {
    disk.read_start(path, 1).is_ok()
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Catalog>> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(format!("cannot read `{}`", path.display()), error)),
    };
    let damaged = || Error::internal(format!("`{}` is damaged", path.display()));
    let line = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let seal: Seal = serde_json::from_slice(bytes.get(..line).unwrap_or_default()).map_err(|_| damaged())?;
    let content = bytes.get(line + 1..).and_then(|rest| rest.get(..seal.bytes)).ok_or_else(damaged)?;
    if crc32c::crc32c(content) != seal.crc32c {
        return Err(damaged());
    }
    serde_json::from_slice(content).map(Some).map_err(|_| damaged())
}

/// Bytes as the catalog has them.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes again.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    Some(digits?.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::simulated::SimulatedDisk;
    use super::*;

    #[test]
    fn a_damaged_catalog_gives_way_to_the_one_before_it() {
        let disk = SimulatedDisk::default();
        let root = Path::new("/");
        let catalog = |seq| Catalog { seq, ..Catalog::default() };
        assert_eq!(Catalog::load(&disk, root).unwrap(), (catalog(0), Origin::New));
        catalog(1).save(&disk, root).unwrap();
        catalog(2).save(&disk, root).unwrap();
        assert_eq!(Catalog::load(&disk, root).unwrap(), (catalog(2), Origin::Latest));
        disk.damage(&root.join(NAME), 40);
        assert_eq!(Catalog::load(&disk, root).unwrap(), (catalog(1), Origin::Old));
    }

    #[test]
    fn positions_survive_as_hexadecimal() {
        for bytes in [&b""[..], b"\x00\xff", b"offset 12"] {
            assert_eq!(from_hex(&to_hex(bytes)).as_deref(), Some(bytes));
        }
    }
}
