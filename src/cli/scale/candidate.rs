//! the plugins that a backtest runs: the scaler's as they are, another one, and each point of a grid

use super::grid::{Change, combinations};
use crate::config::Named;
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::plugin::{Account, Configured, Instance, Library, Limits, Plugin, Proposal, Request, World};
use crate::scale::Config as ScalerConfig;
use crate::scale::backtest::{Panel, Propose, Variable};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What bundled plugins read, for those that take the place of another; none of these heeds advisers, so that none is asked beside it.
const READS: &[(&str, &[&str])] = &[
    ("hpa", &["rps"]),
    ("queue", &["arrivals", "backlog", "service_time"]),
    ("panic", &["stable", "burst"]),
    ("forecast", &["load", "history"]),
    ("step", &["rps"]),
    ("pid", &["rps"]),
    ("keda", &["rps"]),
];

/// An example of an option.
const SHOWN: &str = "utilization=utilization";

/// What is tried beside the scaler as it is.
#[derive(clap::Args)]
pub(super) struct Tried {
    /// Another autoscaler plugin in the place of the scaler's: a bundled one's name or a file; its settings are those of --set and --grid.
    #[arg(long)]
    plugin: Option<String>,
    /// A setting: `target=60`, `advisers.hpa.target=60`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// A setting in many values: `target=40..80`, `target=40..80:10`, `lead=5m,10m`; several make every combination.
    #[arg(long, value_name = "KEY=VALUES")]
    grid: Vec<String>,
    /// What a signal shows: `rps=arrivals`; known names show themselves.
    #[arg(long, value_name = "NAME=VARIABLE")]
    signal: Vec<String>,
    /// Do not run the scaler as it is beside what is tried.
    #[arg(long)]
    alone: bool,
}

/// Plugins with their limits and settings, by name.
type Advisers = BTreeMap<String, (Plugin, Limits, Map<String, Value>)>;

/// One run: plugins with their settings.
pub(super) struct Candidate {
    /// as the table names it
    pub name: String,
    live: Configured,
    advisers: BTreeMap<String, Configured>,
    /// what each signal shows, by its name
    pub signals: BTreeMap<String, Variable>,
}

impl Tried {
    /// The scaler as it is, and what is tried beside it.
    pub fn candidates(&self, library: &Library, scaler: &Named<ScalerConfig>) -> Result<Vec<Candidate>> {
        let config = &scaler.config;
        let own = library.open(&config.plugin, scaler.places.folder())?;
        let advisers = config.advisers.iter().map(|(name, adviser)| {
            Ok((
                name.clone(),
                (library.open(&adviser.plugin, scaler.places.folder())?, adviser.limits, adviser.settings.clone()),
            ))
        });
        let advisers: Advisers = advisers.collect::<Result<_>>()?;
        let named: Vec<&str> = config.signals.keys().map(String::as_str).collect();
        if let (None, Some(name)) = (&self.plugin, self.shown_in_vain(&named)) {
            let hint = did_you_mean(name, named.iter().copied());
            return Err(Error::invalid(format!(
                "--signal {name}: the scaler `{}` has no such signal{hint}",
                scaler.name
            )));
        }
        let mut candidates = Vec::new();
        let changed = self.plugin.is_some() || !self.set.is_empty() || !self.grid.is_empty();
        if !changed || !self.alone {
            let mut signals = self.signals(&named)?;
            signals.retain(|name, _| config.signals.contains_key(name));
            candidates.push(Candidate {
                name: format!("{} as it is", own.name()),
                live: configured(&own, config.limits, &config.settings)?,
                advisers: all(&advisers)?,
                signals,
            });
        }
        if !changed {
            return Ok(candidates);
        }
        let tried = self.plugin.as_deref().map(|name| library.open(name, Path::new(""))).transpose()?;
        let (plugin, begin) = match &tried {
            Some(tried) if tried.sha256() != own.sha256() => (tried, Map::new()),
            _ => (&own, config.settings.clone()),
        };
        let reads = READS.iter().find(|(name, _)| plugin.sha256() != own.sha256() && *name == plugin.name());
        let signals = self.signals(reads.map_or(named.as_slice(), |(_, reads)| reads))?;
        let set = self.set.iter().map(|text| Change::parse(text)).collect::<Result<Vec<_>>>()?;
        for point in combinations(&self.grid)? {
            let mut live = begin.clone();
            let mut beside = if reads.is_some() { Advisers::new() } else { advisers.clone() };
            for change in set.iter().chain(&point) {
                let adviser = change.key.strip_prefix("advisers.").and_then(|rest| rest.split_once('.'));
                match adviser.and_then(|(name, key)| beside.get_mut(name).map(|adviser| (adviser, key))) {
                    Some(((_, _, settings), key)) => {
                        Change { key: key.to_owned(), value: change.value.clone() }.apply(settings)?;
                    }
                    None => change.apply(&mut live)?,
                }
            }
            let shown: Vec<String> = match point.is_empty() {
                true => set.iter().map(Change::shown).collect(),
                false => point.iter().map(Change::shown).collect(),
            };
            candidates.push(Candidate {
                name: format!("{} {}", plugin.name(), shown.join(" ")).trim().to_owned(),
                live: configured(plugin, config.limits, &live)?,
                advisers: all(&beside)?,
                signals: signals.clone(),
            });
        }
        Ok(candidates)
    }

