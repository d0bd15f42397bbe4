//! for each line of a bundle, the file and the line it was made of: out of a source map, for errors that name the author's own line

use serde_json::{Value, json};

/// `{"files": [names], "lines": [[file, line], …]}` for the lines of a bundle; a line that nobody wrote is `[]`.
pub(super) fn of_source_map(text: &str) -> Option<Value> {
    let map: Value = serde_json::from_str(text).ok()?;
    let files: Vec<&str> = map
        .get("sources")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    let (mut file, mut line) = (0, 0);
    let lines: Vec<Value> = map
        .get("mappings")?
        .as_str()?
        .split(';')
        .map(|segments| {
            let mut first = None;
            for segment in segments.split(',') {
                let numbers = numbers(segment);
                if let [_, more_files, more_lines, ..] = numbers.as_slice() {
                    file += more_files;
                    line += more_lines;
                    first.get_or_insert((file, line + 1));
                }
            }
            first.map_or_else(|| json!([]), |(file, line)| json!([file, line]))
        })
        .collect();
    Some(json!({ "files": files, "lines": lines }))
}

/// Numbers in base 64, five bits a letter, the lowest bit of each number its sign.
fn numbers(segment: &str) -> Vec<i64> {
    let (mut numbers, mut number, mut shift) = (Vec::new(), 0_i64, 0_u32);
    for letter in segment.bytes() {
        let digit = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        number |= i64::from(digit & 31).checked_shl(shift).unwrap_or(0);
        shift += 5;
        if digit & 32 == 0 {
            numbers.push(if number & 1 == 1 { -(number >> 1) } else { number >> 1 });
            (number, shift) = (0, 0);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_bundle_know_where_they_came_from() {
        let map =
            r#"{"version":3,"sources":["../sdk/tidemill.js","../plugin.js"],"mappings":";AAAO;AACA,SAAS;ACEhB;"}"#;
        let wanted = json!({ "files": ["tidemill.js", "plugin.js"], "lines": [[], [0, 1], [0, 2], [1, 4], []] });
        assert_eq!(of_source_map(map), Some(wanted));
        assert_eq!(of_source_map("{}"), None);
        assert_eq!(numbers("AgBD"), [0, 16, -1]);
    }
}
