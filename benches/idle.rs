//! what it costs to have it there: memory at rest, time to ready, size of the program

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "a bench that fails may panic"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tidemill_benches::{access_log, best_and_median, binary, only_tested, print_table, scratch};

const PIPELINE: &str = r#"
[sources.access]
type = "file"
include = ["access.log"]

[stages.parsed]
type = "parser"
inputs = ["access"]
plugin = "access-log"

[tables.access]
inputs = ["parsed"]
"#;

fn main() {
    let rounds = if only_tested() { 1 } else { 7 };
    let folder = scratch().join("idle");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    std::fs::write(folder.join("pipeline.toml"), PIPELINE).expect("the pipeline can be written");
    std::fs::write(folder.join("access.log"), access_log(100, 1)).expect("the log can be written");

    // The first start compiles the plugins.
    drop(start(&folder));
    let mut ready = Vec::new();
    let mut resident = Vec::new();
    let mut threads = 0;
    for _ in 0..rounds {
        let (running, took) = start(&folder);
        std::thread::sleep(Duration::from_secs(if only_tested() { 1 } else { 10 }));
        let stat =
            procfs::process::Process::new(running.0.id() as i32).and_then(|process| process.status()).expect("it runs");
        ready.push(took);
        resident.push(stat.vmrss.unwrap_or(0));
        threads = stat.threads;
    }
    resident.sort_unstable();
    let (best, median) = best_and_median(&mut ready);
    let size = std::fs::metadata(binary()).expect("the program is there").len();
    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    print_table(
        &["", "best", "median", "aim"],
        &[
            vec!["start to ready".into(), ms(best), ms(median), "150 ms".into()],
            vec![
                "memory after 10 s at rest".into(),
                mib(resident[0]),
                mib(resident[resident.len() / 2]),
                "40 MiB".into(),
            ],
            vec!["program".into(), format!("{:.1} MB", size as f64 / 1e6), String::new(), "80 MB".into()],
            vec!["threads".into(), threads.to_string(), String::new(), String::new()],
        ],
    );
    let _ = std::fs::remove_dir_all(&folder);
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it; how long until it says that it is ready.
fn start(folder: &Path) -> (Running, Duration) {
    let _ = std::fs::remove_dir_all(folder.join("data"));
    let began = Instant::now();
    let mut command = Command::new(binary());
    command.args(["run", "pipeline.toml", "--listen", "127.0.0.1:0", "--data", "data"]).current_dir(folder);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut running = Running(child.expect("the program starts"));
    let mut lines = BufReader::new(running.0.stderr.take().expect("it is piped")).lines();
    let told = lines.by_ref().map_while(Result::ok).find(|line| line.contains("is ready"));
    let took = began.elapsed();
    assert!(told.is_some(), "it was never ready");
    // What it says later is read, or it would stop at a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (running, took)
}
