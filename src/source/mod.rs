//! the list of sources, and what every source gets to work with
//!
//! A source reads bytes from the world, has its codec make columns of them, and hands [`Delivery`]s to its [`Outlet`]. It moves its
//! position only inside a delivery, so that what it has read and what is stored can never disagree.
//!
//! **Always:** a source says when it is caught up ([`Progress::caught_up`]): nothing of what it should have read is still waiting.
//! **Never:** a source does not know tables, plugins or SQL.

pub mod file;
pub mod http;
pub mod internal;
pub mod processes;
mod progress;
pub mod scrape;
pub mod stdin;
#[cfg(test)]
mod testing;

pub use progress::{Progress, Standing};

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Fault, Result, did_you_mean};
use crate::event::{Delivery, Kind};
use serde::{Deserialize, Deserializer, de};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A kind of source.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// the word after `type =`
    pub name: &'static str,
    /// in one line
    pub about: &'static str,
    /// a table that works
    pub example: &'static str,
}

/// Every kind of source, in the order people list them.
pub const SOURCES: &[About] = &[
    About { name: file::NAME, about: file::ABOUT, example: file::EXAMPLE },
    About { name: stdin::NAME, about: stdin::ABOUT, example: stdin::EXAMPLE },
    About { name: http::NAME, about: http::ABOUT, example: http::EXAMPLE },
    About { name: scrape::NAME, about: scrape::ABOUT, example: scrape::EXAMPLE },
    About { name: internal::NAME, about: internal::ABOUT, example: internal::EXAMPLE },
    About { name: processes::NAME, about: processes::ABOUT, example: processes::EXAMPLE },
];

/// The table of any source.
#[derive(Clone, Debug)]
pub enum Config {
    /// tails files
    File(file::Config),
    /// reads standard input
    Stdin(stdin::Config),
    /// is pushed to
    Http(http::Config),
    /// pulls metrics
    Scrape(scrape::Config),
    /// our own metrics
    Internal(internal::Config),
    /// what workloads' processes use
    Processes(processes::Config),
}

impl Config {
    /// Reads the table of a source of this kind, its `type` already taken out.
    pub fn deserialize<'de, D: Deserializer<'de>>(kind: &str, reader: D) -> Result<Config, D::Error> {
        match kind {
            file::NAME => file::Config::deserialize(reader).map(Config::File),
            stdin::NAME => stdin::Config::deserialize(reader).map(Config::Stdin),
            http::NAME => http::Config::deserialize(reader).map(Config::Http),
            scrape::NAME => scrape::Config::deserialize(reader).map(Config::Scrape),
            internal::NAME => internal::Config::deserialize(reader).map(Config::Internal),
            processes::NAME => processes::Config::deserialize(reader).map(Config::Processes),
            _ => Err(de::Error::custom(unknown(kind))),
        }
    }

    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Config::File(config) => config.faults(),
            Config::Scrape(config) => config.faults(),
            Config::Stdin(_) | Config::Http(_) | Config::Internal(_) | Config::Processes(_) => Vec::new(),
        }
    }

    /// Whether its events are logs or metrics.
    pub fn kind(&self) -> Kind {
        match self {
            Config::File(_) | Config::Stdin(_) | Config::Http(_) => Kind::Logs,
            Config::Scrape(_) | Config::Internal(_) | Config::Processes(_) => Kind::Metrics,
        }
    }

    /// Whether it joins lines, so that an event may be a part of a larger one.
    pub fn multiline(&self) -> bool {
        match self {
            Config::File(config) => config.multiline.is_some(),
            Config::Stdin(config) => config.multiline.is_some(),
            Config::Http(config) => config.multiline.is_some(),
            Config::Scrape(_) | Config::Internal(_) | Config::Processes(_) => false,
        }
    }

    /// The workload that must exist for it, if it names one.
    pub fn workloads(&self) -> Vec<&str> {
        match self {
            Config::Scrape(config) => config.workload.iter().map(String::as_str).collect(),
            Config::Processes(config) => config.workloads.iter().map(String::as_str).collect(),
            Config::File(_) | Config::Stdin(_) | Config::Http(_) | Config::Internal(_) => Vec::new(),
        }
    }
}

