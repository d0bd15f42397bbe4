//! rows of a table, taken again by a stage: old lines through a new parser
//!
//!     table ─ of one source, by time, not in a span that is done ─► a page ─► the source's lane ─► stage ─► … or one table ─► one Append
//!                                                                             the spans that are done now, as a position ──┘
//!
//! A row has no name, so what is done is told by time: which spans of it went from this table through this stage into that table, for
//! each source. They are stored in the record with what came of the page.
//!
//! **Always:** all rows of one time are in one page; a page is stored with its span, or not at all.

use super::adapters::ask;
use super::replay::{Replayer, list, literal, quoted, stopping};
use super::spans::Spans;
use crate::error::{Error, ErrorKind, Result, did_you_mean};
use crate::event::{Accepted, Ack, Batch, Delivery, Position, Replay, TableName, arrived};
use crate::query;
use crate::server::replay_table::{Asked, Report};
use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};

/// Rows that are read and delivered at a time, unless more have the same time.
const PAGE: u64 = 2000;
/// Rows of one time that a page can hold.
const SAME_TIME_MAX: u64 = 200_000;
/// Rows that one request takes at most, or a little more; who wants more asks again.
const ROWS_MAX: u64 = 20_000;

/// One source's part of a replay.
struct Way<'a> {
    asked: &'a Asked,
    source: String,
    /// under which name its spans are kept
    position: String,
    done: Spans,
}

impl Replayer {
    /// Takes rows of a table again, [`ROWS_MAX`] or a little more, and tells what became of them.
    pub async fn replay_table(&self, asked: Asked) -> Result<Report> {
        let busy = self.busy.clone().try_lock_owned().map_err(|_| {
            Error::new(ErrorKind::Unavailable, "another replay is under way; try again when it is through")
        })?;
        let this = self.clone();
        let work = tokio::spawn(async move {
            let report = this.table(&asked).await;
            drop(busy);
            report
        });
        work.await.map_err(|error| Error::internal(format!("a replay was lost: {error}")))?
    }

    async fn table(&self, asked: &Asked) -> Result<Report> {
        self.can(asked)?;
        let now = self.clock.now();
        // Rows that come while it goes on are newer than this.
        let to = asked.to.map_or(now, |to| to.saturating_add(1)).min(now);
        let from = asked.from.unwrap_or(0);
        let mut report = Report { from, to: to.saturating_sub(1), ..Report::default() };
        let reachable = self.doors.reaching(&asked.stage);
        let here = format!("source IN ({})", list(&reachable));
        let (table, span) = (&asked.table, between((from, to)));
        let count = |also: &str| format!("SELECT count(*) AS n FROM {table} WHERE {span} AND {also}");
        report.unreachable = self.number(&count(&format!("(source IS NULL OR NOT {here})"))).await?;
        let sql = format!("SELECT DISTINCT source FROM {table} WHERE {span} AND {here} ORDER BY source");
        let sources = texts(&self.rows(&sql).await?)?;
        for source in sources {
            let mut way = self.way(asked, source, (from, to))?;
            let of_source = format!("source = {}", quoted(&way.source));
            for part in way.done.within((from, to)) {
                let sql = format!("SELECT count(*) AS n FROM {table} WHERE {} AND {of_source}", between(part));
                report.already_done += self.number(&sql).await?;
            }
            for part in way.done.rest((from, to)) {
                if asked.dry_run {
                    let sql = format!("SELECT count(*) AS n FROM {table} WHERE {} AND {of_source}", between(part));
                    report.taken += self.number(&sql).await?;
                    continue;
                }
                self.part(&mut way, part, &mut report).await?;
                if report.more || report.stopped.is_some() {
                    return Ok(report);
                }
            }
        }
        Ok(report)
    }

    /// Whether it makes sense at all.
    fn can(&self, asked: &Asked) -> Result<()> {
        let (stage, table) = (asked.stage.as_str(), asked.table.as_str());
        if !self.stages.iter().any(|known| known == stage) {
            let hint = did_you_mean(stage, self.stages.iter().map(String::as_str));
            return Err(Error::new(ErrorKind::Missing, format!("there is no stage `{stage}`{hint}")));
        }
        let into = match &asked.into {
            Some(into) => {
                TableName::user(into.as_str()).map_err(|error| error.within("into"))?;
                into == &asked.table
            }
            None => self.doors.tables_after(stage).contains(table),
        };
        match into {
            true => Err(Error::invalid(format!(
                "what the stage `{stage}` makes would go into `{table}` itself, beside the rows it is made of; name another table with --into"
            ))),
            false => Ok(()),
        }
    }

