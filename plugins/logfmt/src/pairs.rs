//! a line taken apart into keys and values as they are written
//!
//! An error names the byte, counted from 1.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

use crate::Unescaped;

/// How a value is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Written<'a> {
    /// `key`
    Bare,
    /// `key=`
    Empty,
    /// `key=value`
    Plain(&'a [u8]),
    /// `key="value"`, escapes resolved
    Quoted(Unescaped<'a>),
}

pub struct Pairs<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Pairs<'a> {
    pub fn new(line: &'a [u8]) -> Pairs<'a> {
        Pairs { line, at: 0 }
    }

    /// The next pair, `None` at the end of the line.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<(&'a [u8], Written<'a>)>, String> {
        self.at += self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let rest = self.rest();
        if rest.is_empty() {
            return Ok(None);
        }
        let length = rest.iter().take_while(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'=' | b'"')).count();
        let key = &rest[..length];
        if key.is_empty() {
            return Err(format!("byte {}: a key should stand before `{}`", self.at + 1, char::from(rest[0])));
        }
        self.at += length;
        match self.rest().first() {
            Some(b'=') => {
                self.at += 1;
                Ok(Some((key, self.value(key)?)))
            }
            Some(b'"') => {
                Err(format!("byte {}: a quote inside the key `{}`", self.at + 1, String::from_utf8_lossy(key)))
            }
            _ => Ok(Some((key, Written::Bare))),
        }
    }

    fn value(&mut self, key: &[u8]) -> Result<Written<'a>, String> {
        let rest = self.rest();
        if rest.first() == Some(&b'"') {
            return self.quoted(key).map(Written::Quoted);
        }
        let length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        self.at += length;
        Ok(if length == 0 { Written::Empty } else { Written::Plain(&rest[..length]) })
    }

    fn quoted(&mut self, key: &[u8]) -> Result<Unescaped<'a>, String> {
        let inner = &self.rest()[1..];
        let unclosed =
            || format!("byte {}: the quote of `{}` is not closed", self.at + 1, String::from_utf8_lossy(key));
        let mut end = 0;
        let mut has_escapes = false;
        loop {
            end += memchr2(b'"', b'\\', inner.get(end..).unwrap_or_default()).ok_or_else(unclosed)?;
            if inner[end] == b'"' {
                break;
            }
            has_escapes = true;
            end += 2;
        }
        self.at += 1 + end + 1;
        let raw = &inner[..end];
        Ok(if has_escapes { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) })
    }

    fn rest(&self) -> &'a [u8] {
        &self.line[self.at.min(self.line.len())..]
    }
}

/// `\"`, `\\`, `\n`, `\r`, `\t` and `\u00e9`; what is none of these stays as it is written.
fn unescape(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let length = match rest {
            [b'n', ..] => push(&mut text, b"\n", 1),
            [b'r', ..] => push(&mut text, b"\r", 1),
            [b't', ..] => push(&mut text, b"\t", 1),
            [byte @ (b'"' | b'\\'), ..] => push(&mut text, &[*byte], 1),
            [b'u', digits @ ..] => match code_point(digits) {
                Some(character) => push(&mut text, character.encode_utf8(&mut [0; 4]).as_bytes(), 5),
                None => push(&mut text, b"\\", 0),
            },
            _ => push(&mut text, b"\\", 0),
        };
        rest = &rest[length..];
    }
    text.extend_from_slice(rest);
    text
}

/// Writes the bytes and says how many were read for them.
fn push(text: &mut Vec<u8>, bytes: &[u8], read: usize) -> usize {
    text.extend_from_slice(bytes);
    read
}

fn code_point(digits: &[u8]) -> Option<char> {
    let digits = std::str::from_utf8(digits.get(..4)?).ok()?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}
