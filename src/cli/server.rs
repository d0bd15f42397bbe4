//! a running Tidemill, asked over HTTP

use crate::error::{Error, ErrorKind, Result};
use crate::net::{Auth, Client, Post, Reply, Secret};
use crate::query::terminal;
use crate::server::capture::Captured;
use crate::server::replay::Report;
use crate::server::replay_table;
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use std::io::Write;
use std::time::Duration;

/// How long nothing may come before it is given up.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// The most of an answer that is held to be aligned.
const TABLE_BYTES_MAX: usize = 256 << 20;

/// Where it is, and how to show that one may ask.
pub struct Server {
    url: String,
    token: Option<Secret>,
    client: Client,
}

/// New rows of a table.
#[derive(Deserialize)]
pub struct Rows {
    /// where to go on
    pub next: u64,
    /// rows that went by too fast to be shown
    pub skipped: u64,
    /// the rows, as JSON objects
    pub rows: Vec<serde_json::Value>,
}

impl Server {
    /// At this address; the token, if one is needed, is in the environment variable `TIDEMILL_TOKEN`, and the certificate authorities
    /// to trust instead of the public ones in the file `TIDEMILL_CA`.
    pub fn new(url: &str) -> Result<Server> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let roots = set("TIDEMILL_CA").map(std::path::PathBuf::from);
        let client = Client::new(roots.as_deref())?;
        Ok(Server { url: url.trim_end_matches('/').to_owned(), token: set("TIDEMILL_TOKEN").map(Secret::new), client })
    }

    /// The answer as aligned text.
    pub async fn table(&self, sql: &str, timeout: Option<&str>) -> Result<String> {
        let (schema, batches) = self.batches(sql, timeout).await?;
        Ok(terminal::table(&schema, &batches))
    }

    /// The answer as columns.
    pub async fn batches(&self, sql: &str, timeout: Option<&str>) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let mut reply = self.ask(sql, "application/vnd.apache.arrow.stream", timeout).await?;
        let mut bytes = Vec::new();
        while let Some(part) = reply.body.next().await {
            bytes.extend_from_slice(&part?);
            if bytes.len() > TABLE_BYTES_MAX {
                let message = "the answer is too large to be aligned; add a LIMIT, or use --format ndjson";
                return Err(Error::new(ErrorKind::Limit, message));
            }
        }
        let reader = StreamReader::try_new(bytes.as_slice(), None)?;
        let schema = reader.schema();
        let batches = reader.collect::<Result<Vec<_>, _>>()?;
        Ok((schema, batches))
    }

    /// The answer as JSON objects.
    pub async fn objects(&self, sql: &str) -> Result<Vec<serde_json::Value>> {
        let reply = self.ask(sql, "application/json", None).await?;
        read(&whole(reply).await?)
    }

    /// Posts JSON to an operators' path; what it was told.
    pub async fn tell(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let reply = self.post(path, Bytes::from(body.to_string()), "application/json").await?;
        read(&whole(reply).await?)
    }

    /// Copies the answer to standard output as it comes; a reader that has gone away (`| head`) is no failure.
    pub async fn copy(&self, sql: &str, accept: &str, timeout: Option<&str>) -> Result<()> {
        let mut reply = self.ask(sql, accept, timeout).await?;
        while let Some(part) = reply.body.next().await {
            if std::io::stdout().lock().write_all(&part?).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// The rows of a table that came after the first `since`; at first, its last ones.
    pub async fn rows(&self, table: &str, since: Option<u64>, last: u64) -> Result<Rows> {
        let since = since.map(|since| format!("&since={since}")).unwrap_or_default();
        let path = format!("/v1/tail/{table}?last={last}{since}");
        let reply = self.post(&path, Bytes::new(), "application/json").await?;
        let bytes = whole(reply).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Foreign, format!("{}{path} answered something else: {error}", self.url))
        })
    }

    /// The last rows of a table by time, oldest first, as JSON objects a line: also those that are in segments.
    pub async fn last_rows(&self, table: &str, count: u64) -> Result<()> {
        let sql =
            format!("SELECT * FROM (SELECT * FROM {table} ORDER BY timestamp DESC LIMIT {count}) ORDER BY timestamp");
        self.copy(&sql, "application/x-ndjson", None).await
    }

    /// Has a stage take dead letters again.
    pub async fn replay(&self, parameters: &[(&str, String)]) -> Result<Report> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let bytes =
            whole(self.post(&format!("/v1/admin/replay?{query}"), Bytes::new(), "application/json").await?).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Foreign, format!("{}/v1/admin/replay answered something else: {error}", self.url))
        })
    }

    /// Has a stage take rows of a table.
    pub async fn replay_table(&self, parameters: &[(&str, String)]) -> Result<replay_table::Report> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let reply = self.post(&format!("/v1/admin/replay/table?{query}"), Bytes::new(), "application/json").await?;
        read(&whole(reply).await?)
    }

    /// Listens to a stage, and answers with a case.
    pub async fn capture(&self, parameters: &[(&str, String)]) -> Result<Captured> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let reply = self.post(&format!("/v1/admin/capture?{query}"), Bytes::new(), "application/json").await?;
        read(&whole(reply).await?)
    }

    async fn ask(&self, sql: &str, accept: &str, timeout: Option<&str>) -> Result<Reply> {
        let timeout = timeout.map(|timeout| format!("?timeout={timeout}")).unwrap_or_default();
        self.post(&format!("/v1/sql{timeout}"), Bytes::copy_from_slice(sql.as_bytes()), accept).await
    }

    /// Posts; any answer but 200 is an error with the sentence that came with it.
    async fn post(&self, path: &str, body: Bytes, accept: &str) -> Result<Reply> {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let post = Post {
            url: format!("{}{path}", self.url),
            wait_max: WAIT_MAX,
            auth: self.token.clone().map(Auth::Bearer),
            headers: vec![header("content-type", "text/plain"), header("accept", accept)],
            body,
        };
        let reply = self.client.post(post).await.map_err(|error| match error.kind() {
            ErrorKind::Io | ErrorKind::Unavailable => {
                error.within("is `tidemill run` running there? (another address: --url)")
            }
            _ => error,
        })?;
        if reply.status == 200 {
            return Ok(reply);
        }
        let status = reply.status;
        Err(refusal(status, &whole(reply).await?))
    }
}

fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::new(ErrorKind::Foreign, format!("it answered something else: {error}")))
}

async fn whole(mut reply: Reply) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(part) = reply.body.next().await {
        bytes.extend_from_slice(&part?);
    }
    Ok(bytes)
}

/// The sentence of a refusal, with its place in the question.
fn refusal(status: u16, body: &[u8]) -> Error {
    let json: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| json.get("error").and_then(|error| error.get(name));
    let text = |name: &str| field(name).and_then(serde_json::Value::as_str);
    let Some(message) = text("message") else {
        return Error::new(ErrorKind::Foreign, format!("it answered with status {status}"));
    };
    let place = match (field("line"), field("column")) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        _ => String::new(),
    };
    let hint = text("hint").map(|hint| format!("\n  {hint}")).unwrap_or_default();
    let hint = match (status, hint.is_empty()) {
        (401, true) => "\n  set the environment variable TIDEMILL_TOKEN".to_owned(),
        _ => hint,
    };
    Error::invalid(format!("{place}{message}{hint}"))
}
