//! dead letters, taken again by the stage that gave them up
//!
//!     tidemill.dead_letters ─ not in tidemill.replays ─► a page ─► the lane of their source ─► stage ─► … ─► one Append
//!                                                                       rows, new dead letters, a mark for each letter ──┘
//!
//! A letter enters the lane that its source has now, so the plugin, its settings and its state are those of the running stage, and
//! what it leads to is one record with its mark.
//!
//! **Always:** one replay at a time; it goes on to its page's end though nobody waits for it any more, so that no letter is under way
//! twice.

use super::adapters::ask;
use super::sources::Doors;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::event::columns::Kind;
use crate::event::dead_letter::{CODEC, Event};
use crate::event::row_json::{self, Row};
use crate::event::{Accepted, Ack, Batch, Delivery, Replay};
use crate::query;
use crate::server::replay::{Asked, Report};
use crate::store::Store;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use chrono::{DateTime, SecondsFormat};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Letters that are read and delivered at a time.
const PAGE: u64 = 500;
/// Letters that one request takes at most; who wants more asks again.
const LETTERS_MAX: u64 = 5000;

/// Replays dead letters. Cloning shares it.
#[derive(Clone)]
pub(super) struct Replayer {
    pub(super) engine: query::Engine,
    pub(super) store: Store,
    pub(super) doors: Doors,
    pub(super) stages: Arc<[String]>,
    pub(super) clock: Clock,
    /// one replay at a time, of whichever sort
    pub(super) busy: Arc<Mutex<()>>,
}

/// A dead letter as it is stored.
struct Letter {
    id: String,
    source: String,
    /// when it was given up, ns UTC
    at: i64,
    raw: Vec<u8>,
    event: Event,
}

/// Letters that one delivery can hold.
struct Group {
    rows: Vec<Row>,
    types: BTreeMap<String, crate::event::Type>,
}

impl Replayer {
    /// Of the letters in this engine's tables, through these doors; `stages` are all there are.
    pub fn new(engine: query::Engine, store: Store, doors: Doors, stages: Vec<String>, clock: Clock) -> Replayer {
        Replayer { engine, store, doors, stages: stages.into(), clock, busy: Arc::default() }
    }

    /// Takes letters again, at most [`LETTERS_MAX`], and tells what became of them.
    pub async fn replay(&self, asked: Asked) -> Result<Report> {
        let busy = self.busy.clone().try_lock_owned().map_err(|_| {
            Error::new(ErrorKind::Unavailable, "another replay is under way; try again when it is through")
        })?;
        let this = self.clone();
        let work = tokio::spawn(async move {
            let report = this.work(&asked).await;
            drop(busy);
            report
        });
        work.await.map_err(|error| Error::internal(format!("a replay was lost: {error}")))?
    }

    async fn work(&self, asked: &Asked) -> Result<Report> {
        let stage = asked.stage.as_str();
        if !self.stages.iter().any(|known| known == stage) {
            let hint = match stage {
                CODEC => "; a line that no codec could read never was an event: mend it and send it again".to_owned(),
                _ => did_you_mean(stage, self.stages.iter().map(String::as_str)),
            };
            return Err(Error::new(ErrorKind::Missing, format!("there is no stage `{stage}`{hint}")));
        }
        let now = self.clock.now();
        // Letters that fail again are newer than this.
        let to = asked.to.unwrap_or(now).min(now);
        let mut report = Report { from: asked.from, to, ..Report::default() };
        let chosen = self.chosen(asked, to);
        let reachable = self.doors.reaching(stage);
        let marked = "id IN (SELECT letter FROM tidemill.replays)";
        let open = "id NOT IN (SELECT letter FROM tidemill.replays WHERE letter IS NOT NULL)";
        let count = |also: &str| format!("SELECT count(*) AS n FROM tidemill.dead_letters WHERE {chosen} AND {also}");
        report.already_done = self.number(&count(marked)).await?;
        let here = format!("source IN ({})", list(&reachable));
        report.unreachable = self.number(&count(&format!("{open} AND source NOT IN ({})", list(&reachable)))).await?;
        let waiting = self.number(&count(&format!("{open} AND {here}"))).await?;
        if asked.dry_run {
            return Ok(Report { taken: waiting, ..report });
        }
        let run = format!("{stage} {}", time(now));
        let limit = asked.limit.unwrap_or(u64::MAX).min(LETTERS_MAX);
        let mut since = i64::MIN;
        while report.taken < limit {
            let page = PAGE.min(limit - report.taken);
            let from = if since == i64::MIN { "true".to_owned() } else { format!("timestamp >= {}", literal(since)) };
            let sql = format!(
                "SELECT id, source, timestamp, raw, kind, event FROM tidemill.dead_letters \
                 WHERE {chosen} AND {open} AND {here} AND {from} ORDER BY timestamp, id LIMIT {page}"
            );
            let letters = letters(&ask(&self.engine, &sql, page).await?)?;
            let Some(last) = letters.last() else { break };
            since = last.at;
            let count = letters.len() as u64;
            report.taken += count;
            let accepted = self.deliver(stage, &run, letters).await?;
            if accepted.rows == 0 && accepted.dead >= count && count == PAGE {
                report.stopped =
                    Some(format!("all of {count} failed again; is the plugin that can handle them loaded?"));
                break;
            }
        }
        self.outcomes(&run, &mut report).await?;
        report.more = report.stopped.is_none() && waiting > report.taken;
        Ok(report)
    }

