//! `tidemill plugin build DIR`

use super::found::module;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const RECIPES: &str = "\
A folder is built with the tools of its language, which its main file tells: Cargo.toml for Rust, build.sh for a script of your own
that leaves plugin.wasm beside itself. A .wasm file is taken as it is: a component, or a core module that exports the interface's
functions.";

/// Builds DIR into a component.
#[derive(clap::Args)]
#[command(after_help = RECIPES)]
pub struct Build {
    /// The plugin's folder, or a .wasm file.
    #[arg(value_name = "DIR", default_value = ".")]
    from: PathBuf,
    /// Where the component goes; into the plugin's folder, its name with .wasm, if not given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Build {
    pub(super) fn run(self) -> Result<ExitCode> {
        let module = module(&self.from)?;
        let bytes =
            std::fs::read(&module).map_err(|error| Error::io(format!("cannot read {}", module.display()), error))?;
        let library = crate::cli::library()?;
        let shown = self.from.display().to_string();
        let plugin = library.load(&shown, &shown, &bytes)?;
        let (name, version, about) = library.describe(&plugin)?;
        let folder = if self.from.is_dir() { self.from.as_path() } else { Path::new("") };
        let file = PathBuf::from(format!("{name}.wasm"));
        let output = self.output.unwrap_or_else(|| if folder == Path::new(".") { file } else { folder.join(file) });
        let component = crate::plugin::component(&bytes)?;
        std::fs::write(&output, &component)
            .map_err(|error| Error::io(format!("cannot write {}", output.display()), error))?;
        let hash = crate::plugin::engine::sha256(&component);
        say!("{}: {} {name} {version}, {} bytes", output.display(), plugin.world().word(), component.len());
        say!("  {about}");
        say!("  sha256 = \"{hash}\"");
        Ok(ExitCode::SUCCESS)
    }
}
