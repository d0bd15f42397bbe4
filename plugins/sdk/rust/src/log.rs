//! a line in `tidemill.logs`, marked with the stage; not for data
//!
//! Natively the lines go to standard error.

pub use tidemill_world_shared::log::Level;

/// Only of interest to the one who looks for a fault in the plugin.
pub fn debug(message: &str) {
    line(Level::Debug, message);
}

/// Good to know.
pub fn info(message: &str) {
    line(Level::Info, message);
}

/// Something is odd, and the plugin goes on.
pub fn warn(message: &str) {
    line(Level::Warn, message);
}

/// Something failed.
pub fn error(message: &str) {
    line(Level::Error, message);
}

#[cfg(target_arch = "wasm32")]
fn line(level: Level, message: &str) {
    tidemill_world_shared::log::log(level, message);
}

#[cfg(not(target_arch = "wasm32"))]
fn line(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}
