//! the engine: compiles components, keeps what it compiled, and ticks while a call runs
//!
//! Deadlines count the thread's processor time. Every tick a running call looks at its clock; nothing ticks while nothing runs.
//!
//! **Never:** a compiled file is believed unless its folder is ours alone: it is machine code.

use super::host::{self, Host};
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;
use wasmtime::component::{Component, Linker};

/// How often a running call looks at its clock.
const TICK: Duration = Duration::from_millis(2);
/// A component larger than this is refused.
const COMPONENT_BYTES_MAX: usize = 64 << 20;

/// Compiles and links components. Cloning shares it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasmtime: wasmtime::Engine,
    linker: Linker<Host>,
    cache: Option<PathBuf>,
    ticker: Arc<Ticker>,
}

/// Ticks while calls run.
struct Ticker {
    running: AtomicUsize,
    asleep: Mutex<bool>,
    wake: Condvar,
}

/// While it lives, the engine ticks.
pub(super) struct Ticking<'a>(&'a Ticker);

impl Engine {
    /// An engine that keeps compiled code under `cache` (none: compile every time).
    pub fn new(cache: Option<&Path>) -> Result<Engine> {
        let mut config = wasmtime::Config::new();
        config.epoch_interruption(true);
        config.wasm_component_model(true);
        config.cranelift_nan_canonicalization(true);
        config.max_wasm_stack(512 << 10);
        let wasmtime = wasmtime::Engine::new(&config)
            .map_err(|error| Error::internal(format!("the WebAssembly engine does not start: {error}")))?;
        let linker = host::linker(&wasmtime)?;
        let ticker = Arc::new(Ticker { running: AtomicUsize::new(0), asleep: Mutex::new(false), wake: Condvar::new() });
        start_ticking(&wasmtime, &ticker)?;
        let cache = cache.and_then(|folder| private_folder(&folder.join(compatibility(&wasmtime))));
        Ok(Engine(Arc::new(Inner { wasmtime, linker, cache, ticker })))
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }

    pub(super) fn linker(&self) -> &Linker<Host> {
        &self.0.linker
    }

    /// From here until the answer is dropped, deadlines are watched.
    pub(super) fn ticking(&self) -> Ticking<'_> {
        let ticker = &*self.0.ticker;
        if ticker.running.fetch_add(1, Ordering::SeqCst) == 0 {
            let mut asleep = ticker.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            if *asleep {
                *asleep = false;
                ticker.wake.notify_one();
            }
        }
        Ticking(ticker)
    }

    /// Compiles a component, or takes what was compiled from the same bytes by the same engine before.
    pub(super) fn compile(&self, component: &[u8], sha256: &str) -> Result<Component> {
        if component.len() > COMPONENT_BYTES_MAX {
            let bytes = component.len();
            return Err(Error::invalid(format!("it has {bytes} bytes; a plugin may have {COMPONENT_BYTES_MAX}")));
        }
        let file = self.0.cache.as_ref().map(|folder| folder.join(format!("{sha256}.cwasm")));
        if let Some(file) = file.as_ref().filter(|file| file.is_file()) {
            // SAFETY: the folder is ours alone (see `private_folder`) and we only put there what this very engine compiled;
            // the name carries the hash of the source and the folder's name the engine's version and settings.
            #[allow(unsafe_code, reason = "compiled code cannot be loaded any other way")]
            if let Ok(component) = unsafe { Component::deserialize_file(&self.0.wasmtime, file) } {
                return Ok(component);
            }
        }
        let compiled = Component::new(&self.0.wasmtime, component)
            .map_err(|error| Error::invalid(format!("it does not compile: {}", first_line(&error))))?;
        if let Some(file) = file {
            keep(&compiled, &file);
        }
        Ok(compiled)
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The sha256 of bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn first_line(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    text.lines().next().unwrap_or_default().to_owned()
}

fn start_ticking(engine: &wasmtime::Engine, ticker: &Arc<Ticker>) -> Result<()> {
    let (engine, ticker) = (engine.weak(), Arc::downgrade(ticker));
    let tick = move || {
        while let (Some(engine), Some(ticker)) = (engine.upgrade(), Weak::upgrade(&ticker)) {
            engine.increment_epoch();
            drop(engine);
            ticker.rest();
        }
    };
    let thread = std::thread::Builder::new().name("plugin-ticks".into()).stack_size(64 << 10).spawn(tick);
    thread.map(drop).map_err(|error| Error::io("cannot start a thread", error))
}

impl Ticker {
    /// A tick's rest; longer while nothing runs, but not so long that a dropped engine is never noticed.
    fn rest(&self) {
        let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        if self.running.load(Ordering::SeqCst) > 0 {
            drop(asleep);
            std::thread::sleep(TICK);
            return;
        }
        *asleep = true;
        let _ = self.wake.wait_timeout_while(asleep, Duration::from_secs(5), |asleep| *asleep);
    }
}

fn compatibility(engine: &wasmtime::Engine) -> String {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Makes the folder, for us alone; `None` where it is not, and nothing is kept then.
fn private_folder(folder: &Path) -> Option<PathBuf> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let about = made.and_then(|()| std::fs::metadata(folder));
    match about {
        Ok(about) if about.uid() == rustix::process::geteuid().as_raw() && about.permissions().mode() & 0o022 == 0 => {
            Some(folder.to_owned())
        }
        Ok(_) => {
            tracing::warn!(folder = %folder.display(), "compiled plugins are not kept: others can write to the folder");
            None
        }
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "compiled plugins are not kept");
            None
        }
    }
}

/// Keeps compiled code for the next start; that it could not is no failure.
fn keep(component: &Component, file: &Path) {
    let Ok(bytes) = component.serialize() else { return };
    let fresh = file.with_extension(format!("{}.new", std::process::id()));
    let kept = std::fs::write(&fresh, bytes).and_then(|()| std::fs::rename(&fresh, file));
    if let Err(error) = kept {
        let _ = std::fs::remove_file(&fresh);
        tracing::debug!(file = %file.display(), %error, "a compiled plugin could not be kept");
    }
}
