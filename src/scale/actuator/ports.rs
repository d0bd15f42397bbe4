//! ports of a range, each lent to one replica at a time

use serde::de::{self, Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most ports of a range, and so the most replicas of a workload.
const PORTS_MAX: u32 = 1000;

/// Ports from first to last, written `9100-9109` or `9100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Who has which port.
pub struct Ports {
    range: PortRange,
    lent: Arc<Mutex<BTreeSet<u16>>>,
}

/// A port that is one replica's until this is dropped.
pub struct Lease {
    port: u16,
    lent: Arc<Mutex<BTreeSet<u16>>>,
}

/// A port to use, and those that somebody else was found to listen on.
pub struct Lent {
    /// the port
    pub lease: Lease,
    /// ports passed over because they are in use
    pub skipped: Vec<u16>,
}

impl PortRange {
    /// Reads `9100-9109`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a range of ports; write it like `9100-9109`");
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|&port| port > 0).ok_or_else(wrong);
        let range = PortRange { first: port(first)?, last: port(last)? };
        if range.first > range.last {
            return Err(wrong());
        }
        if range.count() > PORTS_MAX {
            return Err(format!("`{text}` has {} ports; at most {PORTS_MAX}", range.count()));
        }
        Ok(range)
    }

    /// How many replicas have room.
    pub fn count(&self) -> u32 {
        u32::from(self.last).saturating_sub(u32::from(self.first)) + 1
    }

    /// Whether a port is one of them.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        PortRange::parse(&String::deserialize(reader)?).map_err(de::Error::custom)
    }
}

impl Ports {
    /// All of them free.
    pub fn new(range: PortRange) -> Self {
        Ports { range, lent: Arc::default() }
    }

    /// The lowest free port; `avoid` (where a replica just failed) only if there is no other. An error says why there is none.
    pub fn lend(&self, avoid: Option<u16>) -> Result<Lent, String> {
        let mut lent = lock(&self.lent);
        let mut skipped = Vec::new();
        let others = (self.range.first..=self.range.last).filter(|port| Some(*port) != avoid);
        for port in others.chain(avoid) {
            if lent.contains(&port) {
                continue;
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
                skipped.push(port);
                continue;
            }
            lent.insert(port);
            return Ok(Lent { lease: Lease { port, lent: self.lent.clone() }, skipped });
        }
        let range = self.range;
        Err(match skipped.len() {
            0 => format!("every port of {range} is taken by another replica"),
            taken => format!("no port of {range} is free; somebody else listens on {taken} of them"),
        })
    }
}

impl Lease {
    /// Where the replica listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.lent).remove(&self.port);
    }
}

fn lock(lent: &Mutex<BTreeSet<u16>>) -> MutexGuard<'_, BTreeSet<u16>> {
    lent.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_read_as_written() {
        for (text, count) in [("9100-9109", 10), ("9100", 1), (" 1 - 2 ", 2)] {
            assert_eq!(PortRange::parse(text).unwrap().count(), count, "{text}");
        }
        for text in ["", "0-5", "9-1", "a-b", "1-65536", "1-2000", "-"] {
            assert!(PortRange::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_taken_port_is_skipped_and_a_lent_one_comes_back() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let first = taken.local_addr().unwrap().port();
        let Some(last) = first.checked_add(20) else { return };
        let ports = Ports::new(PortRange { first, last });
        let one = ports.lend(None).unwrap();
        assert_eq!(one.skipped.first(), Some(&first));
        let port = one.lease.address().port();
        let two = ports.lend(None).unwrap();
        assert_ne!(two.lease.address().port(), port);
        drop(one);
        assert_ne!(ports.lend(Some(port)).unwrap().lease.address().port(), port);
        assert_eq!(ports.lend(None).unwrap().lease.address().port(), port);
        let only = Ports::new(PortRange { first, last: first });
        assert!(only.lend(None).err().unwrap().contains("somebody else"));
    }
}
