//! `tidemill plugin …`: what an author of plugins works with

mod build;
mod language;
mod new;

use crate::error::Result;
use std::process::ExitCode;

/// Work with plugins.
#[derive(clap::Args)]
pub struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(clap::Subcommand)]
enum PluginCommand {
    /// Begin a plugin: a folder that builds, with cases it passes.
    New(new::New),
    /// Build a plugin, look whether it can run here, and say what it is.
    Build(build::Build),
}

impl Plugin {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            PluginCommand::New(new) => new.run(),
            PluginCommand::Build(build) => build.run(),
        }
    }
}
