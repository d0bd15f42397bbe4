//! what a plugin can ask of its host: a line in the log, a row of a lookup table; and the limits it runs under

use super::Limits;
use super::boundary::{Column, Level, Values, VarBytes};
use super::lookup::Lookup;
use crate::error::{Error, Result};
use arrow::array::{Array, AsArray, UInt32Array};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::Linker;
use wasmtime::{Engine, ResourceLimiter, StoreContextMut, Trap};

/// Lines a plugin may log in one call; more are counted and left out.
const LINES_MAX: u32 = 100;
/// Bytes of one such line; the rest is cut.
const LINE_BYTES_MAX: usize = 4096;
/// How the line begins that the Rust SDK logs when a plugin panics.
const PANIC: &str = "panicked at ";
/// Keys of a lookup between two looks at the clock.
const KEYS_A_LOOK: usize = 4096;
/// Core modules that one component may consist of: an interpreter with its libraries has dozens.
pub(super) const PARTS_MAX: u32 = 1000;
/// Memories of one component; what they hold together is limited elsewhere.
pub(super) const MEMORIES_MAX: u32 = 8;
/// Tables of one component; what they hold together is limited elsewhere.
pub(super) const TABLES_MAX: u32 = 32;

/// The state of one instance on our side.
pub(super) struct Host {
    /// the stage or scaler, for its log lines
    pub stage: Arc<str>,
    pub tables: Arc<BTreeMap<String, Lookup>>,
    pub limits: Limits,
    /// linear memory now, of all its memories
    pub memory_bytes: usize,
    /// entries of its tables now, of all of them
    pub table_elements: usize,
    /// a growth of memory or tables was refused in this call
    pub refused_growth: bool,
    pub lines: u32,
    /// what it said of its panic in this call
    pub panic: Option<String>,
    /// calls to us in this call, and the bytes that went over in them, there and back
    pub host_calls: u32,
    pub host_bytes: u64,
    /// processor time of this thread when the call began, and what it may use
    pub began: Duration,
    pub time_max: Duration,
}

/// A plugin asked its host for more than it may in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    /// too often
    Calls,
    /// too much
    Bytes,
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Spent::Calls => "too many host calls",
            Spent::Bytes => "too many bytes in host calls",
        })
    }
}

impl std::error::Error for Spent {}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let all = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        let allowed = all <= self.limits.memory.as_usize();
        match allowed {
            true => self.memory_bytes = all,
            false => self.refused_growth = true,
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let all = self.table_elements.saturating_add(desired.saturating_sub(current));
        let allowed = all <= self.limits.table_elements as usize;
        match allowed {
            true => self.table_elements = all,
            false => self.refused_growth = true,
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        PARTS_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

/// Processor time this thread has used.
pub fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Everything the worlds import.
pub(super) fn linker(engine: &Engine) -> Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    define(&mut linker).map_err(|error| Error::internal(format!("the plugin interface cannot be linked: {error}")))?;
    Ok(linker)
}

fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut log = linker.instance("tidemill:plugin/log@0.1.0")?;
    log.func_wrap("log", |mut store: StoreContextMut<'_, Host>, (level, message): (Level, String)| {
        let host = store.data_mut();
        host.charge(message.len())?;
        host.log(level, &message);
        Ok(())
    })?;
    let mut tables = linker.instance("tidemill:plugin/tables@0.1.0")?;
    tables.func_wrap("columns", |mut store: StoreContextMut<'_, Host>, (table,): (String,)| {
        let host = store.data_mut();
        host.charge(table.len())?;
        let columns = self::table(&host.tables, &table).map(Lookup::columns);
        let bytes = columns.iter().flatten().map(String::len).sum();
        host.pass(bytes)?;
        Ok((columns,))
    })?;
    tables.func_wrap("lookup", |mut store: StoreContextMut<'_, Host>, wanted: Wanted| {
        Ok((store.data_mut().look_up(&wanted, |table, key, keys| table.find(key, keys))?,))
    })?;
    tables.func_wrap("lookup-network", |mut store: StoreContextMut<'_, Host>, wanted: Wanted| {
        Ok((store.data_mut().look_up(&wanted, |table, key, keys| table.find_network(key, keys))?,))
    })?;
    Ok(())
}

impl Host {
    /// For an instance that is about to be made.
    pub fn new(stage: Arc<str>, tables: Arc<BTreeMap<String, Lookup>>, limits: Limits) -> Host {
        Host {
            stage,
            tables,
            limits,
            memory_bytes: 0,
            table_elements: 0,
            refused_growth: false,
            lines: 0,
            panic: None,
            host_calls: 0,
            host_bytes: 0,
            began: Duration::ZERO,
            time_max: Duration::ZERO,
        }
    }

    /// The clock of a call starts, and its budgets are whole.
    pub fn begin(&mut self, time_max: Duration) {
        self.began = cpu_time();
        self.time_max = time_max;
        self.lines = 0;
        self.panic = None;
        self.host_calls = 0;
        self.host_bytes = 0;
        self.refused_growth = false;
    }

