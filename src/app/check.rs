//! looks over the whole config before anything runs: plugins, settings, columns, queries
//!
//! **Always:** what passes here has every plugin loaded and its settings taken, every column that is read made by somebody, and every
//! query planned.

use super::advisers;
use super::plugins::{self, Lent};
use crate::clock::Clock;
use crate::codec::Codec;
use crate::config::{Config, Mistake, Named};
use crate::error::did_you_mean;
use crate::event::columns::{BODY, LABELS, PART, SOURCE, Type};
use crate::event::{Kind, TableName};
use crate::pipeline::{Flow, Graph, StageConfig, StageType};
use crate::plugin::{Account, Configured, Contract, Instance, Library, Limits, Lookup, Plugin, World};
use crate::query;
use crate::scale::{Config as ScalerConfig, actuator};
use crate::source;
use arrow::datatypes::{Field, Schema, SchemaRef};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A config that can run.
pub struct Checked {
    /// what the files say
    pub config: Config,
    /// who feeds whom
    pub graph: Graph,
    /// stages by name
    pub stages: BTreeMap<String, CheckedPlugin>,
    /// scalers by name
    pub scalers: BTreeMap<String, CheckedPlugin>,
    /// advisers and shadows by the scaler's name and their own
    pub advisers: BTreeMap<(String, String), CheckedPlugin>,
    /// the tables that each scaler's signals read
    pub signals: BTreeMap<(String, String), Vec<TableName>>,
    /// the kind of events in each table, and the columns they are known to have
    pub tables: BTreeMap<String, (Kind, SchemaRef)>,
}

impl Checked {
    /// The plugins of stages, scalers, advisers and shadows.
    pub fn plugins(&self) -> impl Iterator<Item = &CheckedPlugin> {
        self.stages.values().chain(self.scalers.values()).chain(self.advisers.values())
    }
}

/// A plugin that took its settings.
#[derive(Clone)]
pub struct CheckedPlugin {
    /// what is run, with its settings
    pub configured: Configured,
    /// what it reads and makes
    pub contract: Contract,
}

/// Checks everything that could be read; the mistakes, those of reading included, are in the order of files and lines. `system` are
/// the tables Tidemill has by itself.
pub fn check(
    (config, mut mistakes): (Config, Vec<Mistake>),
    library: &Library,
    system: &[(TableName, SchemaRef)],
) -> Result<Checked, Vec<Mistake>> {
    if config.unreadable {
        return Err(mistakes);
    }
    let stages = stages(&config, library, &mut mistakes);
    let scalers = scalers(&config, library, &mut mistakes);
    let advisers = advisers::check(&config, library, &mut mistakes);
    finish(config, library, stages, scalers, advisers, mistakes, system)
}

/// A mistake in a stage that goes on as it was: its name, and what is wrong.
pub(super) type Broken = (String, Mistake);

/// Checks a config whose stages may have changed since it runs: a stage whose own plugin or settings cannot be taken keeps what runs,
/// and its mistakes are told apart, each with its name. What is wrong between parts is wrong with all of it.
pub(super) fn check_anew(
    config: Config,
    library: &Library,
    system: &[(TableName, SchemaRef)],
    running: &BTreeMap<String, CheckedPlugin>,
) -> Result<(Checked, Vec<Broken>), Vec<Mistake>> {
    let (mut broken, mut mistakes) = (Vec::new(), Vec::new());
    let mut stages = stages(&config, library, &mut mistakes);
    for (name, kept) in running {
        if stages.contains_key(name) {
            continue;
        }
        let path = format!("stages.{name}: ");
        let of_it = |mistake: &Mistake| mistake.message.starts_with(&path);
        let (own, rest) = mistakes.into_iter().partition(of_it);
        mistakes = rest;
        broken.extend(Vec::into_iter(own).map(|mistake| (name.clone(), mistake)));
        stages.insert(name.clone(), kept.clone());
    }
    Ok((finish(config, library, stages, BTreeMap::new(), BTreeMap::new(), mistakes, system)?, broken))
}

