//! the stage's `settings` table, as written and as checked

use std::collections::BTreeMap;

use serde::Deserialize;
use tidemill_plugin::time;

/// As written. `targets.<signal>` is a number of the common `type`, or a table with a `type` of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    #[serde(rename = "type", default)]
    kind: TargetType,
    target: Option<f64>,
    #[serde(default)]
    targets: BTreeMap<String, WrittenTarget>,
    #[serde(default = "usual_tolerance")]
    tolerance: f64,
    #[serde(default)]
    scale_down_stabilization: Option<String>,
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

#[derive(Clone, Copy, Debug)]
enum WrittenTarget {
    Number(f64),
    Table { kind: Option<TargetType>, target: f64 },
}

/// `untagged` would answer every mistake with "did not match any variant"; this names the key.
impl<'de> Deserialize<'de> for WrittenTarget {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<WrittenTarget, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[serde(rename = "type")]
            kind: Option<TargetType>,
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
                Ok(WrittenTarget::Table { kind: table.kind, target: table.target })
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
}

/// As checked.
#[derive(Clone, Debug)]
pub struct Settings {
    common: Option<Target>,
    of_signal: BTreeMap<String, Target>,
    pub tolerance: f64,
    /// nanoseconds
    pub scale_down_stabilization: i64,
}

impl Settings {
    pub fn check(written: Written) -> Result<Settings, String> {
        let target = |name: &str, kind, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(Target { kind, value }),
            false => Err(format!("`{name}` is {value}; it must be more than 0")),
        };
        let common = written.target.map(|value| target("target", written.kind, value)).transpose()?;
        let mut of_signal = BTreeMap::new();
        for (name, given) in written.targets {
            let (kind, value) = match given {
                WrittenTarget::Number(value) => (written.kind, value),
                WrittenTarget::Table { kind, target } => (kind.unwrap_or(written.kind), target),
            };
            let checked = target(&format!("targets.{name}"), kind, value)?;
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
        let window = written.scale_down_stabilization.as_deref().unwrap_or("0s");
        let scale_down_stabilization =
            time::parse_duration(window).map_err(|error| format!("`scale_down_stabilization`: {error}"))?;
        Ok(Settings { common, of_signal, tolerance: written.tolerance, scale_down_stabilization })
    }

    pub fn target_of(&self, signal: &str) -> Option<Target> {
        self.of_signal.get(signal).copied().or(self.common)
    }

    /// The signals that `targets` names and the scaler does not have.
    pub fn targets_without(&self, has: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        self.of_signal.keys().map(String::as_str).filter(move |name| !has(name))
    }
}
