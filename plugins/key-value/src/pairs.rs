//! where the keys and values of a line stand
//!
//! ```text
//! key  field  value  pair  key …        spaces around each of them belong to none
//! ```

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr;

use crate::Resolved;

/// A key and its value, as they stand in the line, without quotes.
pub struct Pair {
    pub key: Range<usize>,
    pub key_is_quoted: bool,
    /// `None` for a word that is no pair.
    pub value: Option<Range<usize>>,
    pub value_is_quoted: bool,
}

/// What stands between keys, values and pairs.
pub struct Separators {
    pair: Vec<Vec<u8>>,
    field: Vec<Vec<u8>>,
    quotes: Vec<u8>,
    /// By byte: whether a separator may begin with it.
    begins: [bool; 256],
}

impl Separators {
    /// Checks what the settings say.
    pub fn new(pair: &[String], field: &[String], quotes: &str) -> Result<Separators, String> {
        for (setting, separators) in [("pair", pair), ("field", field)] {
            if separators.is_empty() || separators.iter().any(String::is_empty) {
                return Err(format!(
                    "`{setting}` is empty or has an empty text in it; give what stands there, like [\"{}\"]",
                    if setting == "pair" { "," } else { "=" }
                ));
            }
        }
        if let Some(both) = pair.iter().find(|separator| field.contains(separator)) {
            return Err(format!("`field` and `pair` both have `{both}`"));
        }
        if !quotes.is_ascii() {
            return Err(format!("`quotes` is `{quotes}`; quotes are ASCII characters"));
        }
        let bytes = |separators: &[String]| -> Vec<Vec<u8>> {
            let mut bytes: Vec<Vec<u8>> = separators.iter().map(|separator| separator.clone().into_bytes()).collect();
            bytes.sort_by_key(|separator| std::cmp::Reverse(separator.len()));
            bytes
        };
        let (pair, field) = (bytes(pair), bytes(field));
        let mut begins = [false; 256];
        pair.iter().chain(&field).for_each(|separator| begins[usize::from(separator[0])] = true);
        Ok(Separators { pair, field, quotes: quotes.as_bytes().to_vec(), begins })
    }

    /// Every pair of a line. An error names the byte, counted from 1.
    pub fn split(&self, line: &[u8], pairs: &mut Vec<Pair>) -> Result<(), String> {
        pairs.clear();
        let mut at = 0;
        loop {
            at = self.skip(line, at);
            if at >= line.len() {
                return Ok(());
            }
            let (key, key_is_quoted, after) = self.part(line, at, &[&self.pair, &self.field])?;
            // `a = 1` is a pair although a space may stand between pairs.
            let value_at = self.value_at(line, after);
            let Some(value_at) = value_at else {
                pairs.push(Pair { key, key_is_quoted, value: None, value_is_quoted: false });
                at = after;
                continue;
            };
            if key.is_empty() && !key_is_quoted {
                return Err(format!(
                    "byte {}: a key should stand before `{}`",
                    at + 1,
                    String::from_utf8_lossy(&line[after..value_at]).trim()
                ));
            }
            let (value, value_is_quoted, after) = self.part(line, value_at, &[&self.pair])?;
            pairs.push(Pair { key, key_is_quoted, value: Some(value), value_is_quoted });
            at = after;
        }
    }

    /// A key or a value at this place, whether it stands in quotes, and where it ends.
    fn part(&self, line: &[u8], at: usize, until: &[&Vec<Vec<u8>>]) -> Result<(Range<usize>, bool, usize), String> {
        if let Some(quote) = line.get(at).filter(|byte| self.quotes.contains(byte)) {
            let end =
                closing(line, at + 1, *quote).ok_or_else(|| format!("byte {}: this quote is not closed", at + 1))?;
            return Ok((at + 1..end, true, end + 1));
        }
        let is_end = |end: usize| {
            self.begins[usize::from(line[end])]
                && until.iter().any(|separators| self.separator(separators, &line[end..]).is_some())
        };
        let end = (at..line.len()).find(|end| is_end(*end)).unwrap_or(line.len());
        let trimmed = line[at..end].trim_ascii_end().len();
        Ok((at..at + trimmed, false, end))
    }

    /// How long the separator is that stands here.
    fn separator(&self, separators: &[Vec<u8>], rest: &[u8]) -> Option<usize> {
        separators.iter().find(|separator| rest.starts_with(separator)).map(Vec::len)
    }

    /// Past white space and separators of pairs.
    fn skip(&self, line: &[u8], mut at: usize) -> usize {
        while let Some(byte) = line.get(at) {
            at += match self.separator(&self.pair, &line[at..]) {
                Some(length) => length,
                None if byte.is_ascii_whitespace() => 1,
                None => return at,
            };
        }
        at
    }

    /// Where the value begins, if a separator of fields stands here or behind spaces.
    fn value_at(&self, line: &[u8], at: usize) -> Option<usize> {
        let end = |at: usize| self.separator(&self.field, &line[at..]).map(|length| at + length);
        end(at).or_else(|| end(skip_spaces(line, at))).map(|end| skip_spaces(line, end))
    }
}

fn skip_spaces(line: &[u8], at: usize) -> usize {
    at + line[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

fn closing(line: &[u8], mut at: usize, quote: u8) -> Option<usize> {
    loop {
        match *line.get(at)? {
            byte if byte == quote => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The text without its escapes, where it stood in quotes.
pub fn resolved(raw: &[u8], is_quoted: bool) -> Resolved<'_> {
    if !is_quoted || memchr(b'\\', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        let (byte, length) = match rest.get(at + 1) {
            Some(b'n') => (b'\n', 2),
            Some(b't') => (b'\t', 2),
            Some(b'r') => (b'\r', 2),
            Some(byte) => (*byte, 2),
            None => (b'\\', 1),
        };
        text.push(byte);
        rest = &rest[at + length..];
    }
    text.extend_from_slice(rest);
    Cow::Owned(text)
}
