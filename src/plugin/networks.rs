//! the networks of a lookup table's column, and the narrowest of them that holds an address
//!
//!     10.0.0.0/8 ─┐
//!     10.1.0.0/16 ┼─► a map for each width, from the address cut to that width to the row; the narrowest width is asked first
//!     2001:db8::1 ─┘
//!
//! IPv4 addresses are looked for among IPv4 networks only; `::ffff:10.0.0.1` is `10.0.0.1`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Bits of an address of each family.
const V4_BITS: u8 = 32;
const V6_BITS: u8 = 128;

/// Networks by family and width; a row each.
#[derive(Debug, Default)]
pub(super) struct Networks {
    v4: Widths,
    v6: Widths,
}

/// For each width the networks of it, by their bits shifted down to that width.
type Widths = BTreeMap<u8, HashMap<u128, u32>>;

impl Networks {
    /// Reads a column; empty cells are left out, and of equal networks the first counts.
    pub fn read<'a>(cells: impl Iterator<Item = Option<&'a str>>) -> Result<Networks, String> {
        let mut networks = Networks::default();
        for (row, cell) in (0u32..).zip(cells) {
            let Some(cell) = cell.filter(|cell| !cell.trim().is_empty()) else { continue };
            let Some((address, width)) = network(cell) else {
                let shown: String = cell.chars().take(60).collect();
                let row = row.saturating_add(1);
                return Err(format!(
                    "row {row} below the header has `{shown}`, which is no network; write one such as 10.0.0.0/8, or an address"
                ));
            };
            let (bits, all) = bits(address);
            let widths = if all == V4_BITS { &mut networks.v4 } else { &mut networks.v6 };
            widths.entry(width).or_default().entry(cut(bits, all, width)).or_insert(row);
        }
        Ok(networks)
    }

    /// The row of the narrowest network that holds the address.
    pub fn find(&self, address: &[u8]) -> Option<u32> {
        let address: IpAddr = std::str::from_utf8(address).ok()?.trim().parse().ok()?;
        let (bits, all) = bits(address);
        let widths = if all == V4_BITS { &self.v4 } else { &self.v6 };
        widths.iter().rev().find_map(|(width, networks)| networks.get(&cut(bits, all, *width)).copied())
    }
}

/// An address's bits in its own family, and how many they are.
fn bits(address: IpAddr) -> (u128, u8) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(u32::from(address)), V4_BITS),
        IpAddr::V6(address) => (u128::from(address), V6_BITS),
    }
}

fn cut(bits: u128, all: u8, width: u8) -> u128 {
    bits.checked_shr(u32::from(all - width)).unwrap_or(0)
}

/// `10.0.0.0/8`, or an address by itself.
fn network(cell: &str) -> Option<(IpAddr, u8)> {
    let cell = cell.trim();
    let (address, width) = match cell.split_once('/') {
        Some((address, width)) => (address, Some(width.parse::<u8>().ok()?)),
        None => (cell, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { V4_BITS } else { V6_BITS };
    let width = width.unwrap_or(all);
    // A mapped network, `::ffff:10.0.0.0/104`, is one of IPv4 from its 96th bit on.
    match (address, address.to_canonical()) {
        (IpAddr::V6(_), canonical @ IpAddr::V4(_)) => {
            Some((canonical, width.checked_sub(96)?)).filter(|_| width <= all)
        }
        _ => (width <= all).then_some((address, width)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_network_holds_the_address() {
        let cells = ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/16", "10.1.2.3", "2001:db8::/32", "::/0", " ", "10.0.0.0/8"];
        let networks = Networks::read(cells.iter().map(|cell| Some(*cell))).unwrap();
        let found = |address: &str| networks.find(address.as_bytes());
        assert_eq!(found("192.0.2.1"), Some(0));
        assert_eq!(found("10.9.9.9"), Some(1));
        assert_eq!(found("10.1.9.9"), Some(2));
        assert_eq!(found("10.1.2.3"), Some(3));
        assert_eq!(found("::ffff:10.9.9.9"), Some(1));
        assert_eq!(found("2001:db8::1"), Some(4));
        assert_eq!(found("2001:db9::1"), Some(5));
        assert_eq!(found("example.org"), None);
        assert_eq!(networks.find(&[0xff]), None);
    }

    #[test]
    fn what_is_no_network_is_told() {
        for cell in ["no", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "::ffff:10.0.0.0/95"] {
            let error = Networks::read([Some("::1"), None, Some(cell)].into_iter()).unwrap_err();
            assert!(error.starts_with(&format!("row 3 below the header has `{cell}`")), "{error}");
        }
    }
}
