//! user plugins: WebAssembly components behind flat columns
pub mod autoscaler;
pub use autoscaler::{Freshness, Proposal, Request, Signal};
