//! what is wrong with a text that is no JSON, in plain words and with the byte where it was seen
//!
//! `serde_json` says `expected ident at line 1 column 2`; who wrote the line wants to know that `nonsense` is no value.

/// What its errors start with, and what that means. What is not in here is told as it stands.
const WORDS: [(&str, &str); 11] = [
    ("EOF while parsing", "it ends too early"),
    ("expected ident", "a word that is not `true`, `false` or `null`"),
    ("expected value", "a value was expected"),
    ("key must be a string", "a field's name in double quotes was expected"),
    ("trailing comma", "a comma with nothing after it"),
    ("trailing characters", "there is something after the end"),
    ("control character", "a control character in a string must be escaped"),
    ("invalid escape", "an escape that JSON does not have"),
    ("invalid number", "a number that JSON does not have"),
    ("lone leading surrogate", "half a character: a surrogate without its other one"),
    ("unexpected end of hex escape", "half a character: a surrogate without its other one"),
];

/// An error in plain words; `skipped` bytes stand before the text that was read.
pub(crate) fn told(error: &serde_json::Error, skipped: usize) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = error.to_string();
    let said = said.strip_suffix(&place).unwrap_or(&said);
    let words = WORDS.iter().find(|(start, _)| said.starts_with(start)).map_or(said, |(_, words)| words);
    format!("{words}, at byte {}", skipped + error.column().max(1))
}
