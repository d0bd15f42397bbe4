//! lines that belong together by patterns of one's own
//!
//! | says | a line |
//! |---|---|
//! | `start` | that matches begins an event; without `continue`, every other line belongs to the event before it |
//! | `continue` | that matches belongs to the line before it; every other line begins an event |
//! | `end` | that matches is the last of its event; with `start`, lines outside of both are events of their own |
//! | `unfinished` | that matches takes the next line with it, whatever that is (a `\` at its end) |

use super::Place;
use regex::bytes::Regex;
use serde::{Deserialize, Deserializer, de};

/// An expression that lines are held against; any place of the line may match.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// Decides by patterns.
#[derive(Clone, Debug)]
pub struct Patterns {
    start: Option<Pattern>,
    further: Option<Pattern>,
    end: Option<Pattern>,
    unfinished: Option<Pattern>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The next line begins an event, whatever it is.
    #[default]
    Between,
    /// The line before is an event's first, or belongs to one.
    Within,
    /// The line before stands outside of `start` and `end`.
    Outside,
    /// The line before says that the next belongs to it.
    Unfinished,
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = String::deserialize(reader)?;
        if text.is_empty() {
            return Err(de::Error::custom("an empty expression matches every line; write one as `'^\\d{4}-'`"));
        }
        let wrong = |error: regex::Error| {
            let last = error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            de::Error::custom(format!("`{text}` is no regular expression: {last}"))
        };
        Regex::new(&text).map(Pattern).map_err(wrong)
    }
}

impl Pattern {
    fn matches(this: Option<&Pattern>, line: &[u8]) -> bool {
        this.is_some_and(|pattern| pattern.0.is_match(line))
    }
}

impl Patterns {
    /// None where no pattern is given.
    pub fn new(
        start: Option<Pattern>,
        further: Option<Pattern>,
        end: Option<Pattern>,
        unfinished: Option<Pattern>,
    ) -> Option<Patterns> {
        let any = [&start, &further, &end, &unfinished].iter().any(|pattern| pattern.is_some());
        any.then_some(Patterns { start, further, end, unfinished, state: State::Between })
    }

    /// Where a line belongs.
    pub fn place(&mut self, line: &[u8]) -> Place {
        let starts = Pattern::matches(self.start.as_ref(), line);
        let joins = !starts
            && match self.state {
                State::Between => false,
                State::Unfinished => true,
                State::Outside => Pattern::matches(self.further.as_ref(), line),
                State::Within if self.further.is_some() => Pattern::matches(self.further.as_ref(), line),
                State::Within => self.start.is_some() || self.end.is_some(),
            };
        let fenced = self.start.is_some() && self.end.is_some();
        let outside = fenced && !joins && !starts;
        let ends = !outside && Pattern::matches(self.end.as_ref(), line);
        self.state = match () {
            () if ends => State::Between,
            () if line.is_empty() && !joins => State::Between,
            () if Pattern::matches(self.unfinished.as_ref(), line) => State::Unfinished,
            () if outside => State::Outside,
            () => State::Within,
        };
        // A line outside waits only where a further one may belong to it.
        let alone = outside && self.further.is_none() && self.state == State::Outside;
        Place { joins, ends: ends || alone }
    }

    /// Nothing that comes belongs to what came before.
    pub fn reset(&mut self) {
        self.state = State::Between;
    }
}
