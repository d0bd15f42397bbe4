//! where the uap project's files are: in the sources of the crate ua-parser, wherever cargo keeps those

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names another `regexes.yaml` than the crate's.
pub const VARIABLE: &str = "TIDEMILL_UAP_REGEXES";

/// The rules to build in.
pub fn regexes() -> Result<PathBuf, String> {
    match std::env::var_os(VARIABLE) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(folder()?.join("regexes.yaml")),
    }
}

/// The folder `uap-core` of the crate, with `regexes.yaml`, `tests` and `test_resources`.
pub fn folder() -> Result<PathBuf, String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // Without the filter, cargo would fetch what only other systems need.
    let mut command = Command::new(cargo);
    command.args([
        "metadata",
        "--format-version",
        "1",
        "--filter-platform",
        "wasm32-unknown-unknown",
        "--manifest-path",
    ]);
    let output = command.arg(&manifest).output().map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let told: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = told["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "ua-parser")
        .find_map(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata knows no crate ua-parser")?;
    Ok(Path::new(manifest).with_file_name("uap-core"))
}
