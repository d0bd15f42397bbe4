//! the way of events from sources through stages to tables
//!
//!     source ─ Delivery ─► lane ─► stage ─► stage ─► tables ─┐
//!                           │       └─ dead letters ─────────┤ one Append, one record
//!                           └──────────── position ──────────┘
//!
//! The graph is checked before anything runs. Then each source has a lane: a thread of its own with its own plugin instances, which
//! takes the source's deliveries in order, runs them through every stage they reach, and hands the store one append each.
//!
//! A changed plugin or setting is put into the stage's slot while everything runs; each lane takes it over between two deliveries.
//!
//! **Always:** whatever comes out of one delivery, in whichever tables, is stored together or not at all.
//! **Never:** a stage's failure costs more than the events at fault.

pub mod breaker;
pub mod canary;
pub mod capture;
pub mod config;
pub mod graph;
pub mod lane;
mod made;
mod pace;
pub mod slot;
pub mod stage;

pub use config::{Manner, OnError, StageConfig, StageType, TableConfig};
pub use graph::{Flow, Graph, Node};
pub use lane::{Lane, Plan};
pub use slot::{Slot, Version};
pub use stage::Stage;