/// Checks what is between the parts.
fn finish(
    config: Config,
    library: &Library,
    stages: BTreeMap<String, CheckedPlugin>,
    scalers: BTreeMap<String, CheckedPlugin>,
    advisers: BTreeMap<(String, String), CheckedPlugin>,
    mut mistakes: Vec<Mistake>,
    system: &[(TableName, SchemaRef)],
) -> Result<Checked, Vec<Mistake>> {
    let graph = graph(&config, &mut mistakes);
    let flows = flows(&config, &graph, &stages, &mut mistakes);
    let known = tables(&config, &flows, system, &mut mistakes);
    let plugins: Arc<dyn query::Plugins> = Arc::new(Lent {
        library: library.clone(),
        stages: plugins::as_checked(stages.clone()),
        ledger: None,
        clock: Clock::system(),
    });
    let signals = signals(&config, &known, &plugins, &mut mistakes);
    references(&config, &mut mistakes);
    if !mistakes.is_empty() {
        mistakes.sort_by(|a, b| a.place.cmp(&b.place));
        mistakes.dedup();
        return Err(mistakes);
    }
    let tables = config.tables.iter().filter_map(|table| {
        let flow = Flow::together(&inputs(&flows, &table.config.inputs)).ok().flatten();
        let schema = known.iter().find(|known| known.name.as_str() == table.name)?.schema.clone();
        Some((table.name.clone(), (flow.map_or(Kind::Logs, |flow| flow.kind), schema)))
    });
    let tables = tables.collect();
    Ok(Checked { config, graph, stages, scalers, advisers, signals, tables })
}

fn stages(config: &Config, library: &Library, mistakes: &mut Vec<Mistake>) -> BTreeMap<String, CheckedPlugin> {
    let mut checked = BTreeMap::new();
    for stage in &config.stages {
        let said = &stage.config;
        let folder = stage.places.folder();
        let Some(plugin) = open(library, &said.plugin, folder, said.sha256.as_deref(), stage, mistakes) else {
            continue;
        };
        if plugin.world() != said.r#type.world() {
            mistakes.push(stage.places.mistake("plugin", wrong_world(&plugin, said.r#type.world())));
            continue;
        }
        let Some(tables) = lookups(stage, folder, mistakes) else { continue };
        if let Some(done) = configure(library, plugin, stage, &said.settings, said.limits, tables, mistakes) {
            mistakes.extend(unused_field(said, &done.contract).map(|why| stage.places.mistake("field", why)));
            if done.contract.reads_time && !said.clock {
                let message =
                    format!("plugin `{}` goes by the time with these settings; write clock = true", said.plugin);
                mistakes.push(stage.places.mistake("clock", message));
            }
            checked.insert(stage.name.clone(), done);
        }
    }
    checked
}

/// Why a stage's `field` would do nothing.
fn unused_field(said: &StageConfig, contract: &Contract) -> Option<String> {
    let field = said.field.as_ref()?;
    match said.r#type {
        StageType::Parser if field.is_empty() || field.contains('*') || field == LABELS => {
            Some(format!("`field` is `{field}`; it names one column, or a label such as `labels.job`"))
        }
        StageType::Parser if contract.hands_over(BODY) => None,
        StageType::Parser => {
            let reads = contract.reads.join(", ");
            Some(format!("plugin `{}` reads no `body`, which `field` would stand for (it reads: {reads})", said.plugin))
        }
        StageType::Filter | StageType::Enricher => {
            Some("`field` is of parsers; a plugin of this type is told in its `settings` what it reads".to_owned())
        }
    }
}

fn scalers(config: &Config, library: &Library, mistakes: &mut Vec<Mistake>) -> BTreeMap<String, CheckedPlugin> {
    let mut checked = BTreeMap::new();
    for scaler in &config.scalers {
        let said = &scaler.config;
        let folder = scaler.places.folder();
        let Some(plugin) = open(library, &said.plugin, folder, said.sha256.as_deref(), scaler, mistakes) else {
            continue;
        };
        if plugin.world() != World::Autoscaler {
            mistakes.push(scaler.places.mistake("plugin", wrong_world(&plugin, World::Autoscaler)));
            continue;
        }
        if let Some(done) = configure(library, plugin, scaler, &said.settings, said.limits, BTreeMap::new(), mistakes) {
            let signals = said.signals.keys().map(String::as_str);
            if let Some(unmet) = done.contract.unmet(signals, !said.advisers.is_empty()) {
                mistakes.push(scaler.places.mistake("plugin", format!("plugin `{}`: {unmet}", said.plugin)));
            }
            checked.insert(scaler.name.clone(), done);
        }
    }
    checked
}

pub(super) fn wrong_world(plugin: &Plugin, wanted: World) -> String {
    let article = |world: World| match world {
        World::Enricher | World::Autoscaler => "an",
        World::Parser | World::Filter => "a",
    };
    let is = plugin.world();
    let (is, wanted) = (format!("{} {}", article(is), is.word()), format!("{} {}", article(wanted), wanted.word()));
    format!("plugin `{}` is {is}, and {wanted} is needed here", plugin.name())
}

fn open<T>(
    library: &Library,
    name: &str,
    folder: &Path,
    sha256: Option<&str>,
    part: &Named<T>,
    mistakes: &mut Vec<Mistake>,
) -> Option<Plugin> {
    let plugin = match library.open(name, folder) {
        Ok(plugin) => plugin,
        Err(error) => {
            mistakes.push(part.places.mistake("plugin", error));
            return None;
        }
    };
    match sha256 {
        Some(pinned) if !pinned.eq_ignore_ascii_case(plugin.sha256()) => {
            let message = format!("plugin `{name}` has the hash {}, and {pinned} is asked for", plugin.sha256());
            mistakes.push(part.places.mistake("sha256", message));
            None
        }
        Some(_) | None => Some(plugin),
    }
}

fn lookups(stage: &Named<StageConfig>, folder: &Path, mistakes: &mut Vec<Mistake>) -> Option<BTreeMap<String, Lookup>> {
    let mut tables = BTreeMap::new();
    for (name, file) in &stage.config.tables {
        match Lookup::open(&folder.join(file)) {
            Ok(table) => drop(tables.insert(name.clone(), table)),
            Err(error) => mistakes.push(stage.places.mistake(&format!("tables.{name}"), error)),
        }
    }
    (tables.len() == stage.config.tables.len()).then_some(tables)
}

fn configure<T>(
    library: &Library,
    plugin: Plugin,
    part: &Named<T>,
    settings: &serde_json::Map<String, serde_json::Value>,
    limits: Limits,
    tables: BTreeMap<String, Lookup>,
    mistakes: &mut Vec<Mistake>,
) -> Option<CheckedPlugin> {
    let text = match serde_json::to_string(settings) {
        Ok(text) => text,
        Err(error) => {
            mistakes.push(part.places.mistake("settings", format!("cannot be handed to a plugin: {error}")));
            return None;
        }
    };
    let configured = Configured {
        stage: part.name.as_str().into(),
        plugin,
        settings: text,
        limits,
        tables: Arc::new(tables),
        account: Arc::new(Account::default()),
    };
    match Instance::new(library.engine(), configured.clone()) {
        Ok(instance) => Some(CheckedPlugin { contract: instance.contract().clone(), configured }),
        Err(error) => {
            let key = match setting(settings, error.message()) {
                Some(setting) => format!("settings.{setting}"),
                None => "settings".to_owned(),
            };
            mistakes.push(part.places.mistake(&key, format!("plugin `{}`: {error}", configured.plugin.name())));
            None
        }
    }
}

/// The setting that a plugin's refusal names first, in backticks: `targets.rps`.
pub(super) fn setting<'a>(settings: &serde_json::Map<String, serde_json::Value>, refusal: &'a str) -> Option<&'a str> {
    let named = refusal.split('`').skip(1).step_by(2);
    named.into_iter().find(|name| name.split('.').next().is_some_and(|first| settings.contains_key(first)))
}

