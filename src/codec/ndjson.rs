//! JSON objects as columns, a line or an array's element each
//!
//! | in the event | becomes |
//! |---|---|
//! | nested objects | a column a leaf, names joined with `.`; null and empty objects are absent |
//! | arrays | JSON text, as written |
//! | whole numbers | int64, exact; beyond 64 bits text |
//! | numbers | float64 |
//! | values of several types in one column of a batch | each as it is, in a column of [`crate::event::mixed`] types: the table decides |
//! | `timestamp`, `@timestamp`, `time`, `ts` | the first of them that [`super::time`] can read is `timestamp`; the others stay what they are |
//! | a `timestamp` that cannot be read | `timestamp__utf8`; `timestamp` is then when the event was received |
//! | `body`, if text | `body`, and the line is kept in `__raw`; else `body` is the line |
//! | `body` of another type | `body__<type>` |
//! | `source`, `__raw`, `__more` | `source__field` and so on: those names are taken |
//! | the name `""` | `_` |
//! | a column beyond the 990th of a batch | a field of the JSON text `__more` |
//!
//! Of fields that come to the same column of one event, such as `{"a":1,"a":2}` or `{"c.d":1,"c":{"d":2}}`, the last has it, and the
//! earlier ones are fields of `__more`. A line that is no object, or has a mistake, is a dead letter with its bytes.

use super::field::{Column, sparse};
use super::json::{Leaves, Value, elements};
use super::{BAD_LINES_MAX, BadLine, Decoded, Received, lines, time};
use crate::error::{Error, ErrorKind, Result};
use crate::event::DeadLetter;
use crate::event::columns::{self, BODY, COLUMNS_MAX, NAME_BYTES_MAX, RAW, SOURCE, TIMESTAMP, Type, field};
use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, StringArray, StringBuilder, TimestampNanosecondArray};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Where fields go that have no column.
const MORE: &str = "__more";
/// Fields that may say when it happened; the first that does counts.
const TIMES: [&str; 4] = [TIMESTAMP, "@timestamp", "time", "ts"];
/// Columns of a batch, some room left for ours.
const BATCH_COLUMNS_MAX: usize = COLUMNS_MAX - 10;
/// Rows times columns of a batch: what an absent value costs is small, not nothing.
const CELLS_MAX: usize = 64 << 20;

/// The good lines so far.
#[derive(Default)]
struct Rows<'a> {
    lines: Vec<&'a [u8]>,
    timestamps: Vec<i64>,
    /// an event's own body, by row
    bodies: Vec<(usize, Cow<'a, str>)>,
    columns: Vec<Column<'a>>,
    by_name: HashMap<String, usize>,
    /// the column that came next in the last event: most events have their fields in the same order
    next: usize,
    more: Vec<(usize, String)>,
}

/// JSON objects, a line each.
pub fn decode(taken: lines::Taken, received: &Received) -> Result<Decoded> {
    let (mut dead, mut bad) = lines::refuse(taken.long, received);
    let mut rows = Rows::default();
    let numbered = taken.body.iter().flatten().zip(&taken.numbers);
    read(numbered.map(|(line, number)| (line, *number)), &mut rows, received, &mut dead, &mut bad);
    bad.sort_by_key(|bad| bad.line);
    Ok(Decoded { columns: rows.finish(&taken.body, received)?, dead, bad })
}

/// A JSON array of objects, or a single object, over as many lines as it likes. A mistake outside of an element spoils the whole.
pub fn decode_array(bytes: &[u8], received: &Received) -> Result<Decoded> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::invalid(format!("byte {}: the body is not UTF-8", error.valid_up_to() + 1)))?;
    let texts = elements(text).map_err(|wrong| {
        let before = text.get(..wrong.column - 1).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        Error::invalid(format!("line {line} column {column}: {}", wrong.what))
    })?;
    let body = BinaryArray::from_iter_values(texts.iter().map(|text| text.as_bytes()));
    let (mut dead, mut bad) = (Vec::new(), Vec::new());
    let mut rows = Rows::default();
    read(body.iter().flatten().zip(1..), &mut rows, received, &mut dead, &mut bad);
    Ok(Decoded { columns: rows.finish(&body, received)?, dead, bad })
}

