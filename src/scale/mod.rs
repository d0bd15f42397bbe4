//! the autoscaler loop
//!
//!     signals (SQL) ─► plugin ─► policy ─► decision row, durable ─► actuator ─► outcome row
//!
//! A [`Scaler`] turns this once a tick. What it needs of the rest of the house (answers, freshness, the plugin, the table) it is
//! given as traits by `app`, so that nothing here knows SQL, wasm or disks.
//!
//! **Always:** a change is a row in `tidemill.decisions` before anything is started or stopped, and its outcome is a row after it.
//! **Never:** a missing, failed or stale signal scales down, a missing or failed one scales up, and no decision is outside of `[min, max]`.

pub mod config;
pub mod desk;
pub mod scaler;
pub mod decision;
pub mod deciders;
pub mod losses;
pub mod memory;
pub mod evidence;
pub mod policy;
pub mod record;
pub mod standing;
pub mod backtest;
pub mod case;
pub mod actuator;
#[cfg(test)]
mod fault_tests;

pub use actuator::{Actuator, Change, Outcome, Status};
pub use config::{Adviser, Config};
pub use deciders::{Decide, Decider, Deciders};
pub use decision::DECISIONS;
pub use desk::{Command, Desk};
pub use evidence::{Ask, Fresh, Question};
pub use memory::Memory;
pub use policy::{Clamp, Decision, Order, Policy};
pub use record::Record;
pub use scaler::{Ledger, Parts, Scaler};
pub use standing::Standing;
