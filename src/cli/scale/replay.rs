//! `tidemill scale replay NAME`

use super::{nothing, quoted, since};
use crate::cli::server::Server;
use crate::error::{Error, Result};
use crate::plugin::{Account, Configured, Instance, Library, Limits};
use crate::scale::Record;
use crate::scale::record::Answered;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Asks the plugin again what it was asked, applies the policy again, and compares proposal, state, clamps and decision.
#[derive(clap::Args)]
pub(super) struct Replay {
    /// The scaler.
    name: String,
    /// Ticks of the last while.
    #[arg(long, default_value = "1h", value_name = "SPAN")]
    last: String,
    /// The most ticks, the latest of them.
    #[arg(long, default_value_t = 1000)]
    limit: u64,
    /// The folder from which plugin paths in the pipeline file count.
    #[arg(long, default_value = ".")]
    folder: PathBuf,
}

/// A tick as its row tells of it.
struct Row {
    tick: i64,
    plugin_name: String,
    plugin: String,
    settings: String,
    decided: i64,
    reason: String,
    clamps: String,
    record: Record,
}

impl Replay {
    pub(super) async fn run(self, server: &Server) -> Result<ExitCode> {
        let sql = format!(
            "SELECT tick, plugin_name, plugin, settings, decided, reason, clamps, record FROM tidemill.decisions \
             WHERE scaler = {} AND event = 'decision' AND record IS NOT NULL AND {} ORDER BY tick DESC LIMIT {}",
            quoted(&self.name),
            since(&self.last)?,
            self.limit
        );
        let (_, batches) = server.batches(&sql, None).await?;
        let rows = batches.iter().map(rows).collect::<Result<Vec<_>>>()?;
        let rows: Vec<Row> = rows.into_iter().flatten().collect();
        if rows.is_empty() {
            return Err(nothing(server, &self.name).await);
        }
        let library = crate::cli::library()?;
        let mut plugins = BTreeMap::new();
        let mut differ = 0;
        for row in &rows {
            for difference in self.again(row, &library, &mut plugins)? {
                differ += 1;
                say!("{}: {difference}", humantime(row.tick));
            }
        }
        say!("{} ticks decided again, {differ} differences", rows.len());
        Ok(if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// What is not the same.
    fn again(
        &self,
        row: &Row,
        library: &Library,
        plugins: &mut BTreeMap<(String, String), Instance>,
    ) -> Result<Vec<String>> {
        let key = (row.plugin.clone(), row.settings.clone());
        if !plugins.contains_key(&key) {
            plugins.insert(key.clone(), open(library, &self.folder, row)?);
        }
        let instance = plugins.get_mut(&key).ok_or_else(|| Error::internal("a plugin that was opened is not there"))?;
        let mut differences = Vec::new();
        // A failure (a trap, a time-out) depends on the machine; what the policy made of it does not.
        if let Answered::Proposed { .. } = row.record.answer {
            let answer = match instance.decide(&row.record.request()?) {
                Ok(proposal) => Answered::of(&Ok(proposal)),
                Err(fault) => Answered::Failed { message: fault.message },
            };
            if answer != row.record.answer {
                differences.push(format!("the plugin answered {:?}, and answers {answer:?}", row.record.answer));
            }
        }
        let decision = row.record.decide(&row.record.answer)?;
        let clamps = serde_json::to_string(&decision.clamps).unwrap_or_default();
        if (i64::from(decision.replicas), &decision.reason, &clamps) != (row.decided, &row.reason, &row.clamps) {
            differences.push(format!(
                "{} was decided ({}), and now {} ({})",
                row.decided, row.reason, decision.replicas, decision.reason
            ));
        }
        Ok(differences)
    }
}

fn open(library: &Library, folder: &Path, row: &Row) -> Result<Instance> {
    let plugin = library.open(&row.plugin_name, folder)?;
    if plugin.sha256() != row.plugin {
        return Err(Error::invalid(format!(
            "the plugin `{}` here has the hash {}, and the tick was decided by {}; put that one in its place",
            row.plugin_name,
            plugin.sha256(),
            row.plugin
        )));
    }
    let configured = Configured {
        stage: "replay".into(),
        plugin,
        settings: row.settings.clone(),
        limits: Limits::default(),
        tables: Arc::default(),
        account: Arc::new(Account::default()),
    };
    Instance::new(library.engine(), configured)
}

fn rows(batch: &RecordBatch) -> Result<Vec<Row>> {
    let column = |name: &str| {
        batch.column_by_name(name).cloned().ok_or_else(|| Error::invalid(format!("the answer has no column `{name}`")))
    };
    let texts = |name: &str| -> Result<_> {
        Ok(arrow::compute::cast(&column(name)?, &arrow::datatypes::DataType::Utf8)?.as_string::<i32>().clone())
    };
    let records = arrow::compute::cast(&column("record")?, &arrow::datatypes::DataType::Binary)?;
    let (tick, decided) = (column("tick")?, column("decided")?);
    let (plugin_name, plugin, settings) = (texts("plugin_name")?, texts("plugin")?, texts("settings")?);
    let (reason, clamps) = (texts("reason")?, texts("clamps")?);
    let row = |at: usize| -> Result<Row> {
        Ok(Row {
            tick: tick.as_primitive::<Int64Type>().value(at),
            plugin_name: plugin_name.value(at).to_owned(),
            plugin: plugin.value(at).to_owned(),
            settings: settings.value(at).to_owned(),
            decided: decided.as_primitive::<Int64Type>().value(at),
            reason: reason.value(at).to_owned(),
            clamps: clamps.value(at).to_owned(),
            record: Record::unpack(records.as_binary::<i32>().value(at))?,
        })
    };
    (0..batch.num_rows()).map(row).collect()
}

fn humantime(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