fn read<'a>(
    lines: impl Iterator<Item = (&'a [u8], u64)>,
    rows: &mut Rows<'a>,
    received: &Received,
    dead: &mut Vec<DeadLetter>,
    bad: &mut Vec<BadLine>,
) {
    let mut leaves = Leaves::default();
    for (line, number) in lines {
        // White space is no event, as an empty line is none.
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Err(reason) = rows.push(line, &mut leaves, received.at) {
            dead.push(received.dead(reason.clone(), line.to_vec()));
            if bad.len() < BAD_LINES_MAX {
                bad.push(BadLine { line: number, reason });
            }
        }
    }
}

impl<'a> Rows<'a> {
    fn push(&mut self, line: &'a [u8], leaves: &mut Leaves<'a>, received_at: i64) -> Result<(), String> {
        let text =
            std::str::from_utf8(line).map_err(|error| format!("column {}: not UTF-8", error.valid_up_to() + 1))?;
        leaves.read(text).map_err(|wrong| format!("column {}: {}", wrong.column, wrong.what))?;
        let mut times = [const { None }; TIMES.len()];
        let mut body = None;
        for (at, (name, value)) in leaves.iter().enumerate() {
            if name.len() > NAME_BYTES_MAX {
                return Err(format!("a field's name of {} bytes is longer than {NAME_BYTES_MAX}", name.len()));
            }
            if let Some(time) = TIMES.iter().position(|time| *time == name).and_then(|at| times.get_mut(at)) {
                *time = Some((at, value));
            } else if name == BODY {
                body = Some((at, value));
            }
        }
        let row = self.lines.len();
        let time = times.into_iter().flatten().find_map(|(at, value)| Some((at, time_of(value)?)));
        let body = body.and_then(|(at, value)| match value {
            Value::Text(text) => Some((at, text.clone())),
            _ => None,
        });
        let used = [time.map(|(at, _)| at), body.as_ref().map(|(at, _)| *at)];
        self.next = 0;
        for (at, (name, value)) in leaves.iter().enumerate() {
            if !used.contains(&Some(at)) {
                self.put(row, name, value);
            }
        }
        self.bodies.extend(body.map(|(_, body)| (row, body)));
        self.timestamps.push(time.map_or(received_at, |(_, time)| time));
        self.lines.push(line);
        Ok(())
    }

    fn put(&mut self, row: usize, name: &str, value: &Value<'a>) {
        let (name, value) = own_name(name, value);
        let guessed = self.columns.get(self.next).is_some_and(|column| column.name == name);
        let known = if guessed { Some(self.next) } else { self.by_name.get(name.as_ref()).copied() };
        let at = match known {
            Some(at) => at,
            None if self.columns.len() < BATCH_COLUMNS_MAX => {
                self.by_name.insert(name.as_ref().to_owned(), self.columns.len());
                self.columns.push(Column { name: name.into_owned(), values: Vec::new() });
                self.columns.len() - 1
            }
            None => return self.put_more(row, &name, &value),
        };
        self.next = at + 1;
        let Some(column) = self.columns.get_mut(at) else { return };
        match column.values.last_mut() {
            Some((last, earlier)) if *last == row => {
                let (earlier, name) = (std::mem::replace(earlier, value), column.name.clone());
                self.put_more(row, &name, &earlier);
            }
            _ => column.values.push((row, value)),
        }
    }

    fn put_more(&mut self, row: usize, name: &str, value: &Value<'a>) {
        if self.more.last().is_none_or(|(last, _)| *last != row) {
            self.more.push((row, String::new()));
        }
        if let Some((_, text)) = self.more.last_mut() {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(&serde_json::Value::from(name).to_string());
            text.push(':');
            text.push_str(&value.json());
        }
    }

