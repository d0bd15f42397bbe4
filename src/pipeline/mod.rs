//! the way of events from sources through stages to tables
//!
//!     source ─ Delivery ─► lane ─► stage ─► stage ─► tables ─┐
//!                           │       └─ dead letters ─────────┤ one Append, one record
//!                           └──────────── position ──────────┘
//!
//! The graph is checked before anything runs. Then each source has a lane: a thread of its own with its own plugin instances, which
//! takes the source's deliveries in order, runs them through every stage they reach, and hands the store one append each.
//!
//! **Always:** whatever comes out of one delivery, in whichever tables, is stored together or not at all.
//! **Never:** a stage's failure costs more than the events at fault.

pub mod breaker;
pub mod config;
pub mod graph;
pub mod lane;
mod pace;
pub mod stage;

pub use config::{OnError, StageConfig, StageType, TableConfig};
pub use graph::{Flow, Graph, Node};
pub use lane::{Lane, Plan};
pub use stage::Stage;
