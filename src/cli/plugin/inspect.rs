//! `tidemill plugin inspect FILE|NAME`

use super::{found, settings};
use crate::app;
use crate::cli::query::print;
use crate::clock::Clock;
use crate::error::Result;
use crate::event::columns::Type;
use crate::plugin::{Account, Compiler, Configured, Contract, INTERFACE, Instance, Library, Limits, Plugin, World};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Says what a plugin is: its world, what it reads and writes under some settings, what it wants of its host, and what it weighs.
#[derive(clap::Args)]
pub struct Inspect {
    /// The plugin's folder, a .wasm file, or the name of a bundled plugin.
    #[arg(value_name = "FILE|NAME", default_value = ".")]
    from: PathBuf,
    /// Settings, as JSON or TOML: what a plugin reads and writes may hang on them.
    #[arg(long, value_name = "SETTINGS")]
    settings: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// All there is to say.
struct Report {
    plugin: Plugin,
    name: String,
    version: String,
    about: String,
    bytes: usize,
    compile_millis: f64,
    /// none where the settings are refused, and why
    configured: Result<(Contract, usize)>,
    imports: Vec<String>,
    exports: Vec<String>,
    limits: Limits,
}

impl Inspect {
    pub(super) fn run(self) -> Result<ExitCode> {
        let settings = settings::json(self.settings.as_deref())?;
        let report = report(&self.from, settings)?;
        match self.json {
            true => print(&format!("{:#}\n", report.json())),
            false => print(&report.text()),
        }
        Ok(match (&report.configured, self.settings) {
            (Err(_), Some(_)) => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        })
    }
}

fn report(from: &Path, settings: String) -> Result<Report> {
    let clock = Clock::system();
    // Without a cache, so that compiling is what is timed.
    let library = app::library_compiled_by(Compiler::own_child(), None)?;
    let (module, name) = found::bytes(&library, from)?;
    let component = crate::plugin::component(&module).map_err(|error| error.within(&name))?;
    let began = clock.now();
    // Of a folder, what `build` leaves; a file as it is, since that is what a pipeline loads and pins.
    let plugin = library.load(&name, &name, if from.is_dir() { &component } else { &module })?;
    let compile_millis = (clock.now() - began) as f64 / 1e6;
    let (imports, exports) = library.interfaces(&plugin);
    let (name, version, about) = library.describe(&plugin)?;
    let limits = Limits::default();
    let configured = configure(&library, &plugin, settings, limits);
    let bytes = component.len();
    Ok(Report { plugin, name, version, about, bytes, compile_millis, configured, imports, exports, limits })
}

fn configure(library: &Library, plugin: &Plugin, settings: String, limits: Limits) -> Result<(Contract, usize)> {
    let account = Arc::new(Account::default());
    let configured = Configured {
        stage: "inspected".into(),
        plugin: plugin.clone(),
        settings,
        limits,
        tables: Arc::default(),
        account: account.clone(),
    };
    let instance = Instance::new(library.engine(), configured)?;
    Ok((instance.contract().clone(), account.totals().memory_bytes_max as usize))
}

impl Report {
    fn text(&self) -> String {
        let mut lines = vec![
            ("name", format!("{} {}", self.name, self.version)),
            ("about", self.about.clone()),
            ("world", format!("{} of {INTERFACE}", self.plugin.world().word())),
        ];
        match &self.configured {
            Ok((contract, memory)) => {
                lines.extend(contract_lines(self.plugin.world(), contract));
                lines.push(("memory", format!("{} once configured", bytes(*memory))));
            }
            Err(error) => lines.push(("refused", format!("{error} (other settings: --settings)"))),
        }
        lines.push(("imports", none_or(&self.imports)));
        lines.push(("exports", none_or(&self.exports)));
        lines.push(("limits", self.limits_text()));
        lines
            .push(("size", format!("{} as a component, compiled in {:.0} ms", bytes(self.bytes), self.compile_millis)));
        lines.push(("sha256", self.plugin.sha256().to_owned()));
        lines.iter().map(|(name, text)| format!("{name:<8} {text}\n")).collect()
    }

    fn limits_text(&self) -> String {
        let limits = self.limits;
        format!(
            "a call may use {} ms, {} of memory, and hand back {}; a stage may say otherwise",
            limits.time.0.as_millis(),
            bytes(limits.memory.as_usize()),
            bytes(limits.output.as_usize())
        )
    }

    fn json(&self) -> Value {
        let contract = self.configured.as_ref().ok().map(|(contract, _)| {
            let writes: Vec<Value> =
                contract.writes.iter().map(|(name, r#type)| json!({ "name": name, "type": r#type.word() })).collect();
            json!({
                "reads": contract.reads,
                "reads_time": contract.reads_time,
                "writes": writes,
                "open_schema": contract.open_schema,
                "keeps_state": contract.keeps_state,
                "produces": contract.produces.word(),
            })
        });
        json!({
            "name": self.name,
            "version": self.version,
            "about": self.about,
            "world": self.plugin.world().word(),
            "interface": INTERFACE,
            "contract": contract,
            "refused": self.configured.as_ref().err().map(|error| error.message()),
            "imports": self.imports,
            "exports": self.exports,
            "limits": {
                "time_ms": self.limits.time.0.as_millis() as u64,
                "memory_bytes": self.limits.memory.as_usize(),
                "output_bytes": self.limits.output.as_usize(),
            },
            "size_bytes": self.bytes,
            "compile_ms": self.compile_millis,
            "memory_bytes": self.configured.as_ref().ok().map(|(_, memory)| memory),
            "sha256": self.plugin.sha256(),
        })
    }
}

fn contract_lines(world: World, contract: &Contract) -> Vec<(&'static str, String)> {
    let column = |(name, r#type): &(String, Type)| format!("{name} {}", r#type.word());
    let mut writes: Vec<String> = contract.writes.iter().map(column).collect();
    if contract.open_schema {
        writes.push("and whatever the events name".to_owned());
    }
    let mut lines = Vec::new();
    if world != World::Autoscaler {
        let time = contract.reads_time.then(|| "the time (clock = true)".to_owned());
        lines.push(("reads", none_or(&contract.reads.iter().cloned().chain(time).collect::<Vec<_>>())));
    }
    if matches!(world, World::Parser | World::Enricher) {
        lines.push(("writes", none_or(&writes)));
    }
    if world == World::Parser {
        lines.push(("makes", contract.produces.word().to_owned()));
    }
    if contract.keeps_state {
        lines.push(("state", "is kept from call to call".to_owned()));
    }
    lines
}

fn none_or(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Bytes as people read them.
pub(super) fn bytes(count: usize) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}
