//! read-only lookup tables that the stage names, a whole column of keys a call
//!
//! Natively a test [`provide`]s the tables, for its own thread.

use crate::batch::Batch;
use crate::builders::{Build, Texts};

/// The names of a table's columns.
pub fn columns(table: &str) -> Result<Vec<String>, String> {
    host::columns(table)
}

/// For each key the row whose column `key` equals it: the columns `want`, null where there is no such row.
pub fn lookup(table: &str, key: &str, keys: Texts, want: &[String]) -> Result<Batch, String> {
    let rows = keys.rows();
    let columns = host::lookup(table, key, keys.into_var_bytes(), want)?;
    Ok(Batch::new(rows, columns))
}

/// For each address the row whose column `key` is the narrowest network (`10.0.0.0/8`) that holds it: the columns `want`, null where
/// there is none.
pub fn lookup_network(table: &str, key: &str, addresses: Texts, want: &[String]) -> Result<Batch, String> {
    let rows = addresses.rows();
    let columns = host::lookup_network(table, key, addresses.into_var_bytes(), want)?;
    Ok(Batch::new(rows, columns))
}

#[cfg(target_arch = "wasm32")]
mod host {
    use crate::wire;
    use tidemill_world_shared::tables;

    pub fn columns(table: &str) -> Result<Vec<String>, String> {
        tables::columns(table)
    }

    pub fn lookup(table: &str, key: &str, keys: wire::VarBytes, want: &[String]) -> Result<Vec<wire::Column>, String> {
        tables::lookup(table, key, &keys, want)
    }

    pub fn lookup_network(
        table: &str,
        key: &str,
        addresses: wire::VarBytes,
        want: &[String],
    ) -> Result<Vec<wire::Column>, String> {
        tables::lookup_network(table, key, &addresses, want)
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use host::{forget, provide};

#[cfg(not(target_arch = "wasm32"))]
mod host {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use crate::builders::{Build, Texts};
    use crate::wire;

    struct Table {
        header: Vec<String>,
        rows: Vec<Vec<String>>,
    }

    std::thread_local! {
        static TABLES: RefCell<BTreeMap<String, Table>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// Stands in for a table of the host: a header, then rows with as many values each.
    pub fn provide(table: &str, header: Vec<String>, rows: Vec<Vec<String>>) {
        TABLES.with_borrow_mut(|tables| tables.insert(table.to_owned(), Table { header, rows }));
    }

    /// Takes away every table that was provided.
    pub fn forget() {
        TABLES.with_borrow_mut(BTreeMap::clear);
    }

    pub fn columns(table: &str) -> Result<Vec<String>, String> {
        with_table(table, |table| Ok(table.header.clone()))
    }

    pub fn lookup(table: &str, key: &str, keys: wire::VarBytes, want: &[String]) -> Result<Vec<wire::Column>, String> {
        with_table(table, |table| {
            let key = table.position(key)?;
            let rows: Vec<_> = keys
                .offsets
                .windows(2)
                .map(|pair| &keys.data[pair[0] as usize..pair[1] as usize])
                .map(|value| table.rows.iter().find(|row| row[key].as_bytes() == value))
                .collect();
            want.iter().map(|name| Ok(table.column(name, table.position(name)?, &rows))).collect()
        })
    }

    pub fn lookup_network(
        table: &str,
        key: &str,
        addresses: wire::VarBytes,
        want: &[String],
    ) -> Result<Vec<wire::Column>, String> {
        with_table(table, |table| {
            let networks = networks(table, table.position(key)?)?;
            let rows: Vec<_> = addresses
                .offsets
                .windows(2)
                .map(|pair| &addresses.data[pair[0] as usize..pair[1] as usize])
                .map(|address| narrowest(&networks, address))
                .collect();
            want.iter().map(|name| Ok(table.column(name, table.position(name)?, &rows))).collect()
        })
    }

    /// A network, how many bits of it count, and its row.
    type Network<'a> = (IpAddr, u32, &'a Vec<String>);

    /// The networks of a column; a cell that is none is an error, as the host has it.
    fn networks(table: &Table, key: usize) -> Result<Vec<Network<'_>>, String> {
        let rows = table.rows.iter().enumerate().filter(|(_, row)| !row[key].trim().is_empty());
        rows.map(|(at, row)| {
            let (address, width) = network(row[key].trim())
                .ok_or_else(|| format!("row {} below the header has `{}`, which is no network", at + 1, row[key]))?;
            Ok((address, width, row))
        })
        .collect()
    }

    fn network(cell: &str) -> Option<(IpAddr, u32)> {
        let (address, width) = match cell.split_once('/') {
            Some((address, width)) => (address, Some(width.parse::<u32>().ok()?)),
            None => (cell, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        Some((address, width.unwrap_or(all))).filter(|(_, width)| *width <= all)
    }

    /// The row whose network holds the address, and of several the one with the longest prefix.
    fn narrowest<'a>(networks: &[Network<'a>], address: &[u8]) -> Option<&'a Vec<String>> {
        let address = std::str::from_utf8(address).ok()?.parse::<IpAddr>().ok()?.to_canonical();
        let holding = networks.iter().rev().filter(|(network, width, _)| holds(*network, *width, address));
        holding.max_by_key(|(_, width, _)| *width).map(|(_, _, row)| *row)
    }

    fn holds(network: IpAddr, width: u32, address: IpAddr) -> bool {
        let differ = match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => (u32::from(network) ^ u32::from(address)).leading_zeros(),
            (IpAddr::V6(network), IpAddr::V6(address)) => (u128::from(network) ^ u128::from(address)).leading_zeros(),
            _ => return false,
        };
        differ >= width
    }

    impl Table {
        fn position(&self, name: &str) -> Result<usize, String> {
            self.header.iter().position(|column| column == name).ok_or_else(|| format!("no column `{name}`"))
        }

        fn column(&self, name: &str, position: usize, rows: &[Option<&Vec<String>>]) -> wire::Column {
            let mut values = Texts::default();
            for row in rows {
                values.push_option(row.map(|row| &row[position]));
            }
            let (values, validity) = values.build();
            wire::Column { name: name.to_owned(), values, validity }
        }
    }

    fn with_table<T>(name: &str, work: impl FnOnce(&Table) -> Result<T, String>) -> Result<T, String> {
        TABLES.with_borrow(|tables| match tables.get(name) {
            Some(table) => work(table),
            None => Err(format!("no table `{name}`; name it in the stage's `tables`")),
        })
    }
}
