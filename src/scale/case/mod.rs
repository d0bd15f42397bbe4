//! scaling cases: a load over time, and what has to be decided when
//!
//!     file ─► Case ─► the live loop, tick by tick, on a clock that is moved by hand ─► failures ─┬─► shown
//!                       ▲ signals, plugin, replicas, restarts, orders as the steps say           └─► rewritten
//!
//! The format is described in `pipelines/README.md`. What runs is the loop that runs live, with the plugins themselves: only the
//! answers of queries, the workload and the time are made up.
//!
//! **Always:** the same case gives the same decisions, and takes no time of its own.
//! **Never:** a mistake in a case is a wrong decision: it is an error of its own, before anything runs.

mod rewrite;
mod world;
mod written;

pub use rewrite::rewritten;
pub use written::{Case, Named};

use super::{Config, Decision};
use crate::error::{Error, Result};
use crate::plugin::Library;
use std::fmt;
use std::path::Path;
use world::World;
use written::{Expected, Step};

/// Decisions that a failure shows before its own.
const SHOWN_MAX: usize = 6;

/// What went another way than a step says.
#[derive(Debug)]
pub struct Failure {
    /// which step, from 0
    step: usize,
    at: i64,
    expected: Expected,
    came: Came,
    /// the changes until then, as lines
    before: Vec<String>,
}

/// What came of a tick.
#[derive(Clone, Debug)]
struct Came {
    replicas: u32,
    ready: u32,
    proposed: Option<u32>,
    reason: String,
}

impl Case {
    /// Runs it with a scaler's settings; what went another way, in the order of the file. `folder` is where plugins' paths begin.
    pub fn run(&self, config: &Config, library: &Library, folder: &Path) -> Result<Vec<Failure>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| Error::io("cannot start a runtime", error))?;
        runtime.block_on(self.turn(config, library, folder))
    }

    async fn turn(&self, config: &Config, library: &Library, folder: &Path) -> Result<Vec<Failure>> {
        let mut world = World::new(self, config, library, folder).await?;
        let every = crate::clock::nanos(config.every.0);
        let mut failures = Vec::new();
        let mut changes = Vec::new();
        let mut steps = self.steps.iter().enumerate().peekable();
        let mut now = 0;
        let mut decided = world.replicas();
        while steps.peek().is_some() {
            let mut due: Vec<(usize, &Step)> = Vec::new();
            while let Some((at, step)) = steps.next_if(|(_, step)| step.at <= now) {
                world.change(step).await.map_err(|error| error.within(format!("step {}", at + 1)))?;
                due.push((at, step));
            }
            let before = decided;
            let decision = world.tick().await?;
            let came = world.came(&decision);
            if decision.replicas != before || changes.is_empty() {
                changes.push(format!("{:>8}  {before} → {}  {}", span(now), came.replicas, came.reason));
            }
            decided = decision.replicas;
            for (step, of) in due {
                if let Some(expected) = of.expected.clone().filter(|expected| !came.meets(expected)) {
                    let from = changes.len().saturating_sub(SHOWN_MAX);
                    let before = changes.get(from..).unwrap_or_default().to_vec();
                    failures.push(Failure { step, at: of.at, expected, came: came.clone(), before });
                }
            }
            now += every;
            world.pass();
        }
        Ok(failures)
    }
}

impl Came {
    fn meets(&self, expected: &Expected) -> bool {
        let is = |wanted: Option<u32>, came: Option<u32>| wanted.is_none() || wanted == came;
        !expected.is_open()
            && is(expected.replicas, Some(self.replicas))
            && is(expected.ready, Some(self.ready))
            && is(expected.proposed, self.proposed)
            && expected.reason.iter().all(|part| self.reason.contains(part.as_str()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "step {}, at {}", self.step + 1, span(self.at))?;
        writeln!(f, "  expected  {}", self.expected)?;
        let proposed = match self.came.proposed {
            Some(proposed) if proposed != self.came.replicas => format!(", {proposed} proposed"),
            _ => String::new(),
        };
        let Came { replicas, ready, reason, .. } = &self.came;
        write!(f, "  got       {}, {ready} ready{proposed}: {reason}", super::policy::replicas(*replicas))?;
        if !self.before.is_empty() {
            write!(f, "\n  changes until then")?;
        }
        self.before.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

impl Failure {
    fn decision(&self) -> (u32, &str) {
        (self.came.replicas, &self.came.reason)
    }
}

/// `90s` as people write it.
fn span(nanos: i64) -> String {
    let millis = u64::try_from(nanos / 1_000_000).unwrap_or(0);
    humantime::format_duration(std::time::Duration::from_millis(millis)).to_string()
}

/// What a tick decided, with the workload's state after it.
fn came(decision: &Decision, ready: u32) -> Came {
    Came { replicas: decision.replicas, ready, proposed: decision.desired, reason: decision.reason.clone() }
}
