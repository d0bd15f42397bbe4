//! A Tidemill under test: the real binary, in a folder of its own, asked over HTTP.

use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// How long anything here may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Mill {
    pub port: u16,
    child: Child,
    said: Arc<Mutex<String>>,
}

/// The binary with these arguments; compiled plugins are kept between tests.
pub fn tidemill(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(arguments).stdin(Stdio::null()).env_remove("TIDEMILL_LOG").env_remove("TIDEMILL_TOKEN");
    command
}

/// Runs it to its end.
pub fn run(dir: &Path, arguments: &[&str]) -> Output {
    finish(tidemill(arguments).current_dir(dir))
}

/// Runs a command to its end, which must come in time.
pub fn finish(command: &mut Command) -> Output {
    finish_within(command, PATIENCE)
}

/// Runs a command to its end, which must come within this time.
pub fn finish_within(command: &mut Command, patience: Duration) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let all = |pipe: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.unwrap().read_to_end(&mut bytes).unwrap();
            bytes
        })
    };
    let stdout = all(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let stderr = all(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    let status = ended(&mut child, patience);
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn ended(child: &mut Child, patience: Duration) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > patience {
            let _ = child.kill();
            panic!("it did not end within {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Real inputs that lie beside the checkout; tests that want them are left out where they are not.
pub fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["../shared/data", "../../shared/data"].map(|place| root.join(place).join(path));
    let found = places.iter().find(|place| place.exists());
    if found.is_none() {
        eprintln!("left out: {} is not here", places[0].display());
    }
    found.cloned()
}

/// A port that was free a moment ago, below those that the system gives to outgoing connections.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many ports in a row.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    for _ in 0..500 {
        let turn = NEXT.fetch_add(u64::from(count), Ordering::SeqCst) + u64::from(std::process::id()) * 64;
        let first = 10_000 + u16::try_from(turn % 9_000).unwrap();
        if (first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
    panic!("no free ports");
}

/// Random numbers from a seed that is printed, so that a failure can be had again: `TIDEMILL_SEED=… cargo test …`.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Dice {
        let set = std::env::var("TIDEMILL_SEED").ok().and_then(|seed| seed.parse().ok());
        let fresh = || std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1) >> 1;
        let seed = set.unwrap_or_else(fresh);
        println!("TIDEMILL_SEED={seed}");
        Dice(seed | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

impl Mill {
    /// Starts `tidemill run pipeline.toml` with this text in a folder; it is ready when this returns.
    pub fn start(dir: &Path, pipeline: &str) -> Mill {
        Mill::start_with(dir, pipeline, |command| command)
    }

    /// The same on this port, for those who keep pushing over a restart.
    pub fn start_on(dir: &Path, pipeline: &str, port: u16) -> Mill {
        std::fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
        let mut command = tidemill(&["run", "pipeline.toml", "--listen", &format!("127.0.0.1:{port}")]);
        command.env("TIDEMILL_LOG", "info");
        Mill::spawn(dir, &mut command)
    }

    pub fn start_with(dir: &Path, pipeline: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Mill {
        std::fs::write(dir.join("pipeline.toml"), pipeline).unwrap();
        let mut command = tidemill(&["run", "pipeline.toml", "--listen", "127.0.0.1:0"]);
        Mill::spawn(dir, with(&mut command))
    }

    /// Starts a command that is a Tidemill, and waits until it is ready.
    pub fn spawn(dir: &Path, command: &mut Command) -> Mill {
        command.current_dir(dir).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, ready) = mpsc::sync_channel(1);
        let said = Arc::new(Mutex::new(String::new()));
        let into = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if line.starts_with("tidemill is ready") {
                    let port = line.split("://").nth(1).and_then(|rest| rest.split(',').next()?.rsplit(':').next());
                    let _ = sender.try_send(port.unwrap().to_owned());
                }
                eprintln!("tidemill: {line}");
                let mut said = into.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mill = |port, child| Mill { port, child, said: said.clone() };
        match ready.recv_timeout(PATIENCE) {
            Ok(port) => mill(port.parse().unwrap(), child),
            Err(_) => {
                // Dropped, so that nothing stays behind.
                let mill = mill(0, child);
                panic!("tidemill was not ready in time, or ended: {}", mill.said());
            }
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Whether the process is still there.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The answer's rows as JSON objects.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        let reply = self.ask(sql);
        assert_eq!(reply.status, 200, "{sql}: {}", reply.body);
        match serde_json::from_str(&reply.body).unwrap() {
            Value::Array(rows) => rows,
            other => panic!("{sql}: {other}"),
        }
    }

    pub fn ask(&self, sql: &str) -> Reply {
        self.post("/v1/sql", &[("Content-Type", "text/plain"), ("Accept", "application/json")], sql.as_bytes())
    }

    /// The one number of an answer.
    pub fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql);
        let value = rows.first().and_then(|row| row.as_object()?.values().next()?.as_i64());
        value.unwrap_or_else(|| panic!("{sql}: no number in {rows:?}"))
    }

    /// Asks until the number is as wanted; panics with the last one when it never is.
    pub fn wait_for(&self, sql: &str, wanted: i64) {
        let mut last = self.number(sql);
        let reached = patiently(|| {
            last = self.number(sql);
            last == wanted
        });
        assert!(reached, "{sql}: {last}, not {wanted}");
    }

    /// Pushes a body to a source; it must be taken.
    pub fn push(&self, source: &str, body: &str) -> Value {
        let reply = self.post(&format!("/v1/ingest/{source}"), &[], body.as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        request(self.port, "POST", path, headers, body).unwrap()
    }

    pub fn get(&self, path: &str) -> Reply {
        request(self.port, "GET", path, &[], b"").unwrap()
    }

    /// SIGTERM, and waits for the end, which must be a good one within ten seconds; answers with all that was said.
    pub fn stop(mut self) -> String {
        signal(self.child.id(), Signal::TERM);
        let status = ended(&mut self.child, Duration::from_secs(12));
        assert!(status.success(), "{status}: {}", self.said());
        self.said()
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Mill {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until it is so, or patience ends.
pub fn patiently(mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub bytes: Vec<u8>,
    /// the same as text
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// What the JSON of a refusal says: message and hint.
    pub fn refusal(&self) -> String {
        let error = &self.json()["error"];
        format!("{} {}", error["message"].as_str().unwrap_or_default(), error["hint"].as_str().unwrap_or_default())
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// One request on a connection of its own.
pub fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "Host") {
        head += &format!("Host: 127.0.0.1:{port}\r\n");
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    stream.write_all(head.as_bytes())?;
    // A server may refuse before it has read it all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let Some(split) = memchr::memmem::find(&answer, b"\r\n\r\n") else {
        read?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.get(split + 4..).unwrap_or_default();
    let bytes = match head.to_lowercase().contains("transfer-encoding: chunked") {
        true => unchunked(body),
        false => body.to_vec(),
    };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    if length.is_some_and(|length: usize| bytes.len() < length) {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let body = String::from_utf8_lossy(&bytes).into_owned();
    Ok(Reply { status, head, bytes, body })
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = memchr::memmem::find(body, b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).ok().and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok());
        let Some(size) = size.filter(|size| *size > 0 && end + 2 + size <= body.len()) else { break };
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = body.get(end + 2 + size + 2..).unwrap_or_default();
    }
    whole
}
