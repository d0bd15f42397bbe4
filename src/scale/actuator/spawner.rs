//! the one thread that starts replicas, so that they end when tidemill does
//!
//! Linux kills a child whose parent ends (`PR_SET_PDEATHSIG`), and by parent it means the *thread* that started it. A runtime's
//! threads come and go; this one stays as long as its workload, and ends with the process even when that is killed.
//!
//! **Always:** a replica leads a process group of its own, so that a Ctrl-C in the terminal reaches tidemill alone.

use crate::error::{Error, Result};
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// Starts that may wait at once.
const JOBS_MAX: usize = 1024;

/// The thread; it ends, and with it everything it started, when this is dropped.
pub struct Spawner {
    jobs: SyncSender<Job>,
}

struct Job {
    command: Command,
    answer: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread, within the runtime of the caller.
    pub fn start() -> Result<Spawner> {
        let runtime = tokio::runtime::Handle::current();
        let (jobs, queue) = sync_channel::<Job>(JOBS_MAX);
        let work = move || {
            let _inside = runtime.enter();
            for mut job in queue {
                // Where nobody waits any more, the child is dropped, and killed by that.
                let _ = job.answer.send(job.command.spawn());
            }
        };
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(work)
            .map_err(|error| Error::io("no thread to start replicas from", error))?;
        Ok(Spawner { jobs })
    }

    /// Starts a command as leader of a process group, tied to this thread, inside of the cgroup whose `cgroup.procs` is given.
    pub async fn spawn(&self, mut command: Command, join: Option<File>) -> io::Result<Child> {
        command.process_group(0).kill_on_drop(true);
        tie(&mut command, join);
        let (answer, answered) = oneshot::channel();
        self.jobs.try_send(Job { command, answer }).map_err(|_| io::Error::other("too many starts at once"))?;
        answered.await.unwrap_or_else(|_| Err(io::Error::other("the thread that starts replicas is gone")))
    }
}

/// What the child does between fork and exec.
#[allow(
    unsafe_code,
    reason = "only the child itself can tie itself to its parent and enter a cgroup before its first instruction"
)]
fn tie(command: &mut Command, join: Option<File>) {
    let parent = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above: nobody would ever tell us.
        if getppid() != Some(parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        if let Some(procs) = &join {
            rustix::io::write(procs, b"0")?;
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock, as is asked between fork and exec.
    unsafe {
        command.pre_exec(before_exec);
    }
}
