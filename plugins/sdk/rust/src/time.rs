//! timestamps and durations as people write them
//!
//! A timestamp is nanoseconds since 1970-01-01T00:00:00Z in an `i64`: the years 1678 to 2261.

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// RFC 3339 with any offset; a space in place of the `T` is taken, an offset is required.
pub fn parse_rfc3339(text: &str) -> Result<i64, String> {
    let wrong = |what: &str| format!("`{text}` is not an RFC 3339 time: {what}");
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| bytes.get(from..to).and_then(number);
    let literal = |at: usize, any_of: &[u8]| bytes.get(at).is_some_and(|byte| any_of.contains(byte));

    if !(literal(4, b"-") && literal(7, b"-")) {
        return Err(wrong("a date like 2026-11-22 comes first"));
    }
    let (Some(year), Some(month), Some(day)) = (digits(0, 4), digits(5, 7), digits(8, 10)) else {
        return Err(wrong("a date like 2026-11-22 comes first"));
    };
    if !(literal(10, b"Tt ") && literal(13, b":") && literal(16, b":")) {
        return Err(wrong("a `T` and a time like 11:56:01 follow the date"));
    }
    let (Some(hour), Some(minute), Some(second)) = (digits(11, 13), digits(14, 16), digits(17, 19)) else {
        return Err(wrong("a `T` and a time like 11:56:01 follow the date"));
    };
    let days = days_from_date(year, month, day).ok_or_else(|| wrong("there is no such day"))?;
    let second_of_day = second_of_day(hour, minute, second).ok_or_else(|| wrong("there is no such time of day"))?;
    let (nanos, offset_at) = fraction(bytes, 19).ok_or_else(|| wrong("digits follow the decimal point"))?;
    let offset = offset_seconds(&bytes[offset_at..]).ok_or_else(|| wrong("an offset like Z or +01:00 comes last"))?;
    nanoseconds(days * SECONDS_PER_DAY + second_of_day - offset, nanos).ok_or_else(|| wrong("too far from 1970"))
}

/// A timestamp in UTC, with as many digits of a second as it needs.
pub fn format_rfc3339(nanoseconds: i64) -> String {
    let seconds = nanoseconds.div_euclid(NANOS_PER_SECOND);
    let nanos = nanoseconds.rem_euclid(NANOS_PER_SECOND);
    let (year, month, day) = date_from_days(seconds.div_euclid(SECONDS_PER_DAY));
    let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let whole = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    match nanos {
        0 => format!("{whole}Z"),
        nanos => format!("{whole}.{}Z", format!("{nanos:09}").trim_end_matches('0')),
    }
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by magnitude; seconds may have a fraction.
///
/// Every digit counts: `1700000000.123456789` is exact.
pub fn parse_epoch(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(decimals) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let unit = epoch_unit(whole);
    let mut fraction = 0;
    let mut place = unit;
    for digit in decimals.bytes() {
        place /= 10;
        fraction += place * i64::from(digit - b'0');
    }
    let nanoseconds = whole.checked_mul(unit)?.checked_add(fraction)?;
    Some(if negative { -nanoseconds } else { nanoseconds })
}

/// How many nanoseconds one stands for, in a number since 1970 of this magnitude.
fn epoch_unit(whole: i64) -> i64 {
    if whole < 100_000_000_000 {
        NANOS_PER_SECOND
    } else if whole < 100_000_000_000_000 {
        1_000_000
    } else if whole < 100_000_000_000_000_000 {
        1_000
    } else {
        1
    }
}

/// A field of an event that is called like a timestamp: RFC 3339, or a number since 1970.
///
/// A number below 100,000,000 (1973, as seconds) is taken for something else, such as a duration.
pub fn recognise(text: &str) -> Option<i64> {
    let starts_like_a_date = text.as_bytes().get(4) == Some(&b'-');
    if starts_like_a_date {
        return parse_rfc3339(text).ok();
    }
    let whole_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if whole_digits < 9 { None } else { parse_epoch(text) }
}

/// A duration such as `90s`, `1h30m` or `250ms`, in nanoseconds.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is not a duration; write it like \"90s\", \"5m\" or \"1h30m\"");
    let mut rest = text.trim();
    let mut total: i64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let amount: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS_PER_SECOND,
            "m" => 60 * NANOS_PER_SECOND,
            "h" => 3600 * NANOS_PER_SECOND,
            "d" => SECONDS_PER_DAY * NANOS_PER_SECOND,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        total = amount.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
    }
    Ok(total)
}

/// A duration as one would write it: `90s`, `5m`, `1h30m`.
pub fn format_duration(nanoseconds: i64) -> String {
    if nanoseconds % NANOS_PER_SECOND != 0 || nanoseconds == 0 {
        return format!("{}s", nanoseconds as f64 / NANOS_PER_SECOND as f64);
    }
    let seconds = nanoseconds / NANOS_PER_SECOND;
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    parts.iter().filter(|(amount, _)| *amount != 0).map(|(amount, unit)| format!("{amount}{unit}")).collect()
}

