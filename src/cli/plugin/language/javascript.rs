//! plugins in JavaScript: esbuild makes one file of them, componentize-qjs puts it into QuickJS

use super::Language;
use super::tools::{self, Tool};
use super::{defined, lines, template};
use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::{Path, PathBuf};

const WIT: &str = include_str!("../../../../wit/tidemill.wit");

/// The SDK, and its types for editors.
pub(super) const SDK: &[(&str, &str)] = &[
    ("tidemill.js", include_str!("../../../../plugins/sdk/javascript/tidemill.js")),
    ("tidemill.d.ts", include_str!("../../../../plugins/sdk/javascript/tidemill.d.ts")),
];

/// A file of the templates.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../plugins/templates/javascript/", $path))
    };
}

pub(super) struct JavaScript;

impl Language for JavaScript {
    fn name(&self) -> &'static str {
        "javascript"
    }

    fn main_file(&self) -> &'static str {
        "plugin.js"
    }

    fn files(&self, world: World) -> Vec<(&'static str, &'static str)> {
        let plugin = match world {
            World::Parser => template!("parser.js"),
            World::Filter => template!("filter.js"),
            World::Enricher => template!("enricher.js"),
            World::Autoscaler => template!("autoscaler.js"),
        };
        let mut files = vec![
            ("plugin.js", plugin),
            ("jsconfig.json", template!("jsconfig.json")),
            ("package.json", template!("package.json")),
            ("README.md", template!("README.md")),
        ];
        files.extend(template::common(world));
        files.extend(SDK);
        files
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        build(folder, self.main_file())
    }

    fn missing(&self) -> Option<String> {
        find(Path::new(".")).err()
    }
}

/// Builds a folder whose main file is JavaScript or TypeScript to `build/plugin.wasm`.
pub(super) fn build(folder: &Path, main_file: &str) -> Result<PathBuf> {
    let build = tools::build_folder(folder)?;
    let project = build.parent().unwrap_or(folder).to_owned();
    let (esbuild, componentize) = find(&project).map_err(Error::invalid)?;
    let source = tools::read(&project.join(main_file))?;
    let world = defined::world(&folder.join(main_file), &defined::exports(&source), defined::javascript, "export")?;
    let lent = tools::lend(SDK, &project, &build.join("sdk"))?;
    let interface = match world {
        World::Parser => "parsing",
        World::Filter => "filtering",
        World::Enricher => "enriching",
        World::Autoscaler => "autoscaling",
    };
    let entry = format!(
        "import {{ component }} from \"tidemill\";\nimport * as made from \"../{main_file}\";\n\
         export const {{ plugin, {interface} }} = component(made, \"{}\", {});\n",
        world.word(),
        tools::name_of(&project)
    );
    tools::write(&build.join("entry.js"), &entry)?;
    let mut bundle = esbuild.command(&project);
    bundle.args(["--bundle", "--format=esm", "--target=es2023", "--log-level=warning", "--external:tidemill:*"]);
    bundle.arg(if lent { "--alias:tidemill=./build/sdk/tidemill.js" } else { "--alias:tidemill=./tidemill.js" });
    bundle.args(["--sourcemap=external", "--outfile=build/bundle.js", "build/entry.js"]);
    tools::run(bundle)?;
    if let Some(table) = lines::of_source_map(&tools::read(&build.join("bundle.js.map"))?) {
        let bundled = tools::read(&build.join("bundle.js"))?;
        tools::write(&build.join("bundle.js"), &format!("{bundled}\nglobalThis.tidemillLines = {table};\n"))?;
    }
    tools::write(&build.join("wit/tidemill.wit"), WIT)?;
    let mut make = componentize.command(&project);
    make.args(["--wit", "build/wit", "-n", world.word(), "-j", "build/bundle.js", "-o", "build/plugin.wasm"]);
    make.args(["--stub-wasi", "--sync"]).stdout(std::process::Stdio::null());
    tools::run(make)?;
    Ok(build.join("plugin.wasm"))
}

/// esbuild and componentize-qjs: the project's own, those on the PATH, or those of plugins/setup.sh. Else what is missing.
fn find(project: &Path) -> Result<(Tool, Tool), String> {
    let find = |name| {
        Tool::of_node(project, name)
            .or_else(|| Tool::on_path(name))
            .or_else(|| Tool::of_node(&tools::folder().join("node"), name))
    };
    match (find("esbuild"), find("componentize-qjs")) {
        (Some(esbuild), Some(componentize)) if Tool::on_path("node").is_some() => Ok((esbuild, componentize)),
        (esbuild, componentize) => {
            let node = Tool::on_path("node");
            let all = [("node", &node), ("esbuild", &esbuild), ("componentize-qjs", &componentize)];
            let missing: Vec<&str> = all.iter().filter(|(_, tool)| tool.is_none()).map(|(name, _)| *name).collect();
            let prefix = tools::folder().join("node");
            let node = match node {
                Some(_) => String::new(),
                None => "\nget node 18 or later first, on Debian and Ubuntu: apt-get install -y nodejs npm".to_owned(),
            };
            Err(format!(
                "JavaScript and TypeScript need node, esbuild and componentize-qjs; there is no {}{node}\n\
                 get it: npm install --prefix {} esbuild componentize-qjs",
                missing.join(", no "),
                prefix.display()
            ))
        }
    }
}
