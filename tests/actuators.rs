//! Workloads that others run: a webhook whose other side fails in every way, and commands.

use crate::mill::{Mill, finish, patiently, stderr, stdout, tidemill};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const SECRET: &str = "a secret of some length, for this test alone";

/// What the other side does with a request.
#[derive(Clone, Debug)]
enum Answer {
    Says(String),
    /// takes the request and says nothing, for so long
    Hangs(Duration),
}

fn status(code: u16, headers: &str, body: &str) -> Answer {
    Answer::Says(format!(
        "HTTP/1.1 {code} X\r\ncontent-length: {}\r\n{headers}connection: close\r\n\r\n{body}",
        body.len()
    ))
}

/// A request as it came.
#[derive(Clone, Debug)]
struct Heard {
    at: Instant,
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    fn key(&self) -> &str {
        assert_eq!(self.header("idempotency-key"), self.header("webhook-id"));
        self.header("webhook-id")
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether it was signed with the secret, just now.
    fn check_signature(&self) {
        let id = self.header("webhook-id");
        let time = self.header("webhook-timestamp");
        let now = u64::try_from(tidemill::clock::Clock::system().now() / 1_000_000_000).unwrap();
        assert!(now.abs_diff(time.parse().unwrap()) < 120, "{time}");
        let signed = [format!("{id}.{time}.").as_bytes(), &self.body].concat();
        let expected = format!("v1,{}", BASE64_STANDARD.encode(hmac_sha256(SECRET.as_bytes(), &signed)));
        assert_eq!(self.header("webhook-signature"), expected);
    }
}

/// RFC 2104, written down from it.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<u8>>();
    let inner = Sha256::digest([pad(0x36), message.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

/// The other side. It answers 200 where it has nothing else to do.
#[derive(Clone, Default)]
struct Other {
    port: u16,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    /// what a GET is answered
    state: Arc<Mutex<Option<Answer>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Other {
    fn start() -> Other {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = Other { port: listener.local_addr().unwrap().port(), ..Other::default() };
        let serves = other.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serves = serves.clone();
                std::thread::spawn(move || serves.answer(stream));
            }
        });
        other
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let headers: Vec<(String, String)> = lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let line = lines.first()?.clone();
        let answer = match line.starts_with("GET") {
            true => self.state.lock().unwrap().clone(),
            false => self.answers.lock().unwrap().pop_front(),
        };
        self.heard.lock().unwrap().push(Heard { at: Instant::now(), line, headers, body });
        match answer.unwrap_or_else(|| status(200, "", "thanks")) {
            Answer::Says(text) => stream.write_all(text.as_bytes()).ok()?,
            Answer::Hangs(time) => std::thread::sleep(time),
        }
        Some(())
    }

    fn does(&self, answers: Vec<Answer>) {
        *self.answers.lock().unwrap() = answers.into();
    }

    /// What was posted so far.
    fn told(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().iter().filter(|heard| heard.line.starts_with("POST")).cloned().collect()
    }

    fn wait_for(&self, count: usize) -> Vec<Heard> {
        assert!(patiently(|| self.told().len() >= count), "{:?}", self.told());
        self.told()
    }
}

fn pipeline(workload: &str, scaler: &str) -> String {
    format!(
        r#"
[sources.load]
type = "http"

[tables.load]
inputs = ["load"]

[scalers.web]
workload = "web"
plugin = "hpa"
settings = {{ target = 5, behavior = "none" }}
every = "300ms"
max = 9
signals.rps = "SELECT rps AS value FROM load ORDER BY timestamp DESC LIMIT 1"
{scaler}

[workloads.web]
{workload}
"#
    )
}

fn webhook(other: &Other, dir: &Path, more: &str) -> String {
    std::fs::write(dir.join("secret"), format!("{SECRET}\n")).unwrap();
    let workload = format!(
        "type = \"webhook\"\nurl = \"http://127.0.0.1:{}/scale\"\nsecret_file = \"secret\"\nback_off = \"50ms\"\n{more}",
        other.port
    );
    pipeline(&workload, "initial = 1")
}

fn offer(mill: &Mill, rps: u32) {
    assert_eq!(mill.push("load", &format!("{{\"rps\":{rps}}}\n"))["accepted"], 1);
}

#[test]
fn a_webhook_is_told_each_decision_under_one_key_whatever_becomes_of_it() {
    let (dir, other) = (tempfile::tempdir().unwrap(), Other::start());
    let mill = Mill::start(dir.path(), &webhook(&other, dir.path(), "timeout = \"500ms\"\n"));
    let first = other.wait_for(1)[0].clone();
    assert_eq!((first.line.as_str(), &first.json()["to"]), ("POST /scale HTTP/1.1", &1.into()));
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND ok", 1);

    other.does(vec![
        status(500, "", "out of\nsorts"),
        Answer::Says("this is no HTTP\r\n\r\n".to_owned()),
        Answer::Hangs(Duration::from_secs(3)),
        status(429, "retry-after: 1\r\n", ""),
    ]);
    offer(&mill, 18);
    let tries = other.wait_for(6)[1..6].to_vec();
    let decision = &mill.rows("SELECT tick, reason FROM tidemill.decisions WHERE replicas = 1 AND decided = 4")[0];
    let key = format!("web/{}", decision["tick"]);
    for heard in &tries {
        heard.check_signature();
        assert_eq!((heard.key(), &heard.body), (key.as_str(), &tries[0].body), "the same at each try");
        assert_eq!(heard.header("content-type"), "application/json");
    }
    let body = tries[0].json();
    assert_eq!((&body["scaler"], &body["workload"]), (&"web".into(), &"web".into()));
    assert_eq!((&body["from"], &body["to"], &body["reason"]), (&1.into(), &4.into(), &decision["reason"]));
    assert_eq!(body["decision"], key);
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'), "{body}");
    assert!(tries[4].at - tries[3].at >= Duration::from_millis(950), "Retry-After is obeyed");
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND ok AND decided = 4", 1);
    let outcome =
        &mill.rows("SELECT outcome, ready FROM tidemill.decisions WHERE event = 'outcome' AND decided = 4")[0];
    let words = outcome["outcome"].as_str().unwrap();
    assert!(
        words.starts_with("acknowledged with 200 in") && words.ends_with("at try 5: before it answered 429"),
        "{words}"
    );
    assert_eq!(outcome["ready"], 4, "as many as were acknowledged");

    other.does(vec![status(302, "location: /elsewhere\r\n", ""), status(400, "", "no such\tworkload")]);
    offer(&mill, 2);
    let told = other.wait_for(9);
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND decided = 1 AND ok", 2);
    let outcomes = mill.rows(
        "SELECT outcome FROM tidemill.decisions WHERE event = 'outcome' AND decided = 1 AND NOT ok ORDER BY timestamp",
    );
    let outcomes: Vec<&str> = outcomes.iter().map(|row| row["outcome"].as_str().unwrap()).collect();
    assert!(outcomes[0].contains("answered 302; redirects are not followed"), "{outcomes:?}");
    assert!(outcomes[1].contains("answered 400: no such workload, which is final"), "{outcomes:?}");
    assert!(told.iter().all(|heard| heard.line.starts_with("POST /scale ")));
    assert!(told[6].key() == told[8].key() && told[6].key() != key, "the next ticks ask again for the same");
    assert_eq!(told.len(), 9, "and no more often than that");
    let said = mill.stop();
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn a_decision_that_was_sent_and_not_recorded_is_sent_again_under_its_key() {
    let (dir, other) = (tempfile::tempdir().unwrap(), Other::start());
    let text = webhook(&other, dir.path(), "");
    let mill = Mill::start(dir.path(), &text);
    other.wait_for(1);
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND ok", 1);
    other.does(vec![Answer::Hangs(Duration::from_secs(20))]);
    offer(&mill, 18);
    let sent = other.wait_for(2)[1].clone();
    mill.kill();
    let mill = Mill::start(dir.path(), &text);
    let again = other.wait_for(3)[2].clone();
    assert_eq!((again.key(), &again.body), (sent.key(), &sent.body));
    again.check_signature();
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND ok AND decided = 4", 1);
    mill.stop();
    assert_eq!(other.told().len(), 3);
}

#[test]
fn a_webhook_that_hangs_holds_nothing_up() {
    let (dir, other) = (tempfile::tempdir().unwrap(), Other::start());
    other.does(vec![Answer::Hangs(Duration::from_secs(600))]);
    let calm = "[workloads.calm]\ntype = \"none\"\n[scalers.calm]\nworkload = \"calm\"\nplugin = \"hpa\"\nsettings = { target = 5, \
                behavior = \"none\" }\nevery = \"300ms\"\nmax = 9\nsignals.rps = \"SELECT rps AS value FROM load ORDER BY timestamp \
                DESC LIMIT 1\"\n";
    let mill = Mill::start(dir.path(), &format!("{}{calm}", webhook(&other, dir.path(), "timeout = \"10m\"\n")));
    other.wait_for(1);
    offer(&mill, 18);
    mill.wait_for(
        "SELECT coalesce(max(decided), 0) FROM tidemill.decisions WHERE scaler = 'calm' AND event = 'outcome' AND ok",
        4,
    );
    mill.wait_for(
        "SELECT coalesce(max(decided), 0) FROM tidemill.decisions WHERE scaler = 'web' AND event = 'decision'",
        4,
    );
    let told = "SELECT count(*) > 2 AS n FROM tidemill.decisions WHERE scaler = 'web' AND event = 'decision' AND under_way LIKE \
                'the change to 1 replica has been under way for % s'";
    assert!(
        patiently(|| mill.rows(told)[0]["n"] == true),
        "{:?}",
        mill.rows("SELECT under_way FROM tidemill.decisions")
    );
    let mut explain = tidemill(&["scale", "explain", "web", "--url", &mill.url()]);
    let explained = finish(&mut explain);
    assert!(stdout(&explained).contains("under way"), "{}{}", stdout(&explained), stderr(&explained));
    assert_eq!(other.told().len(), 1, "nothing overtakes what is under way");
    mill.stop();
}

#[test]
fn what_a_webhook_observes_is_not_taken_away_by_a_first_start() {
    let (dir, other) = (tempfile::tempdir().unwrap(), Other::start());
    *other.state.lock().unwrap() = Some(status(500, "", ""));
    let observe =
        format!("observe = \"http://127.0.0.1:{}/state\"\nobserve_every = \"100ms\"\nsettle = \"5s\"\n", other.port);
    let mill = Mill::start(dir.path(), &webhook(&other, dir.path(), &observe));
    let waiting =
        "SELECT count(*) FROM tidemill.decisions WHERE event = 'waiting' AND reason LIKE '%observe answered 500%'";
    assert!(patiently(|| mill.number(waiting) > 0), "{:?}", mill.rows("SELECT body FROM tidemill.decisions"));
    assert!(other.told().is_empty(), "nobody is told anything before");
    *other.state.lock().unwrap() = Some(status(200, "", "{\"replicas\": 7, \"ready\": 6}"));
    mill.wait_for("SELECT coalesce(max(decided), 0) FROM tidemill.decisions WHERE event = 'decision'", 7);
    assert_eq!(other.wait_for(1)[0].json()["to"], 7);
    *other.state.lock().unwrap() = Some(status(200, "", "{\"replicas\": 7, \"ready\": 7}"));
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND ok AND decided = 7", 1);
    let looked =
        other.heard.lock().unwrap().iter().find(|heard| heard.line.starts_with("GET /state")).cloned().unwrap();
    looked.check_signature();
    mill.stop();
}

#[test]
fn a_command_is_run_with_the_number_and_what_it_says_is_in_the_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let script = "#!/bin/sh\nif [ \"$1\" -gt 5 ]; then echo \"no room for $1\" >&2; exit 7; fi\necho \"$1\" > replicas\necho \"$2 has $1 now, for $TIDEMILL_DECISION\"\n";
    std::fs::write(dir.path().join("scale.sh"), script).unwrap();
    let workload = "type = \"exec\"\ncommand = [\"/bin/sh\", \"scale.sh\", \"{replicas}\", \"{workload}\"]\nobserve = [\"/bin/cat\", \
                    \"replicas\"]\nobserve_every = \"100ms\"\n";
    std::fs::write(dir.path().join("replicas"), "2").unwrap();
    let mill = Mill::start(dir.path(), &pipeline(workload, ""));
    mill.wait_for("SELECT coalesce(max(decided), 0) FROM tidemill.decisions WHERE event = 'decision'", 2);
    offer(&mill, 18);
    mill.wait_for("SELECT count(*) FROM tidemill.decisions WHERE event = 'outcome' AND ok AND decided = 4", 1);
    let outcome =
        mill.rows("SELECT outcome, tick FROM tidemill.decisions WHERE event = 'outcome' AND decided = 4")[0].clone();
    let words = outcome["outcome"].as_str().unwrap();
    let expected = format!("and said: web has 4 now, for web/{}; 4 replicas ready after", outcome["tick"]);
    assert!(words.starts_with("`/bin/sh` ended well in") && words.contains(&expected), "{words}");
    assert_eq!(std::fs::read_to_string(dir.path().join("replicas")).unwrap().trim(), "4");
    // Somebody else changes it: it is put right.
    std::fs::write(dir.path().join("replicas"), "1").unwrap();
    assert!(patiently(|| std::fs::read_to_string(dir.path().join("replicas")).unwrap().trim() == "4"));
    offer(&mill, 45);
    let failed = "SELECT count(*) > 0 AS n FROM tidemill.decisions WHERE event = 'outcome' AND NOT ok AND decided = 9 AND outcome LIKE \
                  '`/bin/sh` ended with exit code 7 after % s, and said: no room for 9'";
    assert!(
        patiently(|| mill.rows(failed)[0]["n"] == true),
        "{:?}",
        mill.rows("SELECT outcome FROM tidemill.decisions")
    );
    mill.stop();
}