/// Days since 1970-01-01 of a date in the Gregorian calendar, `None` where there is no such day.
pub fn days_from_date(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of a year.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Seconds since midnight, `None` where there is no such time. A leap second (`:60`) is the second after.
#[inline]
pub fn second_of_day(hour: i64, minute: i64, second: i64) -> Option<i64> {
    let exists = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    exists.then_some(hour * 3600 + minute * 60 + second)
}

/// Nanoseconds since 1970 out of seconds and the nanoseconds after them, `None` where they do not fit.
#[inline]
pub fn nanoseconds(seconds: i64, nanos: i64) -> Option<i64> {
    // Nearly all fit by far; in WebAssembly a product that is checked takes a call.
    const FAR: i64 = i64::MAX / NANOS_PER_SECOND - 1;
    if (-FAR..=FAR).contains(&seconds) && (0..NANOS_PER_SECOND).contains(&nanos) {
        return Some(seconds * NANOS_PER_SECOND + nanos);
    }
    seconds.checked_mul(NANOS_PER_SECOND)?.checked_add(nanos)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| match byte {
        b'0'..=b'9' => Some(number * 10 + i64::from(byte - b'0')),
        _ => None,
    })
}

/// The nanoseconds after a decimal point at `at`, if there is one, and where they end.
fn fraction(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    if bytes.get(at) != Some(&b'.') {
        return Some((0, at));
    }
    let count = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (mut nanos, mut place) = (0, NANOS_PER_SECOND);
    for byte in &bytes[at + 1..at + 1 + count] {
        place /= 10;
        nanos += place * i64::from(byte - b'0');
    }
    (count > 0).then_some((nanos, at + 1 + count))
}

fn offset_seconds(offset: &[u8]) -> Option<i64> {
    if matches!(offset, b"Z" | b"z") {
        return Some(0);
    }
    let (sign, hours, minutes) = match offset {
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => (*sign, number(&[*h1, *h2])?, number(&[*m1, *m2])?),
        _ => return None,
    };
    let seconds = hours * 3600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if sign == b'-' { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_there_and_back() {
        for (text, utc) in [
            ("2015-05-17T10:05:03Z", "2015-05-17T10:05:03Z"),
            ("2019-01-26T19:45:25+03:30", "2019-01-26T16:15:25Z"),
            ("2000-02-29 23:59:60-00:30", "2000-03-01T00:30:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
            ("2026-11-22T01:02:03.123456789123Z", "2026-11-22T01:02:03.123456789Z"),
            ("2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:16.854775807Z"),
        ] {
            assert_eq!(parse_rfc3339(text).map(format_rfc3339).as_deref(), Ok(utc), "{text}");
        }
    }

    #[test]
    fn rfc3339_refused_with_the_reason() {
        for (text, reason) in [
            ("yesterday", "a date like"),
            ("2015-02-29T00:00:00Z", "no such day"),
            ("2015-02-28T24:00:00Z", "no such time"),
            ("2015-02-28T00:00:00", "an offset"),
            ("2015-02-28T00:00:00.Z", "digits follow"),
            ("2015-02-28T00:00:00+25:00", "an offset"),
            ("9999-01-01T00:00:00Z", "too far"),
            ("2015-02-28", "a `T`"),
            ("é015-02-28T00:00:00Z", "a date like"),
        ] {
            let message = parse_rfc3339(text).unwrap_err();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[test]
    fn epochs_by_magnitude() {
        for (text, nanoseconds) in [
            ("1700000000", 1_700_000_000_000_000_000),
            ("1700000000.123456789", 1_700_000_000_123_456_789),
            ("1700000000123", 1_700_000_000_123_000_000),
            ("1700000000123.5", 1_700_000_000_123_500_000),
            ("1700000000123456", 1_700_000_000_123_456_000),
            ("1700000000123456789", 1_700_000_000_123_456_789),
            ("-1.5", -1_500_000_000),
        ] {
            assert_eq!(parse_epoch(text), Some(nanoseconds), "{text}");
        }
        assert_eq!(parse_epoch("12a"), None);
        assert_eq!(parse_epoch("99999999999999999999"), None);
        assert_eq!(recognise("12"), None);
        assert_eq!(recognise("4.25"), None);
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1h30m"), Ok(5_400 * NANOS_PER_SECOND));
        assert_eq!(parse_duration("250ms"), Ok(250_000_000));
        assert_eq!(format_duration(5_400 * NANOS_PER_SECOND), "1h30m");
        assert_eq!(format_duration(0), "0s");
        assert!(parse_duration("5").is_err() && parse_duration("").is_err() && parse_duration("5 minutes").is_err());
    }
}
