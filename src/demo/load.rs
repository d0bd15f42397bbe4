//! offers requests at a constant rate, whatever the answers do
//!
//! Open loop: request `i` of a step is due at `start + i / rate`, and its latency counts from then, not from when it was sent. A server that
//! stalls is therefore seen as slow by everyone who would have come meanwhile (no coordinated omission). Each request has a
//! connection of its own, so that a TCP balancer decides on each.
//!
//! **Always:** every due request ends as completed, failed or timed out, counted in the step in which it was due. One that timed out
//! counts in the latencies with the time it had waited.
//! **Never:** more than [`Load::outstanding_max`] requests are open; what is due beyond counts as failed.

use super::latency::Latencies;
use super::plan::Step;
use crate::clock::{Clock, nanos};
use crate::error::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// An answer longer than this is cut off, and counts as failed.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// How long the last requests are waited for after the last step.
const LAST_WAIT: Duration = Duration::from_secs(2);
/// Who asks: a few browsers and tools, in turn, for the user-agent plugin to tell apart.
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "curl/8.8.0",
];

/// What is offered to whom.
#[derive(Clone)]
pub struct Load {
    /// whom
    pub target: SocketAddr,
    /// the rates, one after the other
    pub steps: Vec<Step>,
    /// start again after the last step
    pub forever: bool,
    /// a request without an answer this long after it was due has timed out
    pub timeout: Duration,
    /// the most requests that are open at a time
    pub outstanding_max: usize,
    /// the time
    pub clock: Clock,
}

/// What became of the requests that were due in one step, or of some of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// were due
    pub offered: u64,
    /// answered with 200
    pub completed: u64,
    /// answered with something else, or not at all
    pub failed: u64,
    /// not answered in time
    pub timed_out: u64,
    /// how long the completed and the timed out took since they were due
    pub latencies: Latencies,
}

/// About a second of load.
#[derive(Clone, Debug)]
pub struct Sample {
    /// seconds since the start
    pub second: u64,
    /// the step that it ended in, counted over repetitions
    pub step: usize,
    /// requests that are open
    pub outstanding: usize,
    /// what happened in it, by the step in which the requests were due
    pub tallies: Vec<(usize, Tally)>,
}

impl Load {
    /// Offers the load until its last step is over or it is told to stop, and tells what happened once a second. A reader that is late
    /// gets two seconds in one sample. Requests that are open at a stop are abandoned.
    pub async fn run(self, samples: mpsc::Sender<Sample>, stop: CancellationToken) {
        let mut schedule = Schedule::new(&self.steps, self.forever).peekable();
        let mut flying: JoinSet<Outcome> = JoinSet::new();
        let start = self.clock.now();
        let mut sample = Sample { second: 0, step: 0, outstanding: 0, tallies: Vec::new() };
        let mut ends = None;
        let mut count = 0usize;
        loop {
            let due = schedule.peek().copied();
            let now = self.clock.now();
            if due.is_none() {
                let end = *ends.get_or_insert(now + nanos(LAST_WAIT));
                if flying.is_empty() || now >= end {
                    break;
                }
            }
            let until = |at: i64| Duration::from_nanos(u64::try_from(at - now).unwrap_or(0));
            let next_second = start + nanos(Duration::from_secs(sample.second + 1));
            let next_due = due.map_or(next_second, |(offset, _)| start.saturating_add(nanos(offset)));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(until(next_second)), if next_second <= next_due || now >= next_second => {
                    sample.outstanding = flying.len();
                    sample.second += 1;
                    emit(&samples, &mut sample);
                }
                Some(Ok(outcome)) = flying.join_next(), if !flying.is_empty() => sample.end(outcome),
                () = tokio::time::sleep(until(next_due)), if due.is_some() => {
                    if let Some((_, step)) = schedule.next() {
                        sample.step = step;
                        let tally = sample.tally(step);
                        tally.offered += 1;
                        if flying.len() >= self.outstanding_max {
                            tally.failed += 1;
                        } else {
                            flying.spawn(request(self.caller(), next_due, step, count));
                        }
                        count += 1;
                    }
                }
            }
        }
        for _ in 0..flying.len() {
            sample.tally(sample.step).timed_out += 1;
        }
        sample.second += 1;
        let _ = samples.send(sample).await;
    }

    fn caller(&self) -> Caller {
        Caller { target: self.target, timeout: self.timeout, clock: self.clock.clone() }
    }
}