    /// `came` has all lines; where they are all good, it is the body as it stands.
    fn finish(self, came: &BinaryArray, received: &Received) -> Result<RecordBatch> {
        let rows = self.lines.len();
        if rows.saturating_mul(self.columns.len()) > CELLS_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("{rows} events with {} different fields are too many at once; send fewer", self.columns.len()),
            ));
        }
        let body = match self.bodies.is_empty() && rows == came.len() {
            true => came.clone(),
            false => self.body(),
        };
        let mut fields = vec![field(TIMESTAMP, Type::Timestamp), field(BODY, Type::Binary), field(SOURCE, Type::Utf8)];
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from_iter_values(self.timestamps.iter().copied()).with_timezone("UTC")),
            Arc::new(body),
            Arc::new(StringArray::new_repeated(&*received.source, rows)),
        ];
        for column in &self.columns {
            let array = column.finish(rows)?;
            fields.push(Field::new(&column.name, array.data_type().clone(), true));
            arrays.push(array);
        }
        if !self.more.is_empty() {
            fields.push(field(MORE, Type::Utf8));
            let more = self.more.iter().map(|(row, text)| (*row, format!("{text}}}")));
            arrays.push(Arc::new(sparse(rows, more, StringBuilder::new(), StringBuilder::append_option).finish()));
        }
        if !self.bodies.is_empty() {
            fields.push(field(RAW, Type::Binary));
            let raw = self.bodies.iter().filter_map(|(row, _)| Some((*row, *self.lines.get(*row)?)));
            arrays.push(Arc::new(sparse(rows, raw, BinaryBuilder::new(), BinaryBuilder::append_option).finish()));
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }

    fn body(&self) -> BinaryArray {
        let mut bodies = self.bodies.iter().peekable();
        BinaryArray::from_iter_values(self.lines.iter().enumerate().map(|(at, line)| {
            match bodies.next_if(|(row, _)| *row == at) {
                Some((_, body)) => body.as_bytes(),
                None => line,
            }
        }))
    }
}

fn time_of(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Text(text) => time::of_text(text),
        Value::Int(value) => time::of_number(&value.to_string()),
        Value::Float(text) => time::of_number(text),
        Value::Boolean(_) | Value::Wide(_) | Value::Array(_) => None,
    }
}

