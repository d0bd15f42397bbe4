//! how many replicas one signal asks for
//!
//! | type | ratio | replicas |
//! |---|---|---|
//! | `AverageValue` | total / (target × replicas) | ⌈total / target⌉ |
//! | `Value`, `Utilization` | current / target | ⌈ready replicas × current / target⌉ |
//!
//! Within the tolerance around ratio 1 the replicas stay as they are. With no replicas there is no ratio: the
//! quotient alone counts. A level is what the ready replicas show: those that still start are on their way for it already, and would
//! otherwise be multiplied again at each tick. A ratio above 1 takes none away, and one below 1 adds none; while none is ready, a level
//! says nothing.

use crate::settings::{Settings, Target, TargetType};

/// How many, and the sum in words.
#[derive(Debug)]
pub struct Count {
    pub replicas: u32,
    pub words: String,
}

/// How many there are to be, and how many of them serve.
#[derive(Clone, Copy, Debug)]
pub struct Replicas {
    pub asked: u32,
    pub ready: u32,
}

impl Replicas {
    /// More than are asked for may still be ready: they are on their way out.
    pub fn new(asked: u32, ready: u32) -> Replicas {
        Replicas { asked, ready: ready.min(asked) }
    }
}

impl Count {
    pub fn new(signal: &str, value: f64, target: Target, of: Replicas, settings: &Settings) -> Count {
        let quotient = value / target.value;
        let Replicas { asked: replicas, ready } = of;
        let is_level = matches!(target.kind, TargetType::Value | TargetType::Utilization);
        let (wanted, ratio) = match is_level {
            false => (quotient, quotient / f64::from(replicas)),
            true if replicas == 0 => (quotient, f64::INFINITY),
            true => (quotient * f64::from(ready), quotient),
        };
        let sum = sum_in_words(signal, value, target, of, wanted);
        if is_level && replicas > 0 && ready == 0 {
            let words = format!("{sum}, and none is ready → stays at {}", in_replicas(replicas));
            return Count { replicas, words };
        }
        if replicas > 0 && settings.within_tolerance(ratio) {
            let tolerance = settings.tolerance_of(ratio);
            let words =
                format!("{sum}, ratio {} within tolerance {tolerance} → {}", figure(ratio), in_replicas(replicas));
            return Count { replicas, words };
        }
        let asked = ceil(wanted);
        let against = (ratio > 1.0 && asked < replicas) || (ratio < 1.0 && asked > replicas);
        if is_level && replicas > 0 && against {
            return Count { replicas, words: format!("{sum} → stays at {}", in_replicas(replicas)) };
        }
        Count { replicas: asked, words: format!("{sum} → {}", in_replicas(asked)) }
    }
}

/// 0.3 / 0.1 is a hair off 3 in floating point, and 1.1 / 0.1 a hair above 11: that must not cost a replica.
pub const ROUNDING: f64 = 1e-9;

pub fn ceil(wanted: f64) -> u32 {
    (wanted - wanted * ROUNDING).ceil() as u32 // saturates
}

fn sum_in_words(signal: &str, value: f64, target: Target, of: Replicas, wanted: f64) -> String {
    let Replicas { asked: replicas, ready } = of;
    let (value, per_target, wanted) = (figure(value), figure(target.value), figure(wanted));
    match target.kind {
        TargetType::AverageValue => format!("{signal} {value} / {per_target} a replica = {wanted}"),
        TargetType::Value | TargetType::Utilization if replicas == 0 => {
            format!("{signal} {value} / {per_target} = {wanted}")
        }
        TargetType::Value | TargetType::Utilization if ready < replicas => {
            format!("{signal} {value} / {per_target} × {ready} ready of {} = {wanted}", in_replicas(replicas))
        }
        TargetType::Value | TargetType::Utilization => {
            format!("{signal} {value} / {per_target} × {} = {wanted}", in_replicas(replicas))
        }
    }
}

/// At least one digit after the point and at most three that matter.
pub fn figure(value: f64) -> String {
    let text = match value.abs() {
        small if small < 0.0095 && small > 0.0 => format!("{value:.2e}"),
        small if small < 10.0 => format!("{value:.2}"),
        large if large < 1e12 => format!("{value:.1}"),
        _ => format!("{value:.3e}"),
    };
    match text.split_once('.') {
        Some((whole, digits)) if digits.ends_with('0') && digits.len() == 2 => format!("{whole}.{}", &digits[..1]),
        _ => text,
    }
}

pub fn in_replicas(count: u32) -> String {
    format!("{count} replica{}", if count == 1 { "" } else { "s" })
}