/// What one request needs to know of the load.
struct Caller {
    target: SocketAddr,
    timeout: Duration,
    clock: Clock,
}

/// Hands a sample over and starts the next; if there is no room it goes on in the same one.
fn emit(samples: &mpsc::Sender<Sample>, sample: &mut Sample) {
    if samples.try_send(sample.clone()).is_ok() {
        sample.tallies.clear();
    }
}

impl Sample {
    /// All steps together.
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.tallies.iter().for_each(|(_, tally)| total.merge(tally));
        total
    }

    fn tally(&mut self, step: usize) -> &mut Tally {
        let at = self.tallies.iter().position(|(held, _)| *held == step).unwrap_or_else(|| {
            self.tallies.push((step, Tally::default()));
            self.tallies.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the position was just found, or pushed")]
        &mut self.tallies[at].1
    }

    fn end(&mut self, outcome: Outcome) {
        let tally = self.tally(outcome.step);
        match outcome.end {
            End::Completed => tally.completed += 1,
            End::Failed => tally.failed += 1,
            End::TimedOut => tally.timed_out += 1,
        }
        if outcome.end != End::Failed {
            tally.latencies.record(outcome.latency);
        }
    }
}

impl Tally {
    /// Adds another one.
    pub fn merge(&mut self, other: &Tally) {
        self.offered += other.offered;
        self.completed += other.completed;
        self.failed += other.failed;
        self.timed_out += other.timed_out;
        self.latencies.merge(&other.latencies);
    }
}

/// When each request is due, since the start, and in which step.
struct Schedule<'a> {
    steps: &'a [Step],
    forever: bool,
    step: usize,
    begun: Duration,
    sent: u64,
}

impl<'a> Schedule<'a> {
    fn new(steps: &'a [Step], forever: bool) -> Self {
        // Without this, a plan of nothing would repeat nothing for ever.
        let some = steps.iter().any(|step| step.span > Duration::ZERO && step.per_second > 0.0);
        Schedule { steps: if some { steps } else { &[] }, forever, step: 0, begun: Duration::ZERO, sent: 0 }
    }
}

impl Iterator for Schedule<'_> {
    type Item = (Duration, usize);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = if self.forever { self.step.checked_rem(self.steps.len())? } else { self.step };
            let step = self.steps.get(at)?;
            let offset = if step.per_second > 0.0 { self.sent as f64 / step.per_second } else { f64::INFINITY };
            if offset < step.span.as_secs_f64() {
                self.sent += 1;
                return Some((self.begun + Duration::from_secs_f64(offset), self.step));
            }
            self.begun += step.span;
            self.step += 1;
            self.sent = 0;
        }
    }
}

struct Outcome {
    step: usize,
    end: End,
    latency: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed,
    Failed,
    TimedOut,
}

/// One request, from its due time to its end.
async fn request(caller: Caller, due: i64, step: usize, count: usize) -> Outcome {
    let late = Duration::from_nanos(u64::try_from(caller.clock.now() - due).unwrap_or(0));
    let left = caller.timeout.saturating_sub(late);
    let agent = AGENTS.get(count % AGENTS.len()).copied().unwrap_or("tidemill");
    let end = match tokio::time::timeout(left, post(caller.target, agent, count)).await {
        Ok(Ok(true)) => End::Completed,
        Ok(_) => End::Failed,
        Err(_) => End::TimedOut,
    };
    let latency = Duration::from_nanos(u64::try_from(caller.clock.now() - due).unwrap_or(0));
    Outcome { step, end, latency }
}

