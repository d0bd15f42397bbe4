//! a plugin as the command line names it: a folder, which is built, a file, or the name of a bundled one

use super::language;
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::plugin::{Library, Plugin};
use std::path::{Path, PathBuf};

/// The folder of a plugin's cases, within its own.
const CASES: &str = "cases";

/// The built module of a folder, or the file itself.
pub(super) fn module(from: &Path) -> Result<PathBuf> {
    if from.is_file() {
        return Ok(from.to_owned());
    }
    if !from.exists() {
        return Err(Error::invalid(format!("there is no {}", from.display())));
    }
    let language = language::of(from)?;
    eprintln!("building {} ({})", from.display(), language.name());
    language.build(from)
}

/// Opens a plugin: what is there by this path, else a bundled one of this name.
pub(super) fn open(library: &Library, from: &Path) -> Result<Plugin> {
    let name = from.display().to_string();
    if is_bundled(library, from) {
        return library.open(&name, Path::new(""));
    }
    let (bytes, name) = bytes(library, from)?;
    library.load(&name, &name, &bytes)
}

/// The bytes of a plugin, a component or a module, and what to call it.
pub(super) fn bytes(library: &Library, from: &Path) -> Result<(Vec<u8>, String)> {
    let name = from.display().to_string();
    if let Some(module) = library.module(&name).filter(|_| !from.exists()) {
        return Ok((module?, name));
    }
    if !from.exists() {
        let hint = did_you_mean(&name, library.names());
        let bundled: Vec<&str> = library.names().collect();
        let message = format!("there is no {name}{hint} (a folder, a .wasm file, or one of {})", bundled.join(", "));
        return Err(Error::new(ErrorKind::Missing, message));
    }
    let module = module(from)?;
    let bytes =
        std::fs::read(&module).map_err(|error| Error::io(format!("cannot read {}", module.display()), error))?;
    Ok((bytes, name))
}

fn is_bundled(library: &Library, from: &Path) -> bool {
    !from.exists() && library.names().any(|name| Path::new(name) == from)
}

/// The case files of a plugin: in the folder that is named, else in `cases` within its folder, or beside its file.
pub(super) fn cases(from: &Path, named: Option<&Path>) -> Result<Vec<PathBuf>> {
    let folder = match named {
        Some(folder) => folder.to_owned(),
        None if from == Path::new(".") => PathBuf::from(CASES),
        None if from.is_dir() => from.join(CASES),
        None => from.parent().unwrap_or(Path::new("")).join(CASES),
    };
    let hint = "write one there, or name another folder with --cases; the format is in plugins/README.md";
    if !folder.is_dir() {
        let message = format!("there are no cases in {}, which is no folder; {hint}", folder.display());
        return Err(Error::new(ErrorKind::Missing, message));
    }
    let files = crate::case::files(&folder)?;
    if files.is_empty() {
        return Err(Error::new(
            ErrorKind::Missing,
            format!("there are no cases (*.toml) in {}; {hint}", folder.display()),
        ));
    }
    Ok(files)
}
