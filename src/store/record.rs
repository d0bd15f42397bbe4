//! what one WAL record holds: rows for tables, positions, keys
//!
//!     positions: count, (name, value)… │ keys: count, (key, digest, at, rows, dead)… │ tables: count, (name, kind, body, Arrow stream)…
//!
//! Numbers are little-endian; names and values are a length of 32 bits and their bytes, a stream one of 64 bits.
//!
//! **Always:** whatever bytes come in, reading ends with a record or with [`Damaged`], never with a panic.

use super::keys::Key;
use crate::error::Result;
use crate::event::{Accepted, Kind, Position, TableName};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::record_batch::RecordBatch;
use std::io::Cursor;
use std::sync::Arc;

/// Rows of one table.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub table: TableName,
    pub kind: Kind,
    /// whether the table keeps `body`
    pub body: bool,
    /// conformed batches, all of one schema
    pub batches: Vec<RecordBatch>,
}

/// A record.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub positions: Vec<Position>,
    pub keys: Vec<Key>,
    pub tables: Vec<Rows>,
}

/// The bytes are not a record.
#[derive(Debug)]
pub(super) struct Damaged;

impl Record {
    /// Adds the record's bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        count(out, self.positions.len());
        for position in &self.positions {
            bytes(out, position.name.as_bytes());
            bytes(out, &position.value);
        }
        write_keys(out, &self.keys);
        count(out, self.tables.len());
        for rows in &self.tables {
            rows.write(out)?;
        }
        Ok(())
    }

    /// Reads one.
    pub(super) fn read(input: &[u8]) -> Result<Record, Damaged> {
        let mut input = Reader(input);
        let mut record = Record::default();
        for _ in 0..input.count()? {
            record.positions.push(Position { name: input.text()?.to_owned(), value: input.bytes()?.to_vec() });
        }
        record.keys = input.keys()?;
        for _ in 0..input.count()? {
            record.tables.push(input.rows()?);
        }
        if input.0.is_empty() { Ok(record) } else { Err(Damaged) }
    }
}

impl Rows {
    fn write(&self, out: &mut Vec<u8>) -> Result<()> {
        bytes(out, self.table.as_str().as_bytes());
        out.push(match self.kind {
            Kind::Logs => 0,
            Kind::Metrics => 1,
        });
        out.push(u8::from(self.body));
        let length_at = out.len();
        out.extend_from_slice(&[0; 8]);
        if let Some(first) = self.batches.first() {
            let options = IpcWriteOptions::try_new(8, false, arrow::ipc::MetadataVersion::V5)?;
            let mut writer = StreamWriter::try_new_with_options(&mut *out, first.schema_ref(), options)?;
            for batch in &self.batches {
                writer.write(batch)?;
            }
            writer.finish()?;
        }
        let length = (out.len() - length_at - 8) as u64;
        if let Some(place) = out.get_mut(length_at..length_at + 8) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        Ok(())
    }
}

/// Adds a list of keys.
pub(super) fn write_keys(out: &mut Vec<u8>, keys: &[Key]) {
    count(out, keys.len());
    for key in keys {
        bytes(out, key.key.as_bytes());
        out.extend_from_slice(&key.digest);
        out.extend_from_slice(&key.at.to_le_bytes());
        out.extend_from_slice(&key.accepted.rows.to_le_bytes());
        out.extend_from_slice(&key.accepted.dead.to_le_bytes());
    }
}

/// Reads a list of keys that is all there is.
pub(super) fn read_keys(input: &[u8]) -> Result<Vec<Key>, Damaged> {
    Reader(input).keys()
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    count(out, bytes.len());
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.take(N)?.try_into().map_err(|_| Damaged)
    }

    fn count(&mut self) -> Result<usize, Damaged> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let length = self.count()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }

    fn keys(&mut self) -> Result<Vec<Key>, Damaged> {
        let mut keys = Vec::new();
        for _ in 0..self.count()? {
            keys.push(Key {
                key: Arc::from(self.text()?),
                digest: self.array()?,
                at: i64::from_le_bytes(self.array()?),
                accepted: Accepted {
                    rows: u64::from_le_bytes(self.array()?),
                    dead: u64::from_le_bytes(self.array()?),
                    repeated: false,
                },
            });
        }
        Ok(keys)
    }

    fn rows(&mut self) -> Result<Rows, Damaged> {
        let table = TableName::parse(self.text()?).map_err(|_| Damaged)?;
        let kind = match self.array()? {
            [0] => Kind::Logs,
            [1] => Kind::Metrics,
            _ => return Err(Damaged),
        };
        let [body] = self.array()?;
        let length = usize::try_from(u64::from_le_bytes(self.array()?)).map_err(|_| Damaged)?;
        let stream = self.take(length)?;
        let mut batches = Vec::new();
        if !stream.is_empty() {
            for batch in StreamReader::try_new(Cursor::new(stream), None).map_err(|_| Damaged)? {
                batches.push(batch.map_err(|_| Damaged)?);
            }
        }
        Ok(Rows { table, kind, body: body != 0, batches })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_written_and_cut_off_ones_are_damaged() {
        let accepted = Accepted { rows: 2, dead: 1, repeated: false };
        let keys = [Key { key: "web:k".into(), digest: [9; 32], at: -5, accepted }];
        let mut written = Vec::new();
        write_keys(&mut written, &keys);
        assert_eq!(read_keys(&written).unwrap(), keys);
        assert!((0..written.len()).all(|length| read_keys(&written[..length]).is_err()));
    }
}