    fn way<'a>(&self, asked: &'a Asked, source: String, span: (i64, i64)) -> Result<Way<'a>> {
        let into = asked.into.as_ref().map_or("", TableName::as_str);
        let position = format!("replayed:{source}:{}:{}:{into}", asked.table, asked.stage);
        let mut done =
            self.store.position(&position).map_or_else(|| Ok(Spans::default()), |done| Spans::read(&done))?;
        if asked.again {
            done.remove(span);
        }
        Ok(Way { asked, source, position, done })
    }

    /// Takes the rows of a span, page by page.
    async fn part(&self, way: &mut Way<'_>, (mut from, to): (i64, i64), report: &mut Report) -> Result<()> {
        while from < to {
            if report.taken >= ROWS_MAX {
                report.more = true;
                return Ok(());
            }
            let until = self.page(way, from, to).await?;
            let sql = format!(
                "SELECT * FROM {} WHERE {} AND source = {} ORDER BY timestamp",
                way.asked.table,
                between((from, until)),
                quoted(&way.source)
            );
            let rows = self.rows(&sql).await?;
            let mut done = way.done.clone();
            done.add((from, until));
            let count = rows.num_rows() as u64;
            let accepted = self.hand_over(way, &rows, &done).await?;
            way.done = done;
            from = until;
            report.taken += count;
            report.rows += accepted.rows;
            report.failed += accepted.dead;
            if accepted.rows == 0 && accepted.dead >= count && count >= PAGE.min(100) {
                report.stopped = Some(format!(
                    "all of {count} rows failed; tidemill.dead_letters says why. With the plugin mended, --again takes them once more"
                ));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Where a page ends that begins at `from`: so that it has few rows, and all of each time.
    async fn page(&self, way: &Way<'_>, from: i64, to: i64) -> Result<i64> {
        let (table, source) = (&way.asked.table, quoted(&way.source));
        let sql = format!(
            "SELECT CAST(timestamp AS BIGINT) AS at FROM {table} WHERE {} AND source = {source} ORDER BY timestamp LIMIT {}",
            between((from, to)),
            PAGE + 1
        );
        let rows = self.rows(&sql).await?;
        let times = rows.column(0).as_primitive::<Int64Type>();
        let last = PAGE as usize;
        if times.len() <= last {
            return Ok(to);
        }
        let (first, next) = (times.value(0), times.value(last));
        if next > first {
            return Ok(next);
        }
        let after = first.saturating_add(1);
        let sql = format!("SELECT count(*) AS n FROM {table} WHERE {} AND source = {source}", between((first, after)));
        match self.number(&sql).await? {
            few if few <= SAME_TIME_MAX => Ok(after),
            many => Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "{many} rows of `{table}` have one and the same time, and at most {SAME_TIME_MAX} can be taken at once"
                ),
            )),
        }
    }

    async fn hand_over(&self, way: &Way<'_>, rows: &RecordBatch, done: &Spans) -> Result<Accepted> {
        let Batch { kind, columns } = arrived(rows)?;
        let (ack, safe) = Ack::new();
        let delivery = Delivery {
            source: way.source.as_str().into(),
            batch: Batch { kind, columns },
            dead: vec![],
            positions: vec![Position { name: way.position.clone(), value: done.write()? }],
            key: None,
            patient: false,
            replay: Some(Replay::Rows { stage: way.asked.stage.clone(), into: way.asked.into.clone() }),
            ack,
        };
        self.doors.send(&way.source, delivery).await?;
        safe.await.unwrap_or_else(|_| Err(stopping()))
    }

    async fn rows(&self, sql: &str) -> Result<RecordBatch> {
        ask(&self.engine, sql, query::Limits::default().rows_max).await
    }
}

/// A span as a condition.
fn between((from, to): (i64, i64)) -> String {
    format!("timestamp >= {} AND timestamp < {}", literal(from), literal(to))
}

fn texts(rows: &RecordBatch) -> Result<Vec<String>> {
    let column = cast(rows.column(0), &DataType::Utf8)?;
    Ok(column.as_string::<i32>().iter().flatten().map(str::to_owned).collect())
}