fn graph(config: &Config, mistakes: &mut Vec<Mistake>) -> Graph {
    let read = config.sources.iter().map(|source| source.name.as_str());
    let sources: Vec<&str> = read.chain(config.broken_in(&["sources", "stages"])).collect();
    let stages: Vec<(&str, &[String])> =
        config.stages.iter().map(|stage| (stage.name.as_str(), stage.config.inputs.as_slice())).collect();
    let tables: Vec<(&str, &[String])> =
        config.tables.iter().map(|table| (table.name.as_str(), table.config.inputs.as_slice())).collect();
    let (graph, wrong) = Graph::build(&sources, &stages, &tables);
    // A part that could not be read has inputs and outputs that nobody knows: whoever seems unused may be used there.
    // So may they where an input is misspelled.
    let unknown = !config.broken.is_empty() || wrong.iter().any(|(path, _)| path.ends_with(".inputs"));
    for (path, message) in wrong.into_iter().filter(|(path, _)| !(unknown && path.matches('.').count() == 1)) {
        mistakes.push(at(config, &path, &message));
    }
    graph
}

/// A mistake of the graph, at the part it names: `stages.nginx.inputs`.
fn at(config: &Config, path: &str, message: &str) -> Mistake {
    let mut words = path.splitn(3, '.');
    let (section, name, key) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    fn found<'a, T>(parts: &'a [Named<T>], name: &str) -> Option<&'a crate::config::Places> {
        parts.iter().find(|part| part.name == name).map(|part| &part.places)
    }
    let places = match section {
        Some("sources") => found(&config.sources, name),
        Some("stages") => found(&config.stages, name),
        _ => found(&config.tables, name),
    };
    match places {
        Some(places) => places.mistake(key, message),
        None => Mistake {
            place: crate::config::Place { file: Default::default(), line: 1 },
            message: format!("{path}: {message}"),
        },
    }
}