/// The sentence for a word after `type =` that names no source.
pub fn unknown(kind: &str) -> String {
    let names = SOURCES.iter().map(|source| source.name);
    let list: Vec<String> = names.clone().map(|name| format!("`{name}`")).collect();
    format!("unknown source type `{kind}`{}; there are {}", did_you_mean(kind, names), list.join(", "))
}

/// What a source works with while it runs.
#[derive(Clone)]
pub struct Outlet {
    /// the source's name in the pipeline file
    pub name: Arc<str>,
    /// where deliveries go; bounded, so a source waits when the pipeline is behind
    pub deliveries: mpsc::Sender<Delivery>,
    /// what the source tells of itself
    pub progress: Arc<Progress>,
    /// says when to stop: finish what was handed over, then return
    pub stop: CancellationToken,
    /// the time
    pub clock: Clock,
}

impl Outlet {
    /// Hands a delivery over, waiting while the pipeline is behind. Fails only when the pipeline is gone.
    pub async fn send(&self, delivery: Delivery) -> Result<()> {
        self.deliveries
            .send(delivery)
            .await
            .map_err(|_| Error::new(ErrorKind::Unavailable, "tidemill is stopping; send it again later"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let mut table: toml::Table = text.parse().map_err(|error| format!("{error}"))?;
        let kind = table.remove("type").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
        let config = Config::deserialize(&kind, table).map_err(|error| error.message().to_owned())?;
        match config.faults().first() {
            Some(fault) => Err(fault.error.message().to_owned()),
            None => Ok(config),
        }
    }

    #[test]
    fn every_example_is_read() {
        for source in SOURCES {
            assert!(read(source.example).is_ok(), "{}: {:?}", source.name, read(source.example));
            assert!(source.example.contains(&format!("type = \"{}\"", source.name)));
        }
    }

    #[test]
    fn mistakes_are_told() {
        let rows = [
            ("type = \"fil\"", "unknown source type `fil`; did you mean `file`?; there are `file`"),
            ("type = \"file\"", "missing field `include`"),
            ("type = \"file\"\ninclude = []", "`include` is empty"),
            ("type = \"file\"\ninclude = [\"a***\"]", "`a***` is no pattern of files"),
            ("type = \"file\"\ninclude = [\"a\"]\nincldue = []", "unknown field `incldue`"),
            ("type = \"file\"\ninclude = [\"a\"]\ncodec = \"xml\"", "unknown variant `xml`"),
            (
                "type = \"file\"\ninclude = [\"a\"]\nline_bytes_max = \"1GiB\"",
                "`1GiB` is too much; write at most `64MiB`",
            ),
            ("type = \"scrape\"", "a scrape needs `targets` or a `workload`"),
            ("type = \"scrape\"\ntargets = [\"localhost\"]", "the target `localhost` must start with"),
            (
                "type = \"stdin\"\nmultiline = \"jave\"",
                "no stack traces of `jave` are known; did you mean `java`?; there are",
            ),
            ("type = \"stdin\"\nmultiline = []", "the list is empty"),
            (
                "type = \"stdin\"\nmultiline = 5",
                "invalid type: integer `5`, expected a language as \"java\", a list of them, or a",
            ),
            ("type = \"stdin\"\nmultiline = {}", "it says nothing of which lines belong together"),
            ("type = \"stdin\"\nmultiline.start = '('", "`(` is no regular expression: unclosed group"),
            ("type = \"stdin\"\nmultiline.begin = 'x'", "unknown field `begin`"),
            ("type = \"http\"\nmultiline = { start = 'x', languages = \"go\" }", "`languages` and patterns exclude"),
            ("type = \"http\"\nmultiline = { start = 'x', timeout = \"1ms\" }", "`1ms` is too little"),
            (
                "type = \"scrape\"\nworkload = \"w\"\nevery = \"1s\"\ntimeout = \"2s\"",
                "`2s` is longer than `every = \"1s\"`",
            ),
            ("type = \"processes\"\nevery = \"1ms\"", "`1ms` is too little; write at least `100ms`"),
        ];
        for (text, want) in rows {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_bearer_is_never_printed() {
        let config = read("type = \"scrape\"\nworkload = \"w\"\nbearer = \"hush\"").unwrap();
        assert!(!format!("{config:?}").contains("hush"));
    }
}
