//! listeners, HTTP client, TLS
//!
//!     Listen (TOML) ─ open ─► Access ─ bind ─► Listener ─ serve ─► connections ─► any HTTP service
//!     Client ─ get, post ─► another HTTP server
//!     gather: a body, decompressed while it arrives, never larger than allowed
//!
//! **Always:** every connection, header, body and wait has a limit, and reaching it costs only the connection at fault.
//! **Never:** nothing here knows what is asked or answered; a secret is never printed.

mod arriving;
pub mod body;
pub mod client;
mod connection;
mod crowd;
pub mod limits;
pub mod listen;
pub mod listener;
mod port_holder;
pub mod secret;
pub mod tls;

pub use arriving::Arriving;
pub use body::{BodyError, Coding, Gather, gather};
pub use client::{Auth, Client, Get, Page, Post, Reply};
pub use connection::{Answers, Peer};
pub use crowd::Counts;
pub use limits::Limits;
pub use listen::{Access, Listen, Section};
pub use listener::Listener;
pub use secret::Secret;
pub use tls::Tls;
