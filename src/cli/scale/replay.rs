//! `tidemill scale replay NAME`

use super::{nothing, quoted, since};
use crate::cli::server::Server;
use crate::error::{Error, Result};
use crate::plugin::{Account, Configured, Instance, Library, Limits, Plugin};
use crate::scale::Record;
use crate::scale::record::Answered;
use crate::units::{ByteSize, Span};
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Asks the plugin again what it was asked, applies the policy again, and compares proposal, state, clamps and decision. Of a tick
/// whose plugin is not here any more, the policy alone.
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
    /// A plugin as it was then, several times if need be: it decides the ticks that carry its hash.
    #[arg(long, value_name = "FILE.wasm")]
    plugin: Vec<PathBuf>,
}

/// The plugins that decided, as far as they are here.
struct Plugins {
    library: Library,
    /// those that `--plugin` names
    given: Vec<Plugin>,
    /// by hash and settings; why there is none if it is not here
    opened: BTreeMap<(String, String), std::result::Result<Instance, String>>,
}

/// What came of one tick.
#[derive(Default)]
struct Again {
    differences: Vec<String>,
    /// why its plugin was not asked
    without_plugin: Option<String>,
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
            return Err(nothing(server, &self.name, "decided").await);
        }
        let mut plugins = self.plugins()?;
        let (mut differ, mut without): (usize, BTreeMap<String, usize>) = (0, BTreeMap::new());
        for row in &rows {
            let again = self.again(row, &mut plugins)?;
            for difference in again.differences {
                differ += 1;
                say!("{}: {difference}", humantime(row.tick));
            }
            if let Some(why) = again.without_plugin {
                *without.entry(why).or_default() += 1;
            }
        }
        for (why, ticks) in &without {
            say!("of {ticks} ticks the policy alone: {why}");
        }
        say!("{} ticks decided again, {differ} differences", rows.len());
        Ok(if differ == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn plugins(&self) -> Result<Plugins> {
        let library = crate::cli::library()?;
        let given = self.plugin.iter().map(|file| {
            // As it stands on the command line, also without a slash.
            let path =
                std::path::absolute(file).map_err(|error| Error::invalid(format!("{}: {error}", file.display())))?;
            library.open(&path.display().to_string(), Path::new(""))
        });
        let given = given.collect::<Result<_>>()?;
        Ok(Plugins { library, given, opened: BTreeMap::new() })
    }

    /// What is not the same.
    fn again(&self, row: &Row, plugins: &mut Plugins) -> Result<Again> {
        let mut again = Again::default();
        // A failure (a trap, a time-out) depends on the machine; what the policy made of it does not.
        if let Answered::Proposed { .. } = row.record.answer {
            match plugins.of(row, &self.folder) {
                Ok(instance) => {
                    let answer = match instance.decide(&row.record.request()?) {
                        Ok(proposal) => Answered::of(&Ok(proposal)),
                        Err(fault) => Answered::Failed { message: fault.message },
                    };
                    if answer != row.record.answer {
                        let before = &row.record.answer;
                        again.differences.push(format!("the plugin answered {before:?}, and answers {answer:?}"));
                    }
                }
                Err(why) => again.without_plugin = Some(why.clone()),
            }
        }
        let decision = row.record.decide(&row.record.answer)?;
        let clamps = serde_json::to_string(&decision.clamps).unwrap_or_default();
        if (i64::from(decision.replicas), &decision.reason, &clamps) != (row.decided, &row.reason, &row.clamps) {
            again.differences.push(format!(
                "{} was decided ({}), and now {} ({})",
                row.decided, row.reason, decision.replicas, decision.reason
            ));
        }
        Ok(again)
    }
}

impl Plugins {
    /// The plugin of a tick, or why it is not here.
    fn of(&mut self, row: &Row, folder: &Path) -> std::result::Result<&mut Instance, &String> {
        let Plugins { library, given, opened } = self;
        let key = (row.plugin.clone(), row.settings.clone());
        let instance = || open(library, given, row, folder).map_err(|error| error.to_string());
        opened.entry(key).or_insert_with(instance).as_mut().map_err(|why| &*why)
    }
}

fn open(library: &Library, given: &[Plugin], row: &Row, folder: &Path) -> Result<Instance> {
    let name = &row.plugin_name;
    let plugin = match given.iter().find(|plugin| plugin.sha256() == row.plugin) {
        Some(plugin) => plugin.clone(),
        None => library.open(name, folder).map_err(|error| {
            error.within(format!(
                "`{name}` decided them; say with --folder where it lies, or with --plugin which it was"
            ))
        })?,
    };
    if plugin.sha256() != row.plugin {
        return Err(Error::invalid(format!(
            "the plugin `{name}` here has the hash {}, and they were decided by {}; give that one: --plugin FILE.wasm",
            plugin.sha256(),
            row.plugin
        )));
    }
    configured(plugin, &row.settings, library)
}

/// An instance that nobody hurries: it has answered within its limits already.
fn configured(plugin: Plugin, settings: &str, library: &Library) -> Result<Instance> {
    let patient = Span(Duration::from_secs(60));
    let most = ByteSize(4 << 30);
    let configured = Configured {
        stage: "replay".into(),
        plugin,
        settings: settings.to_owned(),
        limits: Limits { time: patient, start_time: patient, memory: most, output: most, ..Limits::default() },
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