/// Under what name, and as what, a field is kept that is neither the time nor the body.
fn own_name<'n, 'a>(name: &'n str, value: &Value<'a>) -> (Cow<'n, str>, Value<'a>) {
    match name {
        "" => ("_".into(), value.clone()),
        TIMESTAMP => (columns::sibling(TIMESTAMP, Type::Utf8).into(), Value::Text(value.text().into_owned().into())),
        BODY => (columns::sibling(BODY, value.r#type()).into(), value.clone()),
        SOURCE | RAW | MORE => (format!("{name}__field").into(), value.clone()),
        _ => (name.into(), value.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::mixed;
    use arrow::array::AsArray;
    use arrow::util::display::array_value_to_string;

    fn received() -> Received {
        Received { source: "s".into(), at: 1_000_000_000 }
    }

    fn decoded(text: &str) -> Decoded {
        let mut lines = lines::Lines::new(lines::Limits::default());
        lines.feed(text.as_bytes());
        lines.end_partial();
        decode(lines.take().unwrap(), &received()).unwrap()
    }

    /// `name:type=value,value`, a column each, without `source`
    fn shown(batch: &RecordBatch) -> Vec<String> {
        let column = |(field, array): (&Arc<Field>, &ArrayRef)| {
            let array = match array.data_type() {
                arrow::datatypes::DataType::Union(_, _) => {
                    let texts: Vec<String> =
                        mixed::parts(array).unwrap().iter().map(|(r#type, _)| r#type.word().into()).collect();
                    let plain =
                        arrow::compute::cast(&mixed::plain(array).unwrap(), &arrow::datatypes::DataType::Utf8).unwrap();
                    let plain: Vec<&str> = plain.as_string::<i32>().iter().map(|value| value.unwrap_or("-")).collect();
                    return format!("{}:{}={}", field.name(), texts.join("|"), plain.join(" "));
                }
                arrow::datatypes::DataType::Binary => {
                    arrow::compute::cast(array, &arrow::datatypes::DataType::Utf8).unwrap()
                }
                _ => array.clone(),
            };
            let values: Vec<String> = (0..array.len())
                .map(|row| if array.is_null(row) { "-".into() } else { array_value_to_string(&array, row).unwrap() })
                .collect();
            format!("{}:{}={}", field.name(), Type::of(field.data_type()).unwrap().word(), values.join(" "))
        };
        batch.schema().fields().iter().zip(batch.columns()).map(column).filter(|c| !c.starts_with("source:")).collect()
    }

    #[test]
    fn fields_become_columns() {
        let early = "1970-01-01T00:00:01Z";
        let rows: &[(&str, &[&str])] = &[
            (r#"{"a":1}"#, &[r#"body:binary={"a":1}"#, "a:int64=1"]),
            ("{\"a\":1}\n{\"a\":2.5}", &["a:int64|float64=1.0 2.5"]),
            ("{\"a\":9007199254740993}\n{\"a\":2.5}", &["a:int64|float64=9007199254740993 2.5"]),
            ("{\"a\":9007199254740993}\n{\"b\":1}", &["a:int64=9007199254740993 -", "b:int64=- 1"]),
            ("{\"a\":18446744073709551616}\n{\"a\":1}", &["a:utf8|int64=18446744073709551616 1"]),
            ("{\"a\":true}\n{\"a\":\"x\"}\n{\"a\":[1, 2]}", &["a:boolean|utf8=true x [1, 2]"]),
            (r#"{"a":1,"a":"x"}"#, &["a:utf8=x", r#"__more:utf8={"a":1}"#]),
            (r#"{"a":1,"a":2,"a":"x"}"#, &["a:utf8=x", r#"__more:utf8={"a":1,"a":2}"#]),
            (r#"{"a":{"b":1},"a.b":2}"#, &["a.b:int64=2", r#"__more:utf8={"a.b":1}"#]),
            (r#"{"a.b":2,"a":{"b":"x"}}"#, &["a.b:utf8=x", r#"__more:utf8={"a.b":2}"#]),
            (r#"{"":1,"_":2}"#, &["_:int64=2", r#"__more:utf8={"_":1}"#]),
            (r#"{"source":1,"source__field":"x"}"#, &["source__field:utf8=x", r#"__more:utf8={"source__field":1}"#]),
            (
                r#"{"body":"a","body":"b"}"#,
                &["body:binary=b", "body__utf8:utf8=a", r#"__raw:binary={"body":"a","body":"b"}"#],
            ),
            (
                r#"{"ts":1700000001,"ts":1700000000}"#,
                &["timestamp:timestamp=2023-11-14T22:13:20Z", "ts:int64=1700000001"],
            ),
            (r#"{"source":"x","__raw":1,"":2}"#, &["source__field:utf8=x", "__raw__field:int64=1", "_:int64=2"]),
            (r#"{"body":"hello"}"#, &["body:binary=hello", r#"__raw:binary={"body":"hello"}"#]),
            (
                "{\"body\":\"b\"}\n{\"c\":1}",
                &["body:binary=b {\"c\":1}", "c:int64=- 1", "__raw:binary={\"body\":\"b\"} -"],
            ),
            (r#"{"body":7}"#, &[r#"body:binary={"body":7}"#, "body__int64:int64=7"]),
            (r#"{"ts":1700000000}"#, &["timestamp:timestamp=2023-11-14T22:13:20Z"]),
            (r#"{"time":0.25}"#, &["time:float64=0.25"]),
            (
                r#"{"time":0.25,"ts":1700000000.5}"#,
                &["timestamp:timestamp=2023-11-14T22:13:20.500Z", "time:float64=0.25"],
            ),
            (
                r#"{"timestamp":"soon","@timestamp":"2023-11-14T23:13:20+01:00"}"#,
                &["timestamp:timestamp=2023-11-14T22:13:20Z", "timestamp__utf8:utf8=soon"],
            ),
        ];
        for (text, want) in rows {
            let decoded = decoded(text);
            assert!(decoded.bad.is_empty(), "{text}: {:?}", decoded.bad);
            let mut shown = shown(&decoded.columns);
            if !want.iter().any(|w| w.starts_with("timestamp:")) {
                let time = shown.remove(0);
                assert!(time.split(['=', ' ']).skip(1).all(|time| time == early), "{text}: {time}");
            }
            if !want.iter().any(|w| w.starts_with("body:")) {
                shown.retain(|column| !column.starts_with("body:"));
            }
            assert_eq!(shown, *want, "{text}");
        }
    }

    #[test]
    fn good_lines_land_beside_bad_ones() {
        let decoded = decoded("{\"a\":1}\n \t\nnot json\n{\"a\":2}\r\n[1]\n{\"a\":\n\"s\"");
        assert_eq!(decoded.columns.num_rows(), 2);
        let bad: Vec<(u64, &str)> = decoded.bad.iter().map(|bad| (bad.line, bad.reason.as_str())).collect();
        assert_eq!(
            bad,
            [
                (3, "column 1: expected a JSON object, found `n`"),
                (5, "column 1: expected a JSON object, found `[`"),
                (6, "column 6: expected a value, but the text ends"),
                (7, "column 1: expected a JSON object, found `\"`"),
            ]
        );
        assert_eq!(decoded.dead[0].raw, b"not json");
        assert_eq!(shown(&decoded.columns)[1], r#"body:binary={"a":1} {"a":2}"#);
    }

    #[test]
    fn text_that_is_not_utf8_is_a_dead_letter() {
        let mut lines = lines::Lines::new(lines::Limits::default());
        lines.feed(b"{\"a\":\"\xff\"}\n{\"a\":1}\n");
        let decoded = decode(lines.take().unwrap(), &received()).unwrap();
        assert_eq!((decoded.columns.num_rows(), decoded.dead.len()), (1, 1));
        assert_eq!(decoded.dead[0].raw, b"{\"a\":\"\xff\"}");
        assert_eq!(decoded.bad[0].reason, "column 7: not UTF-8");
    }

    #[test]
    fn too_many_columns_go_to_more() {
        let text: String = (0..1200).map(|n| format!("{{\"f{n}\":\"{n}\"}}\n")).collect();
        let decoded = decoded(&text);
        assert_eq!(decoded.columns.num_rows(), 1200);
        assert!(decoded.columns.num_columns() <= COLUMNS_MAX);
        let more = decoded.columns.column_by_name(MORE).unwrap();
        assert_eq!(array_value_to_string(more, 1199).unwrap(), r#"{"f1199":"1199"}"#);
        assert_eq!(more.null_count(), BATCH_COLUMNS_MAX);
    }

    #[test]
    fn arrays_are_events_too() {
        let text = "[\n {\"a\": 1},\n 2,\n {\"a\":\n 3}]";
        let decoded = decode_array(text.as_bytes(), &received()).unwrap();
        assert_eq!(shown(&decoded.columns)[2], "a:int64=1 3");
        assert_eq!(decoded.bad, [BadLine { line: 2, reason: "column 1: expected a JSON object, found `2`".into() }]);
        let error = decode_array(b"[{\"a\":1}\n{}]", &received()).unwrap_err();
        assert_eq!(error.message(), "line 2 column 1: expected `,` or `]`, found `{`");
    }

    #[test]
    fn real_logs_become_events() {
        let Ok(text) = std::fs::read_to_string("../shared/data/logs/kubernetes/core/core_unescaping_json.log") else {
            return;
        };
        let decoded = decoded(&text);
        assert_eq!((decoded.columns.num_rows(), decoded.dead.len()), (1, 0));
        assert!(decoded.columns.column_by_name("time").is_none(), "the time became the timestamp");
    }
}
