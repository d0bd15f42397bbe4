//! `tidemill compile-plugin`: the child process that compiles a plugin within limits, hidden from people

use crate::error::Result;
use crate::plugin::compile;
use std::process::ExitCode;

/// Reads a module from standard input and writes what it was compiled to.
#[derive(clap::Args)]
pub struct CompilePlugin {
    /// Bytes of address space.
    memory_bytes: u64,
    /// Seconds of processor time.
    time_seconds: u64,
}

impl CompilePlugin {
    pub(super) fn run(self) -> Result<ExitCode> {
        compile::serve(self.memory_bytes, self.time_seconds)?;
        Ok(ExitCode::SUCCESS)
    }
}
