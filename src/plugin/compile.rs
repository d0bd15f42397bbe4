//! compiles plugins, in a child process that may use so much and no more
//!
//!     bytes of a .wasm file ─ stdin ─► child: limits itself, wraps, checks, compiles ─ stdout ─► machine code, or why not
//!
//! A compiler is a large program, and a module can be made so that compiling it takes hours or all memory there is. wasmtime promises
//! nothing there. So a child does it, and whatever becomes of the child is an error message in the parent.
//!
//! **Always:** the child is the program that asks: the code it hands back is of the same version and settings.

use super::engine::{first_line, settings};
use super::wrap;
use crate::error::{Error, Result};
use crate::units::{ByteSize, Span};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A module or component larger than this is refused.
pub const MODULE_BYTES_MAX: usize = 64 << 20;
/// The hidden command that is the child: `tidemill compile-plugin`.
pub const COMMAND: &str = "compile-plugin";

/// Compiled code larger than this is refused.
const CODE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of the child's last words that are kept.
const WORDS_BYTES_MAX: u64 = 16 << 10;
/// The first byte of what the child hands back: machine code follows, or why there is none.
const CODE: u8 = b'+';
const REFUSAL: u8 = b'-';
/// How nice the child is to what runs already.
const NICENESS: i32 = 10;

/// Who compiles.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This process, with nothing to hold it: for tests and benches, whose program has no [`COMMAND`].
    Here,
    /// This process, and the code looks at no clock, so that a call that loops never ends: for benches, to know what limits cost.
    Unwatched,
    /// A child that runs this program, within limits.
    Child(PathBuf, CompileLimits),
}

/// What compiling one plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// address space
    pub memory: ByteSize,
    /// processor time of all its threads
    pub time: Span,
    /// from the start to the last byte, whatever else runs on the machine
    pub wait: Span,
}

impl Default for CompileLimits {
    /// Several times what a whole Python interpreter needs, which is the largest plugin there is: half a minute on a machine of its own.
    fn default() -> Self {
        CompileLimits {
            memory: ByteSize(4 << 30),
            time: Span(Duration::from_secs(300)),
            wait: Span(Duration::from_secs(900)),
        }
    }
}

impl Compiler {
    /// A child of the program that runs, also where its file was replaced in the meantime.
    pub fn own_child() -> Compiler {
        Compiler::Child(PathBuf::from("/proc/self/exe"), CompileLimits::default())
    }

    /// The machine code of a module or component.
    pub(super) fn compile(&self, module: &[u8]) -> Result<Vec<u8>> {
        fits(module.len())?;
        match self {
            Compiler::Here | Compiler::Unwatched => precompile(module, self.watches()),
            Compiler::Child(program, limits) => ask(program, *limits, module),
        }
    }

    /// Whether a running call looks at its clock.
    pub(super) fn watches(&self) -> bool {
        match self {
            Compiler::Here | Compiler::Child(_, _) => true,
            Compiler::Unwatched => false,
        }
    }
}

impl CompileLimits {
    /// As arguments of [`COMMAND`].
    fn arguments(&self) -> [String; 2] {
        [self.memory.0.to_string(), self.time.0.as_secs().max(1).to_string()]
    }
}

fn fits(bytes: usize) -> Result<()> {
    match bytes > MODULE_BYTES_MAX {
        true => Err(Error::invalid(format!("it has {bytes} bytes; a plugin may have {MODULE_BYTES_MAX}"))),
        false => Ok(()),
    }
}

/// Wraps, checks and compiles, in this process.
fn precompile(module: &[u8], watched: bool) -> Result<Vec<u8>> {
    let component = wrap::component(module)?;
    let engine = wasmtime::Engine::new(&settings(watched))
        .map_err(|error| Error::internal(format!("the WebAssembly engine does not start: {error}")))?;
    let compiled = engine.precompile_component(&component);
    compiled.map_err(|error| {
        let line = first_line(&error);
        let hint = if line.contains("section range") { "; the file seems to be cut short: build it again" } else { "" };
        Error::invalid(format!("it does not compile: {line}{hint}"))
    })
}

/// The child's side: takes a module from standard input and hands back its code, using so many bytes and seconds at most.
pub fn serve(memory_bytes: u64, time_seconds: u64) -> Result<()> {
    limit(memory_bytes, time_seconds)?;
    let mut module = Vec::new();
    let most = MODULE_BYTES_MAX as u64 + 1;
    std::io::stdin().take(most).read_to_end(&mut module).map_err(|error| Error::io("cannot read a module", error))?;
    let (mark, bytes) = match fits(module.len()).and_then(|()| precompile(&module, true)) {
        Ok(code) => (CODE, code),
        Err(error) => (REFUSAL, error.message().as_bytes().to_vec()),
    };
    let mut out = std::io::stdout().lock();
    let written = out.write_all(&[mark]).and_then(|()| out.write_all(&bytes)).and_then(|()| out.flush());
    written.map_err(|error| Error::io("cannot hand back what was compiled", error))
}

