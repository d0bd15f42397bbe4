//! the plugins beside a scaler's own: looked over before anything runs, and put to work with it

use super::adapters::PluginDecider;
use super::check::{Checked, CheckedPlugin, setting, wrong_world};
use crate::config::{Config, Mistake, Named};
use crate::error::{Error, Result};
use crate::plugin::{Account, Configured, Instance, Library, World};
use crate::scale::deciders::SHADOW;
use crate::scale::{Adviser, Config as ScalerConfig, Decider, Deciders};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every adviser and shadow of the config, by its scaler's name and its own.
pub(super) fn check(
    config: &Config,
    library: &Library,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<(String, String), CheckedPlugin> {
    let mut checked = BTreeMap::new();
    for scaler in &config.scalers {
        for (name, key, adviser) in all(&scaler.config) {
            match open(library, scaler, &name, adviser) {
                Ok(plugin) => drop(checked.insert((scaler.name.clone(), name), plugin)),
                Err((of, message)) => mistakes.push(scaler.places.mistake(&format!("{key}.{of}"), message)),
            }
        }
    }
    checked
}

/// The plugins of one scaler, each with an instance of its own.
pub(super) fn deciders(checked: &Checked, library: &Library, scaler: &Named<ScalerConfig>) -> Result<Deciders> {
    let missing = || Error::internal(format!("the scaler `{}` was not checked before it was started", scaler.name));
    let start = |plugin: &CheckedPlugin| -> Result<Decider> {
        let instance = Instance::new(library.engine(), plugin.configured.clone())?;
        Ok(Decider {
            plugin: plugin.configured.plugin.name().to_owned(),
            settings: plugin.configured.settings.clone(),
            decide: Box::new(PluginDecider::new(instance)),
        })
    };
    let beside = |name: &str| checked.advisers.get(&(scaler.name.clone(), name.to_owned())).ok_or_else(missing);
    let live = start(checked.scalers.get(&scaler.name).ok_or_else(missing)?)?;
    let advisers = scaler.config.advisers.keys().map(|name| Ok((name.clone(), start(beside(name)?)?)));
    let advisers = advisers.collect::<Result<_>>()?;
    let shadow = scaler.config.shadow.as_ref().map(|_| start(beside(SHADOW)?)).transpose()?;
    Ok(Deciders { live, advisers, shadow })
}

/// Name, key and table of each.
fn all(config: &ScalerConfig) -> impl Iterator<Item = (String, String, &Adviser)> {
    let advisers = config.advisers.iter().map(|(name, adviser)| (name.clone(), format!("advisers.{name}"), adviser));
    advisers.chain(config.shadow.iter().map(|shadow| (SHADOW.to_owned(), SHADOW.to_owned(), shadow)))
}

/// The plugin with its settings taken; else which key is wrong, and how.
fn open(
    library: &Library,
    scaler: &Named<ScalerConfig>,
    name: &str,
    adviser: &Adviser,
) -> std::result::Result<CheckedPlugin, (String, String)> {
    let wrong = |key: &str, message: String| (key.to_owned(), message);
    let plugin =
        library.open(&adviser.plugin, scaler.places.folder()).map_err(|error| wrong("plugin", error.to_string()))?;
    if let Some(pinned) = adviser.sha256.as_ref().filter(|pinned| !pinned.eq_ignore_ascii_case(plugin.sha256())) {
        let message =
            format!("plugin `{}` has the hash {}, and {pinned} is asked for", adviser.plugin, plugin.sha256());
        return Err(wrong("sha256", message));
    }
    if plugin.world() != World::Autoscaler {
        return Err(wrong("plugin", wrong_world(&plugin, World::Autoscaler)));
    }
    let settings = serde_json::to_string(&adviser.settings).map_err(|error| wrong("settings", error.to_string()))?;
    let configured = Configured {
        stage: format!("{}.{name}", scaler.name).into(),
        plugin,
        settings,
        limits: adviser.limits,
        tables: Arc::default(),
        account: Arc::new(Account::default()),
    };
    match Instance::new(library.engine(), configured.clone()) {
        Ok(instance) => {
            let contract = instance.contract().clone();
            // A shadow hears the scaler's advisers; advisers hear none.
            let hears = name == SHADOW && !scaler.config.advisers.is_empty();
            match contract.unmet(scaler.config.signals.keys().map(String::as_str), hears) {
                Some(unmet) => Err(wrong("plugin", format!("plugin `{}`: {unmet}", adviser.plugin))),
                None => Ok(CheckedPlugin { contract, configured }),
            }
        }
        Err(error) => {
            let key = setting(&adviser.settings, error.message())
                .map_or_else(|| "settings".to_owned(), |setting| format!("settings.{setting}"));
            Err((key, format!("plugin `{}`: {error}", configured.plugin.name())))
        }
    }
}