/// Posts one password over a connection of its own; true when the answer is 200 and whole.
async fn post(target: SocketAddr, agent: &str, count: usize) -> Result<bool> {
    let failed = |error| Error::io(format_args!("request to {target}"), error);
    let mut stream = TcpStream::connect(target).await.map_err(failed)?;
    let _ = stream.set_nodelay(true);
    let password = format!("password number {count}");
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {target}\r\nuser-agent: {agent}\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n",
        password.len()
    );
    stream.write_all(format!("{head}{password}").as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await.map_err(failed)?;
    let cut = || Error::new(ErrorKind::Foreign, format!("{target} answered half"));
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(cut)?;
    Ok(answer.starts_with(b"HTTP/1.1 200") && answer.len() >= head_end + 4 + 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    fn steps(list: &[(f64, u64)]) -> Vec<Step> {
        let step = |(per_second, ms): &(f64, u64)| Step {
            name: "step",
            per_second: *per_second,
            span: Duration::from_millis(*ms),
        };
        list.iter().map(step).collect()
    }

    fn load(target: SocketAddr, list: &[(f64, u64)]) -> Load {
        let timeout = Duration::from_millis(700);
        Load { target, steps: steps(list), forever: false, timeout, outstanding_max: 2000, clock: Clock::system() }
    }

    async fn total(load: Load) -> Tally {
        let (sender, mut samples) = mpsc::channel(4);
        let running = tokio::spawn(load.run(sender, CancellationToken::new()));
        let mut total = Tally::default();
        while let Some(sample) = samples.recv().await {
            total.merge(&sample.total());
        }
        running.await.unwrap();
        total
    }

    #[test]
    fn requests_are_due_evenly_and_steps_follow_each_other() {
        let steps = steps(&[(2.0, 1000), (4.0, 500), (0.0, 100), (1.0, 100)]);
        let due: Vec<(u128, usize)> = Schedule::new(&steps, false).map(|(at, step)| (at.as_millis(), step)).collect();
        assert_eq!(due, [(0, 0), (500, 0), (1000, 1), (1250, 1), (1600, 3)]);
        assert_eq!(Schedule::new(&steps, true).nth(5).unwrap(), (Duration::from_millis(1700), 4));
        assert_eq!(Schedule::new(&[], true).next(), None);
    }

    #[tokio::test]
    async fn a_stalled_server_is_slow_for_all_who_would_have_come() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        // It takes connections and answers none for 400 ms, then all at once.
        let server = tokio::spawn(async move {
            let mut held = Vec::new();
            let stall = tokio::time::sleep(Duration::from_millis(400));
            tokio::pin!(stall);
            loop {
                tokio::select! {
                    () = &mut stall => break,
                    accepted = listener.accept() => held.push(accepted.unwrap().0),
                }
            }
            for mut stream in held {
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await;
                let answer = format!("HTTP/1.1 200 OK\r\n\r\n{}", "0".repeat(64));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let total = total(load(target, &[(100.0, 300)])).await;
        server.await.unwrap();
        assert_eq!((total.offered, total.completed), (30, 30), "{total:?}");
        let median = total.latencies.quantile(0.5).unwrap();
        assert!(median > Duration::from_millis(200), "{median:?}");
    }

    #[tokio::test]
    async fn silence_times_out_refusal_fails_and_too_many_are_not_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = listener.local_addr().unwrap();
        let mut few = load(silent, &[(50.0, 200)]);
        few.outstanding_max = 4;
        let tally = total(few).await;
        assert_eq!((tally.offered, tally.failed, tally.timed_out), (10, 6, 4), "{tally:?}");
        assert_eq!(tally.latencies.count(), 4, "who timed out has waited, too");
        drop(listener);
        let tally = total(load(silent, &[(50.0, 100)])).await;
        assert_eq!((tally.offered, tally.failed), (5, 5), "{tally:?}");
    }

    #[tokio::test]
    async fn a_stop_ends_it_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut load = load(listener.local_addr().unwrap(), &[(10.0, 60_000)]);
        load.forever = true;
        let stop = CancellationToken::new();
        let (sender, _samples) = mpsc::channel(1);
        let running = tokio::spawn(load.run(sender, stop.clone()));
        tokio::time::sleep(Duration::from_millis(150)).await;
        stop.cancel();
        tokio::time::timeout(Duration::from_millis(500), running).await.unwrap().unwrap();
    }
}
