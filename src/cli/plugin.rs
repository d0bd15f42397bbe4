//! `tidemill plugin build DIR`

use crate::app;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use toolchain::Toolchain;

#[path = "../../plugins/toolchain.rs"]
#[allow(clippy::disallowed_methods, missing_docs, reason = "it is the build script's too, which has no clock")]
mod toolchain;

/// Work with plugins.
#[derive(clap::Args)]
pub struct Plugin {
    #[command(subcommand)]
    command: PluginCommand,
}

#[derive(clap::Subcommand)]
enum PluginCommand {
    /// Build a plugin, look whether it can run here, and say what it is.
    Build(Build),
}

const RECIPES: &str = "\
A folder with a Cargo.toml is built with Rust's wasm32 target (or Debian's toolchain; plugins/setup.sh installs what is missing).
A folder with a build.sh is built by it, in whatever language: it must leave plugin.wasm beside itself. A .wasm file is taken as it
is: a component, or a core module that exports the interface's functions.";

/// Builds DIR into a component.
#[derive(clap::Args)]
#[command(after_help = RECIPES)]
struct Build {
    /// The plugin's folder, or a .wasm file.
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// Where the component goes; its name with .wasm, here, if not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Plugin {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self.command {
            PluginCommand::Build(build) => build.run(),
        }
    }
}

impl Build {
    fn run(self) -> Result<ExitCode> {
        let module = module(&self.from)?;
        let bytes =
            std::fs::read(&module).map_err(|error| Error::io(format!("cannot read {}", module.display()), error))?;
        let library = app::library(app::cache_folder().as_deref())?;
        let shown = self.from.display().to_string();
        let plugin = library.load(&shown, &shown, &bytes)?;
        let (name, version, about) = library.describe(&plugin)?;
        let output = self.output.unwrap_or_else(|| PathBuf::from(format!("{name}.wasm")));
        let component = crate::plugin::component(&bytes)?;
        std::fs::write(&output, &component)
            .map_err(|error| Error::io(format!("cannot write {}", output.display()), error))?;
        let hash = crate::plugin::engine::sha256(&component);
        println!("{}: {} {name} {version}, {} bytes", output.display(), plugin.world().word(), component.len());
        println!("  {about}");
        println!("  sha256 = \"{hash}\"");
        Ok(ExitCode::SUCCESS)
    }
}

/// The built module of a folder, or the file itself.
fn module(from: &Path) -> Result<PathBuf> {
    if from.is_file() {
        return Ok(from.to_owned());
    }
    if from.join("Cargo.toml").is_file() {
        eprintln!("building {} with cargo", from.display());
        let toolchain = Toolchain::find(&PathBuf::from("rustc")).map_err(Error::invalid)?;
        return toolchain.build_one(from).map_err(Error::invalid);
    }
    if from.join("build.sh").is_file() {
        eprintln!("building {} with its build.sh", from.display());
        let ended = Command::new("bash").arg("build.sh").current_dir(from).status();
        let ended = ended.map_err(|error| Error::io("cannot run bash build.sh", error))?;
        let built = from.join("plugin.wasm");
        return match (ended.success(), built.is_file()) {
            (true, true) => Ok(built),
            (true, false) => Err(Error::invalid(format!("build.sh left no {}", built.display()))),
            (false, _) => Err(Error::invalid(format!("build.sh failed with {ended}"))),
        };
    }
    match from.exists() {
        true => Err(Error::invalid(format!("{} has neither a Cargo.toml nor a build.sh", from.display()))),
        false => Err(Error::invalid(format!("there is no {}", from.display()))),
    }
}
