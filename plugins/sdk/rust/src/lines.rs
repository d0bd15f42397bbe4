//! parsers whose lines name their own columns and, perhaps, their time
//!
//! ```text
//! line ─► fields ─► OpenColumns
//!            └── the first of `timestamp`, `@timestamp`, `time`, `ts` ─► timestamp; else when the line arrived
//! ```

use crate::{Batch, Contract, DataType, OpenColumns, Parsed, Timestamps};

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
