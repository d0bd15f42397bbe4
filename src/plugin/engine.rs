//! the engine: keeps what was compiled, links it, and ticks while a call runs
//!
//! Deadlines count the thread's processor time. Every tick a running call looks at its clock; nothing ticks while nothing runs.
//!
//! **Never:** a compiled file is believed unless its folder is ours alone: it is machine code.

use super::backtrace;
use super::compile::Compiler;
use super::host::{self, Host, MEMORIES_MAX, PARTS_MAX, TABLES_MAX};
use super::limits::TABLE_ELEMENTS_MAX;
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;
use wasmtime::component::{Component, Linker};

/// How often a running call looks at its clock.
const TICK: Duration = Duration::from_millis(2);
/// Stack of a call; a deeper one is a trap.
const STACK_BYTES_MAX: usize = 512 << 10;
/// Instances, memories and tables at a time, of all plugins together.
const INSTANCES_MAX: u32 = 4_000;
/// What the engine itself keeps of one instance: pointers to its functions and the like.
const VM_BYTES_MAX: usize = 64 << 20;
/// Of a memory or a table whose instance is gone, so much stays and is wiped by hand.
const KEPT_BYTES: usize = 256 << 10;

/// Runs components. Cloning shares it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    wasmtime: wasmtime::Engine,
    compiler: Compiler,
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
    /// An engine that has plugins compiled and keeps their code under `cache` (none: compile every time).
    pub fn new(compiler: Compiler, cache: Option<&Path>) -> Result<Engine> {
        let config = settings(compiler.watches());
        // Where address space is limited the pool cannot be had: an instance then maps its own memory.
        let pooled = wasmtime::Engine::new(config.clone().allocation_strategy(pool()));
        let wasmtime = pooled
            .or_else(|error| {
                tracing::warn!(error = first_line(&error), "no pool of instances can be had; each maps its own memory");
                wasmtime::Engine::new(&config)
            })
            .map_err(|error| Error::internal(format!("the WebAssembly engine does not start: {error}")))?;
        let linker = host::linker(&wasmtime)?;
        let ticker = Arc::new(Ticker { running: AtomicUsize::new(0), asleep: Mutex::new(false), wake: Condvar::new() });
        start_ticking(&wasmtime, &ticker)?;
        let cache = cache.and_then(|folder| private_folder(&folder.join(compatibility(&wasmtime))));
        Ok(Engine(Arc::new(Inner { wasmtime, compiler, linker, cache, ticker })))
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

    /// What was compiled of bytes with this hash; they are fetched and compiled if they never were.
    pub(super) fn component<'a>(
        &self,
        sha256: &str,
        bytes: impl FnOnce() -> Result<Cow<'a, [u8]>>,
    ) -> Result<Component> {
        let file = self.0.cache.as_ref().map(|folder| folder.join(format!("{sha256}.cwasm")));
        if let Some(kept) = file.as_ref().and_then(|file| self.kept(file)) {
            return Ok(kept);
        }
        let code = self.0.compiler.compile(&bytes()?)?;
        if let Some(file) = file {
            keep(&code, &file);
            // Mapped from its file, code costs memory only where it runs.
            if let Some(kept) = self.kept(&file) {
                return Ok(kept);
            }
        }
        // SAFETY: this is what our own compiler handed us, in this process or through a pipe of our own child.
        #[allow(unsafe_code, reason = "compiled code cannot be loaded any other way")]
        let component = unsafe { Component::deserialize(&self.0.wasmtime, &code) };
        component.map_err(|error| Error::internal(format!("compiled code cannot be loaded: {}", first_line(&error))))
    }

    fn kept(&self, file: &Path) -> Option<Component> {
        if !file.is_file() {
            return None;
        }
        // SAFETY: the folder is ours alone (see `private_folder`) and we only put there what this very engine compiled;
        // the name carries the hash of the source and the folder's name the engine's version and settings.
        #[allow(unsafe_code, reason = "compiled code cannot be loaded any other way")]
        let component = unsafe { Component::deserialize_file(&self.0.wasmtime, file) };
        component.ok()
    }
}

/// How plugins are compiled and run, and whether calls look at their clock. Compiled code is only good for an engine of the same
/// settings.
pub(super) fn settings(watched: bool) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.epoch_interruption(watched);
    config.wasm_component_model(true);
    // A plugin's answer does not depend on the machine.
    config.cranelift_nan_canonicalization(true);
    config.max_wasm_stack(STACK_BYTES_MAX);
    config.wasm_backtrace_max_frames(Some(backtrace::FRAMES_MAX));
    config.wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Disable);
    config
}

/// Places for instances, kept mapped: one that is made again and again, as a plugin that traps is, does not disturb the other cores
/// by mapping and unmapping.
fn pool() -> wasmtime::PoolingAllocationConfig {
    let mut pool = wasmtime::PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX).total_core_instances(u32::MAX).total_memories(INSTANCES_MAX);
    pool.total_tables(4 * INSTANCES_MAX).table_elements(TABLE_ELEMENTS_MAX).max_memory_size(4 << 30);
    pool.max_core_instances_per_component(PARTS_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX);
    pool.max_tables_per_module(TABLES_MAX).max_memories_per_module(MEMORIES_MAX);
    pool.max_component_instance_size(VM_BYTES_MAX).max_core_instance_size(VM_BYTES_MAX);
    pool.linear_memory_keep_resident(KEPT_BYTES).table_keep_resident(KEPT_BYTES);
    pool
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

/// Keeps compiled code for the next start; that it could not is no failure. It has its name only once all of it is on disk: code
/// that a power cut left half written must never run.
fn keep(code: &[u8], file: &Path) {
    let fresh = file.with_extension(format!("{}.new", std::process::id()));
    let kept = std::fs::File::create(&fresh)
        .and_then(|mut out| out.write_all(code).and_then(|()| out.sync_all()))
        .and_then(|()| std::fs::rename(&fresh, file));
    if let Err(error) = kept {
        let _ = std::fs::remove_file(&fresh);
        tracing::debug!(file = %file.display(), %error, "a compiled plugin could not be kept");
    }
}
