//! a load as it was: how many requests a second came when
//!
//!     timestamp,value        a row a bucket of time, in any order: counts of the bucket, or rates a second
//!     timestamp              or a row a request, counted in buckets
//!
//! Cells are apart by commas, or by semicolons or tabs where the first line has those alone. A row whose value is empty, `NaN` or `null`,
//! as Prometheus and Grafana write what they do not know, is a gap.
//!
//! A time is RFC 3339, `2014-07-01 00:30:00` (UTC), or a number: nanoseconds, milliseconds or seconds since 1970 by its size, and below
//! a hundred million the minute since the trace began.
//!
//! **Always:** between the middles of two buckets that touch, the rate goes in a straight line.
//! **Never:** a gap is filled: there nobody knows the load, unless it is said that it was none.

use crate::error::{Error, Result, did_you_mean};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};

/// Rows that are read of one trace.
const ROWS_MAX: usize = 20_000_000;
/// Numbers below it are minutes.
const MINUTES_MAX: f64 = 1e8;

/// How a trace is to be understood.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// the column of times; the first if not given
    pub time: Option<String>,
    /// the column of values; the second if not given
    pub value: Option<String>,
    /// values are rates a second and not counts of their bucket
    pub rates: bool,
    /// a row is a request; they are counted in buckets of so many nanoseconds
    pub count: Option<i64>,
    /// where no row is, there was no load
    pub quiet_gaps: bool,
    /// the highest rate becomes this one, and all others in proportion
    pub peak: Option<f64>,
}

/// A load over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// begin of each bucket in ns UTC, and requests a second in it; in order, no two at one time
    points: Vec<(i64, f64)>,
    /// the usual length of a bucket, in ns
    step: i64,
    quiet_gaps: bool,
}

impl Trace {
    /// Reads CSV. Errors name the line.
    pub fn read(csv: impl Read, form: &Form) -> Result<Trace> {
        let mut csv = BufReader::new(csv);
        let delimiter = csv.fill_buf().map_or(b',', delimiter);
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(csv);
        let mut columns = None;
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| Error::invalid(format!("it is no CSV: {error}")))?;
            let line = record.position().map_or(0, csv::Position::line);
            let at = |message: String| Error::invalid(format!("line {line}: {message}"));
            let (time, value) = match columns {
                Some(columns) => columns,
                None => {
                    let found = self::columns(&record, form).map_err(at)?;
                    columns = Some(found);
                    if is_header(&record, found.0) {
                        continue;
                    }
                    found
                }
            };
            let cell = |column: usize| {
                record
                    .get(column)
                    .ok_or_else(|| at(format!("there is no column {}; it has {}", column + 1, record.len())))
            };
            let when = nanos(cell(time)?).map_err(at)?;
            let value = match form.count {
                Some(_) => Some(1.0),
                None => number(cell(value)?).map_err(at)?,
            };
            rows.extend(value.map(|value| (when, value)));
            if rows.len() > ROWS_MAX {
                return Err(at(format!("more than {ROWS_MAX} rows; count them in buckets first")));
            }
        }
        Trace::of(rows, form)
    }

    /// From times in ns UTC and values, as a form says.
    pub fn of(rows: Vec<(i64, f64)>, form: &Form) -> Result<Trace> {
        let mut buckets: BTreeMap<i64, f64> = BTreeMap::new();
        for (at, value) in rows {
            let at = form.count.map_or(at, |length| at - at.rem_euclid(length));
            let held = buckets.entry(at).or_default();
            *held = if form.rates { value } else { *held + value };
        }
        let mut points: Vec<(i64, f64)> = buckets.into_iter().collect();
        let step = match form.count {
            Some(length) => length,
            None => usual_distance(&points).ok_or_else(|| Error::invalid("it has no two rows of different times"))?,
        };
        if points.len() < 2 {
            return Err(Error::invalid("it fills only one bucket; count in shorter ones"));
        }
        if !form.rates {
            let seconds = step as f64 / 1e9;
            points.iter_mut().for_each(|(_, value)| *value /= seconds);
        }
        if let Some(peak) = form.peak.filter(|peak| !(peak.is_finite() && *peak > 0.0)) {
            return Err(Error::invalid(format!("the peak is {peak}; it is a rate above 0")));
        }
        let highest = points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
        if let Some(peak) = form.peak.filter(|_| highest > 0.0) {
            points.iter_mut().for_each(|(_, rate)| *rate *= peak / highest);
        }
        Ok(Trace { points, step, quiet_gaps: form.quiet_gaps || form.count.is_some() })
    }

    /// Its first moment, ns UTC.
    pub fn begin(&self) -> i64 {
        self.points.first().map_or(0, |(at, _)| *at)
    }

    /// The first moment after it, ns UTC.
    pub fn end(&self) -> i64 {
        self.points.last().map_or(0, |(at, _)| at.saturating_add(self.step))
    }

    /// The usual length of a bucket, in ns.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// Requests a second at a time; nothing in a gap.
    pub fn rate(&self, at: i64) -> Option<f64> {
        let next = self.points.partition_point(|(time, _)| *time <= at);
        let after = self.points.get(next);
        let index = next.checked_sub(1)?;
        let (time, rate) = *self.points.get(index)?;
        let touches = |(earlier, _): &(i64, f64), later: i64| later - earlier <= self.step + self.step / 2;
        let end =
            after.filter(|(later, _)| touches(&(time, rate), *later)).map_or(time + self.step, |(later, _)| *later);
        if at >= end {
            return (self.quiet_gaps && after.is_some()).then_some(0.0);
        }
        let middle = |time: i64| time + self.step / 2;
        let neighbour = match at < middle(time) {
            true => {
                index.checked_sub(1).and_then(|before| self.points.get(before)).filter(|before| touches(before, time))
            }
            false => after.filter(|(later, _)| touches(&(time, rate), *later)),
        };
        let Some((other, other_rate)) = neighbour else { return Some(rate) };
        let share = (at - middle(time)) as f64 / (middle(*other) - middle(time)) as f64;
        Some(rate + (other_rate - rate) * share)
    }

    /// Means of buckets of this length, which is at least the trace's own: begin in ns UTC, requests a second.
    pub fn buckets(&self, length: i64) -> Vec<(i64, f64)> {
        let length = length.max(self.step);
        let mut means: Vec<(i64, f64)> = Vec::new();
        let mut count = 0.0;
        for (at, rate) in &self.points {
            let begin = at - at.rem_euclid(length);
            match means.last_mut().filter(|(last, _)| *last == begin) {
                Some((_, mean)) => {
                    count += 1.0;
                    *mean += (rate - *mean) / count;
                }
                None => {
                    count = 1.0;
                    means.push((begin, *rate));
                }
            }
        }
        means
    }
}

