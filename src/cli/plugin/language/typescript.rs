//! plugins in TypeScript: as in JavaScript, with the types taken off by esbuild

use super::{Language, javascript, template};
use crate::error::Result;
use crate::plugin::World;
use std::path::{Path, PathBuf};

/// A file of the templates.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../plugins/templates/typescript/", $path))
    };
}

pub(super) struct TypeScript;

impl Language for TypeScript {
    fn name(&self) -> &'static str {
        "typescript"
    }

    fn main_file(&self) -> &'static str {
        "plugin.ts"
    }

    fn files(&self, world: World) -> Vec<(&'static str, &'static str)> {
        let plugin = match world {
            World::Parser => template!("parser.ts"),
            World::Filter => template!("filter.ts"),
            World::Enricher => template!("enricher.ts"),
            World::Autoscaler => template!("autoscaler.ts"),
        };
        let mut files = vec![
            ("plugin.ts", plugin),
            ("tsconfig.json", template!("tsconfig.json")),
            ("package.json", include_str!("../../../../plugins/templates/javascript/package.json")),
            ("README.md", template!("README.md")),
        ];
        files.extend(template::common(world));
        files.extend(javascript::SDK);
        files
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        javascript::build(folder, self.main_file())
    }

    fn missing(&self) -> Option<String> {
        javascript::JavaScript.missing()
    }
}
