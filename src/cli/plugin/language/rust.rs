//! plugins in Rust: cargo, with rustup's wasm32 target or Debian's sources of the library

use super::{Language, template};
use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::{Path, PathBuf};
use toolchain::Toolchain;

#[path = "../../../../plugins/toolchain.rs"]
#[allow(clippy::disallowed_methods, missing_docs, reason = "it is the build script's too, which has no clock")]
mod toolchain;

/// The SDK as files, of which the build script makes a list: a project is built with what this binary brings along.
mod sdk {
    include!(concat!(env!("OUT_DIR"), "/rust_sdk.rs"));
}

const WIT: &str = include_str!("../../../../wit/tidemill.wit");

/// A file of the templates.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../plugins/templates/rust/", $path))
    };
}

const IGNORED: &str = template!("ignored");
const README: &str = template!("README.md");

const PARSER: &[(&str, &str)] = &[
    ("Cargo.toml", template!("parser/manifest.toml")),
    ("src/lib.rs", template!("parser/lib.rs")),
    ("tests/cases.rs", template!("parser/cases.rs")),
];

const FILTER: &[(&str, &str)] = &[
    ("Cargo.toml", template!("filter/manifest.toml")),
    ("src/lib.rs", template!("filter/lib.rs")),
    ("tests/cases.rs", template!("filter/cases.rs")),
];

const ENRICHER: &[(&str, &str)] = &[
    ("Cargo.toml", template!("enricher/manifest.toml")),
    ("src/lib.rs", template!("enricher/lib.rs")),
    ("tests/cases.rs", template!("enricher/cases.rs")),
];

const AUTOSCALER: &[(&str, &str)] = &[
    ("Cargo.toml", template!("autoscaler/manifest.toml")),
    ("src/lib.rs", template!("autoscaler/lib.rs")),
    ("tests/cases.rs", template!("autoscaler/cases.rs")),
];

pub(super) struct Rust;

impl Language for Rust {
    fn name(&self) -> &'static str {
        "rust"
    }

    fn main_file(&self) -> &'static str {
        "Cargo.toml"
    }

    fn files(&self, world: World) -> Vec<(&'static str, &'static str)> {
        let own = match world {
            World::Parser => PARSER,
            World::Filter => FILTER,
            World::Enricher => ENRICHER,
            World::Autoscaler => AUTOSCALER,
        };
        let shared =
            [("README.md", README), (".gitignore", IGNORED), ("Cargo.lock", sdk::LOCK), ("wit/tidemill.wit", WIT)];
        let cases = template::cases(world);
        own.iter().chain(cases).chain(&shared).chain(sdk::FILES).copied().collect()
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        let toolchain = Toolchain::find(&PathBuf::from("rustc")).map_err(Error::invalid)?;
        toolchain.build_one(folder).map_err(Error::invalid)
    }

    fn missing(&self) -> Option<String> {
        Toolchain::find(&PathBuf::from("rustc")).err()
    }
}
