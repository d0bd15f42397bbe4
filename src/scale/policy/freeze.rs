//! times in which the number of replicas stays as it is
//!
//!     freeze = [
//!       { from = "2026-12-24T00:00:00Z", until = "2026-12-27T00:00:00Z", why = "holidays" },
//!       { cron = "0 22 * * 5", for = "8h", timezone = "Europe/Berlin", only = "down" },
//!     ]

use crate::units::Span;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use croner::Cron;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// One freeze, as a pipeline file says it: from a moment until another, or for a while after each time that cron names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The first moment, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The first moment after it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When it begins, again and again: minute, hour, day of month, month, day of week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// How long it lasts after each of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#for: Option<Span>,
    /// The time zone of `cron`; UTC if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Which direction is frozen; both if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Direction>,
    /// For whom reads the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// More or fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// more replicas
    Up,
    /// fewer replicas
    Down,
}

/// When a freeze holds.
enum When {
    Between(DateTime<Utc>, DateTime<Utc>),
    After(Box<Cron>, Tz, chrono::Duration),
}

impl Freeze {
    /// What is wrong with it; nothing if it can be understood.
    pub fn fault(&self) -> Option<String> {
        self.when().err()
    }

    /// Until when it holds at `now` (ns UTC) for this direction; nothing if it does not.
    pub fn holds(&self, now: i64, direction: Direction) -> Option<DateTime<Utc>> {
        if self.only.is_some_and(|only| only != direction) {
            return None;
        }
        let now = DateTime::from_timestamp_nanos(now);
        match self.when().ok()? {
            When::Between(from, until) => (from <= now && now < until).then_some(until),
            When::After(cron, zone, lasts) => {
                let began = cron.find_previous_occurrence(&now.with_timezone(&zone), true).ok()?;
                let until = began.with_timezone(&Utc).checked_add_signed(lasts)?;
                (now < until).then_some(until)
            }
        }
    }

    fn when(&self) -> Result<When, String> {
        match (&self.from, &self.until, &self.cron, self.r#for) {
            (Some(from), Some(until), None, None) if self.timezone.is_none() => {
                let (first, last) = (moment(from)?, moment(until)?);
                match first < last {
                    true => Ok(When::Between(first, last)),
                    false => Err(format!("from = \"{from}\" is not before until = \"{until}\"")),
                }
            }
            (None, None, Some(cron), Some(lasts)) => {
                let parsed = Cron::from_str(cron).map_err(|error| {
                    format!("cron = \"{cron}\" cannot be read ({error}); write minute, hour, day, month, weekday, like `0 22 * * 5`")
                })?;
                let name = self.timezone.as_deref().unwrap_or("UTC");
                let zone = Tz::from_str(name)
                    .map_err(|_| format!("there is no time zone `{name}`; write one like `Europe/Berlin`"))?;
                let lasts = chrono::Duration::from_std(lasts.0).map_err(|_| "`for` is too long".to_owned())?;
                Ok(When::After(Box::new(parsed), zone, lasts))
            }
            _ => Err("write either `from` and `until`, or `cron`, `for` and perhaps `timezone`".to_owned()),
        }
    }
}

fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let wrong = |_| format!("`{text}` is no time; write it like `2026-12-24T00:00:00Z`");
    DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(text: &str) -> Freeze {
        toml::from_str(text).unwrap()
    }

    fn holds(freeze: &Freeze, at: &str, direction: Direction) -> bool {
        let at = DateTime::parse_from_rfc3339(at).unwrap().timestamp_nanos_opt().unwrap();
        freeze.holds(at, direction).is_some()
    }

    #[test]
    fn between_two_moments() {
        let holidays = freeze("from = '2026-12-24T00:00:00Z'\nuntil = '2026-12-27T00:00:00Z'");
        for (at, frozen) in [
            ("2026-12-23T23:59:59Z", false),
            ("2026-12-24T00:00:00Z", true),
            ("2026-12-26T23:59:59Z", true),
            ("2026-12-27T00:00:00Z", false),
        ] {
            assert_eq!(holds(&holidays, at, Direction::Up), frozen, "{at}");
        }
    }

    #[test]
    fn every_friday_night_where_summer_time_is() {
        let night = freeze("cron = '0 22 * * 5'\nfor = '8h'\ntimezone = 'Europe/Berlin'\nonly = 'down'");
        for (at, frozen) in [
            ("2026-07-03T19:59:00Z", false),
            ("2026-07-03T20:00:00Z", true),
            ("2026-07-04T03:59:00Z", true),
            ("2026-07-04T04:00:00Z", false),
            ("2026-01-02T20:30:00Z", false),
            ("2026-01-02T21:00:00Z", true),
        ] {
            assert_eq!(holds(&night, at, Direction::Down), frozen, "{at}");
            assert!(!holds(&night, at, Direction::Up), "{at}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, says) in [
            ("", "write either"),
            ("from = '2026-12-24T00:00:00Z'", "write either"),
            ("from = 'x'\nuntil = 'y'", "`x` is no time"),
            ("from = '2026-12-24T00:00:00Z'\nuntil = '2026-12-24T00:00:00Z'", "is not before"),
            ("cron = '0 25 * * *'\nfor = '1h'", "cannot be read"),
            ("cron = '0 2 * * *'\nfor = '1h'\ntimezone = 'Mars/Olympus'", "there is no time zone `Mars/Olympus`"),
        ] {
            let fault = freeze(text).fault().unwrap();
            assert!(fault.contains(says), "{text}: {fault}");
        }
    }
}
