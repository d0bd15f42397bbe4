//! patterns by name: Logstash's own, and those of the settings before them

use std::collections::HashMap;

/// Patterns by name.
pub struct Library<'a> {
    own: HashMap<&'a str, &'a str>,
}

impl<'a> Library<'a> {
    /// Reads a pattern file of Logstash: `NAME pattern`, one a line; `#` begins a comment.
    pub fn new(definitions: &'a str) -> Result<Library<'a>, String> {
        let mut own = HashMap::new();
        for (index, line) in definitions.lines().enumerate() {
            let line = line.trim_end_matches('\r');
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let wrong =
                || format!("`definitions`, line {}: a name, a space and a pattern are wanted, not `{line}`", index + 1);
            let (name, pattern) = line.trim_start().split_once([' ', '\t']).ok_or_else(wrong)?;
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(wrong());
            }
            own.insert(name, pattern.trim_start());
        }
        Ok(Library { own })
    }

    /// The pattern of this name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.own.get(name).copied().or_else(|| bundled(name))
    }

    /// A name that there is and that differs in case only, or begins like it.
    pub fn like(&self, name: &str) -> Option<&str> {
        let names = || self.own.keys().copied().chain(grok_patterns::patterns().iter().map(|(name, _)| *name));
        names()
            .find(|known| known.eq_ignore_ascii_case(name))
            .or_else(|| names().filter(|known| known.starts_with(name)).min())
    }
}

fn bundled(name: &str) -> Option<&'static str> {
    let patterns = grok_patterns::patterns(); // in order of their names
    let index = patterns.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    patterns.get(index).map(|(_, pattern)| *pattern)
}
