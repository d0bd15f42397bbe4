//! from one time of cron to another, in a time zone

use std::str::FromStr;

use chrono::DateTime;
use chrono_tz::Tz;
use croner::Cron;
use serde::Deserialize;

/// As written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    start: String,
    end: String,
    #[serde(default = "utc")]
    timezone: String,
    desired_replicas: u32,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// As checked.
pub struct Schedule {
    start: Cron,
    end: Cron,
    zone: Tz,
    pub replicas: u32,
    pub words: String,
}

impl Schedule {
    pub fn read(written: &Written) -> Result<Schedule, String> {
        let cron = |key: &str, text: &str| {
            let cron = Cron::from_str(text).map_err(|error| {
                format!("{key} = \"{text}\" cannot be read ({error}); write minute, hour, day, month, weekday, like `0 8 * * 1-5`")
            })?;
            match cron.find_next_occurrence(&DateTime::UNIX_EPOCH, true) {
                Ok(_) => Ok(cron),
                Err(_) => Err(format!("{key} = \"{text}\" never comes: no month has that day")),
            }
        };
        if written.start == written.end {
            return Err("start and end are the same".to_owned());
        }
        let zone = &written.timezone;
        Ok(Schedule {
            start: cron("start", &written.start)?,
            end: cron("end", &written.end)?,
            zone: Tz::from_str(zone)
                .map_err(|_| format!("there is no time zone `{zone}`; write one like `Europe/Berlin`"))?,
            replicas: written.desired_replicas,
            words: format!("{} to {} in {zone}", written.start, written.end),
        })
    }

    /// Whether it began later than it ended.
    pub fn is_active(&self, now: i64) -> bool {
        let now = DateTime::from_timestamp_nanos(now).with_timezone(&self.zone);
        let began = self.start.find_previous_occurrence(&now, true);
        let ended = self.end.find_previous_occurrence(&now, true);
        match (began, ended) {
            (Ok(began), Ok(ended)) => began > ended,
            (Ok(_), Err(_)) => true,
            (Err(_), _) => false,
        }
    }
}
