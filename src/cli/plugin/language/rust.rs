//! plugins in Rust: cargo, with rustup's wasm32 target or Debian's sources of the library

use super::Language;
use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::{Path, PathBuf};
use toolchain::Toolchain;

#[path = "../../../../plugins/toolchain.rs"]
#[allow(clippy::disallowed_methods, missing_docs, reason = "it is the build script's too, which has no clock")]
mod toolchain;

pub(super) struct Rust;

impl Language for Rust {
    fn name(&self) -> &'static str {
        "rust"
    }

    fn main_file(&self) -> &'static str {
        "Cargo.toml"
    }

    fn files(&self, _: World) -> Vec<(&'static str, &'static str)> {
        Vec::new()
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        let toolchain = Toolchain::find(&PathBuf::from("rustc")).map_err(Error::invalid)?;
        toolchain.build_one(folder).map_err(Error::invalid)
    }
}
