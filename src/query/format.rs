//! answers as bytes: JSON, NDJSON, CSV, Arrow stream
//!
//! | format | shape | an error on the way |
//! |---|---|---|
//! | `application/json` | an array of objects, a row each: `jq '.[].status'` | a last element `{"error": …}`, and the array is never closed |
//! | `application/x-ndjson` | an object a line | a last line `{"error": …}` |
//! | `text/csv` | RFC 4180 with a header line | the stream breaks off |
//! | `application/vnd.apache.arrow.stream` | Arrow IPC | the stream breaks off |
//!
//! Times are RFC 3339 in UTC, whole numbers are exact, what JSON has no number for (NaN, infinity) is null there, bytes are base64
//! (`jq '@base64d'`), labels are an object. A column of nulls keeps its key.

use super::{Answer, QueryError};
use crate::error::ErrorKind;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, StringArray, StringBuilder};
use arrow::compute::cast;
use arrow::csv;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{LineDelimited, NullableEncoder, WriterBuilder, make_encoder};
use arrow::json::{Encoder, EncoderFactory, EncoderOptions};
use arrow::record_batch::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::sync::Arc;

/// A way to write an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// an array of objects
    Json,
    /// an object a line
    Ndjson,
    /// lines of values
    Csv,
    /// Arrow IPC stream
    Arrow,
}

impl Format {
    /// Every format, the one for those who do not care first.
    pub const ALL: &[Format] = &[Format::Json, Format::Ndjson, Format::Csv, Format::Arrow];

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The names it is asked for by.
    fn names(self) -> &'static [&'static str] {
        match self {
            Format::Json => &["application/json", "text/json"],
            Format::Ndjson => {
                &["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"]
            }
            Format::Csv => &["text/csv"],
            Format::Arrow => &["application/vnd.apache.arrow.stream"],
        }
    }

    /// How well one media range of an `Accept` header fits: 0 not at all, 1 `*/*`, 2 `text/*`, 3 by name.
    fn fits(self, range: &str) -> u8 {
        let by_type = |name: &&str| range.strip_suffix("/*").is_some_and(|main| name.split('/').next() == Some(main));
        match range {
            "*/*" | "*" => 1,
            _ if self.names().contains(&range) => 3,
            _ if self.names().first().is_some_and(by_type) => 2,
            _ => 0,
        }
    }
}

/// The format that an `Accept` header likes best; JSON if it likes several the same, or if there is none.
pub fn choose(accept: Option<&str>) -> Result<Format, QueryError> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Format::Json) };
    let ranges: Vec<(String, u32)> = accept.split(',').map(range).collect();
    let mut best: Option<(u32, Format)> = None;
    for format in Format::ALL {
        // The closest range decides about a format, wherever it stands.
        let fit = ranges.iter().filter(|(range, _)| format.fits(range) > 0).max_by_key(|(range, _)| format.fits(range));
        if let Some((_, quality)) = fit
            && *quality > 0
            && best.is_none_or(|(most, _)| *quality > most)
        {
            best = Some((*quality, *format));
        }
    }
    let failure = || {
        let names: Vec<&str> = Format::ALL.iter().filter_map(|format| format.names().first().copied()).collect();
        QueryError::invalid(format!("no answer can be written as `{accept}`"))
            .hint(format!("accepted are {}", super::fault::list(&names)))
    };
    best.map(|(_, format)| format).ok_or_else(failure)
}

/// `text/csv;q=0.5` as a media range in lower case and thousandths.
fn range(text: &str) -> (String, u32) {
    let mut parts = text.split(';');
    let range = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let quality = parts.find_map(|part| part.trim().strip_prefix("q=").or_else(|| part.trim().strip_prefix("Q=")));
    let quality = quality.map_or(1.0, |text| text.trim().parse::<f64>().unwrap_or(0.0));
    (range, (quality.clamp(0.0, 1.0) * 1000.0).round() as u32)
}