fn limit(memory_bytes: u64, time_seconds: u64) -> Result<()> {
    // The first second beyond the limit ends it with a signal of its own, which says why; the next one ends it for certain.
    let limits = [
        (Resource::As, memory_bytes, memory_bytes),
        (Resource::Cpu, time_seconds, time_seconds + 1),
        (Resource::Core, 0, 0),
    ];
    for (resource, current, maximum) in limits {
        // Nobody may have more than was left to us.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(current.min(most)), maximum: Some(maximum.min(most)) };
        setrlimit(resource, limit).map_err(|error| Error::io("cannot limit the compiler", error.into()))?;
    }
    // Neither is needed for safety.
    let _ = rustix::process::nice(NICENESS);
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    Ok(())
}

/// The parent's side.
fn ask(program: &std::path::Path, limits: CompileLimits, module: &[u8]) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.arg(COMMAND).args(limits.arguments()).env_clear().current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let cannot = |error| Error::io("cannot start a compiler", error);
    let mut child = command.spawn().map_err(cannot)?;
    let (answer, words, late) = std::thread::scope(|scope| {
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // One that refuses early does not read all of it.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(module)));
        let words = scope.spawn(move || all(stderr, WORDS_BYTES_MAX));
        let (done, waiting) = mpsc::sync_channel(1);
        let answer = scope.spawn(move || {
            let answer = all(stdout, CODE_BYTES_MAX);
            let _ = done.send(());
            answer
        });
        let late = waiting.recv_timeout(limits.wait.0).is_err();
        if late {
            let _ = child.kill();
        }
        (answer.join().unwrap_or_default(), words.join().unwrap_or_default(), late)
    });
    let ended = end(&mut child)?;
    match answer.split_first() {
        Some((&CODE, code)) if ended.success() => Ok(code.to_vec()),
        Some((&REFUSAL, why)) if ended.success() => Err(Error::invalid(String::from_utf8_lossy(why).into_owned())),
        _ => Err(Error::invalid(how_it_ended(ended, late, limits, &words))),
    }
}

/// All that comes, up to a limit: whoever writes more hears that nobody reads.
fn all(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(most).read_to_end(&mut bytes);
    }
    bytes
}

/// Its output has ended, so it has nothing left to do.
fn end(child: &mut Child) -> Result<ExitStatus> {
    child.wait().map_err(|error| Error::io("cannot wait for a compiler", error))
}

/// Why there is no answer, in words that name the limit.
fn how_it_ended(ended: ExitStatus, late: bool, limits: CompileLimits, words: &[u8]) -> String {
    let words = String::from_utf8_lossy(words);
    let last = words.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    let signal = ended.signal();
    let is = |named: Signal| signal == Some(named.as_raw());
    if late {
        return format!("it does not compile: that took longer than {}", limits.wait);
    }
    if is(Signal::XCPU) {
        return format!("it does not compile: that needed more than {} of processor time", limits.time);
    }
    // The kernel's second, harder signal where the first was not heard in time; or the kernel was out of memory.
    if is(Signal::KILL) {
        return format!(
            "it does not compile: the compiler was killed, for more than {} of processor time or for want of memory",
            limits.time
        );
    }
    if words.contains("memory allocation of") || words.contains("Cannot allocate memory") {
        return format!("it does not compile: that needed more than {} of memory", limits.memory);
    }
    match signal {
        // A stack that cannot grow, be it for the limit or for a module that nests too deep, ends like this.
        Some(signal) => {
            let memory = limits.memory;
            format!(
                "it does not compile: the compiler ended by signal {signal}, perhaps for want of memory ({memory}): {last}"
            )
        }
        None => format!("it does not compile: the compiler failed: {last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_the_child_has_its_sentence() {
        let limits = CompileLimits::default();
        let told = |wait_status: i32, late: bool, words: &str| {
            how_it_ended(ExitStatus::from_raw(wait_status), late, limits, words.as_bytes())
        };
        assert_eq!(told(9, true, ""), "it does not compile: that took longer than 15m");
        assert_eq!(
            told(9, false, ""),
            "it does not compile: the compiler was killed, for more than 5m of processor time or for want of memory"
        );
        assert_eq!(told(24, false, ""), "it does not compile: that needed more than 5m of processor time");
        assert_eq!(
            told(6, false, "memory allocation of 16777216 bytes failed\n"),
            "it does not compile: that needed more than 4.0 GiB of memory"
        );
        assert_eq!(
            told(11, false, "bang\n\n"),
            "it does not compile: the compiler ended by signal 11, perhaps for want of memory (4.0 GiB): bang"
        );
        assert_eq!(told(101 << 8, false, "a\nb\n"), "it does not compile: the compiler failed: b");
    }
}
