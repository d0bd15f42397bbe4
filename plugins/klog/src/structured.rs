//! a structured message: `"text in Go's quotes" key="value" other=1 list=["a","b"]`
//!
//! Values are as klog writes them: in quotes, a word, or JSON in brackets. Go's escapes in quotes are resolved.

use std::ops::Range;

/// A message taken apart; kept from line to line for its room.
#[derive(Default)]
pub struct Structured {
    message: Option<Part>,
    pairs: Vec<Pair>,
    /// Quoted text whose escapes were resolved.
    resolved: Vec<u8>,
}

pub struct Pair {
    pub key: Range<usize>,
    pub value: Part,
}

/// Where a text stands: in the line, or, with escapes, in `resolved`.
#[derive(Clone, Default)]
pub struct Part {
    range: Range<usize>,
    is_resolved: bool,
    pub is_quoted: bool,
}

impl Structured {
    /// Whether the text is a structured message from its first to its last byte.
    pub fn parse(&mut self, text: &[u8]) -> bool {
        self.pairs.clear();
        self.resolved.clear();
        self.message = None;
        self.read(text).is_some()
    }

    /// The pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter()
    }

    /// The message without quotes.
    pub fn message<'a>(&'a self, text: &'a [u8]) -> &'a [u8] {
        self.message.as_ref().map_or(text, |part| self.text(text, part))
    }

    /// What stands in a part.
    pub fn text<'a>(&'a self, text: &'a [u8], part: &Part) -> &'a [u8] {
        let source = if part.is_resolved { &self.resolved } else { text };
        source.get(part.range.clone()).unwrap_or_default()
    }

    fn read(&mut self, text: &[u8]) -> Option<()> {
        if text.first() != Some(&b'"') {
            return None;
        }
        let (message, mut at) = self.quoted(text, 0)?;
        self.message = Some(message);
        while at < text.len() {
            if text[at] != b' ' {
                return None;
            }
            let key_at = at + text[at..].iter().take_while(|byte| **byte == b' ').count();
            if key_at == text.len() {
                return Some(());
            }
            let length = text[key_at..].iter().position(|byte| matches!(byte, b'=' | b' ' | b'"'))?;
            if length == 0 || text[key_at + length] != b'=' {
                return None;
            }
            let (value, end) = self.value(text, key_at + length + 1)?;
            self.pairs.push(Pair { key: key_at..key_at + length, value });
            at = end;
        }
        Some(())
    }

    fn value(&mut self, text: &[u8], at: usize) -> Option<(Part, usize)> {
        match text.get(at) {
            Some(b'"') => self.quoted(text, at),
            Some(b'{' | b'[') => {
                let end = closing(text, at)?;
                Some((Part { range: at..end, is_resolved: false, is_quoted: true }, end))
            }
            _ => {
                let rest = text.get(at..).unwrap_or_default();
                let end = at + rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
                Some((Part { range: at..end, is_resolved: false, is_quoted: false }, end))
            }
        }
    }

    /// The text in the quotes that begin here, and where it goes on behind them.
    fn quoted(&mut self, text: &[u8], at: usize) -> Option<(Part, usize)> {
        let start = at + 1;
        let end = end_of_quotes(text, start)?;
        let raw = &text[start..end];
        if !raw.contains(&b'\\') {
            return Some((Part { range: start..end, is_resolved: false, is_quoted: true }, end + 1));
        }
        let from = self.resolved.len();
        unescape(raw, &mut self.resolved);
        Some((Part { range: from..self.resolved.len(), is_resolved: true, is_quoted: true }, end + 1))
    }
}

fn end_of_quotes(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *text.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// Where the bracket that opens here is closed; brackets in quotes do not count.
fn closing(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match *text.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => at = end_of_quotes(text, at + 1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Go's escapes: `\n`, `\"`, `\x1f`, `\u00e9`, `\U0001f600`; what is none of these stays as it is written.
fn unescape(raw: &[u8], text: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        text.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        let simple = rest.first().and_then(|byte| SIMPLE.iter().find(|(name, _)| name == byte));
        let read = match (simple, rest.first()) {
            (Some((_, byte)), _) => {
                text.push(*byte);
                1
            }
            (None, Some(b'x')) => match hex(rest, 2) {
                Some(byte) => {
                    text.push(byte as u8);
                    3
                }
                None => 0,
            },
            (None, Some(letter @ (b'u' | b'U'))) => {
                let digits = if *letter == b'u' { 4 } else { 8 };
                match hex(rest, digits).and_then(char::from_u32) {
                    Some(character) => {
                        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                        1 + digits
                    }
                    None => 0,
                }
            }
            _ => 0,
        };
        if read == 0 {
            text.push(b'\\');
        }
        rest = &rest[read..];
    }
    text.extend_from_slice(rest);
}

const SIMPLE: [(u8, u8); 9] = [
    (b'n', b'\n'),
    (b't', b'\t'),
    (b'r', b'\r'),
    (b'"', b'"'),
    (b'\\', b'\\'),
    (b'a', 7),
    (b'b', 8),
    (b'f', 12),
    (b'v', 11),
];

/// So many hexadecimal digits behind the letter.
fn hex(rest: &[u8], digits: usize) -> Option<u32> {
    let digits = std::str::from_utf8(rest.get(1..1 + digits)?).ok()?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
}
