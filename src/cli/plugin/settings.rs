//! settings on the command line: a JSON object, or TOML as a pipeline file has it

use crate::error::{Error, Result};

/// The settings as JSON text; `{}` where none are given.
pub(super) fn json(written: Option<&str>) -> Result<String> {
    let text = written.unwrap_or("{}").trim();
    if text.starts_with('{') && serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok() {
        return Ok(text.to_owned());
    }
    // An inline table is a value in TOML, and a document is lines `key = value`.
    let document = if text.starts_with('{') { format!("settings = {text}") } else { text.to_owned() };
    let wrong = |error: &dyn std::fmt::Display| {
        let error = error.to_string();
        Error::invalid(format!("the settings are neither a JSON object nor TOML: {}", error.trim_end()))
    };
    let table: toml::Table = document.parse().map_err(|error: toml::de::Error| wrong(&error.message()))?;
    let value = match table.get("settings").filter(|_| text.starts_with('{')) {
        Some(settings) => serde_json::to_string(settings),
        None => serde_json::to_string(&table),
    };
    value.map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_inline_tables_and_lines_are_understood() {
        for (written, wanted) in [
            (None, "{}"),
            (Some(r#"{"a": 1}"#), r#"{"a": 1}"#),
            (Some(r#"{ a = 1, b = "x" }"#), r#"{"a":1,"b":"x"}"#),
            (Some("a = 1\nb = [1, 2]"), r#"{"a":1,"b":[1,2]}"#),
            (Some("settings = 1"), r#"{"settings":1}"#),
        ] {
            assert_eq!(json(written).unwrap(), wanted);
        }
        assert!(json(Some("{ a = ")).unwrap_err().message().contains("neither a JSON object nor TOML"));
    }
}
