//! a command is run with the number: for whatever has a command line and no other actuator
//!
//!     command --replicas {replicas} ─► exit code 0: done; anything else, or too late: failed, with the end of what it said
//!     observe ─► prints how many there are: `3`, or `3 2` if two of them are ready
//!
//! **Always:** the environment is what is declared and `TIDEMILL_…`, standard input is empty, no shell is between.
//! **Never:** a command outlives its time; where it runs out of it, what it started dies with it. When tidemill is killed, the command is.

use super::remote::{Deliver, Delivered, Errand, Newer, Patience, Remote, Seen};
use super::spawner::Spawner;
use super::tail::{self, Tail};
use super::{Ground, Kind};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::units::{DAY, HOUR, Span, within};
use futures::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::process::{Child, Command};

/// `type = "exec"`
pub const KIND: Kind = Kind {
    name: "exec",
    about: "a command is run with the number of replicas",
    example: r#"type = "exec"
command = ["kubectl", "scale", "deployment/web", "--replicas={replicas}"]
env = { HOME = "/root", PATH = "/usr/local/bin:/usr/bin:/bin" }
observe = ["kubectl", "get", "deployment/web", "--output=jsonpath={.spec.replicas} {.status.readyReplicas}"]
"#,
};

/// Time between a command's being told to end and its being killed.
const END_MAX: Duration = Duration::from_secs(1);
/// How long its output is waited for once it has ended; something that it left behind may hold it open for ever.
const LAST_WORDS_MAX: Duration = Duration::from_millis(200);

/// A workload behind a command.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program and its arguments; `{replicas}`, `{from}`, `{workload}`, `{scaler}` and `{decision}` are filled in.
    pub command: Vec<String>,
    /// The program, with arguments, that prints how many there are: `3`, or `3 2` if two are ready; if not given, as many as were asked for.
    #[serde(default)]
    pub observe: Vec<String>,
    /// Time between two such looks.
    #[serde(default = "observe_every", deserialize_with = "within::<100, HOUR, _, _>")]
    pub observe_every: Span,
    /// Time for replicas to be there and ready, where `observe` says so.
    #[serde(default = "settle", deserialize_with = "within::<0, DAY, _, _>")]
    pub settle: Span,
    /// Time for a command; then it is ended, with all it started.
    #[serde(default = "timeout", deserialize_with = "within::<10, DAY, _, _>")]
    pub timeout: Span,
    /// The environment: nothing else of tidemill's own is handed on.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The directory that commands start in; tidemill's own if not given.
    pub directory: Option<PathBuf>,
}

fn observe_every() -> Span {
    Span(Duration::from_secs(10))
}

fn settle() -> Span {
    Span(Duration::from_secs(60))
}

fn timeout() -> Span {
    Span(Duration::from_secs(30))
}

impl Config {
    /// What is wrong that no single key can tell.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.command.first().is_none_or(String::is_empty) {
            faults.push(Fault::new("command", "command is empty; write the program and its arguments"));
        }
        if self.observe.first().is_some_and(String::is_empty) {
            faults.push(Fault::new("observe", "observe names no program; write the program and its arguments"));
        }
        if let Some(name) = self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            faults.push(Fault::new("env", format!("`{name}` cannot be the name of a variable")));
        }
        if let Some(directory) = self.directory.as_ref().filter(|directory| !directory.is_dir()) {
            let message = format!("`{}` is no directory; make it, or name another", directory.display());
            faults.push(Fault::new("directory", message));
        }
        faults
    }
}

/// Opens the workload.
pub(super) async fn open(config: Config, ground: Ground) -> Result<Remote<Exec>> {
    let patience = Patience { observe_every: config.observe_every.0, settle: config.settle.0 };
    let (clock, workload) = (ground.clock.clone(), ground.workload.clone());
    let exec = Exec { spawner: Spawner::start()?, clock, workload, config };
    Ok(Remote::open(exec, ground, patience).await)
}

/// The commands of a workload.
pub(super) struct Exec {
    spawner: Spawner,
    clock: Clock,
    workload: String,
    config: Config,
}

/// A command that ended in time.
struct Ended {
    status: ExitStatus,
    seconds: f64,
    out: Tail,
    /// standard output and error, as they came
    all: Tail,
}

impl Exec {
    async fn scale(&self, errand: &Errand) -> Result<Delivered> {
        let change = &errand.change;
        let (to, from) = (change.to.to_string(), change.from.to_string());
        let places = [
            ("{replicas}", to.as_str()),
            ("{from}", &from),
            ("{workload}", &self.workload),
            ("{scaler}", &change.scaler),
            ("{decision}", &errand.key),
        ];
        let fill = |word: &String| places.iter().fold(word.clone(), |word, (place, with)| word.replace(place, with));
        let words: Vec<String> = self.config.command.iter().map(fill).collect();
        let variables = [
            ("TIDEMILL_REPLICAS", to.as_str()),
            ("TIDEMILL_FROM", &from),
            ("TIDEMILL_SCALER", &change.scaler),
            ("TIDEMILL_DECISION", &errand.key),
            ("TIDEMILL_REASON", &change.reason),
        ];
        let ended = self.run(&words, &variables).await?;
        let name = shown(&words);
        match ended.status.success() {
            true => {
                Ok(Delivered::Acknowledged(format!("{name} ended well in {:.1} s{}", ended.seconds, said(&ended.all))))
            }
            false => Err(failed(&name, &ended)),
        }
    }

