//! the build script of the crate `tidemill`: builds the plugins of this workspace to WebAssembly
//!
//! ```text
//! plugins/** ─► cargo, for wasm32 ─► <target>/plugins/…/<name>.wasm ─► copies beside OUT_DIR ─► packed ─► bundled.rs
//! ```
//!
//! Writes `$OUT_DIR/bundled.rs` with `pub const BUNDLED: &[Bundled]`, the bundled plugins as core modules, packed, with their hashes;
//! `rust_sdk.rs` with the files of the SDK that `tidemill plugin new` puts into a project; and sets `TIDEMILL_TEST_PLUGINS` to a
//! folder that holds the examples and the zoo as `<name>.wasm`.
//!
//! **Always:** the nested cargo sees nothing of the outer one's settings, so that both builds are the same everywhere.
//! **Never:** it shares the outer target directory: cargo holds a lock on that while this script runs.

use sha2::{Digest, Sha256};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Folders of `plugins/` whose crates only tests load; every other crate there is bundled.
const FOR_TESTS: [&str; 2] = ["examples/rust", "zoo"];

/// How hard zstd tries: about a second for all of them.
const PACKING: i32 = 19;

/// Crates there that are no plugins.
const NO_PLUGINS: [&str; 1] = ["fuzz"];

#[path = "toolchain.rs"]
mod toolchain;

use toolchain::{TARGET, Toolchain};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let plugins = folder("CARGO_MANIFEST_DIR")?.join("plugins");
    watch(&plugins)?;
    let out = folder("OUT_DIR")?;
    let target = target_folder(&out)?;
    let toolchain = Toolchain::find(&folder("RUSTC")?)?;
    let bundled = crates(&plugins)?;
    let mut names = bundled.clone();
    for folder in FOR_TESTS {
        names.extend(crates(&plugins.join(folder))?);
    }
    toolchain.build(&plugins, &target)?;

    let built = target.join(TARGET).join("release");
    let copies = out.join("plugins");
    for name in &names {
        copy_if_changed(&built.join(format!("{}.wasm", name.replace('-', "_"))), &copies.join(format!("{name}.wasm")))?;
    }
    write_if_changed(&out.join("bundled.rs"), &bundled_source(&plugins, &bundled, &copies)?)?;
    write_if_changed(&out.join("rust_sdk.rs"), &sdk_source(&plugins)?)?;
    println!("cargo:rustc-env=TIDEMILL_TEST_PLUGINS={}", copies.display());
    if glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    Ok(())
}

/// The version of the C library here, where it is glibc and the program is built for this machine.
/// From 2.36 on it reads relocations packed, which saves the program 8 MB on disk and in memory.
fn glibc() -> Option<(u32, u32)> {
    if env::var_os("HOST") != env::var_os("TARGET") {
        return None;
    }
    let told = std::process::Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("cargo did not set {variable}"))
}

/// Sources and manifests, file by file: a watched folder would start a build for every test case and page too.
fn watch(plugins: &Path) -> Result<(), String> {
    println!("cargo:rerun-if-changed=wit/tidemill.wit");
    println!("cargo:rerun-if-changed={}", plugins.join("Cargo.lock").display());
    println!("cargo:rerun-if-changed={}", plugins.join("toolchain.rs").display());
    println!("cargo:rerun-if-env-changed=TIDEMILL_WASM_TOOLCHAIN");
    watch_folder(plugins)
}

fn watch_folder(folder: &Path) -> Result<(), String> {
    let listing = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in listing.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_left_out = NO_PLUGINS.contains(&name.as_str()) || ["target", "cases", "tests"].contains(&name.as_str());
        if path.is_dir() && is_left_out {
            continue;
        }
        if path.is_dir() {
            watch_folder(&path)?;
        } else if name == "Cargo.toml" || name.ends_with(".rs") {
            println!("cargo:rerun-if-changed={}", path.display());
        }
    }
    // A new file shows in its folder's time.
    if folder.ends_with("src") {
        println!("cargo:rerun-if-changed={}", folder.display());
    }
    Ok(())
}

/// `<target>/plugins` out of `<target>/<profile>/build/<crate>/out`: the same for debug, release, check and clippy.
fn target_folder(out: &Path) -> Result<PathBuf, String> {
    let target = out.ancestors().find(|folder| folder.ends_with("build")).and_then(|build| build.parent()?.parent());
    target.map(|target| target.join("plugins")).ok_or_else(|| format!("{}: not inside a target folder", out.display()))
}

/// The crates right under a folder, named as their folders are, in order.
fn crates(folder: &Path) -> Result<Vec<String>, String> {
    let listing = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let with_manifest = listing.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut names: Vec<String> = with_manifest.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !NO_PLUGINS.contains(&name.as_str()));
    names.sort();
    Ok(names)
}

