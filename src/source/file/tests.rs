//! tests of tailing with real files, real rotations and a pipeline that answers

use super::*;
use crate::source::testing::Pipeline;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::task::JoinHandle;

fn config(include: &str) -> Config {
    let text = format!("include = [{include:?}]\npoll = \"5ms\"\nrotate_wait = \"300ms\"");
    toml::from_str(&text).unwrap()
}

fn start(config: Config, pipeline: &Pipeline) -> JoinHandle<Result<()>> {
    let positions = pipeline.positions().into_iter().collect();
    tokio::spawn(run(config, pipeline.outlet.clone(), positions, false))
}

async fn stop(pipeline: &Pipeline, running: JoinHandle<Result<()>>) {
    pipeline.outlet.stop.cancel();
    running.await.unwrap().unwrap();
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn pattern(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

/// Lines that are missing and lines that came twice.
fn wrong(lines: &[String], count: usize) -> (Vec<usize>, Vec<String>) {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    let missing = (0..count).filter(|n| !counts.contains_key(line(*n).as_str())).collect();
    let twice = counts.iter().filter(|(_, count)| **count > 1).map(|(line, _)| (*line).to_owned()).collect();
    (missing, twice)
}

fn line(n: usize) -> String {
    format!("line {n} {}", "x".repeat(n % 90))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_come_as_they_are_written() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    fs::write(&path, b"one\r\ntwo\n\n\xff\xfe bytes\nhal").unwrap();
    let pipeline = Pipeline::start("s");
    let running = start(config(&folder.pattern("*.log")), &pipeline);
    pipeline.wait_lines(3).await;
    append(&path, "f\n");
    pipeline.wait_lines(4).await;
    fs::write(folder.path("b.log"), "from b\n").unwrap();
    fs::write(folder.path("c.log.gz"), "packed\n").unwrap();
    pipeline.wait_lines(5).await;
    assert_eq!(pipeline.lines(), ["one", "two", "\u{fffd}\u{fffd} bytes", "half", "from b"]);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let standings = pipeline.outlet.progress.standings();
    assert_eq!(standings.len(), 2);
    assert!(standings.iter().all(|(_, standing)| standing.caught_up_at > 0 && standing.behind == 0));
    stop(&pipeline, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_was() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    let mut positions = BTreeMap::new();
    let mut all = Vec::new();
    for round in 0..5 {
        append(&path, &(round * 1000..(round + 1) * 1000).map(|n| line(n) + "\n").collect::<String>());
        append(&path, "not e");
        let pipeline = Pipeline::with_positions("s", positions);
        let running = start(config(&folder.pattern("a.log*")), &pipeline);
        pipeline.wait_lines(1000).await;
        stop(&pipeline, running).await;
        append(&path, "nded\n");
        if round == 2 {
            // Renamed while nobody looks.
            fs::rename(&path, folder.path("a.log.1")).unwrap();
        }
        all.extend(pipeline.lines());
        positions = pipeline.positions();
    }
    all.retain(|line| line != "not ended");
    assert_eq!(wrong(&all, 5000), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_at_the_end_reads_what_comes() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    fs::write(&path, "old\nold too\nbeg").unwrap();
    let pipeline = Pipeline::start("s");
    let running = start(Config { start: Start::End, ..config(&folder.pattern("*.log")) }, &pipeline);
    pipeline.until(|| pipeline.positions().len() == 1).await;
    append(&path, "un\nnew\n");
    fs::write(folder.path("b.log"), "whole\n").unwrap();
    pipeline.wait_lines(3).await;
    assert_eq!(pipeline.lines(), ["begun", "new", "whole"]);
    stop(&pipeline, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_file_is_forgotten() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    fs::write(&path, "one\nno end").unwrap();
    let pipeline = Pipeline::start("s");
    let running = start(config(&folder.pattern("a.log")), &pipeline);
    pipeline.wait_lines(1).await;
    fs::rename(&path, folder.path("gone")).unwrap();
    append(&folder.path("gone"), " yet\nlast");
    append(&path, "new file\n");
    pipeline.wait_lines(4).await;
    let mut lines = pipeline.lines();
    lines.sort();
    assert_eq!(lines, ["last", "new file", "no end yet", "one"]);
    pipeline.until(|| pipeline.positions().len() == 1).await;
    fs::remove_file(&path).unwrap();
    pipeline.until(|| pipeline.positions().is_empty()).await;
    stop(&pipeline, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_to_read_is_told() {
    let folder = Folder::new();
    let pipeline = Pipeline::start("s");
    let pattern = folder.pattern("*.log");
    let running = start(config(&pattern), &pipeline);
    pipeline.until(|| !pipeline.outlet.progress.standings().is_empty()).await;
    let (target, standing) = pipeline.outlet.progress.standings().remove(0);
    assert_eq!((target.as_str(), standing.caught_up_at), (pattern.as_str(), 0));
    assert_eq!(standing.error, format!("no file matches `{pattern}` yet"));
    fs::write(folder.path("a.log"), "one\n").unwrap();
    pipeline.until(|| pipeline.outlet.progress.caught_up_at() > 0).await;
    assert_eq!(pipeline.outlet.progress.standings().len(), 1);
    stop(&pipeline, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_pipeline_is_waited_for_and_the_source_is_not_caught_up() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    append(&path, &(0..100_000).map(|n| line(n) + "\n").collect::<String>());
    let pipeline = Pipeline::start("s");
    pipeline.hold(true);
    let running = start(config(&folder.pattern("a.log")), &pipeline);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (_, standing) = pipeline.outlet.progress.standings().remove(0);
    assert_eq!(standing.caught_up_at, 0);
    assert!(standing.behind > 0 && standing.events < 100_000);
    pipeline.hold(false);
    pipeline.wait_lines(100_000).await;
    assert_eq!(wrong(&pipeline.lines(), 100_000), (vec![], vec![]));
    pipeline.until(|| pipeline.outlet.progress.caught_up_at() > 0).await;
    stop(&pipeline, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_a_hundred_megabytes_is_one_dead_letter() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"before\n").unwrap();
    for _ in 0..100 {
        file.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    file.write_all(b"\nafter\n").unwrap();
    let pipeline = Pipeline::start("s");
    let running = start(config(&folder.pattern("a.log")), &pipeline);
    pipeline.wait_lines(2).await;
    assert_eq!(pipeline.lines(), ["before", "after"]);
    assert_eq!((pipeline.dead().len(), pipeline.dead()[0].raw.len()), (1, 1 << 20));
    stop(&pipeline, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_alike_are_both_read() {
    let folder = Folder::new();
    fs::write(folder.path("app.log"), "# the same words\n").unwrap();
    fs::write(folder.path("app.log.1"), "# the same words\n").unwrap();
    let pipeline = Pipeline::start("s");
    let running = start(config(&folder.pattern("app*")), &pipeline);
    pipeline.wait_lines(2).await;
    // A file that comes later and starts like another is held back only until it differs, or stays small and quiet.
    fs::write(folder.path("app.log.2"), "# the same words\n").unwrap();
    append(&folder.path("app-err.log"), "# the same words\nbut others too\n");
    pipeline.wait_lines(5).await;
    assert_eq!(pipeline.lines().len(), 5);
    stop(&pipeline, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zeros_before_the_first_line_after_a_truncation_are_skipped() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    let mut writer = File::create(&path).unwrap();
    writer.write_all(b"one\ntwo\n").unwrap();
    let pipeline = Pipeline::start("s");
    let running = start(config(&folder.pattern("a.log")), &pipeline);
    pipeline.wait_lines(2).await;
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    writer.write_all(b"three\n").unwrap();
    pipeline.wait_lines(3).await;
    assert_eq!(pipeline.lines(), ["one", "two", "three"]);
    stop(&pipeline, running).await;
}

/// How the writer of the torture rotates.
#[derive(Clone, Copy, Debug)]
enum Rotation {
    Rename,
    CopyTruncate,
    Both,
}

/// Appends numbered lines and rotates as logrotate does, keeping five old files.
fn torture(folder: &Path, rotation: Rotation, lines: std::ops::Range<usize>, rotate_each: usize, pause_each: usize) {
    let live = folder.join("x.log");
    let numbered = |n: usize| folder.join(format!("x.log.{n}"));
    let open = || OpenOptions::new().append(true).create(true).open(&live).unwrap();
    let mut file = open();
    for n in lines {
        // A line in two writes now and then, so that partial lines are seen.
        let text = line(n) + "\n";
        let (left, right) = text.split_at(if n % 7 == 0 { text.len() / 2 } else { text.len() });
        file.write_all(left.as_bytes()).unwrap();
        if n % pause_each == 0 {
            std::thread::sleep(Duration::from_millis(3));
        }
        file.write_all(right.as_bytes()).unwrap();
        if n % rotate_each == rotate_each - 1 {
            for old in (1..30).rev() {
                if numbered(old).exists() {
                    fs::rename(numbered(old), numbered(old + 1)).unwrap();
                }
            }
            let rename = match rotation {
                Rotation::Rename => true,
                Rotation::CopyTruncate => false,
                Rotation::Both => (n / rotate_each).is_multiple_of(2),
            };
            if rename {
                fs::rename(&live, numbered(1)).unwrap();
                file = open();
            } else {
                fs::copy(&live, numbered(1)).unwrap();
                if n % 3 == 0 {
                    std::thread::sleep(Duration::from_millis(8));
                }
                file.set_len(0).unwrap();
            }
        }
    }
}

async fn check_torture(rotation: Rotation, count: usize, rotate_each: usize, pause_each: usize, restarts: usize) {
    let folder = Folder::new();
    let path = folder.0.path().to_owned();
    let writer = std::thread::spawn(move || torture(&path, rotation, 0..count, rotate_each, pause_each));
    let mut all = Vec::new();
    let mut positions = BTreeMap::new();
    for round in 0..=restarts {
        let pipeline = Pipeline::with_positions("s", std::mem::take(&mut positions));
        let running = start(config(&folder.pattern("x.log*")), &pipeline);
        if round < restarts {
            // Killed: what was on its way is not stored, or stored with its position.
            tokio::time::sleep(Duration::from_millis(70 + 20 * (round as u64 % 5))).await;
            running.abort();
            let (lines, stored) = pipeline.snapshot();
            all.extend(lines);
            positions = stored;
            continue;
        } else {
            let before = all.len();
            for _ in 0..2000 {
                if writer.is_finished() && before + pipeline.lines().len() >= count {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        stop(&pipeline, running).await;
        all.extend(pipeline.lines());
    }
    writer.join().unwrap();
    let (missing, twice) = wrong(&all, count);
    assert!(
        missing.is_empty() && twice.is_empty() && all.len() == count,
        "{rotation:?} {rotate_each}: {} lines, {} missing {:?}, {} twice {:?}",
        all.len(),
        missing.len(),
        missing.first(),
        twice.len(),
        twice.first()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_once_while_files_are_renamed() {
    check_torture(Rotation::Rename, 60_000, 5000, 100, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_once_while_files_are_copied_and_truncated() {
    check_torture(Rotation::CopyTruncate, 60_000, 5000, 100, 0).await;
    check_torture(Rotation::CopyTruncate, 3000, 150, 10, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_once_with_both_rotations_and_kills() {
    check_torture(Rotation::Both, 60_000, 4000, 50, 0).await;
    check_torture(Rotation::Both, 60_000, 4000, 50, 8).await;
}

fn joining(include: &str, timeout: &str) -> Config {
    let text = format!(
        "include = [{include:?}]\npoll = \"5ms\"\nrotate_wait = \"300ms\"\nmultiline = {{ continue = '^ ', timeout = {timeout:?} }}"
    );
    toml::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_belong_together_are_one_event_of_each_file() {
    let folder = Folder::new();
    let (a, b) = (folder.path("a.log"), folder.path("b.log"));
    append(&a, "a one\n");
    append(&b, "b one\n");
    let pipeline = Pipeline::start("s");
    let running = start(joining(&folder.pattern("*.log"), "300ms"), &pipeline);
    // Written in turns, each within the time of the other.
    for n in 0..5 {
        append(&a, &format!(" a {n}\n"));
        append(&b, &format!(" b {n}\n"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pipeline.wait_lines(2).await;
    let mut lines = pipeline.lines();
    lines.sort();
    assert_eq!(lines, ["a one\n a 0\n a 1\n a 2\n a 3\n a 4", "b one\n b 0\n b 1\n b 2\n b 3\n b 4"]);
    // What goes out by time is safe, and then the source is caught up.
    let caught_up = || pipeline.outlet.progress.standings().iter().all(|(_, at)| at.caught_up_at > 0 && at.behind == 0);
    pipeline.until(caught_up).await;
    stop(&pipeline, running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_the_lines_of_an_event_delivers_it_once_and_whole() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    let mut positions = BTreeMap::new();
    let mut all = Vec::new();
    for round in 0..6 {
        append(&path, &format!("event {round}\n  first\n"));
        let pipeline = Pipeline::with_positions("s", positions);
        let running = start(joining(&folder.pattern("a.log*"), "2s"), &pipeline);
        // The event of the round before is whole, and there; the one of this round is read, and held. After the file was renamed,
        // nothing shows that no more comes to the old one.
        pipeline.wait_lines(usize::from(round != 0 && round != 4)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (lines, kept) = pipeline.snapshot();
        all.extend(lines);
        positions = kept;
        running.abort();
        if round == 3 {
            fs::rename(&path, folder.path("a.log.1")).unwrap();
            append(&folder.path("a.log.1"), "  last\n");
            fs::write(&path, "").unwrap();
        } else {
            append(&path, "  last\n");
        }
    }
    let pipeline = Pipeline::with_positions("s", positions);
    let running = start(joining(&folder.pattern("a.log*"), "2s"), &pipeline);
    pipeline.wait_lines(2).await;
    stop(&pipeline, running).await;
    all.extend(pipeline.lines());
    all.sort();
    let want: Vec<String> = (0..6).map(|round| format!("event {round}\n  first\n  last")).collect();
    assert_eq!(all, want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_is_held_outlives_the_truncation_of_its_file() {
    let folder = Folder::new();
    let path = folder.path("a.log");
    append(&path, "one\ntwo\n held\n");
    let pipeline = Pipeline::start("s");
    let config = joining(&folder.pattern("a.log*"), "1h");
    let running = start(config, &pipeline);
    pipeline.wait_lines(1).await;
    // A copy that has one line more than was read.
    fs::copy(&path, folder.path("a.log.1")).unwrap();
    append(&folder.path("a.log.1"), "three\nfour\n");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
    append(&path, "new\nnewer\n");
    pipeline.wait_lines(4).await;
    let mut lines = pipeline.lines();
    lines.sort();
    assert_eq!(lines, ["new", "one", "three", "two\n held"]);
    stop(&pipeline, running).await;
}
