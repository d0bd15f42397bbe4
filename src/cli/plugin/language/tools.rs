//! compilers of this machine: where they are looked for, and how they are run

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program and the arguments that come before one's own: `zig`, or `python3 -m ziglang`.
#[derive(Clone, Debug)]
pub(super) struct Tool {
    words: Vec<OsString>,
}

impl Tool {
    /// A program on the `PATH`.
    pub(super) fn on_path(name: &str) -> Option<Tool> {
        let folders = std::env::var_os("PATH")?;
        let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())?;
        Some(Tool { words: vec![found.into()] })
    }

    /// A module of the first Python that has it: the virtual environment that is active, the one that plugins/setup.sh makes, the system's.
    pub(super) fn of_python(module: &str) -> Option<Tool> {
        let of_setup = Some(folder().join("python").join("bin/python"));
        let active = std::env::var_os("VIRTUAL_ENV").map(|root| PathBuf::from(root).join("bin/python"));
        let pythons = [active, of_setup, Some(PathBuf::from("python3"))].into_iter().flatten();
        pythons.filter(|python| python.is_file() || python.components().count() == 1).find_map(|python| {
            let has = format!("import importlib.util as u, sys; sys.exit(u.find_spec('{module}') is None)");
            let asked = Command::new(&python).args(["-c", &has]).stdin(Stdio::null()).stderr(Stdio::null()).status();
            asked
                .is_ok_and(|ended| ended.success())
                .then(|| Tool { words: vec![python.into(), "-m".into(), module.into()] })
        })
    }

    /// A program in a place, if it is there.
    pub(super) fn at(path: &Path) -> Option<Tool> {
        path.is_file().then(|| Tool { words: vec![path.into()] })
    }

    /// A program that pip installed: in the virtual environment that is active, on the `PATH`, or in the one that plugins/setup.sh makes.
    pub(super) fn in_venv(name: &str) -> Option<Tool> {
        let active = std::env::var_os("VIRTUAL_ENV").map(|root| PathBuf::from(root).join("bin").join(name));
        active
            .and_then(|path| Tool::at(&path))
            .or_else(|| Tool::on_path(name))
            .or_else(|| Tool::at(&folder().join("python/bin").join(name)))
    }

    /// A program that npm installed for a folder, or for one above it.
    pub(super) fn of_node(folder: &Path, name: &str) -> Option<Tool> {
        folder.ancestors().find_map(|above| Tool::at(&above.join("node_modules/.bin").join(name)))
    }

    /// A command that runs it in a folder.
    pub(super) fn command(&self, folder: &Path) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map_or("".as_ref(), OsString::as_os_str));
        command.args(words).current_dir(folder).stdin(Stdio::null());
        // Where a tool of Rust was inside itself says nothing about the plugin.
        command.env("RUST_BACKTRACE", "0");
        command
    }

    /// As one would type it.
    pub(super) fn shown(&self) -> String {
        self.words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }
}

/// Where plugins/setup.sh puts what no package manager of the system has.
pub(super) fn folder() -> PathBuf {
    let named = std::env::var_os("TIDEMILL_TOOLS").map(PathBuf::from);
    let data = || std::env::var_os("XDG_DATA_HOME").map(|data| PathBuf::from(data).join("tidemill"));
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share/tidemill"));
    named.or_else(data).or_else(home).unwrap_or_default()
}

/// Runs a compiler; what it says goes where our own words go, as it says it.
pub(super) fn run(mut command: Command) -> Result<()> {
    let program = name(&command);
    let ended = command.status().map_err(|error| Error::io(format!("cannot run {program}"), error))?;
    match ended.success() {
        true => Ok(()),
        false => {
            Err(Error::invalid(format!("{program} could not build it ({ended}); what it found wrong stands above")))
        }
    }
}

/// A compiler's name: `clang`, or `python3 -m ziglang`.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut arguments = command.get_args();
    match (arguments.next(), arguments.next()) {
        (Some(first), Some(module)) if first == "-m" => format!("{program} -m {}", module.to_string_lossy()),
        _ => program,
    }
}

/// Reads a file of a project.
pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
}

/// Writes a file of a build, and the folder it is in.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let written = made.and_then(|()| std::fs::write(path, text));
    written.map_err(|error| Error::io(format!("cannot write {}", path.display()), error))
}

/// `build/` inside a project, made if it is not there.
pub(super) fn build_folder(project: &Path) -> Result<PathBuf> {
    // Compilers run inside of the project: a path from here would be another one there.
    let project =
        project.canonicalize().map_err(|error| Error::io(format!("cannot open {}", project.display()), error))?;
    let folder = project.join("build");
    std::fs::create_dir_all(&folder).map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
    Ok(folder)
}

/// What a plugin is called that does not say its name: its folder's, as a text of JavaScript and Python.
pub(super) fn name_of(project: &Path) -> String {
    let name = project.file_name().unwrap_or_default().to_string_lossy();
    serde_json::Value::from(name).to_string()
}

/// Puts files of an SDK into a folder, unless the project has the first of them as its own; answers whether it did.
pub(super) fn lend(sdk: &[(&str, &str)], project: &Path, folder: &Path) -> Result<bool> {
    if sdk.first().is_some_and(|(name, _)| project.join(name).is_file()) {
        return Ok(false);
    }
    std::fs::create_dir_all(folder).map_err(|error| Error::io(format!("cannot make {}", folder.display()), error))?;
    for (name, text) in sdk {
        let to = folder.join(name);
        if std::fs::read(&to).is_ok_and(|old| old == text.as_bytes()) {
            continue;
        }
        std::fs::write(&to, text).map_err(|error| Error::io(format!("cannot write {}", to.display()), error))?;
    }
    Ok(true)
}

/// The sources right inside a project, by their endings, in order.
pub(super) fn sources(project: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let listing =
        std::fs::read_dir(project).map_err(|error| Error::io(format!("cannot read {}", project.display()), error))?;
    let names = listing.flatten().filter(|entry| entry.path().is_file()).map(|entry| PathBuf::from(entry.file_name()));
    let is_source = |name: &PathBuf| {
        let ending = name.extension().map(|ending| ending.to_string_lossy().into_owned());
        ending.is_some_and(|ending| endings.contains(&ending.as_str()))
    };
    let mut names: Vec<PathBuf> = names.filter(is_source).collect();
    names.sort();
    Ok(names)
}
