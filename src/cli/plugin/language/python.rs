//! plugins in Python: componentize-py puts them and the interpreter into one component

use super::tools::{self, Tool};
use super::{Language, defined, template};
use crate::error::{Error, Result};
use crate::plugin::World;
use std::path::{Path, PathBuf};

const WIT: &str = include_str!("../../../../wit/tidemill.wit");

/// The SDK.
const SDK: &[(&str, &str)] = &[("tidemill.py", include_str!("../../../../plugins/sdk/python/tidemill.py"))];

/// A file of the templates.
macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../../plugins/templates/python/", $path))
    };
}

pub(super) struct Python;

impl Language for Python {
    fn name(&self) -> &'static str {
        "python"
    }

    fn main_file(&self) -> &'static str {
        "plugin.py"
    }

    fn files(&self, world: World) -> Vec<(&'static str, &'static str)> {
        let plugin = match world {
            World::Parser => template!("parser.py"),
            World::Filter => template!("filter.py"),
            World::Enricher => template!("enricher.py"),
            World::Autoscaler => template!("autoscaler.py"),
        };
        let mut files = vec![("plugin.py", plugin), ("README.md", template!("README.md"))];
        files.extend(template::common(world));
        files.extend(SDK);
        files
    }

    fn build(&self, folder: &Path) -> Result<PathBuf> {
        let componentize = find().ok_or_else(|| Error::invalid(how_to_get_it()))?;
        let build = tools::build_folder(folder)?;
        let project = build.parent().unwrap_or(folder).to_owned();
        let main = project.join(self.main_file());
        let source = tools::read(&main)?;
        let names = defined::definitions(&source);
        let world = defined::world(&folder.join(self.main_file()), &names, defined::python, "define")?;
        // The interpreter's own imports fail without saying which file they were in.
        let lent = tools::lend(SDK, &project, &build.join("sdk"))?;
        let entry = format!(
            "import tidemill\nimport plugin\n\nglobals().update(tidemill.component(plugin, \"{}\", {}))\n",
            world.word(),
            tools::name_of(&project)
        );
        tools::write(&build.join("app/app.py"), &entry)?;
        tools::write(&build.join("wit/tidemill.wit"), WIT)?;
        let mut make = componentize.command(&project);
        make.args(["--quiet", "-d", "build/wit", "-w", world.word(), "componentize", "app", "--stub-wasi"]);
        make.args(["-p", "build/app", "-p", "."]);
        if lent {
            make.args(["-p", "build/sdk"]);
        }
        make.args(["-o", "build/plugin.wasm"]);
        tools::run(make)?;
        Ok(build.join("plugin.wasm"))
    }

    fn missing(&self) -> Option<String> {
        find().is_none().then(how_to_get_it)
    }
}

/// The active virtual environment's, the one on the PATH, or that of plugins/setup.sh.
fn find() -> Option<Tool> {
    Tool::in_venv("componentize-py")
}

fn how_to_get_it() -> String {
    let venv = tools::folder().join("python");
    let venv = venv.display();
    format!(
        "Python needs componentize-py; it is neither on the PATH nor in {venv}\n\
         get it: python3 -m venv {venv} && {venv}/bin/pip install componentize-py"
    )
}
