//! what a workload's processes use: processor time and memory of each replica, and how many there are
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `process_cpu_seconds_total` | counter | `workload`, `replica` |
//! | `process_cpu_cores` | gauge: the average since the last sample, from the second one on | `workload`, `replica` |
//! | `process_resident_memory_bytes` | gauge | `workload`, `replica` |
//! | `workload_replicas` | gauge | `workload` |
//! | `workload_replicas_ready` | gauge | `workload` |

use super::Outlet;
use crate::codec::metrics::Samples;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Ack, Batch, Delivery, Kind};
use crate::units::{DAY, Span, within};
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The word after `type =`.
pub const NAME: &str = "processes";
/// In one line.
pub const ABOUT: &str = "processor time, memory and number of the workloads' processes";
/// A table that works.
pub const EXAMPLE: &str = r#"type = "processes"
every = "1s"
"#;

/// A source of what workloads' processes use.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How often they are looked at.
    #[serde(default = "every", deserialize_with = "within::<100, DAY, _, _>")]
    pub every: Span,
    /// Workloads to look at; all of them unless set.
    #[serde(default)]
    pub workloads: Vec<String>,
}

fn every() -> Span {
    Span(Duration::from_secs(1))
}

/// One running process of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// its name, the same for as long as it runs
    pub name: String,
    /// its process
    pub pid: i32,
    /// where it listens, as `host:port`; empty if it does not
    pub address: String,
    /// whether it can be sent work
    pub ready: bool,
}

/// What runs at present, by workload; whoever starts and stops replicas says so here. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Running(Arc<Mutex<BTreeMap<String, Vec<Replica>>>>);

impl Running {
    /// A workload's replicas are these now; none is a workload scaled to zero.
    pub fn set(&self, workload: &str, replicas: Vec<Replica>) {
        self.lock().insert(workload.to_owned(), replicas);
    }

    /// There is no such workload any more.
    pub fn remove(&self, workload: &str) {
        self.lock().remove(workload);
    }

