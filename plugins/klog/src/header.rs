//! what stands before the bracket: `I1025 00:15:15.525108       1 controller.go:116] `
//!
//! glog writes the year too: `I20261025 00:15:15.525108`. An error names the byte, counted from 1.

use memchr::memchr;
use tidemill_plugin::{time, time_format};

/// What a line says of itself.
pub struct Header<'a> {
    pub severity: &'static str,
    pub timestamp: i64,
    pub thread: i64,
    pub file: &'a [u8],
    pub line: i64,
}

/// What a date without year and offset needs.
pub struct Clock {
    pub year: Option<i64>,
    pub arrived: Option<i64>,
    pub offset_seconds: i64,
}

impl<'a> Header<'a> {
    /// The header, and the message behind it.
    pub fn parse(line: &'a [u8], clock: &Clock) -> Result<(Header<'a>, &'a [u8]), String> {
        let severity = match line.first() {
            Some(b'I') => "info",
            Some(b'W') => "warning",
            Some(b'E') => "error",
            Some(b'F') => "fatal",
            None => {
                return Err(
                    "the line is empty; one like `I1025 00:15:15.525108 1 file.go:116] text` is wanted".to_owned()
                );
            }
            Some(_) => return Err(expected(line, 0, "a severity, one of I, W, E and F,")),
        };
        let date = digits(line, 1);
        let (timestamp, at) = timestamp(line, date, clock)?;
        let at = spaces(line, at);
        let thread_digits = digits(line, at);
        let thread = number(thread_digits).ok_or_else(|| expected(line, at, "the number of the thread"))?;
        let at = at + thread_digits.len();
        let file_at = spaces(line, at);
        if file_at == at {
            return Err(expected(line, at, "a space and a file"));
        }
        let rest = &line[file_at..];
        let end = memchr(b']', rest).ok_or_else(|| expected(line, file_at, "file:line and a `]`"))?;
        let place = &rest[..end];
        let colon = place.iter().rposition(|byte| *byte == b':').filter(|colon| *colon > 0);
        let (file, line_number) = colon
            .and_then(|colon| Some((&place[..colon], number(&place[colon + 1..])?)))
            .ok_or_else(|| expected(line, file_at, "file:line and a `]`"))?;
        let message = &rest[end + 1..];
        let message = message.strip_prefix(b" ").unwrap_or(message);
        Ok((Header { severity, timestamp, thread, file, line: line_number }, message))
    }
}

/// The time, and where it ends.
fn timestamp(line: &[u8], date: &[u8], clock: &Clock) -> Result<(i64, usize), String> {
    let (year, month_day) = match date.len() {
        4 => (clock.year, date),
        8 => (number(&date[..4]), &date[4..]),
        _ => return Err(expected(line, 1, "month and day, like 1025,")),
    };
    let (month, day) = (number(&month_day[..2]).unwrap_or_default(), number(&month_day[2..]).unwrap_or_default());
    let at = 1 + date.len();
    let wrong = || expected(line, at, "a space and a time like 00:15:15.525108");
    let clock_time =
        line.get(at..).and_then(|rest| rest.strip_prefix(b" ")).and_then(|rest| rest.get(..8)).ok_or_else(wrong)?;
    let two = |from: usize| number(&clock_time[from..from + 2]);
    let colons = clock_time[2] == b':' && clock_time[5] == b':';
    let of_day = match (colons, two(0), two(3), two(6)) {
        (true, Some(hour), Some(minute), Some(second)) => time::second_of_day(hour, minute, second),
        _ => None,
    };
    let of_day = of_day.ok_or_else(wrong)?;
    let mut end = at + 9;
    let mut nanos = 0;
    if line.get(end) == Some(&b'.') {
        let fraction = digits(line, end + 1);
        let mut place = 100_000_000;
        for byte in fraction.iter().take(9) {
            nanos += place * i64::from(byte - b'0');
            place /= 10;
        }
        end += 1 + fraction.len();
    }
    let in_year = |year: i64| {
        let days = time::days_from_date(year, month, day)?;
        time::nanoseconds(days * 86_400 + of_day - clock.offset_seconds, nanos)
    };
    let timestamp = match (year, clock.arrived) {
        (Some(year), _) => in_year(year),
        (None, Some(arrived)) => time_format::latest_year(arrived, in_year),
        (None, None) => return Err("the line has no year, and when it arrived is not known; set `year`".to_owned()),
    };
    Ok((timestamp.ok_or_else(|| expected(line, 1, "a day that there is"))?, end))
}

fn digits(line: &[u8], at: usize) -> &[u8] {
    let rest = line.get(at..).unwrap_or_default();
    &rest[..rest.iter().take_while(|byte| byte.is_ascii_digit()).count()]
}

fn spaces(line: &[u8], at: usize) -> usize {
    at + line.get(at..).unwrap_or_default().iter().take_while(|byte| **byte == b' ').count()
}

/// Digits only, and no more than an `i64` holds for sure.
fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    digits.iter().try_fold(0, |number, byte| match byte.wrapping_sub(b'0') {
        digit @ 0..=9 => Some(number * 10 + i64::from(digit)),
        _ => None,
    })
}

#[cold]
fn expected(line: &[u8], at: usize, what: &str) -> String {
    let rest = line.get(at..).unwrap_or_default();
    if rest.is_empty() {
        return format!("byte {}: the line ends where {what} should stand", at + 1);
    }
    let shown = String::from_utf8_lossy(&rest[..rest.len().min(24)]).into_owned();
    format!("byte {}: {what} should stand here, not `{shown}`", at + 1)
}
