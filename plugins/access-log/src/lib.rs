//! web server access logs: the `common` and `combined` formats of nginx and Apache
//!
//!     client identity user [time] "request" status bytes  "referer" "user agent"  more…
//!     └──────────────── common ───────────────────────┘
//!     └──────────────── combined ───────────────────────────────────────────────┘
//!
//! `line` takes a line apart without copying, this file puts the parts into columns.
//!
//! **Always:** a line is a row or an error that says at which byte it stopped making sense.
//! **Never:** a line is lost for bytes that are not UTF-8; the field shows U+FFFD, `body` keeps the bytes.

mod date;
mod line;
mod near;
mod quoted;

use serde::Deserialize;
use tidemill_plugin::{
    Batch, BytesColumn, Context, Contract, DataType, Floats, Ints, Parsed, Parser, Plugin, Slices, Timestamps, Words,
};

use date::DateCache;
use line::Line;
use quoted::Quoted;

/// A configured parser.
pub struct AccessLog {
    settings: Settings,
    dates: DateCache,
}

/// The stage's `settings` table.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which format the lines have; `auto` decides line by line.
    format: Format,
    /// The last field of a line is nginx's `$request_time`.
    request_time: bool,
}

/// Which format a line has.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Common,
    Combined,
    #[default]
    Auto,
}

impl Plugin for AccessLog {
    type Settings = Settings;
    const NAME: &'static str = "access-log";
    const ABOUT: &'static str = env!("CARGO_PKG_DESCRIPTION");

    fn configure(settings: Settings) -> Result<(AccessLog, Contract), String> {
        let mut contract = Contract::new()
            .reads("body")
            .writes("timestamp", DataType::Timestamp)
            .writes("client", DataType::Utf8)
            .writes("user", DataType::Utf8)
            .writes("method", DataType::Utf8)
            .writes("path", DataType::Utf8)
            .writes("protocol", DataType::Utf8)
            .writes("request", DataType::Utf8)
            .writes("status", DataType::Int64)
            .writes("bytes", DataType::Int64);
        if settings.format != Format::Common {
            contract = contract.writes("referer", DataType::Utf8).writes("user_agent", DataType::Utf8);
        }
        if settings.request_time {
            contract = contract.writes("request_time", DataType::Float64);
        }
        Ok((AccessLog { settings, dates: DateCache::default() }, contract))
    }
}

impl Parser for AccessLog {
    fn parse(&mut self, input: &Batch, _: &Context, output: &mut Parsed) -> Result<(), String> {
        let bodies = input.bytes("body")?;
        let mut columns = Columns::with_rows(input.rows(), &bodies, self.settings);
        for (row, body) in bodies.iter().enumerate() {
            let parsed = match body {
                Some(body) => Line::parse(body, self.settings.format, &mut self.dates),
                None => Err("there is no body to parse".to_owned()),
            };
            match parsed {
                Ok(line) => columns.push(&line),
                Err(message) => output.error(row, message),
            }
        }
        columns.finish(self.settings, output);
        Ok(())
    }
}

struct Columns<'a> {
    timestamp: Timestamps,
    client: Slices<'a>,
    user: Words,
    method: Words,
    path: Slices<'a>,
    protocol: Words,
    request: Slices<'a>,
    status: Ints,
    bytes: Ints,
    referer: Slices<'a>,
    user_agent: Slices<'a>,
    /// Only if the settings ask for it.
    request_time: Option<Floats>,
    /// Where escapes are resolved; kept for its room.
    scratch: Vec<u8>,
}

impl<'a> Columns<'a> {
    fn with_rows(rows: usize, bodies: &BytesColumn<'a>, settings: Settings) -> Columns<'a> {
        Columns {
            timestamp: Timestamps::with_rows(rows),
            client: Slices::with_rows(rows, bodies),
            user: Words::with_rows(rows),
            method: Words::with_rows(rows),
            path: Slices::with_rows(rows, bodies),
            protocol: Words::with_rows(rows),
            request: Slices::with_rows(rows, bodies),
            status: Ints::with_rows(rows),
            bytes: Ints::with_rows(rows),
            referer: Slices::with_rows(rows, bodies),
            user_agent: Slices::with_rows(rows, bodies),
            request_time: settings.request_time.then(|| Floats::with_rows(rows)),
            scratch: Vec::new(),
        }
    }

    #[inline]
    fn push(&mut self, line: &Line<'_>) {
        let scratch = &mut self.scratch;
        self.timestamp.push(line.timestamp);
        self.client.push(line.client);
        self.user.push_option(line.user);
        match line.request.parts() {
            Some((method, path, protocol)) => {
                self.method.push(method);
                self.path.push(path.resolve(scratch));
                self.protocol.push_option(protocol);
                self.request.push_null();
            }
            None => {
                self.method.push_null();
                self.path.push_null();
                self.protocol.push_null();
                push_quoted(&mut self.request, Some(line.request), scratch);
            }
        }
        self.status.push_option(line.status);
        self.bytes.push_option(line.bytes);
        push_quoted(&mut self.referer, line.referer, scratch);
        push_quoted(&mut self.user_agent, line.user_agent, scratch);
        if let Some(request_time) = &mut self.request_time {
            request_time.push_option(line.request_time());
        }
    }

    fn finish(self, settings: Settings, output: &mut Parsed) {
        output.column("timestamp", self.timestamp);
        output.column("client", self.client);
        output.column("user", self.user);
        output.column("method", self.method);
        output.column("path", self.path);
        output.column("protocol", self.protocol);
        output.column("request", self.request);
        output.column("status", self.status);
        output.column("bytes", self.bytes);
        if settings.format != Format::Common {
            output.column("referer", self.referer);
            output.column("user_agent", self.user_agent);
        }
        if let Some(request_time) = self.request_time {
            output.column("request_time", request_time);
        }
    }
}

/// `-` stands for nothing.
#[inline(always)]
fn push_quoted(column: &mut Slices<'_>, field: Option<Quoted<'_>>, scratch: &mut Vec<u8>) {
    match field {
        Some(field) if !field.is_dash() => column.push(field.resolve(scratch)),
        _ => column.push_null(),
    }
}

tidemill_plugin::export_parser!(AccessLog);
