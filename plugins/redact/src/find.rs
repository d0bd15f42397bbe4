//! what is looked for, and where it stands in a text

use std::collections::BTreeMap;

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::{address, card, token};

/// What can be looked for by name.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// `ada@example.com`
    Email,
    /// 12 to 19 digits of a payment card, with a right check digit
    Card,
    /// `Bearer …`, JSON Web Tokens, access keys, private keys, passwords in URLs
    Token,
    /// `203.0.113.9`
    Ipv4,
    /// `2001:db8::1`
    Ipv6,
}

/// A place in a text: from, to, and what it is (see [`Finders::label`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub start: usize,
    pub end: usize,
    pub what: usize,
}

/// Everything that is looked for.
pub struct Finders {
    kinds: Vec<Kind>,
    tokens: token::Finder,
    patterns: Vec<(String, Regex)>,
}

/// A pattern that becomes larger than this is refused.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Finders {
    /// These kinds, and patterns by name.
    pub fn new(kinds: &[Kind], patterns: BTreeMap<String, String>) -> Result<Finders, String> {
        if kinds.is_empty() && patterns.is_empty() {
            return Err("`find` and `patterns` are empty: there is nothing to look for".to_owned());
        }
        let compiled = |(name, pattern): (String, String)| {
            let regex = RegexBuilder::new(&pattern).unicode(false).size_limit(PATTERN_BYTES_MAX).build();
            let regex = regex.map_err(|error| format!("`patterns`: `{name}`: {}", last_line(&error.to_string())))?;
            match regex.is_match(b"") {
                true => Err(format!("`patterns`: `{name}` finds the empty text, which is everywhere")),
                false => Ok((name, regex)),
            }
        };
        let patterns = patterns.into_iter().map(compiled).collect::<Result<_, _>>()?;
        Ok(Finders { kinds: kinds.to_vec(), tokens: token::Finder::new()?, patterns })
    }

    /// What stands in brackets in place of what was found.
    pub fn label(&self, what: usize) -> &str {
        match self.kinds.get(what) {
            Some(Kind::Email) => "email",
            Some(Kind::Card) => "card",
            Some(Kind::Token) => "token",
            Some(Kind::Ipv4) => "ipv4",
            Some(Kind::Ipv6) => "ipv6",
            None => self.patterns.get(what - self.kinds.len()).map_or("", |(name, _)| name),
        }
    }

    /// Whether it is a card number, of which a mask leaves the last four digits.
    pub fn is_card(&self, what: usize) -> bool {
        self.kinds.get(what) == Some(&Kind::Card)
    }

    /// Every place, in order and without overlaps; of two that overlap the one that begins first, then the longer one.
    pub fn find(&self, text: &[u8], places: &mut Vec<Place>) {
        places.clear();
        for (what, kind) in self.kinds.iter().enumerate() {
            let mut found = |start: usize, end: usize| places.push(Place { start, end, what });
            match kind {
                Kind::Email => address::emails(text, &mut found),
                Kind::Card => card::cards(text, &mut found),
                Kind::Token => self.tokens.find(text, &mut found),
                Kind::Ipv4 => address::ipv4s(text, &mut found),
                Kind::Ipv6 => address::ipv6s(text, &mut found),
            }
        }
        for (number, (_, regex)) in self.patterns.iter().enumerate() {
            let what = self.kinds.len() + number;
            places.extend(regex.find_iter(text).map(|found| Place { start: found.start(), end: found.end(), what }));
        }
        places.sort_by_key(|place| (place.start, std::cmp::Reverse(place.end), place.what));
        let mut end = 0;
        places.retain(|place| {
            let apart = place.start >= end && place.end > place.start;
            if apart {
                end = place.end;
            }
            apart
        });
    }
}

/// What the regex crate says of a mistake comes last, below a picture of it.
fn last_line(message: &str) -> &str {
    message.lines().last().unwrap_or(message).trim_start_matches("error: ")
}

/// Whether a byte can be part of a word.
pub fn is_word(byte: Option<&u8>) -> bool {
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii())
}
