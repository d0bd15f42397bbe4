//! Kubernetes klog and glog lines, with the pairs of structured ones
//!
//!     I1025 00:15:15.525108       1 controller.go:116] "Pod updated" pod="kube-system/dns" ready=true
//!     │└──────┬───────────┘       │ └─────┬──────┘ │   └────┬──────┘ └──────┬────────────┘ └──┬──────┘
//!     severity timestamp     thread     file    line     message         columns of their own
//!
//! `header` reads what stands before the bracket, `structured` what is behind it.
//!
//! **Always:** a message that is not structured, or not to its end, is the message as it stands.

mod header;
mod structured;

use serde::Deserialize;
use tidemill_plugin::time_format::parse_offset;
use tidemill_plugin::{
    Batch, Context, Contract, DataType, Ints, OpenColumns, Parsed, Parser, Plugin, Slices, Timestamps, Value, Words,
    lines,
};

use header::{Clock, Header};
use structured::Structured;

/// A configured parser.
pub struct Klog {
    settings: Settings,
    offset_seconds: i64,
    structured: Structured,
    name: String,
}

/// The stage's `settings` table.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The year of lines that have none. Without it: the latest that is at most a day after the line arrived.
    year: Option<i64>,
    /// The offset of the machine that wrote the lines. UTC by default.
    timezone: Option<String>,
    /// Before the name of each pair's column.
    prefix: String,
}

/// Columns that every line has: a pair of such a name gets `_field` behind.
const OWN: [&str; 5] = ["severity", "thread", "file", "line", "message"];

impl Plugin for Klog {
    type Settings = Settings;
    const NAME: &'static str = "klog";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(Klog, Contract), String> {
        let offset_seconds = settings.timezone.as_deref().map_or(Ok(0), parse_offset)?;
        if settings.year.is_some_and(|year| !(1678..=2261).contains(&year)) {
            return Err("`year` is not between 1678 and 2261".to_owned());
        }
        let contract = Contract::new()
            .reads("body")
            .reads("timestamp")
            .writes("timestamp", DataType::Timestamp)
            .writes("severity", DataType::Utf8)
            .writes("thread", DataType::Int64)
            .writes("file", DataType::Utf8)
            .writes("line", DataType::Int64)
            .writes("message", DataType::Utf8)
            .open_schema();
        Ok((Klog { settings, offset_seconds, structured: Structured::default(), name: String::new() }, contract))
    }
}

impl Parser for Klog {
    fn parse(&mut self, input: &Batch, context: &Context, output: &mut Parsed) -> Result<(), String> {
        let bodies = input.bytes("body")?;
        let arrived = input.timestamps("timestamp")?;
        let rows = input.rows();
        let (mut timestamps, mut severities) = (Timestamps::with_rows(rows), Words::with_rows(rows));
        let (mut threads, mut lines) = (Ints::with_rows(rows), Ints::with_rows(rows));
        let (mut files, mut messages) = (Words::with_rows(rows), Slices::with_rows(rows, &bodies));
        let mut open = OpenColumns::new();
        for (row, body) in bodies.iter().enumerate() {
            let clock = Clock {
                year: self.settings.year,
                arrived: arrived.get(row).or(context.now),
                offset_seconds: self.offset_seconds,
            };
            let body = body.unwrap_or_default();
            let body = body.strip_suffix(b"\r").unwrap_or(body);
            let read = Header::parse(body, &clock).and_then(|(header, rest)| {
                let is_structured = self.structured.parse(rest);
                if is_structured {
                    self.set_pairs(rest, &mut open);
                }
                open.commit_row().map(|()| (header, rest, is_structured))
            });
            match read {
                Ok((header, rest, is_structured)) => {
                    timestamps.push(header.timestamp);
                    severities.push(header.severity);
                    threads.push(header.thread);
                    files.push(header.file);
                    lines.push(header.line);
                    messages.push(if is_structured { self.structured.message(rest) } else { rest });
                }
                Err(message) => {
                    open.discard_row();
                    output.error(row, message);
                }
            }
        }
        output.column("timestamp", timestamps);
        output.column("severity", severities);
        output.column("thread", threads);
        output.column("file", files);
        output.column("line", lines);
        output.column("message", messages);
        open.finish(output);
        Ok(())
    }
}

impl Klog {
    fn set_pairs(&mut self, rest: &[u8], open: &mut OpenColumns) {
        for pair in self.structured.pairs() {
            self.name.clear();
            self.name.push_str(&self.settings.prefix);
            self.name.push_str(&String::from_utf8_lossy(&rest[pair.key.clone()]));
            if OWN.contains(&self.name.as_str()) {
                self.name.push_str("_field");
            }
            let text = self.structured.text(rest, &pair.value);
            let value = match pair.value.is_quoted {
                true => Value::Text(text),
                false => match text {
                    b"" | b"<nil>" | b"nil" => Value::Null,
                    text => lines::typed(text),
                },
            };
            open.set(&self.name, value);
        }
    }
}

tidemill_plugin::export_parser!(Klog);