/// Writes an answer batch by batch.
pub fn encode(answer: Answer, format: Format) -> BoxStream<'static, Result<Bytes, QueryError>> {
    let Answer { schema, batches } = answer;
    let pen = match Pen::new(format, &schema) {
        Ok(pen) => pen,
        Err(error) => return stream::once(async move { Err(failed(error)) }).boxed(),
    };
    stream::unfold(Some((pen, batches)), |state| async move {
        let (mut pen, mut batches) = state?;
        match pen.start.take() {
            Some(start) if !start.is_empty() => return Some((vec![Ok(start)], Some((pen, batches)))),
            _ => {}
        }
        match batches.next().await {
            Some(Ok(batch)) => match pen.write(&batch) {
                Ok(bytes) => Some((vec![Ok(bytes)], Some((pen, batches)))),
                Err(error) => Some((pen.broken(failed(error)), None)),
            },
            Some(Err(error)) => Some((pen.broken(error), None)),
            None => match pen.end() {
                Ok(bytes) => Some((vec![Ok(bytes)], None)),
                Err(error) => Some((pen.broken(failed(error)), None)),
            },
        }
    })
    .flat_map(stream::iter)
    .filter(|bytes| {
        let any = bytes.as_ref().map_or(true, |bytes| !bytes.is_empty());
        async move { any }
    })
    .boxed()
}

fn failed(error: ArrowError) -> QueryError {
    QueryError::new(ErrorKind::Internal, format!("the answer cannot be written: {error}"))
}

/// An error as clients read it.
pub fn error_json(error: &QueryError) -> serde_json::Value {
    let mut told = serde_json::Map::new();
    told.insert("kind".into(), kind(error.kind).into());
    told.insert("message".into(), error.message.clone().into());
    if let Some(place) = error.place {
        told.insert("line".into(), place.line.into());
        told.insert("column".into(), place.column.into());
    }
    if let Some(hint) = &error.hint {
        told.insert("hint".into(), hint.clone().into());
    }
    serde_json::json!({ "error": told })
}

fn kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "invalid",
        ErrorKind::Missing => "missing",
        ErrorKind::Forbidden => "forbidden",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Limit => "limit",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Foreign => "foreign",
        ErrorKind::Io => "io",
        ErrorKind::Internal => "internal",
    }
}

/// Writes one answer.
struct Pen {
    format: Format,
    /// what stands before the first row, until it is written
    start: Option<Bytes>,
    rows: u64,
    arrow: Option<StreamWriter<Vec<u8>>>,
}

impl Pen {
    fn new(format: Format, schema: &SchemaRef) -> Result<Self, ArrowError> {
        let mut arrow = None;
        let start = match format {
            Format::Json => Bytes::from_static(b"["),
            Format::Ndjson => Bytes::new(),
            Format::Csv => {
                let mut header = Vec::new();
                csv::Writer::new(&mut header).write(&RecordBatch::new_empty(flat_schema(schema)))?;
                Bytes::from(header)
            }
            Format::Arrow => {
                let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
                let start = std::mem::take(writer.get_mut());
                arrow = Some(writer);
                Bytes::from(start)
            }
        };
        Ok(Pen { format, start: Some(start), rows: 0, arrow })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        let first = self.rows == 0;
        self.rows += batch.num_rows() as u64;
        match self.format {
            Format::Json => {
                let mut text = Vec::new();
                for line in lines(batch)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let before: &[u8] = if first && text.is_empty() { b"\n" } else { b",\n" };
                    text.extend_from_slice(before);
                    text.extend_from_slice(line);
                }
                Ok(text.into())
            }
            Format::Ndjson => Ok(lines(batch)?.into()),
            Format::Csv => {
                let mut text = Vec::new();
                csv::WriterBuilder::new().with_header(false).build(&mut text).write(&flat(batch)?)?;
                Ok(text.into())
            }
            Format::Arrow => match &mut self.arrow {
                Some(writer) => {
                    writer.write(batch)?;
                    Ok(std::mem::take(writer.get_mut()).into())
                }
                None => Ok(Bytes::new()),
            },
        }
    }

    fn end(&mut self) -> Result<Bytes, ArrowError> {
        match self.format {
            Format::Json => Ok(Bytes::from_static(if self.rows == 0 { b"]\n" } else { b"\n]\n" })),
            Format::Ndjson | Format::Csv => Ok(Bytes::new()),
            Format::Arrow => match &mut self.arrow {
                Some(writer) => {
                    writer.finish()?;
                    Ok(std::mem::take(writer.get_mut()).into())
                }
                None => Ok(Bytes::new()),
            },
        }
    }

    /// What a client sees when the answer ends before its end.
    fn broken(&self, error: QueryError) -> Vec<Result<Bytes, QueryError>> {
        let told = error_json(&error).to_string();
        match self.format {
            Format::Json if self.rows == 0 => vec![Ok(format!("\n{told}\n").into()), Err(error)],
            Format::Json => vec![Ok(format!(",\n{told}\n").into()), Err(error)],
            Format::Ndjson => vec![Ok(format!("{told}\n").into())],
            Format::Csv | Format::Arrow => vec![Err(error)],
        }
    }
}

