//! the stage's `settings` table, as written and as checked

use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_plugin::time;

use crate::behavior::{self, Behavior};
use crate::count::ROUNDING;

/// As written. `targets.<signal>` is a number of the common `type`, or a table with a `type` of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    #[serde(rename = "type", default)]
    kind: TargetType,
    /// What of its replicas a signal measures, as autoscaling/v2 names it: `cpu`, `memory`.
    resource: Option<String>,
    target: Option<f64>,
    #[serde(default)]
    targets: BTreeMap<String, WrittenTarget>,
    /// Signals that are there for another plugin of the scaler.
    #[serde(default)]
    ignore: Vec<String>,
    #[serde(default = "usual_tolerance")]
    tolerance: f64,
    #[serde(default)]
    behavior: WrittenBehavior,
    /// The controller's `--horizontal-pod-autoscaler-cpu-initialization-period`.
    #[serde(default = "five_minutes", rename = "cpuInitializationPeriod")]
    initialization_period: String,
    /// The controller's `--horizontal-pod-autoscaler-initial-readiness-delay`.
    #[serde(default = "thirty_seconds", rename = "initialReadinessDelay")]
    readiness_delay: String,
}

/// autoscaling/v2's `behavior`, or `"none"`: neither windows nor rates.
#[derive(Clone, Debug)]
enum WrittenBehavior {
    None,
    Rules(behavior::Written),
}

impl Default for WrittenBehavior {
    fn default() -> Self {
        WrittenBehavior::Rules(behavior::Written::default())
    }
}

impl<'de> Deserialize<'de> for WrittenBehavior {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<WrittenBehavior, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = WrittenBehavior;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a table like { scaleDown = { stabilizationWindowSeconds = 60 } }, or \"none\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WrittenBehavior, E> {
                match text {
                    "none" => Ok(WrittenBehavior::None),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<WrittenBehavior, A::Error> {
                let rules = behavior::Written::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(WrittenBehavior::Rules(rules))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn five_minutes() -> String {
    "5m".to_owned()
}

fn thirty_seconds() -> String {
    "30s".to_owned()
}

/// The words of autoscaling/v2.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
pub enum TargetType {
    /// The signal is a total: so much of it a replica.
    #[default]
    AverageValue,
    /// The signal is a level (a queue's length, a latency): replicas grow in proportion to it.
    Value,
    /// The signal is an average share or percentage of what each replica has; counted like `Value`.
    Utilization,
}

#[derive(Clone, Debug)]
enum WrittenTarget {
    Number(f64),
    Table { kind: Option<TargetType>, resource: Option<String>, target: f64 },
}

/// `untagged` would answer every mistake with "did not match any variant"; this names the key.
impl<'de> Deserialize<'de> for WrittenTarget {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<WrittenTarget, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[serde(rename = "type")]
            kind: Option<TargetType>,
            resource: Option<String>,
            target: f64,
        }
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = WrittenTarget;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a number or a table like { type = \"Value\", target = 50 }")
            }

            fn visit_f64<E>(self, target: f64) -> Result<WrittenTarget, E> {
                Ok(WrittenTarget::Number(target))
            }

            fn visit_i64<E>(self, target: i64) -> Result<WrittenTarget, E> {
                Ok(WrittenTarget::Number(target as f64))
            }

            fn visit_u64<E>(self, target: u64) -> Result<WrittenTarget, E> {
                Ok(WrittenTarget::Number(target as f64))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<WrittenTarget, A::Error> {
                let table = Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(WrittenTarget::Table { kind: table.kind, resource: table.resource, target: table.target })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn usual_tolerance() -> f64 {
    0.1
}

/// What one signal is measured against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub kind: TargetType,
    pub value: f64,
    /// the processor is measured: replicas that start use more of it than they will
    pub is_cpu: bool,
}

/// As checked.
#[derive(Clone, Debug)]
pub struct Settings {
    common: Option<Target>,
    of_signal: BTreeMap<String, Target>,
    ignore: Vec<String>,
    pub behavior: Behavior,
    /// nanoseconds
    pub initialization_period: i64,
    /// nanoseconds
    pub readiness_delay: i64,
}

impl Settings {
    pub fn check(written: Written) -> Result<Settings, String> {
        let target = |name: &str, kind, resource: Option<&String>, value: f64| {
            let is_cpu = resource.map_or(kind == TargetType::Utilization, |resource| resource == "cpu");
            match value.is_finite() && value > 0.0 {
                true => Ok(Target { kind, value, is_cpu }),
                false => Err(format!("`{name}` is {value}; it must be more than 0")),
            }
        };
        let usual = written.resource.as_ref();
        let common = written.target.map(|value| target("target", written.kind, usual, value)).transpose()?;
        let mut of_signal = BTreeMap::new();
        for (name, given) in written.targets {
            let (kind, resource, value) = match given {
                WrittenTarget::Number(value) => (written.kind, None, value),
                WrittenTarget::Table { kind, resource, target } => (kind.unwrap_or(written.kind), resource, target),
            };
            let checked = target(&format!("targets.{name}"), kind, resource.as_ref().or(usual), value)?;
            of_signal.insert(name, checked);
        }
        if common.is_none() && of_signal.is_empty() {
            return Err(
                "`target` is missing; say how much of the signal a replica should have, like target = 50".to_owned()
            );
        }
        if !(0.0..1.0).contains(&written.tolerance) {
            return Err(format!("`tolerance` is {}; it is a share from 0 to below 1, like 0.1", written.tolerance));
        }
        let behavior = match written.behavior {
            WrittenBehavior::None => Behavior::none(written.tolerance),
            WrittenBehavior::Rules(rules) => Behavior::check(rules, written.tolerance)?,
        };
        let span = |key: &str, text: &str| time::parse_duration(text).map_err(|error| format!("`{key}`: {error}"));
        let initialization_period = span("cpuInitializationPeriod", &written.initialization_period)?;
        let readiness_delay = span("initialReadinessDelay", &written.readiness_delay)?;
        if let Some(both) = written.ignore.iter().find(|name| of_signal.contains_key(*name)) {
            return Err(format!(
                "`ignore` names `{both}`, which has a target in `targets`; take it out of one of them"
            ));
        }
        Ok(Settings { common, of_signal, ignore: written.ignore, behavior, initialization_period, readiness_delay })
    }

    /// The tolerance in the direction of a ratio.
    pub fn tolerance_of(&self, ratio: f64) -> f64 {
        if ratio > 1.0 { self.behavior.up.tolerance } else { self.behavior.down.tolerance }
    }

    /// Whether a ratio is so near to 1 that nothing moves.
    pub fn within_tolerance(&self, ratio: f64) -> bool {
        (ratio - 1.0).abs() <= self.tolerance_of(ratio) + ROUNDING
    }

    /// Whether it is none of our business.
    pub fn ignores(&self, signal: &str) -> bool {
        self.ignore.iter().any(|name| name == signal)
    }

    pub fn target_of(&self, signal: &str) -> Option<Target> {
        self.of_signal.get(signal).copied().or(self.common)
    }

    /// The signals that `targets` names.
    pub fn targeted(&self) -> impl Iterator<Item = &str> {
        self.of_signal.keys().map(String::as_str)
    }

    /// The signals that `targets` names and the scaler does not have.
    pub fn targets_without(&self, has: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        self.targeted().filter(move |name| !has(name))
    }
}
