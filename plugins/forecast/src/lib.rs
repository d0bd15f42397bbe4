//! replicas for what is about to come, by the same time of earlier days
//!
//!     history ─► profile of a season × how today compares with it ─► the most of the next `lead` ─┐
//!     level of lately + spread × how far the load strays from it ────────────────────────────────┼─► the largest ÷ target
//!     load now ─────────────────────────────────────────────────────────────────────────────────┘
//!
//! `history` is a signal with a row a bucket (`timestamp`, `value`), such as
//! `SELECT date_bin(INTERVAL '15 minutes', timestamp) AS timestamp, count(*) / 900.0 AS value FROM access GROUP BY 1`.
//!
//! **Always:** a forecast only adds: fewer replicas than now are proposed only when the load of now asks for fewer, and is fresh.

mod lately;
mod profile;

use lately::Lately;
use profile::Profile;
use serde::Deserialize;
use tidemill_plugin::{Autoscaler, Contract, Freshness, Plugin, Proposal, Request, in_replicas, time, whole_replicas};

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    target: f64,
    #[serde(default = "a_day")]
    season: String,
    #[serde(default = "ten_minutes")]
    lead: String,
    #[serde(default = "one")]
    headroom: f64,
    #[serde(default)]
    spread: f64,
}

fn a_day() -> String {
    "1d".to_owned()
}

fn ten_minutes() -> String {
    "10m".to_owned()
}

fn one() -> f64 {
    1.0
}

/// A configured decider; times in nanoseconds.
pub struct Forecast {
    target: f64,
    season: i64,
    lead: i64,
    headroom: f64,
    /// how many times its usual stray the load may be above what is expected
    spread: f64,
}

impl Plugin for Forecast {
    type Settings = Written;
    const NAME: &'static str = "forecast";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(written: Written) -> Result<(Forecast, Contract), String> {
        for (key, value) in [("target", written.target), ("headroom", written.headroom)] {
            if !(value.is_finite() && value > 0.0) {
                return Err(format!("`{key}` is {value}; it must be more than 0"));
            }
        }
        if !(written.spread.is_finite() && written.spread >= 0.0) {
            return Err(format!("`spread` is {}; it must be 0 or more", written.spread));
        }
        let span = |key: &str, text: &str| match time::parse_duration(text) {
            Ok(span) if span > 0 => Ok(span),
            Ok(_) => Err(format!("`{key}` is nothing; it must be more than 0")),
            Err(error) => Err(format!("`{key}`: {error}")),
        };
        let (season, lead) = (span("season", &written.season)?, span("lead", &written.lead)?);
        if lead >= season {
            return Err(format!("`lead` is not shorter than the season of {}", written.season));
        }
        let forecast =
            Forecast { target: written.target, season, lead, headroom: written.headroom, spread: written.spread };
        Ok((forecast, Contract::new().reads("load").keeps_state()))
    }
}

impl Autoscaler for Forecast {
    fn decide(&mut self, request: &Request) -> Result<Proposal, String> {
        let now = request.workload.replicas;
        let expected = self.expected(request);
        let load = match request.amount("load") {
            Ok(load) => load,
            // Blind now: what is about to come may still add.
            Err(why) => {
                return Ok(match expected {
                    Ok(expected) if whole_replicas(expected * self.headroom / self.target) > now => {
                        let replicas = whole_replicas(expected * self.headroom / self.target);
                        let reason = format!("{why}; expected {expected:.1} → {}; was {now}", in_replicas(replicas));
                        Proposal { replicas, reason, state: request.state.clone() }
                    }
                    _ => request.hold(&why),
                });
            }
        };
        let replicas_for = |load: f64| whole_replicas(load * self.headroom / self.target);
        let for_load = replicas_for(load);
        let lately = Lately::next(&request.state, request.now, load);
        let known = expected.as_ref().copied().unwrap_or_default();
        let for_stray = if self.spread > 0.0 { replicas_for(lately.above(known, self.spread)) } else { 0 };
        let (ahead, mut words) = match expected {
            Ok(expected) => {
                let ahead = replicas_for(expected);
                (ahead, format!("expected within {} {expected:.1} → {ahead}", time::format_duration(self.lead)))
            }
            Err(why) => (0, why),
        };
        if self.spread > 0.0 {
            words.push_str(&format!(", with {} × its stray → {for_stray}", self.spread));
        }
        let replicas = for_load.max(ahead).max(for_stray);
        let stale = request.signal("load").is_some_and(|signal| signal.freshness != Freshness::Fresh);
        if stale && replicas < now {
            return Ok(request.hold("load is stale"));
        }
        let reason = format!("load {load:.1} → {for_load}; {words}; {}; was {now}", in_replicas(replicas));
        Ok(Proposal { replicas, reason, state: lately.state()? })
    }
}

impl Forecast {
    /// The most that is expected from now until the lead is over, or why nobody knows.
    fn expected(&self, request: &Request) -> Result<f64, String> {
        let history = request.signal("history").ok_or("there is no signal `history`")?;
        if matches!(history.freshness, Freshness::Missing | Freshness::Failed) {
            return Err(format!("history {}", history.amount().err().unwrap_or_default()));
        }
        let times = history
            .table
            .timestamps("timestamp")
            .map_err(|_| "history has no column `timestamp` of times".to_owned())?;
        let values =
            history.table.floats("value").map_err(|_| "history has no column `value` of numbers".to_owned())?;
        let rows = times.iter().zip(values.iter()).filter_map(|(time, value)| Some((time?, value?)));
        Profile::new(rows.collect(), self.season).expect(request.now, self.lead)
    }
}

tidemill_plugin::export_autoscaler!(Forecast);