    /// Whether the call has used all the time it may.
    pub fn is_late(&self) -> bool {
        cpu_time().saturating_sub(self.began) > self.time_max
    }

    /// Takes note of a call to us that brought so many bytes. Time spent with us is the plugin's.
    fn charge(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.host_calls = self.host_calls.saturating_add(1);
        if self.host_calls > self.limits.host_calls {
            return Err(wasmtime::Error::new(Spent::Calls));
        }
        self.pass(bytes)?;
        match self.is_late() {
            true => Err(wasmtime::Error::new(Trap::Interrupt)),
            false => Ok(()),
        }
    }

    /// Takes note of bytes that go over.
    fn pass(&mut self, bytes: usize) -> wasmtime::Result<()> {
        self.host_bytes = self.host_bytes.saturating_add(bytes as u64);
        match self.host_bytes > self.limits.host_bytes.0 {
            true => Err(wasmtime::Error::new(Spent::Bytes)),
            false => Ok(()),
        }
    }

    /// A whole lookup; what it would hand back is counted before it is made.
    fn look_up(
        &mut self,
        (table, key, keys, want): &Wanted,
        find: impl FnOnce(&Lookup, &str, &mut dyn Iterator<Item = &[u8]>) -> Result<UInt32Array, String>,
    ) -> wasmtime::Result<Result<Vec<Column>, String>> {
        self.charge(keys.data.len() + 4 * keys.offsets.len() + want.iter().map(String::len).sum::<usize>())?;
        let tables = self.tables.clone();
        let table = match self::table(&tables, table) {
            Ok(table) => table,
            Err(message) => return Ok(Err(message)),
        };
        let mut late = false;
        let mut in_time = each(keys).enumerate().map_while(|(at, key)| {
            late = at % KEYS_A_LOOK == KEYS_A_LOOK - 1 && self.is_late();
            (!late).then_some(key)
        });
        let rows = find(table, key, &mut in_time);
        drop(in_time);
        if late {
            return Err(wasmtime::Error::new(Trap::Interrupt));
        }
        let rows = match rows {
            Ok(rows) => rows,
            Err(message) => return Ok(Err(message)),
        };
        let mut columns = Vec::new();
        for name in want {
            let bytes = match table.bytes(name, &rows) {
                Ok(bytes) => bytes,
                Err(message) => return Ok(Err(message)),
            };
            self.pass(bytes)?;
            match table.take(name, &rows) {
                Ok(column) => columns.push(text_column(name, &column)),
                Err(message) => return Ok(Err(message)),
            }
        }
        Ok(Ok(columns))
    }

    fn log(&mut self, level: Level, message: &str) {
        self.lines = self.lines.saturating_add(1);
        if self.lines > LINES_MAX {
            return;
        }
        let cut = message.floor_char_boundary(LINE_BYTES_MAX);
        let (stage, line) = (&*self.stage, message.get(..cut).unwrap_or_default());
        if line.starts_with(PANIC) {
            // The fault tells it, and once: the search for the event at fault meets the same panic many times.
            self.panic = Some(line.split_whitespace().collect::<Vec<_>>().join(" "));
            return tracing::debug!(target: "plugin", stage, "{line}");
        }
        match level {
            Level::Trace => tracing::trace!(target: "plugin", stage, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", stage, "{line}"),
            Level::Info => tracing::info!(target: "plugin", stage, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", stage, "{line}"),
            Level::Error => tracing::error!(target: "plugin", stage, "{line}"),
        }
    }
}

/// A whole column of keys: the table, its column to search, the keys, the columns wanted.
type Wanted = (String, String, VarBytes, Vec<String>);

fn table<'a>(tables: &'a BTreeMap<String, Lookup>, name: &str) -> Result<&'a Lookup, String> {
    tables.get(name).ok_or_else(|| {
        let known: Vec<&str> = tables.keys().map(String::as_str).collect();
        match known.as_slice() {
            [] => {
                format!("there is no lookup table `{name}`; give the stage one: tables = {{ {name} = \"file.csv\" }}")
            }
            _ => format!("there is no lookup table `{name}`; the stage has {}", known.join(", ")),
        }
    })
}

/// The values of a column of keys; what its offsets do not describe is empty.
fn each(keys: &VarBytes) -> impl Iterator<Item = &[u8]> {
    keys.offsets.windows(2).map(|pair| match pair {
        [from, to] => keys.data.get(*from as usize..*to as usize).unwrap_or_default(),
        _ => &[],
    })
}

fn text_column(name: &str, array: &arrow::array::ArrayRef) -> Column {
    let text = array.as_string::<i32>();
    let offsets = text.offsets().iter().map(|offset| *offset as u32).collect();
    let validity = text.nulls().map(|nulls| nulls.iter().map(u8::from).collect());
    let values = Values::Utf8(VarBytes { offsets, data: text.value_data().to_vec() });
    Column { name: name.to_owned(), values, validity }
}