    /// The letters that were asked for, done or not, as a condition.
    fn chosen(&self, asked: &Asked, to: i64) -> String {
        let mut chosen =
            format!("id IS NOT NULL AND stage = {} AND timestamp <= {}", quoted(&asked.stage), literal(to));
        if let Some(from) = asked.from {
            chosen += &format!(" AND timestamp >= {}", literal(from));
        }
        if let Some(source) = &asked.source {
            chosen += &format!(" AND source = {}", quoted(source));
        }
        chosen
    }

    /// Hands letters to the lanes of their sources, and waits until what became of them is stored.
    async fn deliver(&self, stage: &str, run: &str, letters: Vec<Letter>) -> Result<Accepted> {
        let mut groups: BTreeMap<(String, Kind), Vec<Group>> = BTreeMap::new();
        for letter in letters {
            let row = letter.event.again(&letter.id, &letter.source, &letter.raw);
            let row = row.map_err(|error| error.within(format!("the dead letter {}", letter.id)))?;
            let groups = groups.entry((letter.source, letter.event.kind)).or_default();
            let fits = groups.last_mut().is_some_and(|group| row_json::fits(&row, &mut group.types));
            if !fits {
                let mut types = BTreeMap::new();
                row_json::fits(&row, &mut types);
                groups.push(Group { rows: Vec::new(), types });
            }
            if let Some(group) = groups.last_mut() {
                group.rows.push(row);
            }
        }
        let mut all = Accepted::default();
        for ((source, kind), groups) in groups {
            for group in groups {
                let (ack, safe) = Ack::new();
                let delivery = Delivery {
                    source: source.as_str().into(),
                    batch: Batch { kind, columns: row_json::batch(&group.rows)? },
                    dead: vec![],
                    positions: vec![],
                    key: None,
                    patient: false,
                    replay: Some(Replay::Letters { stage: stage.to_owned(), run: run.to_owned() }),
                    ack,
                };
                self.doors.send(&source, delivery).await?;
                let accepted = safe.await.unwrap_or_else(|_| Err(stopping()))?;
                all.rows += accepted.rows;
                all.dead += accepted.dead;
            }
        }
        Ok(all)
    }

    /// What became of the letters of this run, from their marks.
    async fn outcomes(&self, run: &str, report: &mut Report) -> Result<()> {
        for (outcome, count) in
            [("landed", &mut report.landed), ("dropped", &mut report.dropped), ("dead", &mut report.failed_again)]
        {
            let sql = format!(
                "SELECT count(*) AS n FROM tidemill.replays WHERE run = {} AND outcome = '{outcome}'",
                quoted(run)
            );
            *count = self.number(&sql).await?;
        }
        Ok(())
    }

    pub(super) async fn number(&self, sql: &str) -> Result<u64> {
        let rows = ask(&self.engine, sql, 1).await?;
        let column = rows.columns().first().and_then(|column| column.as_primitive_opt::<arrow::datatypes::Int64Type>());
        let number = column.filter(|column| !column.is_empty()).map_or(0, |column| column.value(0));
        Ok(u64::try_from(number).unwrap_or(0))
    }
}

fn letters(rows: &RecordBatch) -> Result<Vec<Letter>> {
    let column = |name: &str, r#type: &DataType| {
        let column = rows.column_by_name(name);
        let column = column.ok_or_else(|| Error::internal(format!("dead letters have no column `{name}`")))?;
        Ok::<_, Error>(cast(column, r#type)?)
    };
    let (id, source) = (column("id", &DataType::Utf8)?, column("source", &DataType::Utf8)?);
    let (kind, event) = (column("kind", &DataType::Utf8)?, column("event", &DataType::Utf8)?);
    let (raw, at) = (column("raw", &DataType::Binary)?, column("timestamp", &DataType::Int64)?);
    let text = |column: &arrow::array::ArrayRef, row: usize| column.as_string::<i32>().value(row).to_owned();
    let letter = |row: usize| Letter {
        id: text(&id, row),
        source: text(&source, row),
        at: at.as_primitive::<arrow::datatypes::Int64Type>().value(row),
        raw: raw.as_binary::<i32>().value(row).to_vec(),
        event: Event {
            kind: if text(&kind, row) == Kind::Metrics.word() { Kind::Metrics } else { Kind::Logs },
            columns: text(&event, row),
        },
    };
    Ok((0..rows.num_rows()).map(letter).collect())
}

pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Texts as SQL lists them; never empty.
pub(super) fn list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quoted(text)).chain(["''".to_owned()]).collect();
    quoted.join(", ")
}

fn time(nanos: i64) -> String {
    DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::Nanos, true)
}

pub(super) fn literal(nanos: i64) -> String {
    format!("TIMESTAMP '{}'", time(nanos))
}

pub(super) fn stopping() -> Error {
    Error::new(ErrorKind::Unavailable, "tidemill is stopping; what was not replayed yet waits for the next time")
}
