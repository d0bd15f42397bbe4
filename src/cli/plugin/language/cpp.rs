//! plugins in C++: clang with libc++ for WebAssembly, or zig

use super::Language;
use super::clang::{self, Compiler, Dialect};
use crate::error::Result;
use crate::plugin::World;
use std::path::{Path, PathBuf};

/// C++'s own header over the SDK of C.
const SDK: &[(&str, &str)] = &[
    ("tidemill.hpp", include_str!("../../../../plugins/sdk/cpp/tidemill.hpp")),
    ("tidemill.h", include_str!("../../../../plugins/sdk/c/tidemill.h")),
    ("tidemill.c", include_str!("../../../../plugins/sdk/c/tidemill.c")),
];

pub(super) struct Cpp;

impl Language for Cpp {
    fn name(&self) -> &'static str {
        "cpp"
    }

    fn main_file(&self) -> &'static str {
        "plugin.cpp"
    }

    fn files(&self, world: World) -> Vec<(&'static str, &'static str)> {
        let plugin = match world {
            World::Parser => include_str!("../../../../plugins/templates/cpp/parser.cpp"),
            World::Filter => include_str!("../../../../plugins/templates/cpp/filter.cpp"),
            World::Enricher => include_str!("../../../../plugins/templates/cpp/enricher.cpp"),
            World::Autoscaler => include_str!("../../../../plugins/templates/cpp/autoscaler.cpp"),
        };
        let mut files =
            vec![("plugin.cpp", plugin), ("README.md", include_str!("../../../../plugins/templates/cpp/README.md"))];
        files.extend(super::template::common(world));
        files.extend(SDK);
        files
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        clang::build(Dialect::Cpp, SDK, folder)
    }

    fn missing(&self) -> Option<String> {
        Compiler::find(Dialect::Cpp).err()
    }
}
