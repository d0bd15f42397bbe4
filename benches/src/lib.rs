//! what the benches share: lines of an access log, clocks, rounds, tables

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    missing_docs,
    reason = "a bench that fails may panic"
)]

mod columns;

pub use columns::arrow_of;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A small generator of numbers that are the same in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Below `end`, small ones more often.
    pub fn skewed(&mut self, end: u64) -> u64 {
        let part = self.below(1 << 20) as f64 / f64::from(1 << 20);
        (part * part * part * end as f64) as u64
    }

    pub fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }
}

const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:109.0) Gecko/20100101 Firefox/118.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 13; Pixel 7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/118.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (compatible; ExampleBot/2.1; +http://bot.example.com/about.html)",
    "curl/8.4.0",
];
const WORDS: &[&str] = &[
    "alpha", "basket", "cart", "detail", "engine", "forest", "garden", "harbour", "image", "journal", "kernel",
    "ladder", "market", "notebook", "orange", "paper", "quarry", "river", "search", "timber",
];
const METHODS: &[&str] = &["GET", "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "POST", "POST"];
const STATUS: &[&str] = &["200", "200", "200", "200", "200", "200", "200", "206", "301", "304", "304", "404", "500"];

/// Lines of the combined format, about 230 bytes each, seven a second.
pub fn access_log(lines: usize, seed: u64) -> Vec<u8> {
    use std::io::Write;
    let mut random = Random::new(seed);
    let mut text = Vec::with_capacity(lines * 240);
    for line in 0..lines {
        let client = random.skewed(5000);
        let (second, minute, hour, day) = (line / 7 % 60, line / 420 % 60, line / 25_200 % 24, line / 604_800 % 28 + 1);
        let (first, last) = (random.one_of(WORDS), random.one_of(WORDS));
        let (item, query) = (random.skewed(2000), random.below(100_000));
        let path = match random.below(3) {
            0 => format!("/{first}/{last}/{item}?session={query:06}&page={}", query % 17),
            1 => format!("/static/{first}/{last}-{item}.js"),
            _ => format!("/api/v1/{first}/{item}"),
        };
        let referer = match random.below(4) {
            0 => "-".to_owned(),
            _ => format!("https://www.example.com/{}/{}", random.one_of(WORDS), random.skewed(500)),
        };
        let method = random.one_of(METHODS);
        let (status, bytes, agent) = (random.one_of(STATUS), random.skewed(60_000), random.one_of(AGENTS));
        let user = if random.below(50) == 0 { "alice" } else { "-" };
        let written = writeln!(
            text,
            "10.{}.{}.{} - {user} [{day:02}/Nov/2026:{hour:02}:{minute:02}:{second:02} +0000] \"{method} {path} HTTP/1.1\" {status} {bytes} \"{referer}\" \"{agent}\"",
            client % 7,
            client / 250,
            client % 250,
        );
        written.expect("a Vec takes what is written to it");
    }
    text
}

/// Processor time of this thread.
pub fn thread_time() -> Duration {
    clock(rustix::time::ClockId::ThreadCPUTime)
}

/// Processor time of this process, user and system.
pub fn process_time() -> Duration {
    clock(rustix::time::ClockId::ProcessCPUTime)
}

fn clock(id: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(id);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Wall and processor time of some work.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration, Duration) {
    let (began, used) = (Instant::now(), process_time());
    let done = work();
    (done, began.elapsed(), process_time().saturating_sub(used))
}

/// The best and the median.
pub fn best_and_median(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort();
    (times[0], times[times.len() / 2])
}

/// Runs every contender in turn, round by round, so that a slow moment of the machine hits all of them; the thread's processor time.
pub fn rounds(rounds: usize, contenders: &mut [&mut dyn FnMut()]) -> Vec<(Duration, Duration)> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds + 2 {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let began = thread_time();
            contender();
            // The first two warm up.
            if round >= 2 {
                times.push(thread_time().saturating_sub(began));
            }
        }
    }
    times.iter_mut().map(|times| best_and_median(times)).collect()
}

/// Rows of cells, aligned: the first column to the left, all others to the right.
pub fn print_table(head: &[&str], rows: &[Vec<String>]) {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([head[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(head.to_vec());
    rows.iter().for_each(|row| line(row.iter().map(String::as_str).collect()));
    println!();
}

/// Nanoseconds for one of many.
pub fn per(time: Duration, count: usize) -> f64 {
    time.as_nanos() as f64 / count as f64
}

/// Whether cargo only wants to know that the bench starts.
pub fn only_tested() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

/// A folder for large files, on the disk that the build is on.
pub fn scratch() -> PathBuf {
    let ourselves = std::env::current_exe().expect("the system knows where we are");
    let target = ourselves.ancestors().nth(3).expect("cargo puts benches three folders deep");
    let folder = target.join("tmp").join("benches");
    std::fs::create_dir_all(&folder).expect("the build folder can be written");
    folder
}

/// Where compiled plugins are kept between runs.
pub fn cache() -> PathBuf {
    scratch().join("plugins")
}

/// The program, built beside the benches.
pub fn binary() -> PathBuf {
    let ourselves = std::env::current_exe().expect("the system knows where we are");
    let binary = ourselves.ancestors().nth(2).expect("cargo puts benches two folders below").join("tidemill");
    assert!(binary.exists(), "{} is not there: run `cargo build --release` first", binary.display());
    binary
}
