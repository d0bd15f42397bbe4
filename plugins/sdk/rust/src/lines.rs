//! parsers whose lines name their own columns and, perhaps, their time
//!
//! ```text
//! line ─► fields ─► OpenColumns
//!            └── the first of `timestamp`, `@timestamp`, `time`, `ts` ─► timestamp; else when the line arrived
//! ```

use crate::{Batch, Contract, DataType, OpenColumns, Parsed, Timestamps, Value};

/// Tried in this order where the settings name no field.
pub const TIMESTAMP_FIELDS: [&str; 4] = ["timestamp", "@timestamp", "time", "ts"];

/// What such a parser reads and makes. `timestamp` is the settings' name of the field with the time, which may not be empty.
pub fn open_contract(timestamp: Option<&str>) -> Result<Contract, String> {
    if timestamp == Some("") {
        return Err("`timestamp` is empty; name the field that says when the event happened".to_owned());
    }
    Ok(Contract::new().reads("body").reads("timestamp").writes("timestamp", DataType::Timestamp).open_schema())
}

/// Hands each body to `line`, which sets its columns and says when it happened, if the line does.
pub fn parse_lines(
    input: &Batch,
    output: &mut Parsed,
    mut line: impl FnMut(&[u8], &mut OpenColumns) -> Result<Option<i64>, String>,
) -> Result<(), String> {
    let bodies = input.bytes("body")?;
    let arrived = input.timestamps("timestamp")?;
    let mut open = OpenColumns::new();
    let mut timestamps = Timestamps::with_rows(input.rows());
    let mut any_timestamp = false;
    for (row, body) in bodies.iter().enumerate() {
        let found = line(body.unwrap_or_default(), &mut open);
        match found.and_then(|found| open.commit_row().map(|()| found)) {
            Ok(found) => {
                let timestamp = found.or(arrived.get(row));
                any_timestamp |= timestamp.is_some();
                timestamps.push_option(timestamp);
            }
            Err(message) => {
                open.discard_row();
                output.error(row, message);
            }
        }
    }
    if any_timestamp {
        output.column("timestamp", timestamps);
    }
    open.finish(output);
    Ok(())
}

/// Numbers and booleans as JSON writes them. `007` and `12e7` stay text: they are more often codes than numbers.
pub fn typed(text: &[u8]) -> Value<'_> {
    match text {
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        _ if is_number(text) => std::str::from_utf8(text).map_or(Value::Text(text), Value::Number),
        _ => Value::Text(text),
    }
}

fn is_number(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let (whole, rest) = digits(unsigned);
    let leading_zero = whole.len() > 1 && whole[0] == b'0';
    if whole.is_empty() || leading_zero {
        return false;
    }
    let (has_point, rest) = match rest.strip_prefix(b".") {
        Some(rest) => match digits(rest) {
            ([], _) => return false,
            (_, rest) => (true, rest),
        },
        None => (false, rest),
    };
    match rest {
        [] => true,
        [b'e' | b'E', b'+' | b'-', exponent @ ..] => !exponent.is_empty() && digits(exponent).1.is_empty(),
        [b'e' | b'E', exponent @ ..] => has_point && !exponent.is_empty() && digits(exponent).1.is_empty(),
        _ => false,
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}
