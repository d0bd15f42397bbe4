//! the time an event says it happened at
//!
//! RFC 3339 with any offset, or a number since 1970 whose size tells its unit: seconds, ms, µs or ns. A number before 1973 in all of
//! these is no time (more likely a duration), and a text without an offset is none either: guessing a zone would be wrong silently.

use chrono::DateTime;

/// Numbers below this are no times, in seconds.
const SECONDS_MIN: i128 = 100_000_000;

/// Reads RFC 3339, or a number written as text.
pub fn of_text(text: &str) -> Option<i64> {
    let text = text.trim();
    match text.as_bytes().get(4) {
        Some(b'-') => DateTime::parse_from_rfc3339(text).ok()?.timestamp_nanos_opt(),
        _ => of_number(text),
    }
}

/// Reads a number as written, exact to the nanosecond; never through a float unless it has an exponent.
pub fn of_number(text: &str) -> Option<i64> {
    if text.contains(['e', 'E']) {
        let value: f64 = text.parse().ok()?;
        return if value.abs() < 1e19 { scaled(value as i128, "") } else { None };
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.len() <= 30 && text.bytes().all(|c| c.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    scaled(whole.parse().ok()?, fraction)
}

/// The unit is told by the size: each is 1000 times smaller than the last.
fn scaled(whole: i128, fraction: &str) -> Option<i64> {
    let unit: i128 = match whole {
        n if n < SECONDS_MIN => return None,
        n if n < SECONDS_MIN * 1000 => 1_000_000_000,
        n if n < SECONDS_MIN * 1_000_000 => 1_000_000,
        n if n < SECONDS_MIN * 1_000_000_000 => 1000,
        _ => 1,
    };
    let part = fraction.bytes().take(9).fold((0i128, unit), |(sum, place), digit| {
        let place = place / 10;
        (sum + place * i128::from(digit.saturating_sub(b'0')), place)
    });
    i64::try_from(whole.checked_mul(unit)? + part.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_exactly() {
        let second = 1_700_000_000_000_000_000i64;
        let rows: &[(&str, Option<i64>)] = &[
            ("2023-11-14T22:13:20Z", Some(second)),
            ("2023-11-14 22:13:20.5+00:00", Some(second + 500_000_000)),
            ("2023-11-15T03:43:20.123456789+05:30", Some(second + 123_456_789)),
            ("2023-11-14T22:13:20", None),
            ("1700000000", Some(second)),
            ("1700000000.123456789", Some(second + 123_456_789)),
            ("1700000000123", Some(second + 123_000_000)),
            ("1700000000123.5", Some(second + 123_500_000)),
            ("1700000000123456", Some(second + 123_456_000)),
            ("1700000000123456789", Some(second + 123_456_789)),
            ("1.7e9", Some(second)),
            ("99999999999999999999", None),
            ("0.25", None),
            ("12", None),
            ("-1700000000", None),
            ("", None),
            ("yesterday", None),
            ("9999-99-99T00:00:00Z", None),
            ("9999-12-31T00:00:00Z", None),
        ];
        for (text, want) in rows {
            assert_eq!(of_text(text), *want, "{text}");
        }
    }
}
