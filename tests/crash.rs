//! kill -9 at random moments, SIGTERM under load: nothing acknowledged is lost, nothing is there twice.

use crate::mill::{Dice, Mill, free_port, request};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

const KILLS: usize = 20;
const CLIENTS: u64 = 3;

/// Small enough that files are flushed, the catalog changed and the WAL tidied between two kills.
const PIPELINE: &str = r#"
[store]
flush_age = "300ms"
flush_bytes = "256KiB"

[sources.pushed]
type = "http"

[tables.pushed]
inputs = ["pushed"]

[sources.tailed]
type = "file"
include = ["tailed.log*"]
codec = "ndjson"
poll = "20ms"

[tables.tailed]
inputs = ["tailed"]
"#;

#[derive(Default)]
struct Work {
    /// no more batches
    over: AtomicBool,
    /// the test has ended, well or not
    ended: AtomicBool,
    acknowledged: AtomicU64,
    written: AtomicU64,
    tries: AtomicU64,
}

impl Work {
    /// Starts the clients.
    fn clients<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, port: u16) -> Vec<ScopedJoinHandle<'scope, ()>> {
        (0..CLIENTS).map(|client| scope.spawn(move || self.push(client, port))).collect()
    }

    /// Pushes batches, each until it is acknowledged, also over restarts.
    fn push(&self, client: u64, port: u16) {
        let mut next = client << 32;
        for batch in 0.. {
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            let count = 1 + batch * 7 % 90;
            let body: String = (next..next + count)
                .map(|id| format!("{{\"id\":{id},\"client\":{client},\"some\":\"words\"}}\n"))
                .collect();
            let key = format!("{client}-{batch}");
            let headers = [("Idempotency-Key", key.as_str()), ("Content-Type", "application/x-ndjson")];
            while !self.ended.load(Ordering::SeqCst) {
                self.tries.fetch_add(1, Ordering::SeqCst);
                match request(port, "POST", "/v1/ingest/pushed", &headers, body.as_bytes()) {
                    Ok(reply) if reply.status == 200 => {
                        assert_eq!(reply.json()["accepted"].as_u64(), Some(count), "{}", reply.body);
                        self.acknowledged.fetch_add(count, Ordering::SeqCst);
                        break;
                    }
                    Ok(reply) => assert_eq!(reply.status, 503, "{}", reply.body),
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            next += count;
        }
    }

    /// Grows a file, sometimes in the middle of a line, and rotates it now and then.
    fn write(&self, dir: &Path) {
        let path = dir.join("tailed.log");
        let open = || OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut file: File = open();
        for round in 0u64.. {
            let first = self.written.load(Ordering::SeqCst);
            let text: String = (first..first + 40).map(|id| format!("{{\"id\":{id},\"round\":{round}}}\n")).collect();
            let (start, end) = text.split_at(text.len() / 2);
            file.write_all(start.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            file.write_all(end.as_bytes()).unwrap();
            self.written.store(first + 40, Ordering::SeqCst);
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            if round % 100 == 99 {
                std::fs::rename(&path, dir.join(format!("tailed.log.{round}"))).unwrap();
                file = open();
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Everything acknowledged and everything written is there once.
    fn check(&self, mill: &Mill) {
        let (acknowledged, written) = (self.acknowledged.load(Ordering::SeqCst), self.written.load(Ordering::SeqCst));
        println!("{acknowledged} acknowledged in {} tries, {written} written", self.tries.load(Ordering::SeqCst));
        mill.wait_for("SELECT count(DISTINCT id) FROM tailed", written as i64);
        assert_eq!(mill.number("SELECT count(*) FROM tailed"), written as i64, "twice from the file");
        assert_eq!(mill.number("SELECT count(DISTINCT id) FROM pushed"), acknowledged as i64, "lost");
        assert_eq!(mill.number("SELECT count(*) FROM pushed"), acknowledged as i64, "twice");
        assert_eq!(mill.number("SELECT count(*) FROM tidemill.dead_letters"), 0);
    }
}

#[test]
fn kill_9_at_random_moments_loses_nothing_and_shows_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut dice, port, work) = (Dice::new(), free_port(), Work::default());
    std::thread::scope(|scope| {
        let _over = Over(&work);
        let clients = work.clients(scope, port);
        let writer = scope.spawn(|| work.write(dir.path()));
        for kill in 0..KILLS {
            let mill = Mill::start_on(dir.path(), PIPELINE, port);
            let moment = Duration::from_millis(dice.below(700));
            std::thread::sleep(moment);
            println!("kill {kill} after {moment:?}");
            mill.kill();
        }
        let mill = Mill::start_on(dir.path(), PIPELINE, port);
        std::thread::sleep(Duration::from_millis(500));
        work.over.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
        writer.join().unwrap();
        work.check(&mill);
        assert!(mill.number("SELECT count(*) FROM tidemill.segments") > 0);
        mill.stop();
        let mill = Mill::start_on(dir.path(), PIPELINE, port);
        work.check(&mill);
        mill.stop();
    });
}

#[test]
fn a_clean_stop_under_load_loses_nothing_and_the_next_start_replays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (port, work) = (free_port(), Work::default());
    std::thread::scope(|scope| {
        let _over = Over(&work);
        let clients = work.clients(scope, port);
        let writer = scope.spawn(|| work.write(dir.path()));
        for stop in 0..4 {
            let mill = Mill::start_on(dir.path(), PIPELINE, port);
            let opened = mill.said().lines().find(|line| line.contains("the store is open")).unwrap().to_owned();
            assert!(opened.contains("replayed=0"), "{opened}");
            std::thread::sleep(Duration::from_millis(700));
            let began = Instant::now();
            mill.stop();
            println!("stop {stop} took {:?}", began.elapsed());
        }
        let mill = Mill::start_on(dir.path(), PIPELINE, port);
        work.over.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
        writer.join().unwrap();
        work.check(&mill);
        mill.stop();
    });
}

/// Ends the work also when a test fails, or its threads would wait for ever.
struct Over<'a>(&'a Work);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.ended.store(true, Ordering::SeqCst);
    }
}
