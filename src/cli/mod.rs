//! the commands
