//! a shell that outlives a tidemill that is killed, just long enough to kill what its replicas had started
//!
//! The kernel kills replicas with their parent, but not the children of replicas (`npm start` and its `node`). The guard reads
//! from a pipe which process groups there are; when the pipe ends, it kills those that it was not told to forget, and ends.

use rustix::process::Pid;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Mutex;

/// The longest that a line to the guard may take; it only reads.
const TELL_MAX: Duration = Duration::from_secs(1);

const SCRIPT: &str = r#"
groups=" "
while read -r verb group; do
  case "$verb$groups" in
    +*) groups="$groups$group " ;;
    -*" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;;
  esac
done
for group in $groups; do kill -KILL "-$group"; done 2>/dev/null
"#;

/// The shell and the pipe to it.
pub struct Guard(Mutex<Option<(Child, ChildStdin)>>);

impl Guard {
    /// Starts it. Where there is no shell there is no guard, and that is said.
    pub fn start(workload: &str) -> Guard {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "tidemill-guard"]).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let started = command.spawn().map(|mut child| child.stdin.take().map(|pipe| (child, pipe)));
        let inside = started.unwrap_or_else(|error| {
            tracing::warn!(workload, %error, "no guard: what replicas start may outlive a tidemill that is killed");
            None
        });
        Guard(Mutex::new(inside))
    }

    /// There is a group to kill.
    pub async fn watch(&self, group: Pid) {
        if group.is_init() {
            // To `kill`, the group 1 is everybody.
            return;
        }
        self.tell('+', group).await;
    }

    /// The group is gone.
    pub async fn forget(&self, group: Pid) {
        self.tell('-', group).await;
    }

    /// Ends it, and with it every group that it was not told to forget.
    pub async fn close(&self) {
        let Some((mut child, pipe)) = self.0.lock().await.take() else { return };
        drop(pipe);
        // It has nothing left to wait for; should it not end, it is no harm.
        let _ = tokio::time::timeout(TELL_MAX, child.wait()).await;
    }

    async fn tell(&self, verb: char, group: Pid) {
        let mut inside = self.0.lock().await;
        let Some((_, pipe)) = inside.as_mut() else { return };
        let line = format!("{verb} {}\n", group.as_raw_nonzero());
        if !matches!(tokio::time::timeout(TELL_MAX, pipe.write_all(line.as_bytes())).await, Ok(Ok(()))) {
            tracing::warn!("the guard is gone: what replicas start may outlive a tidemill that is killed");
            *inside = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_kills_what_it_was_not_told_to_forget() {
        let sleeper = || Command::new("sleep").arg("100").process_group(0).kill_on_drop(true).spawn().unwrap();
        let group = |child: &Child| Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        let (mut one, mut two, mut three) = (sleeper(), sleeper(), sleeper());
        let guard = Guard::start("test");
        for child in [&one, &two, &three] {
            guard.watch(group(child)).await;
        }
        guard.forget(group(&two)).await;
        guard.forget(Pid::from_raw(1).unwrap()).await;
        guard.close().await;
        for child in [&mut one, &mut three] {
            tokio::time::timeout(Duration::from_secs(5), child.wait()).await.unwrap().unwrap();
        }
        assert_eq!(two.try_wait().unwrap(), None);
    }
}
