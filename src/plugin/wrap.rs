//! bytes of a .wasm file → a component, and which world it is made for
//!
//! A component is taken as it is. A core module is wrapped, as `wasm-tools component new` would; one without the interface's
//! description (from Go, Zig, AssemblyScript) gets it by the names it exports. WASI imports of a core module are answered by a stub
//! inside the component that has no files, no network, no environment and a clock that only counts its readings.

use super::World;
use crate::error::{Error, Result};
use memchr::memmem;

const WIT: &str = include_str!("../../wit/tidemill.wit");
const WASI_STUB: &str = include_str!("wasi_stub.wat");
const MAGIC: &[u8] = b"\0asm";
const WASI: &str = "wasi_snapshot_preview1";

/// Makes a component of the file's bytes.
pub fn component(bytes: &[u8]) -> Result<Vec<u8>> {
    match (bytes.get(..4), bytes.get(4..8)) {
        (Some(MAGIC), Some([0x0d, 0, 1, 0])) => Ok(bytes.to_vec()),
        (Some(MAGIC), Some([1, 0, 0, 0])) => wrap(bytes),
        (Some(MAGIC), _) => Err(Error::invalid("it is WebAssembly of a version that is not known here")),
        _ => Err(Error::invalid("it is not a WebAssembly file: it does not start with `\\0asm`")),
    }
}

fn wrap(module: &[u8]) -> Result<Vec<u8>> {
    let wrong = |error: &dyn std::fmt::Display| {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        Error::invalid(format!("the module cannot be made a component: {line}"))
    };
    let mut module = module.to_vec();
    if memmem::find(&module, b"component-type").is_none() {
        let mut resolve = wit_parser::Resolve::default();
        let package = resolve.push_str("tidemill.wit", WIT).map_err(|e| wrong(&e))?;
        let world = resolve.select_world(&[package], Some(world_by_exports(&module)?.word())).map_err(|e| wrong(&e))?;
        let utf8 = wit_component::StringEncoding::UTF8;
        wit_component::embed_component_metadata(&mut module, &resolve, world, utf8).map_err(|e| wrong(&e))?;
    }
    let mut encoder =
        wit_component::ComponentEncoder::default().validate(true).module(&module).map_err(|e| wrong(&e))?;
    if memmem::find(&module, WASI.as_bytes()).is_some() {
        let stub = wat::parse_str(WASI_STUB).map_err(|e| wrong(&e))?;
        encoder = encoder.adapter(WASI, &stub).map_err(|e| wrong(&e))?;
    }
    encoder.encode().map_err(|e| wrong(&format!("{e:#}")))
}

/// The world whose function a bare module exports.
fn world_by_exports(module: &[u8]) -> Result<World> {
    let exports = |world: &&World| {
        let (interface, function) = world.export();
        memmem::find(module, format!("{interface}#{function}").as_bytes()).is_some()
    };
    World::ALL.iter().find(exports).copied().ok_or_else(|| {
        let (interface, function) = World::Parser.export();
        Error::invalid(format!("the module exports no plugin function such as `{interface}#{function}`"))
    })
}
