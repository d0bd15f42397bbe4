//! timestamps in a format that the settings give, as `%d/%b/%Y:%H:%M:%S %z`
//!
//! The directives are those of `chrono` (strftime's and a few more: `%.f` is a point and any number of digits, `%3f` are three).
//!
//! ```text
//! year, month, day   %Y-%m-%d     no year: the latest that is at most a day after the line arrived
//! no offset          `timezone`, else UTC
//! ```

use chrono::NaiveDateTime;
use chrono::format::{Item, Numeric, Parsed, StrftimeItems, parse};

use crate::time;

const NANOS_PER_DAY: i64 = 86_400_000_000_000;

/// A format, checked.
#[derive(Clone, Debug)]
pub struct TimeFormat {
    /// `None`: RFC 3339, or a number since 1970.
    items: Option<Vec<Item<'static>>>,
    has_date: bool,
    /// Seconds east of UTC, for times that do not say.
    offset_seconds: i64,
}

impl TimeFormat {
    /// RFC 3339, or seconds, milli-, micro-, nanoseconds since 1970.
    pub fn standard() -> TimeFormat {
        TimeFormat { items: None, has_date: true, offset_seconds: 0 }
    }

    /// A format of directives. An error says what is wrong with it.
    pub fn new(format: &str, offset_seconds: i64) -> Result<TimeFormat, String> {
        let items = StrftimeItems::new(format).parse_to_owned();
        let items = items.map_err(|_| {
            format!("`{format}` has a directive that there is not; write it like `%Y-%m-%d %H:%M:%S%.f %z`")
        })?;
        if !items.iter().any(|item| matches!(item, Item::Numeric(..) | Item::Fixed(_))) {
            return Err(format!("`{format}` has no directive; write it like `%Y-%m-%d %H:%M:%S%.f %z`"));
        }
        let has_date = items.iter().any(|item| {
            matches!(item, Item::Numeric(Numeric::Day | Numeric::Ordinal | Numeric::Timestamp, _) | Item::Fixed(_))
        });
        Ok(TimeFormat { items: Some(items), has_date, offset_seconds })
    }

    /// Nanoseconds since 1970. `arrived` is when the line came in: what a year is taken from where the format has none.
    pub fn parse(&self, text: &[u8], arrived: Option<i64>) -> Result<i64, String> {
        let shown = || String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
        let Ok(written) = std::str::from_utf8(text) else { return Err(format!("`{}` is not a time", shown())) };
        let Some(items) = &self.items else {
            return match time::parse_epoch(written) {
                Some(nanoseconds) => Ok(nanoseconds),
                None => time::parse_rfc3339(written),
            };
        };
        let wrong = |why: String| format!("`{}` is not a time in the format given: {why}", shown());
        let mut parsed = Parsed::new();
        parse(&mut parsed, written, items.iter()).map_err(|error| wrong(error.to_string()))?;
        self.resolve(&mut parsed, arrived).map_err(wrong)
    }

    fn resolve(&self, parsed: &mut Parsed, arrived: Option<i64>) -> Result<i64, String> {
        if let Some(seconds) = parsed.timestamp() {
            let nanos = parsed.nanosecond().map_or(0, i64::from);
            return time::nanoseconds(seconds, nanos).ok_or("it is too far from 1970".to_owned());
        }
        let offset = parsed.offset().map_or(self.offset_seconds, i64::from);
        let at = |parsed: &Parsed| -> Result<i64, String> {
            let date = parsed.to_naive_date().map_err(|error| format!("its date: {error}"))?;
            let time = parsed.to_naive_time().map_err(|error| format!("its time of day: {error}"))?;
            nanoseconds(NaiveDateTime::new(date, time), offset)
        };
        let no_year = parsed.year().is_none() && parsed.year_mod_100().is_none() && parsed.isoyear().is_none();
        if !no_year || !self.has_date {
            return at(parsed);
        }
        let arrived = arrived.ok_or("it has no year, and when the line arrived is not known")?;
        latest_year(arrived, |year| {
            let mut parsed = parsed.clone();
            parsed.set_year(year).ok()?;
            at(&parsed).ok()
        })
        .ok_or("there is no such day or time of day".to_owned())
    }
}