    async fn count(&self) -> Result<Seen> {
        let name = shown(&self.config.observe);
        let ended = self.run(&self.config.observe, &[]).await?;
        if !ended.status.success() {
            return Err(failed(&name, &ended));
        }
        counted(ended.out.whole().as_deref().unwrap_or_default()).ok_or_else(|| {
            let message = format!(
                "{name} must print how many replicas there are, `3`, or `3 2` if two of them are ready; it printed `{}`",
                ended.out.words()
            );
            Error::new(ErrorKind::Foreign, message)
        })
    }

    /// Runs a command to its end, or to the end of its time.
    async fn run(&self, words: &[String], variables: &[(&str, &str)]) -> Result<Ended> {
        let name = shown(words);
        let began = self.clock.now();
        let mut command = Command::new(words.first().map(String::as_str).unwrap_or_default());
        command.args(words.get(1..).unwrap_or_default()).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("TIDEMILL_WORKLOAD", &self.workload).envs(variables.iter().copied()).envs(&self.config.env);
        if let Some(directory) = &self.config.directory {
            command.current_dir(directory);
        }
        let child = self.spawner.spawn(command, None).await;
        let child = child.map_err(|error| Error::io(format_args!("{name} cannot be started"), error))?;
        let mut group = Group::of(child);
        let (out, all) = (Mutex::<Tail>::default(), Mutex::<Tail>::default());
        let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
        let hearing = futures::future::join(
            tail::read(stdout, |bytes| {
                lock(&out).push(bytes);
                lock(&all).push(bytes);
            }),
            tail::read(stderr, |bytes| lock(&all).push(bytes)),
        );
        let mut hearing = std::pin::pin!(hearing);
        let limit = tokio::time::sleep(self.config.timeout.0);
        let mut limit = std::pin::pin!(limit);
        let mut heard = false;
        let status = loop {
            tokio::select! {
                ((), ()) = &mut hearing, if !heard => heard = true,
                status = group.child.wait() => break status,
                () = &mut limit => {
                    group.end().await;
                    let limit = self.config.timeout;
                    let message = format!("{name} did not end within {limit} and was killed, with all it had started{}", said(&lock(&all)));
                    return Err(Error::new(ErrorKind::Limit, message));
                }
            }
        };
        // What it leaves running is meant to run on: only its pipes are not waited for.
        group.armed = false;
        let status = status.map_err(|error| Error::io(format_args!("{name} was lost"), error))?;
        if !heard {
            let _ = tokio::time::timeout(LAST_WORDS_MAX, hearing).await;
        }
        let seconds = self.clock.now().saturating_sub(began).max(0) as f64 / 1e9;
        let (out, all) = (lock(&out).clone(), lock(&all).clone());
        Ok(Ended { status, seconds, out, all })
    }
}

impl Deliver for Exec {
    fn deliver<'a>(&'a self, errand: &'a Errand, _: &'a Newer) -> BoxFuture<'a, Result<Delivered>> {
        Box::pin(self.scale(errand))
    }

    fn can_look(&self) -> bool {
        !self.config.observe.is_empty()
    }

    fn look(&self) -> BoxFuture<'_, Result<Seen>> {
        Box::pin(self.count())
    }
}

/// A command and all it started, which end when this is dropped early.
struct Group {
    child: Child,
    leader: Option<Pid>,
    armed: bool,
}

impl Group {
    fn of(child: Child) -> Group {
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Group { child, leader, armed: true }
    }

    /// First asked, then killed.
    async fn end(&mut self) {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(END_MAX, self.child.wait()).await;
        // The leader may be gone and others of its group still be there.
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
        self.armed = false;
    }

    fn signal(&self, signal: Signal) {
        // An error means that nobody is left in it.
        let _ = self.leader.map(|leader| kill_process_group(leader, signal));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.armed {
            self.signal(Signal::KILL);
        }
    }
}

/// `3`, or `3 2`.
fn counted(text: &str) -> Option<Seen> {
    let mut numbers = text.split_whitespace().map(str::parse::<u32>);
    let replicas = numbers.next()?.ok()?;
    let ready = numbers.next().unwrap_or(Ok(replicas)).ok()?;
    numbers.next().is_none().then_some(Seen { replicas, ready })
}

fn shown(words: &[String]) -> String {
    format!("`{}`", words.first().map(String::as_str).unwrap_or_default())
}

fn said(tail: &Tail) -> String {
    let words = tail.words();
    if words.is_empty() { ", and said nothing".to_owned() } else { format!(", and said: {words}") }
}

fn failed(name: &str, ended: &Ended) -> Error {
    let how = match (ended.status.code(), ended.status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    Error::new(ErrorKind::Foreign, format!("{name} {how} after {:.1} s{}", ended.seconds, said(&ended.all)))
}

fn lock(tail: &Mutex<Tail>) -> MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
