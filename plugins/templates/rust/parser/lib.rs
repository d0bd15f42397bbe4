//! lines such as `2026-01-31T12:00:00Z WARN checkout took 812 ms` as columns
//!
//! ```text
//! body ─► timestamp · level · message
//! ```
//!
//! A plugin is handed a batch of rows as columns and hands columns back. It sees nothing else: no files, no network, no clock.

use tidemill_plugin::{
    Batch, Context, Contract, DataType, Parsed, Parser, Plugin, Texts, Timestamps, Words, time,
};

/// What stands after a line's time, if the line names its level.
const LEVELS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// The stage's `settings`, as a pipeline file has them. A key that is not here is refused by name.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The level of lines that name none; without it they have none.
    default_level: Option<String>,
}

pub struct Lines {
    default_level: Option<String>,
}

impl Plugin for Lines {
    type Settings = Settings;
    const NAME: &'static str = env!("CARGO_PKG_NAME");
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    /// Checks the settings, and says what is read and what is written. Only columns named in `reads` are handed over.
    fn configure(settings: Settings) -> Result<(Lines, Contract), String> {
        if let Some(level) = settings
            .default_level
            .as_deref()
            .filter(|level| !LEVELS.contains(level))
        {
            return Err(format!(
                "`default_level` is `{level}`; write one of {}",
                LEVELS.join(", ")
            ));
        }
        let contract = Contract::new()
            .reads("body")
            .writes("timestamp", DataType::Timestamp)
            .writes("level", DataType::Utf8)
            .writes("message", DataType::Utf8);
        Ok((
            Lines {
                default_level: settings.default_level,
            },
            contract,
        ))
    }
}

impl Parser for Lines {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        let mut timestamps = Timestamps::default();
        let mut levels = Words::default(); // text with few distinct values
        let mut messages = Texts::default();
        for (row, body) in input.text("body")?.iter().enumerate() {
            match read(&body.unwrap_or_default()) {
                Ok(line) => {
                    timestamps.push(line.timestamp);
                    levels.push_option(line.level.or(self.default_level.as_deref()));
                    messages.push(line.message);
                }
                // The row goes to `tidemill.dead_letters` with this reason; the others go on.
                Err(why) => output.error(row, why),
            }
        }
        output.column("timestamp", timestamps);
        output.column("level", levels);
        output.column("message", messages);
        Ok(())
    }
}

struct Line<'a> {
    timestamp: i64,
    level: Option<&'a str>,
    message: &'a str,
}

fn read(line: &str) -> Result<Line<'_>, String> {
    let (time, rest) = line
        .split_once(' ')
        .ok_or("a time, a space and a message should stand here")?;
    let timestamp = time::parse_rfc3339(time)?;
    match rest.split_once(' ') {
        Some((level, message)) if LEVELS.contains(&level) => Ok(Line {
            timestamp,
            level: Some(level),
            message,
        }),
        _ => Ok(Line {
            timestamp,
            level: None,
            message: rest,
        }),
    }
}

tidemill_plugin::export_parser!(Lines);
