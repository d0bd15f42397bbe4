//! user plugins: WebAssembly components behind flat columns
//!
//!     file or bundled ─ wrap ─► component ─ compile, cache ─► Plugin ─ configure ─► Instance ─ call ─► columns
//!
//! A plugin is a function of its settings and its rows. What crosses is in `wit/tidemill.wit`: only the columns it reads, as blocks
//! of memory. An instance that trapped or ran out of something is thrown away, and the next call gets a fresh one.
//!
//! **Always:** every value that comes back is checked before it becomes a column; time is the thread's processor time.
//! **Never:** a plugin gets files, network, environment or a clock; nothing here knows pipelines, tables or dead letters.

pub mod account;
mod answer;
pub mod autoscaler;
mod backtrace;
mod boundary;
pub mod compile;
pub mod engine;
mod fault;
mod host;
pub mod instance;
pub mod library;
pub mod limits;
pub mod lookup;
mod networks;
mod read;
mod wrap;
mod write;

pub use account::Account;
pub use autoscaler::{Advice, Freshness, Proposal, Request, Signal};
pub use compile::{CompileLimits, Compiler};
pub use engine::Engine;
pub use instance::{Configured, Contract, Fault, FaultKind, Instance, RowError};
pub use library::{Library, Plugin};
pub use limits::Limits;
pub use lookup::Lookup;
pub use wrap::component;

/// The interface's package and version, as it stands in `wit/`.
pub const INTERFACE: &str = "tidemill:plugin@0.1.0";

/// What a plugin can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum World {
    /// makes new columns or events, usually out of `body`
    Parser,
    /// says which events go on
    Filter,
    /// adds columns, row by row
    Enricher,
    /// proposes a number of replicas
    Autoscaler,
}

impl World {
    /// Every world.
    pub const ALL: &[World] = &[World::Parser, World::Filter, World::Enricher, World::Autoscaler];

    /// The word after `type =`, and the world's name in `wit/`.
    pub fn word(self) -> &'static str {
        match self {
            World::Parser => "parser",
            World::Filter => "filter",
            World::Enricher => "enricher",
            World::Autoscaler => "autoscaler",
        }
    }

    /// The interface that a plugin of this world exports, and its function.
    fn export(self) -> (&'static str, &'static str) {
        match self {
            World::Parser => ("tidemill:plugin/parsing@0.1.0", "parse"),
            World::Filter => ("tidemill:plugin/filtering@0.1.0", "keep"),
            World::Enricher => ("tidemill:plugin/enriching@0.1.0", "enrich"),
            World::Autoscaler => ("tidemill:plugin/autoscaling@0.1.0", "decide"),
        }
    }
}
