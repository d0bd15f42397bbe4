//! plugins in C: clang with wasi-libc, or zig

use super::Language;
use super::clang::{self, Compiler, Dialect};
use crate::error::Result;
use crate::plugin::World;
use std::path::{Path, PathBuf};

/// What a plugin in C is made with; the header is the author's to read.
pub(super) const SDK: &[(&str, &str)] = &[
    ("tidemill.h", include_str!("../../../../plugins/sdk/c/tidemill.h")),
    ("tidemill.c", include_str!("../../../../plugins/sdk/c/tidemill.c")),
];

pub(super) struct C;

impl Language for C {
    fn name(&self) -> &'static str {
        "c"
    }

    fn main_file(&self) -> &'static str {
        "plugin.c"
    }

    fn files(&self, world: World) -> Vec<(&'static str, &'static str)> {
        let plugin = match world {
            World::Parser => include_str!("../../../../plugins/templates/c/parser.c"),
            World::Filter => include_str!("../../../../plugins/templates/c/filter.c"),
            World::Enricher => include_str!("../../../../plugins/templates/c/enricher.c"),
            World::Autoscaler => include_str!("../../../../plugins/templates/c/autoscaler.c"),
        };
        let mut files =
            vec![("plugin.c", plugin), ("README.md", include_str!("../../../../plugins/templates/c/README.md"))];
        files.extend(super::template::common(world));
        files.extend(SDK);
        files
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        clang::build(Dialect::C, SDK, folder)
    }

    fn missing(&self) -> Option<String> {
        Compiler::find(Dialect::C).err()
    }
}
