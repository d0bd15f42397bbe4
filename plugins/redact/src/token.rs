//! tokens: what lets somebody in who holds it
//!
//! ```text
//! one search for the beginnings of all of them ─► at each: the characters that follow, as many and as mixed as they must be
//! ```

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use memchr::memmem;

use crate::find::is_word;

/// Finds tokens of all kinds.
pub struct Finder {
    search: AhoCorasick,
}

/// What follows a beginning.
#[derive(Clone, Copy)]
enum Form {
    /// The token is the beginning and so many of these characters, or more.
    Long(fn(u8) -> bool, usize),
    /// The same, and so many exactly.
    Exact(fn(u8) -> bool, usize),
    /// The token follows the beginning: so many characters at least, with a digit among them.
    Behind(usize),
    /// The token follows the beginning, whatever it looks like.
    Header,
    /// Three parts with dots between them.
    WebToken,
    /// All up to the line that ends the key.
    PrivateKey,
    /// The password between `user:` and `@` in a URL.
    Url,
}

/// Beginnings, in lower case; whether case counts; and what follows.
const FORMS: [(&str, bool, Form); 36] = [
    ("authorization: bearer ", false, Form::Header),
    ("authorization: basic ", false, Form::Header),
    ("authorization\":\"bearer ", false, Form::Header),
    ("authorization\":\"basic ", false, Form::Header),
    ("authorization\": \"bearer ", false, Form::Header),
    ("authorization\": \"basic ", false, Form::Header),
    ("bearer ", false, Form::Behind(16)),
    ("basic ", false, Form::Behind(12)),
    ("eyJ", true, Form::WebToken),
    ("AKIA", true, Form::Exact(upper, 16)),
    ("ASIA", true, Form::Exact(upper, 16)),
    ("ABIA", true, Form::Exact(upper, 16)),
    ("ACCA", true, Form::Exact(upper, 16)),
    ("aws_secret_access_key=", false, Form::Behind(40)),
    ("aws_secret_access_key = ", false, Form::Behind(40)),
    ("-----BEGIN ", true, Form::PrivateKey),
    ("ghp_", true, Form::Long(letters, 36)),
    ("gho_", true, Form::Long(letters, 36)),
    ("ghu_", true, Form::Long(letters, 36)),
    ("ghs_", true, Form::Long(letters, 36)),
    ("ghr_", true, Form::Long(letters, 36)),
    ("github_pat_", true, Form::Long(words, 22)),
    ("glpat-", true, Form::Long(dashed, 20)),
    ("xoxa-", true, Form::Long(dashed, 10)),
    ("xoxb-", true, Form::Long(dashed, 10)),
    ("xoxp-", true, Form::Long(dashed, 10)),
    ("xoxr-", true, Form::Long(dashed, 10)),
    ("xoxs-", true, Form::Long(dashed, 10)),
    ("AIza", true, Form::Exact(dashed, 35)),
    ("sk_live_", true, Form::Long(letters, 16)),
    ("sk_test_", true, Form::Long(letters, 16)),
    ("rk_live_", true, Form::Long(letters, 16)),
    ("rk_test_", true, Form::Long(letters, 16)),
    ("npm_", true, Form::Exact(letters, 36)),
    ("://", true, Form::Url),
    ("bearer%20", false, Form::Behind(16)),
];

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn letters(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn words(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn dashed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// RFC 6750's `b68token`, less the full stop, which also ends sentences.
fn credentials(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_~+/=.".contains(&byte)
}

impl Finder {
    /// Finds all forms.
    pub fn new() -> Result<Finder, String> {
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::DFA))
            .build(FORMS.map(|(beginning, _, _)| beginning))
            .map_err(|error| error.to_string())?;
        Ok(Finder { search })
    }

    /// Every token, in order.
    pub fn find(&self, text: &[u8], found: &mut impl FnMut(usize, usize)) {
        let mut from = 0;
        while let Some(hit) = text.get(from..).and_then(|rest| self.search.find(rest)) {
            let (start, end) = (from + hit.start(), from + hit.end());
            let (beginning, exact, form) = FORMS[hit.pattern().as_usize()];
            let written_so = !exact || &text[start..end] == beginning.as_bytes();
            let place = if written_so { form.place(text, start, end) } else { None };
            if let Some((start, end)) = place {
                found(start, end);
            }
            from = place.map_or(start + 1, |(_, place_end)| place_end.max(start + 1));
        }
    }
}

impl Form {
    fn place(self, text: &[u8], start: usize, end: usize) -> Option<(usize, usize)> {
        let starts_word = !is_word(start.checked_sub(1).and_then(|at| text.get(at)));
        let run = |from: usize, belongs: fn(u8) -> bool| {
            text.get(from..).unwrap_or_default().iter().take_while(|byte| belongs(**byte)).count()
        };
        match self {
            Form::Long(belongs, least) => {
                let length = run(end, belongs);
                (starts_word && length >= least).then_some((start, end + length))
            }
            Form::Exact(belongs, length) => {
                (starts_word && run(end, belongs) == length && !is_word(text.get(end + length)))
                    .then_some((start, end + length))
            }
            Form::Behind(least) => {
                let length = run(end, credentials);
                let token = text[end..end + length].strip_suffix(b".").unwrap_or(&text[end..end + length]);
                // `Bearer authentication` is no token.
                let mixed = token.iter().any(u8::is_ascii_digit);
                (starts_word && mixed && token.len() >= least).then_some((end, end + token.len()))
            }
            Form::Header => {
                let length = run(end, credentials);
                let token = text[end..end + length].strip_suffix(b".").unwrap_or(&text[end..end + length]);
                (!token.is_empty()).then_some((end, end + token.len()))
            }
            Form::WebToken => {
                let first = end + run(end, dashed);
                let second = first + 1 + run(first + 1, dashed);
                let third = second + 1 + run(second + 1, dashed);
                let dots = text.get(first) == Some(&b'.') && text.get(second) == Some(&b'.');
                (starts_word && dots && first - start >= 10 && second - first > 10).then_some((start, third))
            }
            Form::PrivateKey => {
                let head = text[end..].iter().position(|byte| *byte == b'-')?;
                if !text[end..end + head].ends_with(b"PRIVATE KEY")
                    && !text[end..end + head].ends_with(b"PRIVATE KEY BLOCK")
                {
                    return None;
                }
                // A key that was cut off is one as well.
                let tail = memmem::find(&text[end..], b"-----END ").map(|at| end + at + "-----END ".len());
                let key_end = tail.and_then(|tail| Some(tail + memmem::find(&text[tail..], b"-----")? + 5));
                Some((start, key_end.unwrap_or(text.len())))
            }
            Form::Url => {
                let authority = run(end, |byte| !b" \t\r\n\"'<>/?#".contains(&byte));
                let authority = &text[end..end + authority];
                let at = memchr::memrchr(b'@', authority)?;
                let colon = memchr::memchr(b':', &authority[..at])?;
                (colon + 1 < at).then_some((end + colon + 1, end + at))
            }
        }
    }
}
