//! which Rust can build for WebAssembly here: rustup's with the target, or Debian's out of the library's sources
//!
//! The build script uses it for the bundled plugins, `tidemill plugin build` for anybody's.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What plugins are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// What can build for wasm32 here.
pub enum Toolchain {
    /// The toolchain at hand has the standard library.
    Rustup { cargo: PathBuf, rustc: PathBuf },
    /// Debian's has its sources; rust-lld comes with it or with the toolchain at hand.
    Debian { linker: PathBuf },
}

impl Toolchain {
    /// Looks for one; the error says how to get one.
    pub fn find(rustc: &Path) -> Result<Toolchain, String> {
        let sysroot = sysroot(rustc)?;
        let wanted = env::var("TIDEMILL_WASM_TOOLCHAIN").ok();
        let may_be = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
        if may_be("rustup") && sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() {
            let cargo = env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
            return Ok(Toolchain::Rustup { cargo, rustc: rustc.to_owned() });
        }
        let has = |path: &str| Path::new(path).exists();
        let debian = has("/usr/bin/cargo") && has("/usr/bin/rustc") && has("/usr/lib/rustlib/src/rust/library/std");
        if may_be("debian") && debian {
            return Ok(Toolchain::Debian { linker: linker(&sysroot)? });
        }
        Err(format!(
            "the plugins need a Rust toolchain for {TARGET}, and there is none\n\
             run plugins/setup.sh, which says what it does; or: rustup target add {TARGET}"
        ))
    }

    /// Builds every package of a workspace into a target folder. By name they would not do: some are called as crates they use are.
    #[allow(dead_code, reason = "the build script builds a workspace, the command a folder")]
    pub fn build(&self, workspace: &Path, target: &Path) -> Result<(), String> {
        let mut cargo = self.cargo("build");
        cargo.args(["--locked", "--workspace", "--target-dir"]).arg(target);
        cargo.arg("--manifest-path").arg(workspace.join("Cargo.toml"));
        run(cargo)
    }

    /// Builds the one crate of a folder; answers where its module is.
    #[allow(dead_code, reason = "the build script builds a workspace, the command a folder")]
    pub fn build_one(&self, folder: &Path) -> Result<PathBuf, String> {
        let mut cargo = self.cargo("rustc");
        cargo.args(["--crate-type", "cdylib", "--message-format", "json-render-diagnostics"]).current_dir(folder);
        // Whoever waits for it sees what it does.
        cargo.stderr(Stdio::inherit());
        let output = cargo.output().map_err(|error| format!("{}: {error}", cargo.get_program().to_string_lossy()))?;
        if !output.status.success() {
            return Err(format!("{}: cargo could not build it, and says why above", folder.display()));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        // Of what cargo tells of, the last module is the crate's own: what it depends on comes before.
        let module = messages.lines().rev().find_map(|line| {
            let end = line.rfind(".wasm\"")? + ".wasm".len();
            let start = line.get(..end)?.rfind('"')? + 1;
            line.get(start..end).map(PathBuf::from)
        });
        module.ok_or_else(|| format!("{}: cargo built no module; does it have a library?", folder.display()))
    }

    /// Cargo for wasm32, in release.
    fn cargo(&self, command: &str) -> Command {
        let mut cargo = match self {
            Toolchain::Rustup { cargo, rustc } => {
                let mut cargo = clean(cargo);
                cargo.env("RUSTC", rustc);
                cargo
            }
            Toolchain::Debian { linker } => {
                let mut cargo = clean(Path::new("/usr/bin/cargo"));
                cargo.env("RUSTC", "/usr/bin/rustc");
                cargo.env("RUSTC_BOOTSTRAP", "1"); // -Zbuild-std asks for it
                cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                cargo
            }
        };
        cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Ctarget-feature=+simd128");
        cargo.args([command, "--release", "--lib", "--target", TARGET]);
        if let Toolchain::Debian { .. } = self {
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        cargo
    }
}

/// A cargo that inherits nothing from the cargo that runs this script but where its cache is.
fn clean(cargo: &Path) -> Command {
    let mut command = Command::new(cargo);
    let kept = ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_HTTP_PROXY", "CARGO_HTTP_CAINFO"];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let of_build =
            ["CARGO", "RUST", "DEP_", "MAKEFLAGS", "MFLAGS", "CLIPPY"].iter().any(|start| text.starts_with(start));
        let set_by_cargo =
            ["OUT_DIR", "TARGET", "HOST", "NUM_JOBS", "OPT_LEVEL", "PROFILE", "DEBUG"].contains(&text.as_ref());
        let of_rustup = text.starts_with("RUSTUP_");
        if (of_build || set_by_cargo)
            && !of_rustup
            && !kept.contains(&text.as_ref())
            && !text.starts_with("CARGO_REGISTR")
        {
            command.env_remove(&name);
        }
    }
    command
}

fn sysroot(rustc: &Path) -> Result<PathBuf, String> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    let output = output.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no Rust (rustc is not on the PATH); install it from https://rustup.rs, then: rustup target add wasm32-unknown-unknown".to_owned(),
        _ => format!("{} --print sysroot: {error}", rustc.display()),
    })?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn linker(sysroot: &Path) -> Result<PathBuf, String> {
    let beside = |sysroot: &Path| {
        let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).into_iter().flatten().flatten();
        hosts.map(|host| host.path().join("bin/rust-lld")).collect::<Vec<_>>()
    };
    let mut known = beside(sysroot);
    known.extend(beside(Path::new("/usr")));
    known.extend(["/usr/bin/wasm-ld", "/usr/bin/lld"].map(PathBuf::from));
    known.into_iter().find(|path| path.exists()).ok_or_else(|| {
        "Debian's Rust can build the plugins, but there is no linker for WebAssembly\nrun plugins/setup.sh, or: apt-get install lld".to_owned()
    })
}

#[allow(dead_code, reason = "the build script builds a workspace, the command a folder")]
fn run(mut cargo: Command) -> Result<(), String> {
    let output = cargo.output().map_err(|error| format!("{}: {error}", cargo.get_program().to_string_lossy()))?;
    if output.status.success() {
        return Ok(());
    }
    let arguments: Vec<OsString> = cargo.get_args().map(OsString::from).collect();
    Err(format!(
        "building the plugins failed\n{}\ncommand: {} {}",
        String::from_utf8_lossy(&output.stderr),
        cargo.get_program().to_string_lossy(),
        arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    ))
}