    /// A signal of --signal that the scaler has not.
    fn shown_in_vain(&self, named: &[&str]) -> Option<&str> {
        let given = self.signal.iter().map(|text| text.split_once('=').map_or(text.as_str(), |(name, _)| name));
        given.into_iter().find(|name| !named.contains(name))
    }

    /// What each of these signals shows, and those that --signal adds.
    fn signals(&self, names: &[&str]) -> Result<BTreeMap<String, Variable>> {
        let mut given = BTreeMap::new();
        for text in &self.signal {
            let (name, variable) = text.split_once('=').unwrap_or((text, text));
            let variable = Variable::of(variable).ok_or_else(|| unknown(variable))?;
            given.insert(name.to_owned(), variable);
        }
        for name in names {
            if !given.contains_key(*name) {
                let variable = Variable::of(name).ok_or_else(|| {
                    Error::invalid(format!(
                        "what does the signal `{name}` show? say it like --signal {name}=arrivals ({})",
                        variables()
                    ))
                })?;
                given.insert((*name).to_owned(), variable);
            }
        }
        Ok(given)
    }
}

impl Candidate {
    /// Its plugins at work.
    pub fn panel(&self, library: &Library) -> Result<Panel> {
        let open = |configured: &Configured, has_advisers: bool| -> Result<Box<dyn Propose>> {
            let within = |error: Error| error.within(format!("plugin `{}`", configured.plugin.name()));
            let instance = Instance::new(library.engine(), configured.clone()).map_err(within)?;
            let unmet = instance.contract().unmet(self.signals.keys().map(String::as_str), has_advisers);
            match unmet {
                Some(unmet) => Err(within(Error::invalid(format!("{unmet}; signals are shown like --signal {SHOWN}")))),
                None => Ok(Box::new(Asked(instance))),
            }
        };
        let advisers = self.advisers.iter().map(|(name, adviser)| Ok((name.clone(), open(adviser, false)?)));
        Ok(Panel { live: open(&self.live, !self.advisers.is_empty())?, advisers: advisers.collect::<Result<_>>()? })
    }
}

/// A plugin at work, asked on this thread.
struct Asked(Instance);

impl Propose for Asked {
    fn propose(&mut self, request: &Request) -> Result<Proposal> {
        self.0.decide(request).map_err(|fault| Error::new(ErrorKind::Foreign, fault.message))
    }

    fn reads_time(&self) -> bool {
        self.0.contract().reads_time
    }
}

fn all(advisers: &Advisers) -> Result<BTreeMap<String, Configured>> {
    let each = advisers.iter();
    each.map(|(name, (plugin, limits, settings))| Ok((name.clone(), configured(plugin, *limits, settings)?))).collect()
}

fn configured(plugin: &Plugin, limits: Limits, settings: &Map<String, Value>) -> Result<Configured> {
    if plugin.world() != World::Autoscaler {
        return Err(Error::invalid(format!("`{}` is no autoscaler plugin", plugin.name())));
    }
    let settings = serde_json::to_string(settings).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Configured {
        stage: "backtest".into(),
        plugin: plugin.clone(),
        settings,
        limits,
        tables: Arc::default(),
        account: Arc::new(Account::default()),
    })
}

fn unknown(variable: &str) -> Error {
    Error::invalid(format!(
        "the workload does not show `{variable}`{} ({})",
        did_you_mean(variable, Variable::names()),
        variables()
    ))
}

fn variables() -> String {
    format!("it shows {}", Variable::names().collect::<Vec<_>>().join(", "))
}