/// Which columns hold times and values.
fn columns(first: &csv::StringRecord, form: &Form) -> std::result::Result<(usize, usize), String> {
    let find = |name: &Option<String>, otherwise: usize| match name {
        None => Ok(otherwise),
        Some(name) => first.iter().position(|cell| cell == name).ok_or_else(|| {
            format!(
                "there is no column `{name}`{} (there are: {})",
                did_you_mean(name, first.iter()),
                first.iter().collect::<Vec<_>>().join(", ")
            )
        }),
    };
    Ok((find(&form.time, 0)?, find(&form.value, 1)?))
}

/// A first line is a header when nothing in the place of its time begins with a digit.
fn is_header(first: &csv::StringRecord, time: usize) -> bool {
    !first.get(time).unwrap_or_default().starts_with(|letter: char| letter.is_ascii_digit() || letter == '-')
}

/// What stands between the cells of a text that begins so.
fn delimiter(begin: &[u8]) -> u8 {
    let line = begin.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    match line.contains(&b',') {
        true => b',',
        false => *b";\t".iter().find(|mark| line.contains(mark)).unwrap_or(&b','),
    }
}

/// A load; nothing where a cell says that it is not known.
fn number(cell: &str) -> std::result::Result<Option<f64>, String> {
    if ["", "nan", "null"].iter().any(|unknown| cell.eq_ignore_ascii_case(unknown)) {
        return Ok(None);
    }
    match cell.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(Some(value)),
        Ok(value) => Err(format!("the load is {value}; it must be a number from 0 on")),
        Err(_) => Err(format!("`{cell}` is no number")),
    }
}

fn nanos(cell: &str) -> std::result::Result<i64, String> {
    if let Ok(number) = cell.parse::<f64>() {
        let scale = match number.abs() {
            number if number < MINUTES_MAX => 60e9,
            number if number < 1e11 => 1e9,
            number if number < 1e14 => 1e6,
            _ => 1.0,
        };
        let nanos = number * scale;
        return match nanos.abs() < 9e18 {
            true => Ok(nanos as i64),
            false => Err(format!("`{cell}` is no time that can be told")),
        };
    }
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(cell) {
        return time.timestamp_nanos_opt().ok_or_else(|| format!("`{cell}` is too far away"));
    }
    let forms = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"];
    let time = forms.iter().find_map(|form| chrono::NaiveDateTime::parse_from_str(cell, form).ok());
    time.and_then(|time| time.and_utc().timestamp_nanos_opt()).ok_or_else(|| {
        format!("`{cell}` is no time; write it like `2026-11-24T18:00:00Z`, `2026-11-24 18:00:00`, or as a number")
    })
}

