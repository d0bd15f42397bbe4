//! one line taken apart into slices of itself
//!
//! An error names the byte (counted from 1) where the line stopped being what was expected there.

use memchr::{memchr, memmem};

use crate::Format;
use crate::date::{self, DateCache};
use crate::near::near;
use crate::quoted::Quoted;

/// The fields of a line. `-` is already `None`, except in quoted fields.
#[derive(Debug)]
pub struct Line<'a> {
    pub client: &'a [u8],
    pub user: Option<&'a [u8]>,
    pub timestamp: i64,
    pub request: Quoted<'a>,
    pub status: Option<i64>,
    pub bytes: Option<i64>,
    pub referer: Option<Quoted<'a>>,
    pub user_agent: Option<Quoted<'a>>,
    /// What follows the format's own fields.
    rest: &'a [u8],
}

impl<'a> Line<'a> {
    #[inline]
    pub fn parse(line: &'a [u8], format: Format, dates: &mut DateCache) -> Result<Line<'a>, String> {
        let mut reader = Reader { line, at: 0 };
        let client = reader.word("the client's address")?;
        let identity = reader.word("the identity (usually `-`)")?;
        let user = reader.user(identity)?;
        let timestamp = reader.timestamp(dates)?;
        let request = reader.quoted("the request")?;
        let status = reader.number("the status")?;
        let bytes = reader.number("the number of bytes")?;
        let (referer, user_agent) = match format {
            Format::Common => (None, None),
            Format::Auto if !reader.quote_follows() => (None, None),
            Format::Auto | Format::Combined => {
                (Some(reader.quoted("the referer")?), Some(reader.last_quoted("the user agent")?))
            }
        };
        Ok(Line { client, user, timestamp, request, status, bytes, referer, user_agent, rest: reader.rest() })
    }

    /// The last field of the line, if the format did not ask for it and it is a number of seconds.
    pub fn request_time(&self) -> Option<f64> {
        if self.rest.is_empty() {
            return None;
        }
        let last = self.rest.trim_ascii().rsplit(|byte| *byte == b' ').next()?;
        let last = last.strip_prefix(b"\"").and_then(|last| last.strip_suffix(b"\"")).unwrap_or(last);
        let is_number = last.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        if is_number { std::str::from_utf8(last).ok()?.parse().ok() } else { None }
    }
}

struct Reader<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.line.get(self.at..).unwrap_or_default()
    }

    /// Up to the next space.
    #[inline(always)]
    fn word(&mut self, what: &str) -> Result<&'a [u8], String> {
        let rest = self.rest();
        match near(b' ', rest) {
            Some(0) | None => Err(self.expected(what)),
            Some(end) => {
                self.at += end + 1;
                Ok(&rest[..end])
            }
        }
    }

    /// Up to ` [`; user names may have spaces.
    #[inline]
    fn user(&mut self, identity: &[u8]) -> Result<Option<&'a [u8]>, String> {
        let rest = self.rest();
        if rest.starts_with(b"- [") {
            self.at += 3;
            return Ok(None);
        }
        let Some(end) = memmem::find(rest, b" [") else {
            return Err(self.expected("the user (usually `-`) and a time in brackets"));
        };
        if identity != b"-" && rest.starts_with(b"- ") {
            return Err(format!(
                "byte 1: the line seems to begin with a virtual host, `{}`; this format begins with the client",
                String::from_utf8_lossy(&self.line[..memchr(b' ', self.line).unwrap_or(0)])
            ));
        }
        self.at += end + 2;
        Ok(Some(&rest[..end]).filter(|user| *user != b"-"))
    }

    #[inline]
    fn timestamp(&mut self, dates: &mut DateCache) -> Result<i64, String> {
        let rest = self.rest();
        // Where it is as it should be, it ends there.
        let end = match rest.get(date::LENGTH) {
            Some(b']') => Some(date::LENGTH),
            _ => memchr(b']', rest),
        };
        let Some(end) = end else {
            return Err(self.expected("a time that ends with `]`"));
        };
        match dates.parse(&rest[..end]) {
            Ok(timestamp) => {
                self.at += end + 1;
                Ok(timestamp)
            }
            Err(problem) => Err(format!("byte {}: {problem}", self.at + 1)),
        }
    }

    #[inline]
    fn quote_follows(&self) -> bool {
        self.rest().starts_with(b" \"")
    }

    #[inline]
    fn quoted(&mut self, what: &str) -> Result<Quoted<'a>, String> {
        match self.closed_quoted(what)? {
            Some(field) => Ok(field),
            None => Err(format!("byte {}: {what} has no closing quote; was the line cut off?", self.at + 2)),
        }
    }

    /// Like [`Reader::quoted`], for the format's last field: where the line was cut off, what is left of it is the value.
    #[inline]
    fn last_quoted(&mut self, what: &str) -> Result<Quoted<'a>, String> {
        if let Some(field) = self.closed_quoted(what)? {
            return Ok(field);
        }
        let cut = Quoted::cut_off(&self.rest()[2..]);
        self.at = self.line.len();
        Ok(cut)
    }

    /// Between a quote and the next; none where no quote closes it.
    #[inline(always)]
    fn closed_quoted(&mut self, what: &str) -> Result<Option<Quoted<'a>>, String> {
        if !self.quote_follows() {
            return Err(self.expected_quoted(what));
        }
        let read = Quoted::read(&self.rest()[2..]);
        if let Some((_, length)) = read {
            self.at += 2 + length + 1;
        }
        Ok(read.map(|(field, _)| field))
    }

    /// A number or `-` after a space.
    #[inline(always)]
    fn number(&mut self, what: &str) -> Result<Option<i64>, String> {
        let Some(rest) = self.rest().strip_prefix(b" ") else {
            return Err(self.expected(what));
        };
        let length = near(b' ', rest).unwrap_or(rest.len());
        let digits = &rest[..length];
        if digits == b"-" {
            self.at += 2;
            return Ok(None);
        }
        match unsigned(digits.strip_suffix(b"\r").unwrap_or(digits)) {
            Some(number) => {
                self.at += 1 + length;
                Ok(Some(number))
            }
            None => {
                self.at += 1;
                Err(self.expected(&format!("{what}, a number or `-`,")))
            }
        }
    }

    #[cold]
    fn expected_quoted(&self, what: &str) -> String {
        self.expected(&format!("{what} in double quotes"))
    }

    #[cold]
    fn expected(&self, what: &str) -> String {
        let rest = self.rest();
        if rest.is_empty() {
            return format!("byte {}: the line ends where {what} should stand", self.at + 1);
        }
        let shown = String::from_utf8_lossy(&rest[..rest.len().min(24)]).into_owned();
        format!("byte {}: {what} should stand here, not `{shown}`", self.at + 1)
    }
}

/// Digits only, and no more than an `i64` holds for sure.
#[inline(always)]
fn unsigned(digits: &[u8]) -> Option<i64> {
    // Lengths that a compiler knows make code without a loop, which costs a look at the deadline each time round.
    match digits.len() {
        1 => fixed::<1>(digits),
        2 => fixed::<2>(digits),
        3 => fixed::<3>(digits),
        4 => fixed::<4>(digits),
        5 => fixed::<5>(digits),
        6 => fixed::<6>(digits),
        7..=18 => digits.iter().try_fold(0, |number, byte| match byte.wrapping_sub(b'0') {
            digit @ 0..=9 => Some(number * 10 + i64::from(digit)),
            _ => None,
        }),
        _ => None,
    }
}

#[inline]
fn fixed<const N: usize>(digits: &[u8]) -> Option<i64> {
    let (mut number, mut most) = (0, 0);
    for byte in <&[u8; N]>::try_from(digits).ok()? {
        let digit = byte.wrapping_sub(b'0');
        number = number * 10 + u32::from(digit);
        most = most.max(digit);
    }
    (most <= 9).then_some(i64::from(number))
}
