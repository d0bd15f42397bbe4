//! where the demo lives: a directory and ports of its own, and the pipeline file's variables that say so
//!
//! **Always:** ports are taken that were free a moment ago, below those that the system gives to outgoing connections; a
//! temporary directory is removed when the place is dropped, unless it is to be kept.
//! **Never:** the environment of this process is changed; the variables are handed to the config reader.

use super::cost::Cost;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use std::fs::DirBuilder;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The pipeline of the demo, as it is in `pipelines/`.
pub const PIPELINE: &str = include_str!("../../pipelines/scrypt.toml");
/// Where its mistakes are said to be.
pub const PIPELINE_NAME: &str = "pipelines/scrypt.toml";

/// The port of the HTTP API where it is free.
const HTTP_PORT: u16 = 7070;
/// Where ports are looked for: the system's own choice begins at 32768.
const PORTS_FROM: u16 = 20_000;
const PORTS_TO: u16 = 32_000;
/// Ports that one demo takes: the HTTP API, the balancer, the replicas and some for those that are being replaced.
const PORTS: u16 = 12;

/// The demo's directory and ports.
#[derive(Debug)]
pub struct Place {
    /// everything that it writes
    pub dir: PathBuf,
    /// the HTTP API
    pub http: SocketAddr,
    /// the balancer
    pub balancer: SocketAddr,
    /// the replicas' ports, first and last
    pub replicas: (u16, u16),
    /// whether the directory goes when the demo ends
    temporary: bool,
}

impl Place {
    /// Makes the directory (a temporary one if none is given) and finds ports.
    pub fn take(dir: Option<&Path>, keep: bool, clock: &Clock) -> Result<Place> {
        let (http, first) = free_ports(seed(clock))?;
        let (dir, temporary) = match dir {
            Some(dir) => {
                let wrong = |error| Error::io(format_args!("{}: the directory cannot be made", dir.display()), error);
                std::fs::create_dir_all(dir).map_err(wrong)?;
                (std::path::absolute(dir).map_err(wrong)?, false)
            }
            None => (temporary(clock)?, !keep),
        };
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Place {
            dir,
            http: local(http),
            balancer: local(first + 1),
            replicas: (first + 2, first + PORTS - 1),
            temporary,
        })
    }

    /// The store's directory.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Whether its directory goes when it is dropped.
    pub fn temporary(&self) -> bool {
        self.temporary
    }

    /// What the pipeline file's `${…}` stand for.
    pub fn variables(&self, program: &Path, cost: Cost) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        [
            ("TIDEMILL_ADDRESS", self.http.to_string()),
            ("TIDEMILL_DATA", text(&self.data())),
            ("TIDEMILL_EXE", text(program)),
            ("SCRYPT_LOG", text(&self.dir.join("access.log"))),
            ("SCRYPT_COST", cost.to_string()),
            ("SCRYPT_LISTEN", self.balancer.to_string()),
            ("SCRYPT_PORTS", format!("{}-{}", self.replicas.0, self.replicas.1)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.temporary {
            // Whoever still writes there must not keep the demo from ending; the system clears what stays.
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// A new directory that nobody else may read.
fn temporary(clock: &Clock) -> Result<PathBuf> {
    let parent = std::env::temp_dir();
    for attempt in 0..100 {
        let dir = parent.join(format!("tidemill-demo-{}-{}", std::process::id(), seed(clock) + attempt));
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(Error::io(
                    format_args!("{}: no directory can be made; try `--data DIR`", parent.display()),
                    error,
                ));
            }
        }
    }
    Err(Error::new(ErrorKind::Unavailable, format!("{}: no free name for a directory", parent.display())))
}

/// The HTTP API's port and the first of a free range. Whoever takes one of them in the next second is bad luck, and said by whoever
/// listens.
fn free_ports(seed: u64) -> Result<(u16, u16)> {
    let ranges = u64::from((PORTS_TO - PORTS_FROM) / PORTS);
    for attempt in 0..ranges {
        let range = u16::try_from((seed + attempt) % ranges).unwrap_or(0);
        let first = PORTS_FROM + range * PORTS;
        if (first..first + PORTS).all(free) {
            return Ok((if free(HTTP_PORT) { HTTP_PORT } else { first }, first));
        }
    }
    let why = format!("no {PORTS} free ports in a row between {PORTS_FROM} and {PORTS_TO}");
    Err(Error::new(ErrorKind::Unavailable, why))
}

fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Something that two demos that start together do not share.
fn seed(clock: &Clock) -> u64 {
    u64::from(std::process::id()) ^ (clock.now().unsigned_abs() >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_place_goes_and_a_given_one_stays() {
        let clock = Clock::system();
        let place = Place::take(None, false, &clock).unwrap();
        let dir = place.dir.clone();
        std::fs::write(dir.join("access.log"), "x").unwrap();
        assert!(place.temporary());
        drop(place);
        assert!(!dir.exists());
        let given = tempfile::tempdir().unwrap();
        for (dir, keep) in [(Some(given.path().join("a/b")), false), (None, true)] {
            let place = Place::take(dir.as_deref(), keep, &clock).unwrap();
            let dir = place.dir.clone();
            drop(place);
            assert!(dir.is_dir());
            std::fs::remove_dir_all(dir).unwrap();
        }
    }

    #[test]
    fn ports_are_free_and_apart() {
        let (http, first) = free_ports(7).unwrap();
        assert!(http == HTTP_PORT || http == first);
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 3)).unwrap();
        let (_, other) = free_ports(7).unwrap();
        assert_ne!(first, other);
        drop(taken);
    }

    #[test]
    fn every_variable_of_the_pipeline_is_given() {
        let place = Place::take(None, false, &Clock::system()).unwrap();
        let cost = Cost { log_n: 10, repeat: 8 };
        let given = place.variables(Path::new("/bin/tidemill"), cost);
        let mut asked: Vec<&str> =
            PIPELINE.split("${").skip(1).filter_map(|rest| rest.split(['}', ':']).next()).collect();
        asked.sort_unstable();
        asked.dedup();
        let mut names: Vec<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(asked, names);
    }
}