/// The distance that half of the neighbours do not exceed.
fn usual_distance(points: &[(i64, f64)]) -> Option<i64> {
    let mut distances: Vec<i64> = points.iter().zip(points.iter().skip(1)).map(|((a, _), (b, _))| b - a).collect();
    distances.sort_unstable();
    distances.get(distances.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn read(csv: &str, form: Form) -> Result<Trace> {
        Trace::read(csv.as_bytes(), &form)
    }

    #[test]
    fn counts_of_minutes_are_rates_with_straight_lines_between() {
        let trace = read("minute,requests\n0,60\n1,120\n2,120\n", Form::default()).unwrap();
        let half = MINUTE / 2;
        let rates: Vec<_> =
            [0, half, MINUTE, MINUTE + half, 3 * MINUTE - 1].iter().map(|at| trace.rate(*at).unwrap()).collect();
        assert_eq!(rates, [1.0, 1.0, 1.5, 2.0, 2.0]);
        assert_eq!((trace.begin(), trace.end(), trace.rate(3 * MINUTE)), (0, 3 * MINUTE, None));
    }

    #[test]
    fn a_gap_is_unknown_or_quiet_as_it_is_said() {
        let csv = "2026-11-24 00:00:00,60\n2026-11-24T00:01:00Z,60\n2026-11-24 00:05,60\n2026-11-24 00:06,60\n";
        let trace = read(csv, Form::default()).unwrap();
        let at = |minute: i64| trace.begin() + minute * MINUTE;
        assert_eq!((trace.rate(at(1)), trace.rate(at(2)), trace.rate(at(5))), (Some(1.0), None, Some(1.0)));
        let quiet = read(csv, Form { quiet_gaps: true, ..Form::default() }).unwrap();
        assert_eq!((quiet.rate(at(2)), quiet.rate(at(7))), (Some(0.0), None));
    }

    #[test]
    fn what_is_not_known_is_a_gap() {
        for csv in
            ["t,v\n0,60\n1,\n2,NaN\n3,null\n4,60\n5,60\n", "t;v\n0;60\n1;\n4;60\n5;60\n", "t\tv\n0\t60\n4\t60\n5\t60\n"]
        {
            let trace = read(csv, Form::default()).unwrap();
            let rates = [0, 1, 3, 4, 5].map(|minute| trace.rate(minute * MINUTE));
            assert_eq!(rates, [Some(1.0), None, None, Some(1.0), Some(1.0)], "{csv}");
        }
    }

    #[test]
    fn requests_are_counted_and_the_peak_is_set() {
        let csv = "TIMESTAMP,tokens\n2023-11-16 18:15:46.68,9\n2023-11-16 18:15:47.1,9\n2023-11-16 18:15:58,9\n";
        let trace = read(csv, Form { count: Some(MINUTE / 6), peak: Some(100.0), ..Form::default() }).unwrap();
        assert_eq!(trace.points.iter().map(|(_, rate)| *rate).collect::<Vec<_>>(), [100.0, 50.0]);
        assert_eq!(trace.buckets(MINUTE), [(trace.begin() - trace.begin().rem_euclid(MINUTE), 75.0)]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (csv, told) in [
            ("minute,requests\n0,5\n1,abc\n", "line 3: `abc` is no number"),
            ("0,5\n1,-2\n", "line 2: the load is -2; it must be a number from 0 on"),
            ("0,5\n1,inf\n", "line 2: the load is inf; it must be a number from 0 on"),
            ("0,5\n1\n", "line 2: there is no column 2; it has 1"),
            (
                "t,v\n24.12.2026,1\n",
                "line 2: `24.12.2026` is no time; write it like `2026-11-24T18:00:00Z`, `2026-11-24 18:00:00`, or as a number",
            ),
            ("t,v\n", "it has no two rows of different times"),
            ("0,5\n0,6\n", "it has no two rows of different times"),
        ] {
            assert_eq!(read(csv, Form::default()).unwrap_err().to_string(), told, "{csv}");
        }
        let form = Form { value: Some("request".into()), ..Form::default() };
        let error = read("minute,requests\n0,1\n", form).unwrap_err().to_string();
        assert_eq!(
            error,
            "line 1: there is no column `request`; did you mean `requests`? (there are: minute, requests)"
        );
    }
}