fn nanoseconds(at: NaiveDateTime, offset_seconds: i64) -> Result<i64, String> {
    let at = at.and_utc();
    time::nanoseconds(at.timestamp() - offset_seconds, i64::from(at.timestamp_subsec_nanos()))
        .ok_or("it is too far from 1970".to_owned())
}

/// The time in the latest year for which it is at most a day after `arrived`. `in_year` gives it for a year, if that has such a day.
///
/// A leap day may be up to eight years back.
pub fn latest_year(arrived: i64, in_year: impl Fn(i64) -> Option<i64>) -> Option<i64> {
    let this_year: i64 = time::format_rfc3339(arrived).get(..4)?.parse().ok()?;
    let latest = arrived.saturating_add(NANOS_PER_DAY);
    (0..10).filter_map(|back| in_year(this_year + 1 - back)).find(|nanoseconds| *nanoseconds <= latest)
}

/// `+02:00`, `-0330`, `UTC` or `Z` as seconds east of UTC.
pub fn parse_offset(text: &str) -> Result<i64, String> {
    let wrong = || format!("`timezone`: `{text}` is not an offset; write it like \"+02:00\" or \"UTC\"");
    if matches!(text, "UTC" | "Z") {
        return Ok(0);
    }
    let (sign, digits) = match text.as_bytes() {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return Err(wrong()),
    };
    let digits: Vec<i64> = match digits {
        [a, b, b':', c, d] | [a, b, c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) => {
            [a, b, c, d].iter().map(|byte| i64::from(**byte - b'0')).collect()
        }
        _ => return Err(wrong()),
    };
    let (hours, minutes) = (digits[0] * 10 + digits[1], digits[2] * 10 + digits[3]);
    if hours > 23 || minutes > 59 { Err(wrong()) } else { Ok(sign * (hours * 3600 + minutes * 60)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(format: &str, text: &str, arrived: &str) -> Result<String, String> {
        let arrived = time::parse_rfc3339(arrived).unwrap();
        TimeFormat::new(format, 3600)?.parse(text.as_bytes(), Some(arrived)).map(time::format_rfc3339)
    }

    #[test]
    fn formats() {
        for (format, text, utc) in [
            ("%d/%b/%Y:%H:%M:%S %z", "17/May/2015:10:05:03 +0200", "2015-05-17T08:05:03Z"),
            ("%Y-%m-%d %H:%M:%S,%3f", "2026-01-02 03:04:05,678", "2026-01-02T02:04:05.678Z"),
            ("%Y-%m-%dT%H:%M:%S%.fZ", "2026-01-02T03:04:05.6789Z", "2026-01-02T02:04:05.6789Z"),
            ("%b %e %H:%M:%S", "Nov 22 10:00:00", "2026-11-22T09:00:00Z"),
            ("%b %e %H:%M:%S", "Dec 31 10:00:00", "2025-12-31T09:00:00Z"),
            ("%b %e %H:%M:%S", "Feb 29 10:00:00", "2024-02-29T09:00:00Z"),
            ("%s", "1700000000", "2023-11-14T22:13:20Z"),
        ] {
            assert_eq!(parsed(format, text, "2026-11-22T12:00:00Z").as_deref(), Ok(utc), "{format}");
        }
    }

    #[test]
    fn a_line_of_new_year_that_arrives_before_it() {
        assert_eq!(
            parsed("%m%d %H:%M:%S", "0101 01:00:00", "2026-12-31T23:59:59Z").as_deref(),
            Ok("2027-01-01T00:00:00Z")
        );
    }

    #[test]
    fn refused_with_the_reason() {
        assert!(TimeFormat::new("%Q", 0).unwrap_err().contains("directive that there is not"));
        assert!(TimeFormat::new("yyyy", 0).unwrap_err().contains("has no directive"));
        assert!(
            parsed("%Y-%m-%d %H:%M:%S", "2026-02-30 00:00:00", "2026-01-01T00:00:00Z")
                .unwrap_err()
                .contains("its date")
        );
        assert!(
            parsed("%b %e %H:%M:%S", "Feb 31 10:00:00", "2026-01-01T00:00:00Z").unwrap_err().contains("no such day")
        );
        assert!(parsed("%Y-%m-%d", "2026-02-03", "2026-01-01T00:00:00Z").unwrap_err().contains("its time of day"));
        assert!(parse_offset("CET").is_err() && parse_offset("+25:00").is_err());
        assert_eq!(parse_offset("-03:30"), Ok(-12_600));
    }
}
