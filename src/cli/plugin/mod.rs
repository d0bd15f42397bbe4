//! `tidemill plugin …`: what an author of plugins works with

mod bench;
mod build;
mod diff;
mod found;
mod inspect;
mod language;
mod list;
mod measured;
mod new;
mod settings;
mod test;

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
    /// Run a plugin's cases through it, and show what differs.
    Test(test::Test),
    /// Measure a plugin: events a second, memory, and what the boundary takes.
    Bench(bench::Bench),
    /// Say what a plugin is, reads, writes, wants and weighs.
    Inspect(inspect::Inspect),
    /// List the bundled plugins.
    List(list::List),
    /// Run two plugins on a table's recent events, and show where they differ.
    Diff(diff::Diff),
}

impl Plugin {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            PluginCommand::New(new) => new.run(),
            PluginCommand::Build(build) => build.run(),
            PluginCommand::Test(test) => test.run(),
            PluginCommand::Bench(bench) => bench.run(),
            PluginCommand::Inspect(inspect) => inspect.run(),
            PluginCommand::List(list) => list.run(),
            PluginCommand::Diff(diff) => diff.run(),
        }
    }
}
