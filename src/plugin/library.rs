//! where plugins are found: bundled in the binary by name, or a file by path

use super::compile::MODULE_BYTES_MAX;
use super::engine::{Engine, sha256};
use super::{World, instance};
use crate::error::{Error, Result, did_you_mean};
use std::borrow::Cow;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use wasmtime::component::{Component, types::ComponentItem};

/// A compiled plugin. Cloning shares it.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

struct Inner {
    name: String,
    origin: String,
    sha256: String,
    world: World,
    component: Component,
}

/// Where plugins are looked for. Cloning shares what is in use.
#[derive(Clone)]
pub struct Library {
    engine: Engine,
    bundled: &'static [Bundled],
    /// those in use: a file that is looked at again is not compiled again
    known: Arc<Mutex<Vec<Weak<Inner>>>>,
}

/// A plugin that is part of the program.
pub struct Bundled {
    /// its name
    pub name: &'static str,
    /// what it is
    pub world: World,
    /// what it does, in one line
    pub about: &'static str,
    /// the hash of the module, in hex
    pub sha256: &'static str,
    /// the module's size in bytes
    pub size: usize,
    /// the module, packed with zstd
    pub packed: &'static [u8],
}

impl Plugin {
    /// Its name in the pipeline file.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// `bundled`, or the path of its file.
    pub fn origin(&self) -> &str {
        &self.0.origin
    }

    /// The hash of the bytes it came as, in hex.
    pub fn sha256(&self) -> &str {
        &self.0.sha256
    }

    /// What it is.
    pub fn world(&self) -> World {
        self.0.world
    }

    pub(super) fn component(&self) -> &Component {
        &self.0.component
    }
}

impl Library {
    /// A library of these bundled plugins, and of any file.
    pub fn new(engine: Engine, bundled: &'static [Bundled]) -> Library {
        Library { engine, bundled, known: Arc::default() }
    }

    /// The engine that runs them.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The names of the bundled ones.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.bundled.iter().map(|bundled| bundled.name)
    }

    /// Finds and compiles a plugin: a bundled one by name, else a file, whose path is relative to `folder` and contains a `/` or ends
    /// in `.wasm`.
    pub fn open(&self, name: &str, folder: &Path) -> Result<Plugin> {
        if let Some(bundled) = self.bundled.iter().find(|bundled| bundled.name == name) {
            return self.compiled(name, "bundled", bundled.sha256.to_owned(), || bundled.unpacked().map(Cow::Owned));
        }
        if !name.contains('/') && !name.ends_with(".wasm") {
            let hint = did_you_mean(name, self.names());
            let known: Vec<&str> = self.names().collect();
            return Err(Error::invalid(format!(
                "unknown plugin `{name}`{hint} (bundled: {}; or the path of a .wasm file)",
                known.join(", ")
            )));
        }
        let path: PathBuf = folder.join(name);
        let bytes = read(&path).map_err(|error| error.within(format!("plugin `{name}`")))?;
        self.load(name, &path.display().to_string(), &bytes)
    }

    /// Compiles a plugin from bytes.
    pub fn load(&self, name: &str, origin: &str, bytes: &[u8]) -> Result<Plugin> {
        self.compiled(name, origin, sha256(bytes), || Ok(Cow::Borrowed(bytes)))
    }

    fn compiled<'a>(
        &self,
        name: &str,
        origin: &str,
        hash: String,
        bytes: impl FnOnce() -> Result<Cow<'a, [u8]>>,
    ) -> Result<Plugin> {
        if let Some(known) =
            self.known(|known| (&*known.name, &*known.origin, &*known.sha256) == (name, origin, &*hash))
        {
            return Ok(known);
        }
        let within = |error: Error| error.within(format!("plugin `{name}`"));
        let component = self.engine.component(&hash, bytes).map_err(within)?;
        let world = world_of(&self.engine, &component).map_err(within)?;
        let (name, origin) = (name.to_owned(), origin.to_owned());
        let plugin = Arc::new(Inner { name, origin, sha256: hash, world, component });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&plugin));
        Ok(Plugin(plugin))
    }

    /// One that is in use already.
    fn known(&self, is: impl Fn(&Inner) -> bool) -> Option<Plugin> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|plugin| plugin.strong_count() > 0);
        known.iter().filter_map(Weak::upgrade).find(|plugin| is(plugin)).map(Plugin)
    }

    /// The bundled ones: name, world, and what each does. Nothing is compiled for it.
    pub fn bundled(&self) -> impl Iterator<Item = (&'static str, World, &'static str)> {
        self.bundled.iter().map(|bundled| (bundled.name, bundled.world, bundled.about))
    }

    /// The module of a bundled plugin, as it was built.
    pub fn module(&self, name: &str) -> Option<Result<Vec<u8>>> {
        self.bundled.iter().find(|bundled| bundled.name == name).map(Bundled::unpacked)
    }

    /// The names of what a plugin imports and of what it exports.
    pub fn interfaces(&self, plugin: &Plugin) -> (Vec<String>, Vec<String>) {
        let (r#type, wasmtime) = (plugin.component().component_type(), self.engine.wasmtime());
        let imports = r#type.imports(wasmtime).map(|(name, _)| name.to_owned()).collect();
        let exports = r#type.exports(wasmtime).map(|(name, _)| name.to_owned()).collect();
        (imports, exports)
    }

    /// What a plugin says of itself: name, version, about.
    pub fn describe(&self, plugin: &Plugin) -> Result<(String, String, String)> {
        instance::describe(&self.engine, plugin)
    }
}

