//! logs and metrics as columns
//!
//! An event is a row of a [`Batch`], from the codec on. What each column means is in [`columns`]; a [`Delivery`] is a batch on
//! its way, with the promise to say when it is safe.
//!
//! **Always:** columns of a batch have the same length, their names are exactly the events' own, upper and lower case kept.
//! **Never:** nothing here knows where events come from or where they go.

pub mod arrived;
pub mod columns;
pub mod conform;
pub mod dead_letter;
pub mod delivery;
pub mod labels;
pub mod mixed;
pub mod replay;
pub mod row_json;
pub mod table_name;

pub use arrived::arrived;
pub use columns::{Kind, Type};
pub use dead_letter::DeadLetter;
pub use delivery::{Accepted, Ack, Batch, Delivery, Key, Position, Replay};
pub use table_name::TableName;
