//! a dry run: remembers what was asked for and starts nothing

use super::{Actuator, Kind, Outcome, Status};
use crate::error::Result;
use futures::future::BoxFuture;
use serde::Deserialize;
use std::sync::atomic::{AtomicU32, Ordering};

/// `type = "none"`
pub const KIND: Kind = Kind {
    name: "none",
    about: "a dry run: decisions are taken and recorded, nothing is started",
    example: "type = \"none\"\n",
};

/// It has nothing to set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// A workload that exists in name only: what is asked for is at once as if it were ready.
pub struct Nothing {
    workload: String,
    asked: AtomicU32,
}

impl Nothing {
    /// Nothing asked yet.
    pub fn new(workload: &str) -> Self {
        Nothing { workload: workload.to_owned(), asked: AtomicU32::new(0) }
    }
}

impl Actuator for Nothing {
    fn apply(&self, replicas: u32) -> BoxFuture<'_, Result<Outcome>> {
        Box::pin(async move {
            let before = self.asked.swap(replicas, Ordering::SeqCst);
            tracing::info!(workload = self.workload, before, replicas, "dry run");
            Ok(Outcome { reached: true, words: format!("dry run: from {before} to {replicas}, nothing was started") })
        })
    }

    fn status(&self) -> Status {
        let asked = self.asked.load(Ordering::SeqCst);
        Status { asked, running: asked, ready: asked, ..Status::default() }
    }

    fn targets(&self) -> Vec<String> {
        Vec::new()
    }

    fn dry_run(&self) -> bool {
        true
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
