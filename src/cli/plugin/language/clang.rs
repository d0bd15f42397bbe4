//! C and C++ to a WebAssembly module: clang with wasi-libc, or zig, which brings all it needs

use super::tools::{self, Tool};
use crate::error::{Error, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A stack of 1 MiB that stands before all data: what overflows it is a trap and no other variable's value.
const LINK: &[&str] = &["-mexec-model=reactor", "-Wl,-z,stack-size=1048576", "-Wl,--strip-all"];

/// What every engine has by now, and the engine here.
const FEATURES: &[&str] = &["-msimd128", "-mbulk-memory", "-mnontrapping-fptoint", "-msign-ext"];

/// Which of the two, and what a source of it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Dialect {
    C,
    Cpp,
}

impl Dialect {
    fn word(self) -> &'static str {
        match self {
            Dialect::C => "C",
            Dialect::Cpp => "C++",
        }
    }

    fn endings(self) -> &'static [&'static str] {
        match self {
            Dialect::C => &["c"],
            Dialect::Cpp => &["c", "cpp", "cc", "cxx"],
        }
    }

    /// Debian's packages, in the order of their names' weight.
    fn packages(self) -> &'static str {
        match self {
            Dialect::C => "clang lld wasi-libc libclang-rt-dev-wasm32",
            Dialect::Cpp => "clang lld wasi-libc libclang-rt-dev-wasm32 libc++-dev-wasm32 libc++abi-dev-wasm32",
        }
    }

    /// A program that needs the library, to see whether there is one.
    fn probe(self) -> &'static str {
        match self {
            Dialect::C => "#include <stdlib.h>\nint main(void) { return atoi(\"0\"); }\n",
            Dialect::Cpp => "#include <string>\nint main() { return std::to_string(0) == \"1\"; }\n",
        }
    }
}

/// What can build it here.
#[derive(Debug)]
pub(super) enum Compiler {
    Clang { c: Tool, cpp: Tool },
    Zig(Tool),
}

impl Compiler {
    /// Clang where it can build for WebAssembly, else zig; the error says what is missing and how to get it.
    pub(super) fn find(dialect: Dialect) -> Result<Compiler, String> {
        let clang = clang(dialect);
        if let Ok(found) = clang {
            return Ok(found);
        }
        let zig = super::zig::find();
        zig.map(Compiler::Zig).ok_or_else(|| how_to_get_one(dialect, &clang.err().unwrap_or_default()))
    }

    /// A compiler's command for a source, by its ending.
    fn command(&self, folder: &Path, is_cpp: bool) -> std::process::Command {
        match (self, is_cpp) {
            (Compiler::Clang { c, .. }, false) => with(c.command(folder), &["--target=wasm32-wasi"]),
            // Its library for this target is libc++, and no other.
            (Compiler::Clang { cpp, .. }, true) => with(cpp.command(folder), &["--target=wasm32-wasi"]),
            (Compiler::Zig(zig), _) => {
                let mut command = zig.command(folder);
                // Zig keeps what it built; the project is the place for what belongs to it.
                command.env("ZIG_LOCAL_CACHE_DIR", folder.join("build/zig-cache"));
                with(command, &[if is_cpp { "c++" } else { "cc" }, "-target", "wasm32-wasi"])
            }
        }
    }
}

fn with(mut command: std::process::Command, arguments: &[&str]) -> std::process::Command {
    command.args(arguments);
    command
}

/// Compiles every source of a folder, and links them with the SDK to `build/plugin.wasm`.
pub(super) fn build(dialect: Dialect, sdk: &[(&str, &str)], project: &Path) -> Result<PathBuf> {
    let compiler = Compiler::find(dialect).map_err(Error::invalid)?;
    let build = tools::build_folder(project)?;
    let project = build.parent().unwrap_or(project).to_owned();
    let lent = build.join("sdk");
    let mut sources = tools::sources(&project, dialect.endings())?;
    if tools::lend(sdk, &project, &lent)? {
        let of_sdk = tools::sources(&lent, dialect.endings())?;
        sources.extend(of_sdk.into_iter().map(|name| PathBuf::from("build/sdk").join(name)));
    }
    let mut objects = Vec::new();
    for source in sources {
        let is_cpp = source.extension().is_none_or(|ending| ending != "c");
        let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let object = PathBuf::from("build").join(format!("{name}.o"));
        let mut command = compiler.command(&project, is_cpp);
        command.args(if is_cpp { &["-std=c++20", "-fno-exceptions", "-fno-rtti"][..] } else { &["-std=gnu11"] });
        command.args(FEATURES).args([
            "-O3",
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-I.",
            "-Ibuild/sdk",
            "-c",
            "-o",
        ]);
        command.arg(&object).arg(&source);
        tools::run(command)?;
        objects.push(object);
    }
    let mut link = compiler.command(&project, dialect == Dialect::Cpp);
    link.args(LINK).args(["-O3", "-o", "build/plugin.wasm"]).args(&objects);
    if let Compiler::Clang { .. } = compiler {
        link.arg("-Wl,--stack-first"); // zig does so anyway, and does not know the word
    }
    tools::run(link)?;
    Ok(build.join("plugin.wasm"))
}

/// Clang, if it can build a program for WebAssembly; else what is wrong.
fn clang(dialect: Dialect) -> Result<Compiler, String> {
    let (Some(c), Some(cpp)) = (Tool::on_path("clang"), Tool::on_path("clang++")) else {
        return Err("there is no clang".to_owned());
    };
    let found = Compiler::Clang { c, cpp };
    let is_cpp = dialect == Dialect::Cpp;
    let language = if is_cpp { "c++" } else { "c" };
    let mut probe = found.command(Path::new("."), is_cpp);
    probe.args(["-x", language, "-o", "/dev/null", "-"]);
    probe.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let asked = probe.spawn().and_then(|mut running| {
        if let Some(mut input) = running.stdin.take() {
            // If it does not read to the end, it says why.
            let _ = input.write_all(dialect.probe().as_bytes());
        }
        running.wait_with_output()
    });
    let output = asked.map_err(|error| format!("clang does not run: {error}"))?;
    if output.status.success() {
        return Ok(found);
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let why = said.lines().find(|line| line.contains("error")).unwrap_or("it does not say why").trim();
    Err(format!("clang is here, and cannot build for WebAssembly: {why}"))
}

fn how_to_get_one(dialect: Dialect, why_no_clang: &str) -> String {
    let (word, packages) = (dialect.word(), dialect.packages());
    let venv = tools::folder().join("python");
    let venv = venv.display();
    format!(
        "{word} needs clang with a library for WebAssembly, or zig\n\
         {why_no_clang}; there is no zig, neither on the PATH nor as Python's ziglang\n\
         get clang, on Debian and Ubuntu: apt-get install -y {packages}\n\
         or zig, anywhere: python3 -m venv {venv} && {venv}/bin/pip install 'ziglang==0.17.*'"
    )
}
