//! `tidemill scale compare NAME`

use super::{nothing, quoted, since};
use crate::cli::server::Server;
use crate::error::{Error, Result};
use serde_json::Value;
use std::process::ExitCode;

/// The shadow's proposals beside those of the plugin that decides.
#[derive(clap::Args)]
pub(super) struct Compare {
    /// The scaler.
    name: String,
    /// Ticks of the last while.
    #[arg(long, default_value = "1h", value_name = "SPAN")]
    last: String,
    /// Ticks that differ to be shown, the latest of them.
    #[arg(long, default_value_t = 10)]
    show: usize,
}

/// A tick at which both proposed.
struct Pair {
    at: String,
    live: i64,
    shadow: i64,
    why: String,
}

impl Compare {
    pub(super) async fn run(self, server: &Server) -> Result<ExitCode> {
        let sql = format!(
            "SELECT timestamp, desired, advice FROM tidemill.decisions \
             WHERE scaler = {} AND event = 'decision' AND desired IS NOT NULL AND {} ORDER BY tick",
            quoted(&self.name),
            since(&self.last)?
        );
        let rows = server.objects(&sql).await?;
        if rows.is_empty() {
            return Err(nothing(server, &self.name, "decided").await);
        }
        let pairs: Vec<Pair> = rows.iter().filter_map(pair).collect();
        if pairs.is_empty() {
            let name = &self.name;
            return Err(Error::invalid(format!(
                "the scaler `{name}` had no shadow in the last {}; give it one: [scalers.{name}.shadow]",
                self.last
            )));
        }
        say!("{}", summary(&pairs));
        let differing: Vec<&Pair> = pairs.iter().filter(|pair| pair.live != pair.shadow).collect();
        for pair in differing.iter().skip(differing.len().saturating_sub(self.show)) {
            say!("  {}  live {:>4}  shadow {:>4}  {}", pair.at, pair.live, pair.shadow, pair.why);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn pair(row: &Value) -> Option<Pair> {
    let advice: Value = serde_json::from_str(row.get("advice")?.as_str()?).ok()?;
    let shadow = advice.get("shadow")?;
    Some(Pair {
        at: row.get("timestamp")?.as_str()?.to_owned(),
        live: row.get("desired")?.as_i64()?,
        shadow: shadow.get("replicas")?.as_i64()?,
        why: shadow.get("reason")?.as_str()?.to_owned(),
    })
}

fn summary(pairs: &[Pair]) -> String {
    let count = |test: fn(&Pair) -> bool| pairs.iter().filter(|pair| test(pair)).count();
    let mean = |of: fn(&Pair) -> i64| pairs.iter().map(of).sum::<i64>() as f64 / pairs.len() as f64;
    format!(
        "{} ticks: {} the same, {} the shadow wanted more, {} fewer; on average, before the rules of the scaler, live {:.2}, shadow {:.2}",
        pairs.len(),
        count(|pair| pair.shadow == pair.live),
        count(|pair| pair.shadow > pair.live),
        count(|pair| pair.shadow < pair.live),
        mean(|pair| pair.live),
        mean(|pair| pair.shadow)
    )
}
