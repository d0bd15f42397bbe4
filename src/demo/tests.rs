//! the demo against a machine made of real servers and a scaler of one line

use super::*;
use crate::units::Cores;
use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampNanosecondArray};
use server::serve_on;
use share::Share;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// Servers behind a balancer, whose number follows the demo's clock.
struct Fake {
    balancer: SocketAddr,
    ready: Arc<AtomicU32>,
}

impl Machine for Fake {
    fn url(&self) -> String {
        "http://127.0.0.1:7070".to_owned()
    }
    fn replicas(&self) -> Replicas {
        let ready = self.ready.load(Ordering::SeqCst);
        Replicas { asked: ready, ready }
    }
    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RecordBatch>> {
        Box::pin(async move {
            if sql.contains("count(*)") {
                let count: ArrayRef = Arc::new(Int64Array::from(vec![7]));
                return Ok(RecordBatch::try_from_iter([("a", count.clone()), ("b", count)])?);
            }
            let time: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![2_000_000_000, 1_000_000_000]));
            let replicas: ArrayRef = Arc::new(Int64Array::from(vec![4, 1]));
            let decided: ArrayRef = Arc::new(Int64Array::from(vec![4, 4]));
            let reason: ArrayRef = Arc::new(StringArray::from(vec![Some("Enough."), Some("Arrivals 18.")]));
            let columns = [("timestamp", time), ("replicas", replicas), ("decided", decided), ("reason", reason)];
            Ok(RecordBatch::try_from_iter(columns)?)
        })
    }
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    fn balancer(&self) -> SocketAddr {
        self.balancer
    }
}

/// Four servers; connections go to the one with the fewest, among the first `ready`.
async fn machine(dir: &std::path::Path, per_second: f64, stop: &CancellationToken) -> Fake {
    let share = Cores { millis: 100 };
    let cost = Cost::choose(Cost::UNIT.measure().unwrap(), share, per_second);
    let mut servers = Vec::new();
    for _ in 0..4 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        servers.push((listener.local_addr().unwrap(), Arc::new(AtomicU32::new(0))));
        let options = server::Options { port: 0, log: dir.join("access.log"), cost };
        tokio::spawn(serve_on(listener, options, Share::Paced(share), Clock::system(), stop.clone()));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let balancer = listener.local_addr().unwrap();
    let ready = Arc::new(AtomicU32::new(1));
    let counted = ready.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let few = servers.iter().take(counted.load(Ordering::SeqCst) as usize);
            let (target, open) = few.min_by_key(|(_, open)| open.load(Ordering::SeqCst)).unwrap().clone();
            open.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    Fake { balancer, ready }
}

fn screen() -> Screen {
    Screen::new(Box::new(std::io::sink()), Box::new(|| None), false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_up_makes_the_same_load_fast() {
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    // 15 a second from each of four, 36 offered: the same proportions as the real plan, in a tenth of the time.
    let machine = machine(dir.path(), 15.0, &stop).await;
    let plan = Plan::new(Some(Duration::from_secs(10)));
    let steps = plan.steps.into_iter().map(|step| plan::Step { per_second: step.per_second * 2.0, ..step }).collect();
    let plan = Plan { steps, forever: false, notes: Vec::new() };
    let ready = machine.ready.clone();
    tokio::spawn(async move {
        for (after, replicas) in [(2500, 4), (4500, 1)] {
            tokio::time::sleep(Duration::from_millis(after)).await;
            ready.store(replicas, Ordering::SeqCst);
        }
    });
    let summary = run(&machine, &plan, &Clock::system(), &mut screen(), stop.clone()).await.unwrap();
    stop.cancel();
    let text = summary.lines().join("\n");
    println!("{text}");
    assert!(summary.verdict.as_ref().unwrap().starts_with("p95 fell from "), "{text}");
    assert_eq!(summary.replicas, (4, 1), "{text}");
    for part in ["low again", "7 decisions, 7 of them changes", "Arrivals 18.", "FROM tidemill.decisions"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[tokio::test]
async fn a_stop_ends_it_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    for ready in [0, 1] {
        let stop = CancellationToken::new();
        let machine = machine(dir.path(), 50.0, &stop).await;
        machine.ready.store(ready, Ordering::SeqCst);
        let stopping = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stopping.cancel();
        });
        let (clock, mut screen, plan) = (Clock::system(), screen(), Plan::new(None));
        let running = run(&machine, &plan, &clock, &mut screen, stop);
        let summary = tokio::time::timeout(Duration::from_secs(2), running).await.unwrap().unwrap();
        assert!(summary.lines().is_empty(), "no second of load is over");
    }
}

#[tokio::test]
async fn a_demo_is_prepared_within_a_moment() {
    let options = Options { span: Some(Span(Duration::from_secs(60))), ..Options::default() };
    let setup = prepare(&options, &Clock::system()).await.unwrap();
    assert!(setup.measured.contains("a replica with 200m of a core does about"), "{}", setup.measured);
    assert!(setup.variables.iter().any(|(name, value)| name == "SCRYPT_COST" && value.parse::<Cost>().is_ok()));
    assert!(setup.place.dir.is_dir());
    println!("{}", setup.measured);
}