/// What events look like at every source and stage.
fn flows(
    config: &Config,
    graph: &Graph,
    stages: &BTreeMap<String, CheckedPlugin>,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, Flow> {
    let sources = config.sources.iter().map(|part| (part.name.clone(), flow_of(&part.config)));
    let mut flows: BTreeMap<String, Flow> = sources.collect();
    for name in graph.stages() {
        let Some(stage) = config.stages.iter().find(|stage| stage.name == *name) else { continue };
        let before = match Flow::together(&inputs(&flows, &stage.config.inputs)) {
            Ok(Some(flow)) => flow,
            Ok(None) => continue,
            Err(message) => {
                mistakes.push(stage.places.mistake("inputs", message));
                continue;
            }
        };
        let Some(checked) = stages.get(name) else {
            // What a broken stage would make is not known: nothing after it is blamed for that.
            flows.insert(name.clone(), Flow { open: true, ..before });
            continue;
        };
        let (after, missing) =
            before.after(stage.config.r#type.world(), &checked.contract, stage.config.field.as_deref());
        for (key, message) in missing {
            mistakes.push(stage.places.mistake(key, message));
        }
        flows.insert(name.clone(), after);
    }
    flows
}

fn flow_of(source: &source::Config) -> Flow {
    let open = match source {
        source::Config::File(config) => config.codec != Codec::Lines,
        source::Config::Stdin(config) => config.codec != Codec::Lines,
        source::Config::Http(_) => true,
        source::Config::Scrape(_) | source::Config::Internal(_) | source::Config::Processes(_) => false,
    };
    let mut flow = Flow::of_source(source.kind(), open);
    if source.multiline() {
        flow.columns.insert(PART.to_owned(), Type::Int64);
    }
    flow
}

/// What comes in of these names. One that could not be read may bring any column, of whichever kind of event.
fn inputs(flows: &BTreeMap<String, Flow>, names: &[String]) -> Vec<(String, Flow)> {
    let known = || names.iter().filter_map(|name| Some((name, flows.get(name)?)));
    let unknown = known().count() < names.len();
    let flow = |(name, flow): (&String, &Flow)| (name.clone(), Flow { open: flow.open || unknown, ..flow.clone() });
    known().map(flow).collect()
}

/// The tables that queries may read, with the columns they will have.
fn tables(
    config: &Config,
    flows: &BTreeMap<String, Flow>,
    system: &[(TableName, SchemaRef)],
    mistakes: &mut Vec<Mistake>,
) -> Vec<query::Known> {
    let mut known: Vec<query::Known> = system
        .iter()
        .map(|(name, schema)| query::Known { name: name.clone(), schema: schema.clone(), open: false })
        .collect();
    known.extend(config.broken_in(&["tables"]).filter_map(|name| {
        Some(query::Known { name: TableName::user(name).ok()?, schema: Kind::Logs.base(), open: true })
    }));
    for table in &config.tables {
        let Ok(name) = TableName::user(&table.name) else { continue };
        let flow = match Flow::together(&inputs(flows, &table.config.inputs)) {
            Ok(Some(flow)) => flow,
            Ok(None) => Flow { open: true, ..Flow::of_source(Kind::Logs, true) },
            Err(message) => {
                mistakes.push(table.places.mistake("inputs", message));
                continue;
            }
        };
        let base = flow.kind.base();
        let mut fields: Vec<_> = base.fields().iter().map(|field| field.as_ref().clone()).collect();
        fields.retain(|field| field.name() != BODY || table.config.body);
        for (column, r#type) in &flow.columns {
            if base.field_with_name(column).is_err() && column != BODY && column != SOURCE {
                fields.push(crate::event::columns::field(column, *r#type));
            }
        }
        known.push(query::Known { name, schema: Arc::new(Schema::new(fields)), open: flow.open });
    }
    known
}

fn signals(
    config: &Config,
    known: &[query::Known],
    plugins: &Arc<dyn query::Plugins>,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<(String, String), Vec<TableName>> {
    let mut reads = BTreeMap::new();
    for scaler in &config.scalers {
        if scaler.config.signals.is_empty() {
            let example = "signals.rps = \"SELECT count(*) AS value FROM …\"";
            mistakes.push(scaler.places.mistake("signals", format!("it has no signals; give it one: {example}")));
        }
        for (signal, sql) in &scaler.config.signals {
            match query::check(sql, known, Some(plugins)) {
                Ok(checked) => {
                    if let Some(why) = no_figure(&checked) {
                        mistakes.push(scaler.places.mistake(&format!("signals.{signal}"), why));
                    }
                    reads.insert((scaler.name.clone(), signal.clone()), checked.tables);
                }
                Err(error) => mistakes.push(scaler.places.mistake(&format!("signals.{signal}"), error)),
            }
        }
    }
    reads
}

/// Why no decider can read a figure out of a signal's answer, if that is known already.
fn no_figure(checked: &query::Checked) -> Option<String> {
    let fields = checked.schema.fields();
    if checked.guessed || fields.is_empty() {
        return None;
    }
    let r#type =
        |field: &Field| crate::event::Type::of(field.data_type()).map_or("of another type", |known| known.word());
    let number = |field: &Field| field.data_type().is_numeric();
    match fields.iter().find(|field| field.name() == "value") {
        Some(value) if !number(value) => Some(format!(
            "the column `value` of its answer is {}; a signal is a number: count(*), or CAST(… AS DOUBLE)",
            r#type(value)
        )),
        None if !fields.iter().any(|field| number(field)) => {
            let all: Vec<String> =
                fields.iter().map(|field| format!("`{}` is {}", field.name(), r#type(field))).collect();
            Some(format!(
                "its answer has no number ({}); a signal is one: count(*) AS value, or CAST(… AS DOUBLE) AS value",
                all.join(", ")
            ))
        }
        None => {
            let numbers: Vec<String> =
                fields.iter().filter(|field| number(field)).map(|field| format!("`{}`", field.name())).collect();
            (numbers.len() > 1).then(|| {
                let all = numbers.join(", ");
                format!("its answer has several numbers ({all}); call the one that counts `value`: … AS value")
            })
        }
        Some(_) => None,
    }
}

/// Names of one part that another part says: workloads.
fn references(config: &Config, mistakes: &mut Vec<Mistake>) {
    let read = config.workloads.iter().map(|workload| workload.name.as_str());
    let workloads: Vec<&str> = read.chain(config.broken_in(&["workloads"])).collect();
    let missing = |name: &str| {
        let hint = did_you_mean(name, workloads.iter().copied());
        format!("there is no workload `{name}`{hint}; write [workloads.{name}]")
    };
    let scaled: Vec<(&Named<ScalerConfig>, &str)> =
        config.scalers.iter().map(|scaler| (scaler, scaler.config.workload.as_str())).collect();
    for (at, (scaler, workload)) in scaled.iter().enumerate() {
        if !workloads.contains(workload) {
            mistakes.push(scaler.places.mistake("workload", missing(workload)));
        }
        if let Some((other, _)) = scaled.iter().take(at).find(|(_, other)| other == workload) {
            let message =
                format!("the workload `{workload}` is scaled by `{}` already; a workload has one scaler", other.name);
            mistakes.push(scaler.places.mistake("workload", message));
        }
        mistakes.extend(scaler.places.mistakes(scaler.config.faults()));
    }
    for source in &config.sources {
        for workload in source.config.workloads().into_iter().filter(|name| !workloads.contains(name)) {
            mistakes.push(source.places.mistake("workload", missing(workload)));
        }
        mistakes.extend(source.places.mistakes(source.config.faults()));
    }
    for (at, workload) in config.workloads.iter().enumerate() {
        let object = workload.config.object();
        let same = |other: &&Named<actuator::Config>| object.is_some() && other.config.object() == object;
        if let Some(other) = config.workloads.iter().take(at).find(same) {
            let object = object.clone().unwrap_or_default();
            let message =
                format!("{object} is the workload `{}` already; one Lease and one scaler act on it", other.name);
            mistakes.push(workload.places.mistake("name", message));
        }
        let scaler = config.scalers.iter().find(|scaler| scaler.config.workload == workload.name);
        let faults = workload.config.faults(scaler.map(|scaler| scaler.config.max));
        mistakes.extend(workload.places.mistakes(faults));
        let blind = scaler.filter(|scaler| scaler.config.initial.is_none() && !workload.config.can_look());
        mistakes.extend(blind.map(|scaler| {
            let name = &workload.name;
            let message = format!(
                "nothing tells how many replicas `{name}` has, and the first start must take none away; write how many there are: `initial`, or `observe` in [workloads.{name}]"
            );
            scaler.places.mistake("workload", message)
        }));
    }
}