    /// All workloads and their replicas.
    pub fn get(&self) -> BTreeMap<String, Vec<Replica>> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<Replica>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one process has used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Used {
    /// processor time, in user and kernel
    pub cpu_seconds: f64,
    /// resident memory
    pub memory_bytes: f64,
    /// tells two processes of one number apart
    started: u64,
}

/// What was known at the last look, by workload and replica.
type Last = HashMap<(String, String), (i64, Used)>;

/// Delivers samples until told to stop.
pub async fn run(config: Config, outlet: Outlet, running: Running) -> Result<()> {
    let mut ticks = tokio::time::interval(config.every.0);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut last = Last::new();
    loop {
        tokio::select! {
            () = outlet.stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        let mut workloads = running.get();
        workloads.retain(|name, _| config.workloads.is_empty() || config.workloads.contains(name));
        let samples = sampled(&workloads, outlet.clock.now(), &mut last, used)?;
        let done = match samples.is_empty() {
            true => Ok(()),
            false => deliver(&outlet, samples).await,
        };
        match done {
            Ok(()) => outlet.progress.caught_up(""),
            Err(error) => outlet.progress.failed("", error.message()),
        }
    }
}

async fn deliver(outlet: &Outlet, samples: Samples) -> Result<()> {
    outlet.progress.read("", samples.len() as u64, 0);
    let (ack, safe) = Ack::new();
    let source = outlet.name.clone();
    let batch = Batch { kind: Kind::Metrics, columns: samples.finish(&outlet.name)? };
    outlet
        .send(Delivery { source, batch, dead: vec![], positions: vec![], key: None, patient: false, replay: None, ack })
        .await?;
    let gone = || Err(Error::new(ErrorKind::Unavailable, "the pipeline is gone"));
    safe.await.unwrap_or_else(|_| gone()).map(|_| ())
}

/// What this process has used.
pub fn used_by_us() -> Option<Used> {
    used(i32::try_from(std::process::id()).ok()?)
}

/// What a process has used, or nothing if it has ended.
fn used(pid: i32) -> Option<Used> {
    let stat = procfs::process::Process::new(pid).ok()?.stat().ok()?;
    let ticks = stat.utime.saturating_add(stat.stime);
    Some(Used {
        cpu_seconds: ticks as f64 / procfs::ticks_per_second().max(1) as f64,
        memory_bytes: stat.rss.saturating_mul(procfs::page_size()) as f64,
        started: stat.starttime,
    })
}

fn sampled(
    workloads: &BTreeMap<String, Vec<Replica>>,
    now: i64,
    last: &mut Last,
    used: impl Fn(i32) -> Option<Used>,
) -> Result<Samples> {
    let mut samples = Samples::new();
    let mut seen = Last::new();
    for (workload, replicas) in workloads {
        let of_workload = [("workload", workload.as_str())];
        let ready = replicas.iter().filter(|replica| replica.ready).count();
        samples.push(now, "workload_replicas", "gauge", replicas.len() as f64, of_workload)?;
        samples.push(now, "workload_replicas_ready", "gauge", ready as f64, of_workload)?;
        for replica in replicas {
            let Some(used) = used(replica.pid) else { continue };
            let labels = [("workload", workload.as_str()), ("replica", replica.name.as_str())];
            samples.push(now, "process_cpu_seconds_total", "counter", used.cpu_seconds, labels)?;
            samples.push(now, "process_resident_memory_bytes", "gauge", used.memory_bytes, labels)?;
            let key = (workload.clone(), replica.name.clone());
            if let Some((then, before)) = last.get(&key).filter(|(_, before)| before.started == used.started) {
                let seconds = (now - then) as f64 / 1e9;
                if seconds > 0.0 {
                    let cores = ((used.cpu_seconds - before.cpu_seconds) / seconds).max(0.0);
                    samples.push(now, "process_cpu_cores", "gauge", cores, labels)?;
                }
            }
            seen.insert(key, (now, used));
        }
    }
    *last = seen;
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::shown;

    #[test]
    fn replicas_are_measured() {
        let replica = |name: &str, pid, ready| Replica { name: name.into(), pid, address: String::new(), ready };
        let running = Running::default();
        running.set("web", vec![replica("web-0", 1, true), replica("web-1", 2, false), replica("web-2", 3, true)]);
        running.set("idle", vec![]);
        let used = |seconds: f64| {
            move |pid| {
                (pid < 3).then_some(Used { cpu_seconds: seconds * f64::from(pid), memory_bytes: 7.0, started: 1 })
            }
        };
        let mut last = Last::new();
        let first = sampled(&running.get(), 0, &mut last, used(1.0)).unwrap();
        assert_eq!(first.len(), 8);
        let second = sampled(&running.get(), 2_000_000_000, &mut last, used(2.0)).unwrap();
        let lines: Vec<String> = shown(&second.finish("p").unwrap()).into_iter().map(|(text, _)| text).collect();
        assert_eq!(
            lines,
            [
                "gauge workload_replicas{workload=idle} 0",
                "gauge workload_replicas_ready{workload=idle} 0",
                "gauge workload_replicas{workload=web} 3",
                "gauge workload_replicas_ready{workload=web} 2",
                "counter process_cpu_seconds_total{replica=web-0,workload=web} 2",
                "gauge process_resident_memory_bytes{replica=web-0,workload=web} 7",
                "gauge process_cpu_cores{replica=web-0,workload=web} 0.5",
                "counter process_cpu_seconds_total{replica=web-1,workload=web} 4",
                "gauge process_resident_memory_bytes{replica=web-1,workload=web} 7",
                "gauge process_cpu_cores{replica=web-1,workload=web} 1",
            ]
        );
    }

    #[test]
    fn this_very_process_uses_memory() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(used(pid).unwrap().memory_bytes > 1e6);
        assert_eq!(used(i32::MAX), None);
    }
}
