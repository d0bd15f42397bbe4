//! `tidemill plugin new NAME --lang L --world W`

use super::language::{self, Language};
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::plugin::World;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The longest name of a plugin.
const NAME_MAX: usize = 64;
/// What languages are called for short.
const SHORT: &[(&str, &str)] =
    &[("c++", "cpp"), ("golang", "go"), ("js", "javascript"), ("py", "python"), ("rs", "rust"), ("ts", "typescript")];
/// Names that mean something else to a compiler or to the build of a project.
const TAKEN: &[&str] =
    &["alloc", "build", "core", "deps", "incremental", "plugin", "proc-macro", "serde", "std", "test", "toml"];

/// Begins a plugin: a folder that builds, with cases it passes.
#[derive(clap::Args)]
pub struct New {
    /// The plugin's name, and its folder's: letters, digits and dashes.
    name: String,
    /// The language it is written in.
    #[arg(long, default_value = "rust", value_name = "LANGUAGE")]
    lang: String,
    /// What it will be: parser, filter, enricher or autoscaler.
    #[arg(long, value_name = "WORLD")]
    world: String,
    /// Where the folder is made.
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
}

impl New {
    pub(super) fn run(self) -> Result<ExitCode> {
        check_name(&self.name)?;
        let world = world(&self.world)?;
        let language = language(&self.lang)?;
        let files = language.files(world);
        if files.is_empty() {
            let worlds: Vec<&str> = World::ALL
                .iter()
                .filter(|world| !language.files(**world).is_empty())
                .map(|world| world.word())
                .collect();
            return Err(Error::invalid(format!(
                "there is nothing in {} to begin {} with; there is for {}",
                language.name(),
                language::article(world),
                worlds.join(", ")
            )));
        }
        let folder = self.dir.join(&self.name);
        if folder.exists() {
            let message =
                format!("{} is there already; choose another name, or another place with --dir", folder.display());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        for (path, text) in files {
            write(&folder.join(path), &text.replace("{{name}}", &self.name))?;
        }
        let shown = folder.strip_prefix(".").unwrap_or(&folder).display();
        say!("{shown}: {} in {}. Next:", language::article(world), language.name());
        say!("  cd {shown}");
        say!("  tidemill plugin test     # builds it and runs cases/");
        say!(
            "  tidemill plugin build    # leaves {}.wasm, for `plugin = \"{}.wasm\"` in a pipeline file",
            self.name,
            self.name
        );
        if let Some(missing) = language.missing() {
            say!("Before that, something is missing here: {missing}");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn check_name(name: &str) -> Result<()> {
    let refused = |why: &str| Err(Error::invalid(format!("`{name}` is no name for a plugin: {why}")));
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(letters) || name.ends_with('-') {
        return refused("write small letters, digits and dashes, a letter first, as in `checkout-lines`");
    }
    if name.len() > NAME_MAX {
        return refused(&format!("at most {NAME_MAX} letters"));
    }
    if TAKEN.contains(&name) || name.starts_with("tidemill") {
        return refused("compilers or the SDK have it already");
    }
    Ok(())
}

fn world(word: &str) -> Result<World> {
    let words = || World::ALL.iter().map(|world| world.word());
    World::ALL.iter().copied().find(|world| world.word() == word).ok_or_else(|| {
        let known: Vec<&str> = words().collect();
        Error::invalid(format!("unknown world `{word}`{} (worlds: {})", did_you_mean(word, words()), known.join(", ")))
    })
}

fn language(word: &str) -> Result<&'static dyn Language> {
    let lower = word.to_lowercase();
    let name = SHORT.iter().find(|(short, _)| *short == lower).map_or(lower.as_str(), |(_, name)| name);
    language::begun().find(|language| language.name() == name).ok_or_else(|| {
        let known: Vec<&str> = language::begun().map(Language::name).collect();
        let hint = did_you_mean(word, known.iter().copied());
        Error::invalid(format!("unknown language `{word}`{hint} (languages: {})", known.join(", ")))
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", path.display()), error);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_languages_and_worlds_are_checked_with_a_hint() {
        for good in ["lines", "checkout-lines", "a1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "Lines", "1a", "a_b", "a/b", "..", "a-", "test", "tidemill-plugin", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        let error = world("parsr").err().map(|error| error.to_string());
        assert!(error.as_deref().is_some_and(|error| error.contains("did you mean `parser`?")), "{error:?}");
        let error = language("rst").err().map(|error| error.to_string());
        assert!(error.as_deref().is_some_and(|error| error.contains("did you mean `rust`?")), "{error:?}");
    }
}
