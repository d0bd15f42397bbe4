//! the uap project's rules at work: the first of a section that matches says what the agent is
//!
//! ```text
//! agent ─► which required words does it have? one search ─► only the rules of those words, in order ─► the first that matches
//! ```
//!
//! `build.rs` wrote the rules. There are over a thousand patterns, and an agent meets the words of a few dozen.
//!
//! **Always:** a pattern is compiled when the first agent needs it; most never are.

use std::cell::OnceCell;
use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex_lite::{Captures, Regex};

const RULES: &str = include_str!(concat!(env!("OUT_DIR"), "/uap.rules"));

/// What a rule tells about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Section {
    /// family, major, minor, patch, patch minor
    Browser,
    /// family, major, minor, patch, patch minor
    System,
    /// family, brand, model
    Device,
}

/// The rules, and the words that lead to them.
pub struct Rules {
    rules: Vec<Rule>,
    search: AhoCorasick,
    /// For each word the rules that need it.
    of_word: Vec<Vec<u16>>,
    /// Rules without such words: tried on every agent.
    always: Vec<u16>,
}

struct Rule {
    section: Section,
    pattern: &'static str,
    templates: &'static str,
    compiled: OnceCell<Option<Regex>>,
}

/// What a section says of an agent: its fields in order, each absent where there is none.
pub type Fields = [Option<String>; 5];

/// The rules that an agent may meet, in order.
pub struct Candidates<'r> {
    rules: &'r Rules,
    numbers: Vec<u16>,
}

impl Rules {
    /// The rules as they were built in.
    pub fn load() -> Result<Rules, String> {
        let mut rules = Vec::new();
        let mut words: HashMap<&str, usize> = HashMap::new();
        let mut of_word: Vec<Vec<u16>> = Vec::new();
        let mut always = Vec::new();
        for (number, line) in RULES.lines().enumerate() {
            let number = u16::try_from(number).map_err(|_| "there are more than 65,536 rules".to_owned())?;
            let mut parts = line.splitn(4, '\t');
            let (Some(section), Some(needs), Some(pattern), Some(templates)) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(format!("rule {number} is cut off"));
            };
            if needs.is_empty() {
                always.push(number);
            }
            for word in needs.split('\x1f').filter(|word| !word.is_empty()) {
                let next = of_word.len();
                let at = *words.entry(word).or_insert(next);
                if at == next {
                    of_word.push(Vec::new());
                }
                of_word[at].push(number);
            }
            let section = match section {
                "b" => Section::Browser,
                "s" => Section::System,
                _ => Section::Device,
            };
            rules.push(Rule { section, pattern, templates, compiled: OnceCell::new() });
        }
        let mut in_order = vec![""; of_word.len()];
        words.into_iter().for_each(|(word, at)| in_order[at] = word);
        let search = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::Standard)
            .ascii_case_insensitive(true)
            .build(in_order)
            .map_err(|error| error.to_string())?;
        Ok(Rules { rules, search, of_word, always })
    }

    /// The rules whose words an agent has.
    pub fn candidates(&self, agent: &str) -> Candidates<'_> {
        let mut numbers = self.always.clone();
        for found in self.search.find_overlapping_iter(agent) {
            numbers.extend_from_slice(&self.of_word[found.pattern().as_usize()]);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Candidates { rules: self, numbers }
    }
}

impl Candidates<'_> {
    /// What the first rule of the section that matches says; nothing where none does (uap calls that `Other`).
    pub fn first(&self, section: Section, agent: &str) -> Fields {
        let rules = self.numbers.iter().map(|number| &self.rules.rules[usize::from(*number)]);
        let found = rules.filter(|rule| rule.section == section).find_map(|rule| Some((rule, rule.captures(agent)?)));
        let mut fields = Fields::default();
        if let Some((rule, captures)) = found {
            for (field, template) in fields.iter_mut().zip(rule.templates.split('\t')) {
                *field = expand(template, &captures);
            }
        }
        fields
    }
}

impl Rule {
    fn captures<'a>(&self, agent: &'a str) -> Option<Captures<'a>> {
        // A test compiles every pattern, so none is left out here.
        self.compiled.get_or_init(|| Regex::new(self.pattern).ok()).as_ref()?.captures(agent)
    }
}

/// The template with its `$1` … `$9` filled in and without spaces around it; absent where that leaves nothing.
fn expand(template: &str, captures: &Captures<'_>) -> Option<String> {
    let mut text = String::new();
    let mut pieces = template.split('$');
    text.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        match piece.bytes().next() {
            Some(digit @ b'1'..=b'9') => {
                text.push_str(captures.get(usize::from(digit - b'0')).map_or("", |group| group.as_str()));
                text.push_str(&piece[1..]);
            }
            _ => {
                text.push('$');
                text.push_str(piece);
            }
        }
    }
    let trimmed = text.trim();
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        let rules = Rules::load().unwrap();
        assert!(rules.rules.len() > 1_000, "{} rules", rules.rules.len());
        for rule in &rules.rules {
            if let Err(error) = Regex::new(rule.pattern) {
                panic!("{}: {error}", rule.pattern);
            }
        }
        // Were it many, the search for words would be for nothing.
        assert!(rules.always.len() < 20, "{} rules are tried on every agent", rules.always.len());
    }
}