/// Each row as an object on a line.
fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    if batch.num_columns() == 0 {
        return Ok(b"{}\n".repeat(batch.num_rows()));
    }
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(Bytes64))
        .build::<_, LineDelimited>(&mut text);
    writer.write(&durable(batch)?)?;
    writer.finish()?;
    drop(writer);
    Ok(text)
}

/// Spans of time and other types JSON has no word for, as text.
fn durable(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let column = match column.data_type() {
            DataType::Interval(_) | DataType::Duration(_) | DataType::Null => match column.data_type() {
                DataType::Null => column.clone(),
                _ => cast(column, &DataType::Utf8)?,
            },
            _ => column.clone(),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// The schema of [`flat`].
fn flat_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let r#type = match field.data_type() {
            nested if nested.is_nested() => DataType::Utf8,
            DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => DataType::Utf8,
            other => other.clone(),
        };
        Field::new(field.name(), r#type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What CSV has no way to write, as text: bytes as base64, labels and lists as JSON.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| match column.data_type() {
        nested if nested.is_nested() => json_text(field, column),
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => base64_text(column),
        _ => Ok(column.clone()),
    });
    RecordBatch::try_new(flat_schema(&schema), columns.collect::<Result<_, _>>()?)
}

fn json_text(field: &FieldRef, column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let options = EncoderOptions::default().with_explicit_nulls(true).with_encoder_factory(Arc::new(Bytes64));
    let mut encoder = make_encoder(field, column.as_ref(), &options)?;
    let mut texts = StringBuilder::new();
    let mut text = Vec::new();
    for row in 0..column.len() {
        if column.is_null(row) {
            texts.append_null();
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        texts.append_value(String::from_utf8_lossy(&text));
    }
    Ok(Arc::new(texts.finish()))
}

fn base64_text(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let bytes = cast(column, &DataType::Binary)?;
    let texts: StringArray =
        bytes.as_binary::<i32>().iter().map(|row| row.map(|bytes| STANDARD.encode(bytes))).collect();
    Ok(Arc::new(texts))
}

/// Writes bytes as base64 where the library would write hexadecimal digits.
#[derive(Debug)]
struct Bytes64;

struct Bytes64Encoder(BinaryArray);

impl Encoder for Bytes64Encoder {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(STANDARD.encode(self.0.value(row)).as_bytes());
        out.push(b'"');
    }
}

