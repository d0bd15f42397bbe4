//! a lookup table from a CSV file, found by any of its columns

use super::networks::Networks;
use crate::error::{Error, Result, did_you_mean};
use arrow::array::{Array, ArrayRef, AsArray, StringBuilder, UInt32Array};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A table of text. Read once; a row is found by hash.
#[derive(Debug)]
pub struct Lookup {
    names: Vec<String>,
    columns: Vec<ArrayRef>,
    indices: BTreeMap<String, Index>,
}

/// How rows are found by one column; made when it is first asked for.
#[derive(Debug, Default)]
struct Index {
    equal: OnceLock<HashMap<Vec<u8>, u32>>,
    networks: OnceLock<Result<Networks, String>>,
}

impl Lookup {
    /// Reads a CSV file whose first line names the columns.
    pub fn open(path: &Path) -> Result<Lookup> {
        let place = path.display();
        let file =
            std::fs::File::open(path).map_err(|error| Error::io(format!("cannot read lookup table {place}"), error))?;
        let bytes =
            file.metadata().map_err(|error| Error::io(format!("cannot read lookup table {place}"), error))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(Error::invalid(format!(
                "lookup table {place} has {bytes} bytes; at most {FILE_BYTES_MAX} are read"
            )));
        }
        Lookup::read(file).map_err(|error| error.within(format!("lookup table {place}")))
    }

    /// Whether both hold the same columns and rows.
    pub fn is_same(&self, other: &Lookup) -> bool {
        self.names == other.names && self.columns == other.columns
    }

    /// Reads CSV text whose first line names the columns.
    pub fn read(csv: impl std::io::Read) -> Result<Lookup> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(csv);
        let wrong = |error: csv::Error| Error::invalid(format!("is not CSV: {error}"));
        let names: Vec<String> = reader.headers().map_err(wrong)?.iter().map(str::to_owned).collect();
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() || names.iter().take(at).any(|earlier| earlier == name) {
                return Err(Error::invalid(format!(
                    "column {} is named `{name}`; columns need names of their own",
                    at + 1
                )));
            }
        }
        let mut builders: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
        for record in reader.records() {
            let record = record.map_err(wrong)?;
            for (builder, value) in builders.iter_mut().zip(record.iter()) {
                builder.append_value(value);
            }
        }
        let columns = builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef).collect();
        let indices = names.iter().map(|name| (name.clone(), Index::default())).collect();
        Ok(Lookup { names, columns, indices })
    }

    /// The table as CSV text, if that takes no more than so many bytes.
    pub fn csv(&self, bytes_max: usize) -> Option<String> {
        let size: usize = self.columns.iter().map(|column| column.as_string::<i32>().value_data().len()).sum();
        if size > bytes_max {
            return None;
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(&self.names).ok()?;
        for row in 0..self.columns.first().map_or(0, |column| column.len()) {
            writer.write_record(self.columns.iter().map(|column| column.as_string::<i32>().value(row))).ok()?;
        }
        String::from_utf8(writer.into_inner().ok()?).ok()
    }

    /// The names of its columns.
    pub fn columns(&self) -> Vec<String> {
        self.names.clone()
    }

    /// For each key the row whose column `key` equals it; of several the first.
    pub(super) fn find<'a>(&self, key: &str, keys: impl Iterator<Item = &'a [u8]>) -> Result<UInt32Array, String> {
        let index = self.index(key)?;
        Ok(keys.map(|key| index.get(key).copied()).collect())
    }

    /// For each address the row whose column `key` has the narrowest network that holds it.
    pub(super) fn find_network<'a>(
        &self,
        key: &str,
        addresses: impl Iterator<Item = &'a [u8]>,
    ) -> Result<UInt32Array, String> {
        let column = self.column(key)?.as_string::<i32>();
        let index = self.index_of(key)?;
        let networks = index.networks.get_or_init(|| Networks::read(column.iter())).as_ref().map_err(String::clone)?;
        Ok(addresses.map(|address| networks.find(address)).collect())
    }

    /// The bytes that one column has for these rows, offsets included.
    pub(super) fn bytes(&self, name: &str, rows: &UInt32Array) -> Result<usize, String> {
        let offsets = self.column(name)?.as_string::<i32>().offsets();
        let length = |row: u32| match offsets.get(row as usize..row as usize + 2) {
            Some([from, to]) => usize::try_from(to - from).unwrap_or(0),
            _ => 0,
        };
        Ok(4 * (rows.len() + 1) + rows.iter().flatten().map(length).sum::<usize>())
    }

    /// One column for these rows; null where there is no row.
    pub(super) fn take(&self, name: &str, rows: &UInt32Array) -> Result<ArrayRef, String> {
        arrow::compute::take(self.column(name)?, rows, None).map_err(|error| error.to_string())
    }

    fn column(&self, name: &str) -> Result<&ArrayRef, String> {
        let found = self.names.iter().zip(&self.columns).find(|(known, _)| *known == name);
        found.map(|(_, column)| column).ok_or_else(|| {
            let hint = did_you_mean(name, self.names.iter().map(String::as_str));
            format!("the lookup table has no column `{name}`{hint}")
        })
    }

    fn index(&self, key: &str) -> Result<&HashMap<Vec<u8>, u32>, String> {
        let column = self.column(key)?.as_string::<i32>();
        Ok(self.index_of(key)?.equal.get_or_init(|| {
            let mut index = HashMap::with_capacity(column.len());
            for (row, value) in (0u32..).zip(column.iter()) {
                index.entry(value.unwrap_or_default().as_bytes().to_vec()).or_insert(row);
            }
            index
        }))
    }

    fn index_of(&self, key: &str) -> Result<&Index, String> {
        self.indices.get(key).ok_or_else(|| format!("the lookup table has no column `{key}`"))
    }
}
