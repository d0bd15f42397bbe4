//! `pipelines/workers.toml`: Tidemills that are scaled by their own lag, up under load and down after it; every push is stored.

use crate::mill::{Mill, free_ports, patiently, request};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

const READY: &str = "SELECT count(*) FROM tidemill.replicas WHERE phase = 'ready'";
const LINES: usize = 1000;

fn body() -> Vec<u8> {
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/127.0.0.0 Safari/537.36";
    let line = |n: usize| {
        format!(
            "192.0.2.{} - - [24/Nov/2026:18:00:00 +0000] \"GET /{n} HTTP/1.1\" 200 {n} \"-\" \"{agent}\"\n",
            n % 250
        )
    };
    (0..LINES).map(line).collect::<String>().into_bytes()
}

/// Rows that a worker has in its store.
fn rows_of(address: &str) -> i64 {
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let headers = [("Content-Type", "text/plain"), ("Accept", "application/json")];
    let reply = request(port, "POST", "/v1/sql", &headers, b"SELECT count(*) AS n FROM access").unwrap();
    serde_json::from_str::<serde_json::Value>(&reply.body).unwrap()[0]["n"].as_i64().unwrap()
}

#[test]
fn workers_come_with_their_own_lag_and_go_after_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let ports = free_ports(10);
    let text = std::fs::read_to_string(root.join("pipelines/workers.toml")).unwrap();
    let mill = Mill::start_with(dir.path(), &text, |command| {
        command
            .env("WORKER", root.join("pipelines/worker.toml"))
            .env("WORKERS_PORTS", format!("{}-{}", ports + 1, ports + 9))
            .env("WORKERS_LISTEN", format!("127.0.0.1:{ports}"))
    });
    mill.wait_for(READY, 1);
    let (stop, accepted, body) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)), Arc::new(body()));
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let (stop, accepted, body) = (stop.clone(), accepted.clone(), body.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let reply = request(ports, "POST", "/v1/ingest/logs", &[], &body).unwrap();
                    assert_eq!(reply.status, 200, "{}", reply.body);
                    accepted.fetch_add(reply.json()["accepted"].as_i64().unwrap(), Ordering::SeqCst);
                }
            })
        })
        .collect();
    // Twelve clients, each of which waits for its answer, are at least three workers' fill: eight are enough for two.
    let grown = patiently(|| mill.number(READY) >= 2);
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let decisions =
        "SELECT replicas, decided, reason FROM tidemill.decisions WHERE event = 'decision' ORDER BY timestamp";
    assert!(grown, "{:?}", mill.rows(decisions));
    let workers = mill.rows("SELECT address FROM tidemill.replicas WHERE phase = 'ready'");
    let stored: i64 = workers.iter().map(|worker| rows_of(worker["address"].as_str().unwrap())).sum();
    assert_eq!(stored, accepted.load(Ordering::SeqCst), "every push that was answered is in one of the stores");
    let up = mill.rows(
        "SELECT reason FROM tidemill.decisions WHERE decided > replicas AND replicas > 0 ORDER BY timestamp LIMIT 1",
    );
    let reason = up[0]["reason"].as_str().unwrap();
    assert!(reason.contains("waiting") || reason.contains("cores"), "{reason}");
    mill.wait_for("SELECT count(*) FROM tidemill.replicas", 1);
    mill.stop();
}
