//! a field in double quotes, with the escapes of nginx (`\x22`) and Apache (`\"`, `\\`, `\n`)

use memchr::{memchr, memrchr};

use crate::near::{either, near};

/// What stands between the quotes, escapes not resolved yet.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a> {
    raw: &'a [u8],
    has_escapes: bool,
}

/// A request's method, path and protocol. HTTP/0.9 has no protocol.
pub type RequestParts<'a> = (&'a [u8], Quoted<'a>, Option<&'a [u8]>);

impl<'a> Quoted<'a> {
    /// Up to the closing quote, and how many bytes that is. `None` where no quote closes it.
    #[inline]
    pub fn read(after_quote: &'a [u8]) -> Option<(Quoted<'a>, usize)> {
        if after_quote.starts_with(b"-\"") {
            return Some((Quoted { raw: &after_quote[..1], has_escapes: false }, 1));
        }
        let mut at = 0;
        let mut has_escapes = false;
        loop {
            at += either([b'"', b'\\'], after_quote.get(at..)?)?;
            if after_quote[at] == b'"' {
                return Some((Quoted { raw: &after_quote[..at], has_escapes }, at));
            }
            has_escapes = true;
            at += 2;
        }
    }

    /// All there is, where no quote closes it.
    #[cold]
    pub fn cut_off(after_quote: &'a [u8]) -> Quoted<'a> {
        Quoted { raw: after_quote, has_escapes: after_quote.contains(&b'\\') }
    }

    #[inline]
    pub fn is_dash(&self) -> bool {
        self.raw == b"-"
    }

    /// The value, written into `scratch` only where there is an escape in it.
    #[inline]
    pub fn resolve<'b>(&self, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        if !self.has_escapes {
            return self.raw;
        }
        resolve_escapes(self.raw, scratch);
        scratch
    }

    /// `GET /path HTTP/1.1`, or `None` if it is not like that. A path may have spaces.
    #[inline]
    pub fn parts(&self) -> Option<RequestParts<'a>> {
        let method_end = near(b' ', self.raw)?;
        let (method, rest) = (&self.raw[..method_end], &self.raw[method_end + 1..]);
        if !is_method(method) {
            return None;
        }
        let path = |raw| Quoted { raw, has_escapes: self.has_escapes };
        // The protocols of nearly all requests have no space in them, so that the one before is the last.
        if let Some((before, protocol)) = rest.split_last_chunk::<8>()
            && let Some((b' ', path_alone)) = before.split_last()
            && !path_alone.is_empty()
            && is_usual_protocol(protocol)
        {
            return Some((method, path(path_alone), Some(protocol)));
        }
        match memrchr(b' ', rest) {
            Some(end) if end > 0 && is_protocol(&rest[end + 1..]) => {
                Some((method, path(&rest[..end]), Some(&rest[end + 1..])))
            }
            None if rest.starts_with(b"/") => Some((method, path(rest), None)),
            _ => None,
        }
    }
}

/// Letters with `-` or `_`, as in `GET` and `VERSION-CONTROL`.
#[inline]
fn is_method(word: &[u8]) -> bool {
    if matches!(word, b"GET" | b"POST" | b"HEAD" | b"PUT" | b"DELETE" | b"PATCH" | b"OPTIONS") {
        return true;
    }
    (1..=32).contains(&word.len()) && word.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
}

#[inline]
fn is_usual_protocol(word: &[u8; 8]) -> bool {
    matches!(word, b"HTTP/1.1" | b"HTTP/2.0" | b"HTTP/1.0")
}

/// Letters, a slash, a version.
#[inline]
fn is_protocol(word: &[u8]) -> bool {
    let Some(slash) = memchr(b'/', word) else { return false };
    let (name, version) = (&word[..slash], &word[slash + 1..]);
    (1..=16).contains(&name.len())
        && name.iter().all(u8::is_ascii_alphabetic)
        && (1..=8).contains(&version.len())
        && version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
}

/// What is not a known escape stays as it is written.
#[cold]
fn resolve_escapes(raw: &[u8], resolved: &mut Vec<u8>) {
    resolved.clear();
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        resolved.extend_from_slice(&rest[..at]);
        let (byte, length) = match &rest[at + 1..] {
            [b'x' | b'X', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (hex(*high) << 4 | hex(*low), 4)
            }
            [b'"', ..] => (b'"', 2),
            [b'n', ..] => (b'\n', 2),
            [b'r', ..] => (b'\r', 2),
            [b't', ..] => (b'\t', 2),
            [b'b', ..] => (8, 2),
            [b'v', ..] => (11, 2),
            [b'f', ..] => (12, 2),
            [b'\\', ..] => (b'\\', 2),
            _ => (b'\\', 1),
        };
        resolved.push(byte);
        rest = &rest[at + length..];
    }
    resolved.extend_from_slice(rest);
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 32) - b'a' + 10,
    }
}
