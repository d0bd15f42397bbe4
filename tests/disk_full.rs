//! A disk that fills up: pushes are told to wait, questions are answered, and all goes on by itself when there is space again.

use crate::mill::{Mill, patiently, stderr};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const PIPELINE: &str = r#"
[store]
path = "full/data"

[sources.events]
type = "http"

[tables.events]
inputs = ["events"]

[sources.tailed]
type = "file"
include = ["tailed.log"]

[tables.tailed]
inputs = ["tailed"]
"#;

/// A small file system in memory, gone when this is.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Small> {
        std::fs::create_dir(at).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(at).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Small(at.to_owned())),
            Ok(done) => {
                eprintln!("left out: a small disk cannot be mounted here: {}", stderr(&done).trim());
                None
            }
            Err(error) => {
                eprintln!("left out: a small disk cannot be mounted here: {error}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_nothing_that_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&dir.path().join("full")) else { return };
    let mut mill = Mill::start(dir.path(), PIPELINE);
    let mut tailed = std::fs::File::create(dir.path().join("tailed.log")).unwrap();
    let mut accepted = 0;
    for round in 0..3 {
        std::fs::write(small.0.join("ballast"), vec![0; 64 << 20]).unwrap_err();
        let line = "x".repeat(100);
        let body: String = (0..500).map(|n| format!("{{\"round\":{round},\"n\":{n},\"text\":\"{line}\"}}\n")).collect();
        let mut refused = None;
        assert!(patiently(|| {
            let reply = mill.post("/v1/ingest/events", &[("Content-Type", "application/x-ndjson")], body.as_bytes());
            match reply.status {
                200 => accepted += 500,
                _ => refused = Some(reply),
            }
            refused.is_some()
        }));
        let refused = refused.unwrap();
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(refused.header("retry-after").is_some(), "{}", refused.head);
        assert!(refused.refusal().contains("the disk is full at"), "{}", refused.body);
        for n in 0..1000 {
            writeln!(tailed, "round {round} line {n}").unwrap();
        }
        // Questions are answered, and only what was accepted is there.
        assert_eq!(mill.number("SELECT count(*) FROM events"), accepted);
        assert_eq!(mill.number("SELECT count(*) FROM tidemill.dead_letters"), 0);
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(mill.lives());

        std::fs::remove_file(small.0.join("ballast")).unwrap();
        assert!(patiently(|| {
            let reply = mill.post("/v1/ingest/events", &[("Content-Type", "application/x-ndjson")], body.as_bytes());
            accepted += if reply.status == 200 { 500 } else { 0 };
            reply.status == 200
        }));
        mill.wait_for("SELECT count(*) FROM tailed", 1000 * (round + 1));
        assert_eq!(mill.number("SELECT count(DISTINCT body) FROM tailed"), 1000 * (round + 1));
    }
    mill.stop();
    let mill = Mill::start(dir.path(), PIPELINE);
    assert_eq!(mill.number("SELECT count(*) FROM events"), accepted);
    assert_eq!(mill.number("SELECT count(DISTINCT body) FROM tailed"), 3000);
    assert_eq!(mill.number("SELECT count(*) FROM tailed"), 3000);
    mill.kill();
}