impl Bundled {
    /// The module as it was built.
    fn unpacked(&self) -> Result<Vec<u8>> {
        let unpacked = zstd::bulk::decompress(self.packed, self.size);
        unpacked.map_err(|error| Error::internal(format!("a bundled plugin cannot be unpacked: {error}")))
    }
}

/// A plugin's file; nothing of one that is too large.
fn read(path: &Path) -> Result<Vec<u8>> {
    let cannot = |error| Error::io(format!("cannot read plugin `{}`", path.display()), error);
    let file = std::fs::File::open(path).map_err(cannot)?;
    let size = file.metadata().map_err(cannot)?.len();
    if size > MODULE_BYTES_MAX as u64 {
        return Err(Error::invalid(format!("it has {size} bytes; a plugin may have {MODULE_BYTES_MAX}")));
    }
    let mut bytes = Vec::new();
    // What grows in the meantime is refused by its size afterwards.
    file.take(MODULE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}

/// Reads from a component's exports and imports which world it is made for, and says what is in the way of running it here.
fn world_of(engine: &Engine, component: &Component) -> Result<World> {
    let r#type = component.component_type();
    let exports: Vec<String> = r#type.exports(engine.wasmtime()).map(|(name, _)| name.to_owned()).collect();
    for (import, item) in r#type.imports(engine.wasmtime()) {
        let ours = import.starts_with("tidemill:plugin/") && import.ends_with("@0.1.0");
        if !matches!(item.ty, ComponentItem::Type(_)) && !ours && !compatible(import) {
            return Err(refused_import(import));
        }
    }
    let world = World::ALL.iter().find(|world| {
        let (interface, _) = world.export();
        let bare = interface.split('@').next().unwrap_or_default();
        exports.iter().any(|export| export.split('@').next() == Some(bare) && compatible(export))
    });
    world.copied().ok_or_else(|| {
        match exports.iter().find(|export| export.starts_with("tidemill:plugin/") && !compatible(export)) {
            Some(other) => {
                let version = other.split('@').nth(1).unwrap_or("no version");
                Error::invalid(format!(
                    "it is built against version {version} of the plugin interface, and this tidemill runs {}; build it against wit/ of this version",
                    super::INTERFACE
                ))
            }
            None => Error::invalid(format!(
                "it exports none of the worlds parser, filter, enricher, autoscaler of {}",
                super::INTERFACE
            )),
        }
    })
}

/// Whether a name's version is one of 0.1.
fn compatible(name: &str) -> bool {
    name.starts_with("tidemill:plugin/") && name.split('@').nth(1).is_some_and(|version| version.starts_with("0.1."))
}

fn refused_import(import: &str) -> Error {
    match import {
        wasi if wasi.starts_with("wasi:") => Error::invalid(format!(
            "it wants `{wasi}`, and plugins get no WASI; build it without (for Python and JavaScript: with `--stub-wasi`)"
        )),
        ours if ours.starts_with("tidemill:plugin/") => Error::invalid(format!(
            "it wants `{ours}`, another version of the plugin interface; this tidemill runs {}",
            super::INTERFACE
        )),
        other => Error::invalid(format!("it wants `{other}`, which plugins do not get")),
    }
}
