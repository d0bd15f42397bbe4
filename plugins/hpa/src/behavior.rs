//! how fast the replicas may follow: autoscaling/v2's `behavior`, rule by rule
//!
//!     proposal ─► stabilization: up not above the lowest, down not below the highest of its window
//!              ─► rate: so many pods or percent within a period, counted from the replicas at the period's start
//!
//! Source: kubernetes.io, Horizontal Pod Autoscaling, "Configurable scaling behavior" and "Algorithm details".

use serde::Deserialize;

const SECOND: i64 = 1_000_000_000;
/// The longest stabilization window, in seconds, as the API allows it.
const WINDOW_MAX: u32 = 3600;
/// The longest period of a policy, in seconds, as the API allows it.
const PERIOD_MAX: u32 = 1800;

/// `behavior` as written; each half that is left out has the API's defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Written {
    scale_up: WrittenRules,
    scale_down: WrittenRules,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct WrittenRules {
    stabilization_window_seconds: Option<u32>,
    select_policy: SelectPolicy,
    policies: Option<Vec<Policy>>,
    tolerance: Option<f64>,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
pub enum SelectPolicy {
    /// the one that allows the largest change
    #[default]
    Max,
    /// the one that allows the smallest change
    Min,
    /// none: no change in this direction
    Disabled,
}

/// So much within a period.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Policy {
    r#type: PolicyType,
    value: u32,
    period_seconds: u32,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
enum PolicyType {
    Pods,
    Percent,
}

/// One direction's rules.
#[derive(Clone, Debug)]
pub struct Rules {
    /// seconds
    pub window: u32,
    pub select: SelectPolicy,
    pub policies: Vec<Policy>,
    pub tolerance: f64,
}

/// Both directions.
#[derive(Clone, Debug)]
pub struct Behavior {
    pub up: Rules,
    pub down: Rules,
}

/// A number of replicas at a time.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, serde::Serialize)]
pub struct At {
    pub at: i64,
    pub replicas: u32,
}

impl Behavior {
    /// Checks what was written; `tolerance` counts where a direction has none of its own.
    pub fn check(written: Written, tolerance: f64) -> Result<Behavior, String> {
        let percent = |value| Policy { r#type: PolicyType::Percent, value, period_seconds: 15 };
        let pods = Policy { r#type: PolicyType::Pods, value: 4, period_seconds: 15 };
        Ok(Behavior {
            up: rules("scaleUp", written.scale_up, 0, vec![percent(100), pods], tolerance)?,
            down: rules("scaleDown", written.scale_down, 300, vec![percent(100)], tolerance)?,
        })
    }

    /// Neither windows nor rates.
    pub fn none(tolerance: f64) -> Behavior {
        let free = Rules { window: 0, select: SelectPolicy::Max, policies: Vec::new(), tolerance };
        Behavior { up: free.clone(), down: free }
    }

    /// How long a change matters to some policy, in nanoseconds.
    pub fn reach(&self) -> i64 {
        let periods = self.up.policies.iter().chain(&self.down.policies).map(|policy| policy.period_seconds);
        i64::from(periods.max().unwrap_or(0)) * SECOND
    }
}

impl Rules {
    /// The window in nanoseconds.
    pub fn window_nanos(&self) -> i64 {
        i64::from(self.window) * SECOND
    }

    /// The most that may run after a change upwards, from the replicas that were added and taken before; nothing if there is no bound.
    pub fn most(&self, now: i64, current: u32, added: &[At], taken: &[At]) -> Option<u32> {
        self.limit(now, current, added, taken, |start, policy| match policy.r#type {
            PolicyType::Pods => start + f64::from(policy.value),
            PolicyType::Percent => (start * (100.0 + f64::from(policy.value)) / 100.0).ceil(),
        })
        .map(|(low, high)| match self.select {
            SelectPolicy::Max => high.max(f64::from(current)) as u32,
            SelectPolicy::Min => low.max(f64::from(current)) as u32,
            SelectPolicy::Disabled => current,
        })
    }

    /// The least that may run after a change downwards.
    pub fn least(&self, now: i64, current: u32, added: &[At], taken: &[At]) -> Option<u32> {
        self.limit(now, current, added, taken, |start, policy| match policy.r#type {
            PolicyType::Pods => start - f64::from(policy.value),
            PolicyType::Percent => (start * (100.0 - f64::from(policy.value)) / 100.0).trunc(),
        })
        .map(|(low, high)| match self.select {
            SelectPolicy::Max => low.clamp(0.0, f64::from(current)) as u32,
            SelectPolicy::Min => high.clamp(0.0, f64::from(current)) as u32,
            SelectPolicy::Disabled => current,
        })
    }

    /// The lowest and the highest limit of all policies.
    fn limit(
        &self,
        now: i64,
        current: u32,
        added: &[At],
        taken: &[At],
        of: impl Fn(f64, &Policy) -> f64,
    ) -> Option<(f64, f64)> {
        if self.select == SelectPolicy::Disabled {
            return Some((f64::from(current), f64::from(current)));
        }
        let limits = self.policies.iter().map(|policy| {
            let since = now - i64::from(policy.period_seconds) * SECOND;
            let within = |changes: &[At]| -> f64 {
                changes.iter().filter(|change| change.at > since).map(|change| f64::from(change.replicas)).sum()
            };
            of(f64::from(current) - within(added) + within(taken), policy)
        });
        limits.fold(None, |all: Option<(f64, f64)>, limit| match all {
            None => Some((limit, limit)),
            Some((low, high)) => Some((low.min(limit), high.max(limit))),
        })
    }
}

fn rules(name: &str, written: WrittenRules, window: u32, usual: Vec<Policy>, tolerance: f64) -> Result<Rules, String> {
    let window = written.stabilization_window_seconds.unwrap_or(window);
    if window > WINDOW_MAX {
        return Err(format!("`behavior.{name}.stabilizationWindowSeconds` is {window}; it is from 0 to {WINDOW_MAX}"));
    }
    let policies = written.policies.unwrap_or(usual);
    if policies.is_empty() {
        return Err(format!(
            "`behavior.{name}.policies` is empty; leave it out for the usual ones, or set selectPolicy = \"Disabled\""
        ));
    }
    for policy in &policies {
        if policy.value == 0 {
            return Err(format!("`behavior.{name}.policies` has a value of 0; it must be more than 0"));
        }
        if !(1..=PERIOD_MAX).contains(&policy.period_seconds) {
            return Err(format!(
                "`behavior.{name}.policies` has periodSeconds = {}; it is from 1 to {PERIOD_MAX}",
                policy.period_seconds
            ));
        }
    }
    let tolerance = written.tolerance.unwrap_or(tolerance);
    if !(tolerance.is_finite() && tolerance >= 0.0) {
        return Err(format!("`behavior.{name}.tolerance` is {tolerance}; it is a share from 0 on, like 0.1"));
    }
    Ok(Rules { window, select: written.select_policy, policies, tolerance })
}