/// Packs each bundled plugin beside its copy, and lists them.
fn bundled_source(plugins: &Path, bundled: &[String], copies: &Path) -> Result<String, String> {
    let mut entries = String::new();
    for name in bundled {
        let path = copies.join(format!("{name}.wasm"));
        let module = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let packed = path.with_extension("wasm.zst");
        let bytes =
            zstd::bulk::compress(&module, PACKING).map_err(|error| format!("{name} cannot be packed: {error}"))?;
        write_bytes_if_changed(&packed, &bytes)?;
        let sha256: String = Sha256::digest(&module).iter().map(|byte| format!("{byte:02x}")).collect();
        let size = module.len();
        let (world, about) = (world_of(name, &module)?, about(plugins, name)?);
        entries.push_str(&format!(
            "    Bundled {{ name: {name:?}, world: World::{world}, about: {about:?}, sha256: {sha256:?}, size: {size}, packed: include_bytes!({packed:?}) }},\n"
        ));
    }
    Ok(format!(
        "use crate::plugin::{{World, library::Bundled}};\n\
         /// The bundled plugins, as core modules with a component-type section.\n\
         pub const BUNDLED: &[Bundled] = &[\n{entries}];\n"
    ))
}

/// The world whose function a module exports, as the program names it.
fn world_of(name: &str, module: &[u8]) -> Result<&'static str, String> {
    let worlds = [
        ("Parser", "parsing@0.1.0#parse"),
        ("Filter", "filtering@0.1.0#keep"),
        ("Enricher", "enriching@0.1.0#enrich"),
        ("Autoscaler", "autoscaling@0.1.0#decide"),
    ];
    let exports = |function: &str| module.windows(function.len()).any(|bytes| bytes == function.as_bytes());
    let found = worlds.iter().find(|(_, function)| exports(function));
    found.map(|(world, _)| *world).ok_or_else(|| format!("{name} exports the function of no world"))
}

/// What a plugin says of itself, which is its crate's description.
fn about(plugins: &Path, name: &str) -> Result<String, String> {
    let manifest = plugins.join(name).join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let about = text.lines().find_map(|line| line.strip_prefix("description = \"")?.strip_suffix('"'));
    about.map(str::to_owned).ok_or_else(|| format!("{}: it has no description", manifest.display()))
}

/// The SDK as it stands in a project: the workspace's manifest with the SDK's crates alone, and their files; and the versions that
/// were tried.
fn sdk_source(plugins: &Path) -> Result<String, String> {
    let manifest = plugins.join("Cargo.toml");
    let manifest = fs::read_to_string(&manifest).map_err(|error| format!("{}: {error}", manifest.display()))?;
    let (before, rest) = manifest.split_once("members = [").ok_or("plugins/Cargo.toml: no members")?;
    let (_, after) = rest.split_once(']').ok_or("plugins/Cargo.toml: members without an end")?;
    let manifest = format!("{before}members = [\"sdk/rust\", \"sdk/rust/worlds/*\"]{after}");
    // Beside them are crates that the bundled plugins share.
    let mut paths = vec![plugins.join("sdk/rust/Cargo.toml")];
    files(&plugins.join("sdk/rust/src"), &mut paths)?;
    files(&plugins.join("sdk/rust/worlds"), &mut paths)?;
    paths.sort();
    let entries = paths.iter().map(|path| {
        let within = path.strip_prefix(plugins).unwrap_or(path).display();
        format!("    (\"tidemill/{within}\", include_str!({path:?})),\n")
    });
    Ok(format!(
        "pub const LOCK: &str = include_str!({:?});\npub const FILES: &[(&str, &str)] = &[\n    (\"tidemill/Cargo.toml\", {manifest:?}),\n{}];\n",
        plugins.join("Cargo.lock"),
        entries.collect::<String>()
    ))
}

/// The manifests and sources in a folder and below.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let listing = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for path in listing.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            files(&path, found)?;
        } else if path.ends_with("Cargo.toml") || path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Whoever reads while this writes sees the old file or the new one; who has the same bytes sees no change at all.
fn copy_if_changed(from: &Path, to: &Path) -> Result<(), String> {
    let bytes = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
    write_bytes_if_changed(to, &bytes)
}

fn write_if_changed(to: &Path, text: &str) -> Result<(), String> {
    write_bytes_if_changed(to, text.as_bytes())
}

fn write_bytes_if_changed(to: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let name = |error| format!("{}: {error}", to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(name)?;
    }
    let draft = to.with_extension(format!("draft{}", std::process::id()));
    fs::write(&draft, bytes).map_err(name)?;
    fs::rename(&draft, to).map_err(name)
}
