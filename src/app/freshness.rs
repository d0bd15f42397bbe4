//! which sources stand behind a table, and whether they are caught up

use super::check::Checked;
use super::sources::Sources;
use crate::event::TableName;
use crate::scale::Fresh;
use crate::source::Progress;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Watches the sources of every table.
pub(super) struct Watch {
    tables: BTreeMap<TableName, Vec<Watched>>,
}

struct Watched {
    name: String,
    progress: Arc<Progress>,
    stale_after: Duration,
}

impl Watch {
    pub fn new(checked: &Checked, sources: &Sources) -> Watch {
        let mut tables = BTreeMap::new();
        for table in &checked.config.tables {
            let Ok(name) = TableName::user(&table.name) else { continue };
            let behind = checked.graph.sources_of(&table.config.inputs);
            let watched = behind.into_iter().filter_map(|source| {
                let (progress, stale_after) = sources.watched(&source)?;
                Some(Watched { name: source, progress, stale_after })
            });
            tables.insert(name, watched.collect());
        }
        Watch { tables }
    }
}

impl Fresh for Watch {
    fn stale(&self, tables: &[TableName], now: i64) -> Option<String> {
        let watched = tables.iter().filter_map(|table| self.tables.get(table)).flatten();
        watched.filter_map(|source| source.stale(now)).next()
    }

    fn caught_up_at(&self, tables: &[TableName]) -> Option<i64> {
        let watched = tables.iter().filter_map(|table| self.tables.get(table)).flatten();
        watched.map(|source| source.progress.caught_up_at()).min()
    }
}

impl Watched {
    fn stale(&self, now: i64) -> Option<String> {
        let at = self.progress.caught_up_at();
        let name = &self.name;
        let late = now.saturating_sub(at);
        let is_late = late > crate::clock::nanos(self.stale_after);
        let standings = self.progress.standings();
        let error = standings.iter().map(|(_, standing)| &standing.error).find(|error| !error.is_empty());
        if at > 0 && !is_late && error.is_none() {
            return None;
        }
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        Some(match at {
            0 => format!("the source `{name}` has not been read to its end yet{why}"),
            // What is known to be missing does not become less so by having been there a moment ago.
            _ if !is_late => format!("the source `{name}` does not have everything{why}"),
            _ => format!("the source `{name}` was last caught up {} s ago{why}", late / 1_000_000_000),
        })
    }
}
