//! Files: real access logs to their last line; growing and rotated files, every line once.

use crate::mill::{Mill, shared};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const ACCESS: &str = r#"
[sources.access]
type = "file"
include = ["access.log*"]

[stages.parsed]
type = "parser"
inputs = ["access"]
plugin = "access-log"

[tables.access]
inputs = ["parsed"]
"#;

const LINES: &str = r#"
[sources.numbered]
type = "file"
include = ["numbered.log*"]

[tables.numbered]
inputs = ["numbered"]
"#;

fn unpacked(name: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(shared(&format!("logs/access/{name}"))?).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

/// Status and bytes as anybody would cut them out: the two words after the quoted request.
fn sums(log: &[u8]) -> (i64, i64, i64) {
    let (mut lines, mut statuses, mut sizes) = (0, 0, 0);
    for line in log.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        lines += 1;
        let text = String::from_utf8_lossy(line).replace("\\\"", "");
        let mut words = text.split('"').nth(2).unwrap_or_default().split_whitespace();
        statuses += words.next().and_then(|word| word.parse::<i64>().ok()).unwrap_or(0);
        sizes += words.next().and_then(|word| word.parse::<i64>().ok()).unwrap_or(0);
    }
    (lines, statuses, sizes)
}

fn every_line_of(name: &str) {
    let Some(log) = unpacked(name) else { return };
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("access.log"), &log).unwrap();
    let (lines, statuses, sizes) = sums(&log);
    let mill = Mill::start(dir.path(), ACCESS);
    mill.wait_for("SELECT (SELECT count(*) FROM access) + (SELECT count(*) FROM tidemill.dead_letters)", lines);
    let dead = mill.rows("SELECT reason, raw FROM tidemill.dead_letters");
    assert!(dead.is_empty(), "every line of {name} is an access log's: {dead:?}");
    assert_eq!(mill.number("SELECT sum(status) FROM access"), statuses);
    assert_eq!(mill.number("SELECT sum(bytes) FROM access"), sizes);
    mill.stop();
}

#[test]
fn an_apache_log() {
    every_line_of("apache_logs_10k.log.gz");
}

#[test]
fn an_nginx_log() {
    every_line_of("nginx_shop_a.log.gz");
}

struct Writer {
    path: PathBuf,
    file: File,
    next: u64,
}

impl Writer {
    fn new(dir: &Path) -> Writer {
        let path = dir.join("numbered.log");
        Writer { file: appending(&path), path, next: 0 }
    }

    fn write(&mut self, count: u64) {
        let mut text = String::new();
        for number in self.next..self.next + count {
            text += &format!("line {number} of a log that grows while it is read\n");
        }
        self.next += count;
        self.file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate_by_rename(&mut self, to: &str) {
        std::fs::rename(&self.path, self.path.with_file_name(to)).unwrap();
        self.write(7); // a service keeps writing to the old file until it is told
        self.file = appending(&self.path);
    }

    fn rotate_by_copy_and_truncate(&mut self, to: &str) {
        std::fs::copy(&self.path, self.path.with_file_name(to)).unwrap();
        OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
    }
}

fn appending(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).unwrap()
}

fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(700));
}

#[test]
fn every_line_once_while_the_file_is_rotated_and_tidemill_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.write(1000);
    let mill = Mill::start(dir.path(), LINES);
    for round in 0..3 {
        writer.write(500);
        writer.rotate_by_rename(&format!("numbered.log.{}", 10 + round));
        writer.write(300);
        pause();
        writer.write(200);
        pause();
        writer.rotate_by_copy_and_truncate(&format!("numbered.log.{}", 20 + round));
        writer.write(400);
        pause();
    }
    mill.wait_for("SELECT count(*) FROM numbered", writer.next as i64);
    assert_eq!(mill.number("SELECT count(DISTINCT body) FROM numbered"), writer.next as i64);
    mill.stop();

    writer.write(100);
    writer.rotate_by_rename("numbered.log.30");
    writer.write(50);
    let mill = Mill::start(dir.path(), LINES);
    mill.wait_for("SELECT count(*) FROM numbered", writer.next as i64);
    assert_eq!(mill.number("SELECT count(DISTINCT body) FROM numbered"), writer.next as i64);
    mill.stop();
}

#[test]
fn a_last_line_without_an_end_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(dir.path());
    writer.write(3);
    writer.file.write_all(b"half a li").unwrap();
    let mill = Mill::start(dir.path(), LINES);
    mill.wait_for("SELECT count(*) FROM numbered", 3);
    pause();
    assert_eq!(mill.number("SELECT count(*) FROM numbered"), 3);
    writer.file.write_all(b"ne\n").unwrap();
    mill.wait_for("SELECT count(*) FROM numbered WHERE body = 'half a line'", 1);
    mill.stop();
}

#[test]
fn odd_lines_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = b"before\nbroken \xff\xfe utf-8\r\n".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', 100 << 20));
    bytes.extend(b"\nafter\n");
    std::fs::write(dir.path().join("numbered.log"), &bytes).unwrap();
    let mill = Mill::start(dir.path(), LINES);
    mill.wait_for("SELECT count(*) FROM numbered WHERE body = 'after'", 1);
    assert_eq!(mill.number("SELECT count(*) FROM numbered"), 3);
    let broken = mill.rows("SELECT body, encode(body__binary, 'hex') AS bytes FROM numbered WHERE body LIKE 'broken%'");
    assert_eq!(broken[0]["body"], "broken \u{fffd}\u{fffd} utf-8");
    let dead = mill.rows("SELECT reason FROM tidemill.dead_letters");
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert!(dead[0]["reason"].as_str().unwrap().contains("104857600 bytes"), "{dead:?}");
    mill.stop();
}

const TRACES: &str = r#"
[sources.app]
type = "file"
include = ["app.log"]
multiline = { languages = ["java", "python"], timeout = "3s" }

[tables.app]
inputs = ["app"]
"#;

#[test]
fn a_trace_over_kills_is_stored_once_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let write = |text: &str| {
        OpenOptions::new().append(true).create(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    let first = |n: usize| {
        format!("2026-11-24 18:00:0{n} ERROR no {n}\njava.lang.IllegalStateException: {n}\n\tat a.B.c(B.java:1)\n")
    };
    let last = "Caused by: java.io.IOException: x\n\tat a.B.d(B.java:2)\n\t... 1 more\n";
    let mut want = Vec::new();
    for n in 0..3 {
        write(&first(n));
        let mill = Mill::start(dir.path(), TRACES);
        // Those before are there, at the latest with the first line of this one, which is held.
        mill.wait_for("SELECT count(*) FROM app", i64::try_from(n).unwrap());
        mill.kill();
        write(last);
        want.push(format!("{}{}", first(n), last.trim_end()));
    }
    let mill = Mill::start(dir.path(), TRACES);
    mill.wait_for("SELECT count(*) FROM app", 3);
    let bodies = mill.rows("SELECT body FROM app ORDER BY body");
    assert_eq!(bodies.iter().map(|row| row["body"].as_str().unwrap()).collect::<Vec<_>>(), want);
    assert_eq!(mill.number("SELECT sum(cuts) FROM tidemill.targets WHERE source = 'app'"), 0);
    mill.stop();
}
