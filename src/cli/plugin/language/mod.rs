//! the languages that plugins can be written in: how a folder of each is told, begun and built

mod c;
mod clang;
mod cpp;
mod rust;
mod script;
mod template;
mod tools;
mod zig;

use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::{Path, PathBuf};

/// A language, as `plugin new` and `plugin build` know it.
pub(super) trait Language: Sync {
    /// The word after `--lang`.
    fn name(&self) -> &'static str;
    /// The file whose presence makes a folder a project of this language.
    fn main_file(&self) -> &'static str;
    /// What `plugin new` writes for a world: paths within the folder, and contents in which `{{name}}` stands for the plugin's name.
    /// Nothing where a project of this kind is not begun by us.
    fn files(&self, world: World) -> Vec<(&'static str, &'static str)>;
    /// Builds a folder; answers where its module or component is. An error says exactly which tool is missing and how to get it.
    fn build(&self, folder: &Path) -> Result<PathBuf>;
    /// What is missing here to build with it, and how to get it; nothing where all is there.
    fn missing(&self) -> Option<String> {
        None
    }
}

/// All of them; a folder belongs to the first whose main file it has.
pub(super) const LANGUAGES: &[&dyn Language] = &[&script::Script, &rust::Rust, &c::C, &cpp::Cpp, &zig::Zig];

/// The languages that `plugin new` can begin a project of some world in.
pub(super) fn begun() -> impl Iterator<Item = &'static dyn Language> {
    let begins = |language: &&dyn Language| World::ALL.iter().any(|world| !language.files(*world).is_empty());
    LANGUAGES.iter().copied().filter(begins)
}

/// A world in a sentence: `a parser`, `an enricher`.
pub(super) fn article(world: World) -> &'static str {
    match world {
        World::Parser => "a parser",
        World::Filter => "a filter",
        World::Enricher => "an enricher",
        World::Autoscaler => "an autoscaler",
    }
}

/// The language of a folder.
pub(super) fn of(folder: &Path) -> Result<&'static dyn Language> {
    let found = LANGUAGES.iter().find(|language| folder.join(language.main_file()).is_file());
    found.copied().ok_or_else(|| {
        let files: Vec<&str> = LANGUAGES.iter().map(|language| language.main_file()).collect();
        Error::invalid(format!("{} is no plugin's folder: it has none of {}", folder.display(), files.join(", ")))
    })
}