impl EncoderFactory for Bytes64 {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let bytes = match array.data_type() {
            DataType::Binary => array.as_binary::<i32>().clone(),
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                cast(&arrow::array::make_array(array.to_data()), &DataType::Binary)?.as_binary::<i32>().clone()
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(Box::new(Bytes64Encoder(bytes)), array.nulls().cloned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::labels::LabelsBuilder;
    use arrow::array::{Float64Array, Int64Array, TimestampNanosecondArray};

    fn rows() -> RecordBatch {
        let mut labels = LabelsBuilder::new();
        labels.push([("job", "a\"b")]).unwrap();
        labels.push([]).unwrap();
        let column = |array: ArrayRef| array;
        RecordBatch::try_from_iter_with_nullable(vec![
            ("at", column(Arc::new(TimestampNanosecondArray::from(vec![1_500_000_000, 0]).with_timezone("UTC"))), true),
            ("n", column(Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None]))), true),
            ("x", column(Arc::new(Float64Array::from(vec![f64::NAN, 0.5]))), true),
            ("raw", column(Arc::new(BinaryArray::from(vec![Some(b"hi".as_slice()), None]))), true),
            ("labels", labels.finish(), true),
            ("text", column(Arc::new(StringArray::from(vec!["a,\"b\"\nc", "ü"]))), true),
        ])
        .unwrap()
    }

    fn written(format: Format, batches: Vec<Result<RecordBatch, QueryError>>) -> (Vec<u8>, bool) {
        let answer = Answer { schema: rows().schema(), batches: stream::iter(batches).boxed() };
        let chunks: Vec<_> = futures::executor::block_on(encode(answer, format).collect());
        let broken = chunks.iter().any(Result::is_err);
        (chunks.into_iter().filter_map(Result::ok).flat_map(|bytes| bytes.to_vec()).collect(), broken)
    }

    fn text(format: Format, batches: Vec<Result<RecordBatch, QueryError>>) -> (String, bool) {
        let (bytes, broken) = written(format, batches);
        (String::from_utf8(bytes).unwrap(), broken)
    }

    #[test]
    fn json_is_an_array_of_objects() {
        let (json, _) = text(Format::Json, vec![Ok(rows()), Ok(rows())]);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value.as_array().unwrap().len(), 4);
        assert_eq!(
            value[0].to_string(),
            r#"{"at":"1970-01-01T00:00:01.500Z","labels":{"job":"a\"b"},"n":9007199254740993,"raw":"aGk=","text":"a,\"b\"\nc","x":null}"#
        );
        assert_eq!(value[1]["n"], serde_json::Value::Null);
        assert_eq!(text(Format::Json, vec![]).0, "[]\n");
    }

    #[test]
    fn an_error_on_the_way_shows() {
        let cut = || Err(QueryError::new(ErrorKind::Limit, "cut"));
        let (json, broken) = text(Format::Json, vec![Ok(rows()), cut()]);
        assert!(
            broken && serde_json::from_str::<serde_json::Value>(&json).is_err() && json.contains("\"error\""),
            "{json}"
        );
        let (ndjson, _) = text(Format::Ndjson, vec![Ok(rows()), cut()]);
        let last: serde_json::Value = serde_json::from_str(ndjson.lines().last().unwrap()).unwrap();
        assert_eq!(last["error"]["kind"], "limit");
        assert!(text(Format::Csv, vec![Ok(rows()), cut()]).1 && written(Format::Arrow, vec![Ok(rows()), cut()]).1);
    }

    #[test]
    fn csv_and_arrow_carry_everything() {
        let (csv, _) = text(Format::Csv, vec![Ok(rows())]);
        assert_eq!(
            csv,
            "at,n,x,raw,labels,text\n1970-01-01T00:00:01.500Z,9007199254740993,NaN,aGk=,\"{\"\"job\"\":\"\"a\\\"\"b\"\"}\",\"a,\"\"b\"\"\nc\"\n\
             1970-01-01T00:00:00Z,,0.5,,{},ü\n"
        );
        assert!(text(Format::Csv, vec![]).0.starts_with("at,n,x"));
        let (bytes, _) = written(Format::Arrow, vec![Ok(rows())]);
        let read = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
        assert_eq!(read.collect::<Result<Vec<_>, _>>().unwrap(), [rows()]);
    }

    #[test]
    fn accept_headers_choose() {
        for (accept, format) in [
            (None, Format::Json),
            (Some("*/*"), Format::Json),
            (Some("text/csv"), Format::Csv),
            (Some("text/html, text/*;q=0.5"), Format::Csv),
            (Some("application/x-ndjson, */*;q=0.1"), Format::Ndjson),
            (Some("application/json;q=0.2, application/vnd.apache.arrow.stream"), Format::Arrow),
            (Some("application/json;q=0, */*"), Format::Ndjson),
        ] {
            assert_eq!(choose(accept).unwrap(), format, "{accept:?}");
        }
        assert!(choose(Some("image/png")).is_err());
    }
}
