//! what a plugin can ask of its host: a line in the log, a row of a lookup table; and the limits it runs under

use super::boundary::{Column, Level, Values, VarBytes};
use super::lookup::Lookup;
use crate::error::{Error, Result};
use arrow::array::{Array, AsArray, UInt32Array};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::component::Linker;
use wasmtime::{Engine, ResourceLimiter, StoreContextMut};

/// Lines a plugin may log in one call; more are counted and left out.
const LINES_MAX: u32 = 100;
/// Bytes of one such line; the rest is cut.
const LINE_BYTES_MAX: usize = 4096;

/// The state of one instance on our side.
pub(super) struct Host {
    /// the stage or scaler, for its log lines
    pub stage: Arc<str>,
    pub tables: Arc<BTreeMap<String, Lookup>>,
    pub memory_bytes_max: usize,
    pub table_elements_max: usize,
    /// linear memory now
    pub memory_bytes: usize,
    /// a growth of memory or tables was refused in this call
    pub refused_growth: bool,
    pub lines: u32,
    /// processor time of this thread when the call began, and what it may use
    pub began: Duration,
    pub time_max: Duration,
}

impl ResourceLimiter for Host {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory_bytes_max;
        match allowed {
            true => self.memory_bytes = self.memory_bytes.max(desired),
            false => self.refused_growth = true,
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.table_elements_max;
        self.refused_growth |= !allowed;
        Ok(allowed)
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
        store.data_mut().log(level, &message);
        Ok(())
    })?;
    let mut tables = linker.instance("tidemill:plugin/tables@0.1.0")?;
    tables.func_wrap("columns", |store: StoreContextMut<'_, Host>, (table,): (String,)| {
        Ok((store.data().table(&table).map(Lookup::columns),))
    })?;
    type Wanted = (String, String, VarBytes, Vec<String>);
    tables.func_wrap("lookup", |store: StoreContextMut<'_, Host>, (table, key, keys, want): Wanted| {
        let found = store.data().table(&table).and_then(|table| {
            let rows = table.find(&key, each(&keys))?;
            taken(table, &rows, &want)
        });
        Ok((found,))
    })?;
    tables.func_wrap("lookup-network", |store: StoreContextMut<'_, Host>, (table, key, keys, want): Wanted| {
        let found = store.data().table(&table).and_then(|table| {
            let rows = table.find_network(&key, each(&keys))?;
            taken(table, &rows, &want)
        });
        Ok((found,))
    })?;
    Ok(())
}

impl Host {
    fn log(&mut self, level: Level, message: &str) {
        self.lines = self.lines.saturating_add(1);
        if self.lines > LINES_MAX {
            return;
        }
        let cut = message.floor_char_boundary(LINE_BYTES_MAX);
        let (stage, line) = (&*self.stage, message.get(..cut).unwrap_or_default());
        match level {
            Level::Trace => tracing::trace!(target: "plugin", stage, "{line}"),
            Level::Debug => tracing::debug!(target: "plugin", stage, "{line}"),
            Level::Info => tracing::info!(target: "plugin", stage, "{line}"),
            Level::Warn => tracing::warn!(target: "plugin", stage, "{line}"),
            Level::Error => tracing::error!(target: "plugin", stage, "{line}"),
        }
    }

    fn table(&self, name: &str) -> Result<&Lookup, String> {
        self.tables.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.tables.keys().map(String::as_str).collect();
            match known.as_slice() {
                [] => format!(
                    "there is no lookup table `{name}`; give the stage one: tables = {{ {name} = \"file.csv\" }}"
                ),
                _ => format!("there is no lookup table `{name}`; the stage has {}", known.join(", ")),
            }
        })
    }
}

/// The values of a column of keys; what its offsets do not describe is empty.
fn each(keys: &VarBytes) -> impl Iterator<Item = &[u8]> {
    keys.offsets.windows(2).map(|pair| match pair {
        [from, to] => keys.data.get(*from as usize..*to as usize).unwrap_or_default(),
        _ => &[],
    })
}

fn taken(table: &Lookup, rows: &UInt32Array, want: &[String]) -> Result<Vec<Column>, String> {
    want.iter().map(|name| Ok(text_column(name, &table.take(name, rows)?))).collect()
}

fn text_column(name: &str, array: &arrow::array::ArrayRef) -> Column {
    let text = array.as_string::<i32>();
    let offsets = text.offsets().iter().map(|offset| *offset as u32).collect();
    let validity = text.nulls().map(|nulls| nulls.iter().map(u8::from).collect());
    let values = Values::Utf8(VarBytes { offsets, data: text.value_data().to_vec() });
    Column { name: name.to_owned(), values, validity }
}
