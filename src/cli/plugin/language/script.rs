//! plugins in any other language: a build.sh that leaves plugin.wasm beside itself

use super::Language;
use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(super) struct Script;

impl Language for Script {
    fn name(&self) -> &'static str {
        "build.sh"
    }

    fn main_file(&self) -> &'static str {
        "build.sh"
    }

    fn files(&self, _: World) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        let ended = Command::new("bash").arg("build.sh").current_dir(folder).status();
        let ended = ended.map_err(|error| Error::io("cannot run bash build.sh", error))?;
        let built = folder.join("plugin.wasm");
        match (ended.success(), built.is_file()) {
            (true, true) => Ok(built),
            (true, false) => Err(Error::invalid(format!("build.sh left no {}", built.display()))),
            (false, _) => Err(Error::invalid(format!("build.sh failed with {ended}"))),
        }
    }
}
