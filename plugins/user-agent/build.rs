//! turns the uap project's `regexes.yaml` into the rules that `src/uap.rs` reads
//!
//! ```text
//! the crate ua-parser, which carries regexes.yaml ─► uap ─► rules with the words that any match has ─► $OUT_DIR/uap.rules
//! ```
//!
//! The data is the uap project's (Apache-2.0) and is not in this repository: cargo fetches it with the crate.
//! `TIDEMILL_UAP_REGEXES` names another `regexes.yaml`, such as a newer one.

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

#[path = "build/required.rs"]
mod required;
#[path = "build/source.rs"]
mod source;
#[path = "build/uap.rs"]
mod uap;

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
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-env-changed={}", source::VARIABLE);
    let regexes = source::regexes()?;
    println!("cargo:rerun-if-changed={}", regexes.display());
    let text = std::fs::read_to_string(&regexes).map_err(|error| format!("{}: {error}", regexes.display()))?;
    let rules = uap::rules(&text).map_err(|error| format!("{}: {error}", regexes.display()))?;
    let out = env::var_os("OUT_DIR").map(PathBuf::from).ok_or("cargo did not set OUT_DIR")?.join("uap.rules");
    std::fs::write(&out, rules).map_err(|error| format!("{}: {error}", out.display()))
}
