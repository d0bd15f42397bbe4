//! plugins in Zig: zig alone

use super::Language;
use super::tools::{self, Tool};
use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::{Path, PathBuf};

/// Imported as `@import("tidemill")`.
const SDK: &[(&str, &str)] = &[("tidemill.zig", include_str!("../../../../plugins/sdk/zig/tidemill.zig"))];

pub(super) struct Zig;

/// Zig, from the PATH or as Python's ziglang.
pub(super) fn find() -> Option<Tool> {
    Tool::on_path("zig").or_else(|| Tool::of_python("ziglang"))
}

impl Language for Zig {
    fn name(&self) -> &'static str {
        "zig"
    }

    fn main_file(&self) -> &'static str {
        "plugin.zig"
    }

    fn files(&self, world: World) -> Vec<(&'static str, &'static str)> {
        let plugin = match world {
            World::Parser => include_str!("../../../../plugins/templates/zig/parser.zig"),
            World::Filter => include_str!("../../../../plugins/templates/zig/filter.zig"),
            World::Enricher => include_str!("../../../../plugins/templates/zig/enricher.zig"),
            World::Autoscaler => include_str!("../../../../plugins/templates/zig/autoscaler.zig"),
        };
        let mut files =
            vec![("plugin.zig", plugin), ("README.md", include_str!("../../../../plugins/templates/zig/README.md"))];
        files.extend(super::template::common(world));
        files.extend(SDK);
        files
    }

    /// The SDK is a module of its own: the project's `tidemill.zig`, or the one that comes with us.
    fn build(&self, folder: &Path) -> Result<PathBuf> {
        let zig = find().ok_or_else(|| Error::invalid(how_to_get_it()))?;
        let build = tools::build_folder(folder)?;
        let project = build.parent().unwrap_or(folder).to_owned();
        let lent = tools::lend(SDK, &project, &build.join("sdk"))?;
        let mut command = zig.command(&project);
        command.env("ZIG_LOCAL_CACHE_DIR", build.join("zig-cache"));
        command.args(["build-exe", "-target", "wasm32-freestanding", "-mcpu=generic+simd128+bulk_memory"]);
        // Safe: an index out of bounds is a trap, and costs a row, not a wrong value. It costs a fifth of the speed.
        command.args(["-O", "ReleaseSafe", "-fstrip", "-fno-entry", "-rdynamic", "--stack", "1048576"]);
        command.args(["-femit-bin=build/plugin.wasm", "--dep", "tidemill", "-Mroot=plugin.zig"]);
        command.arg(if lent { "-Mtidemill=build/sdk/tidemill.zig" } else { "-Mtidemill=tidemill.zig" });
        tools::run(command)?;
        Ok(build.join("plugin.wasm"))
    }

    fn missing(&self) -> Option<String> {
        find().is_none().then(how_to_get_it)
    }
}

fn how_to_get_it() -> String {
    let venv = tools::folder().join("python");
    let venv = venv.display();
    format!(
        "Zig needs zig; it is neither on the PATH nor in Python as ziglang\n\
         get it: python3 -m venv {venv} && {venv}/bin/pip install 'ziglang==0.17.*'"
    )
}
