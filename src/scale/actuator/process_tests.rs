//! real replicas on real ports: this test binary runs itself again as their server

use super::*;
use crate::clock::Clock;
use crate::scale::actuator::Replica;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// The environment of a replica: the port to serve, and how.
const PORT: &str = "TIDEMILL_TEST_PORT";
const MANNER: &str = "TIDEMILL_TEST_MANNER";
/// The environment of a process that owns replicas: their ports.
const OWNER: &str = "TIDEMILL_TEST_OWNER";

// ---- what the binary is when it runs itself -------------------------------------------------------------------------------

/// A server, when it was started as one; otherwise it tests nothing.
#[test]
fn as_a_replica() {
    let Ok(port) = std::env::var(PORT) else { return };
    let manner = std::env::var(MANNER).unwrap_or_default();
    if manner == "dies" {
        eprintln!("cannot go on");
        std::process::exit(3);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deaf = async { tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) };
    let _deaf = (manner == "deaf").then(|| runtime.block_on(deaf));
    let child = (manner == "parent").then(|| Command::new("sleep").arg("300").spawn().unwrap());
    let child = child.map_or(0, |child| child.id());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    loop {
        let (stream, _) = listener.accept().unwrap();
        let manner = manner.clone();
        thread::spawn(move || answer(stream, &manner, child));
    }
}

fn answer(mut stream: TcpStream, manner: &str, child: u32) {
    let mut line = String::new();
    if BufReader::new(&stream).read_line(&mut line).is_err() {
        return;
    }
    let mut status = 200;
    let body = match line.split(' ').nth(1) {
        Some("/healthz") if manner == "sick" => {
            status = 503;
            String::new()
        }
        Some("/slow") => {
            thread::sleep(Duration::from_millis(1500));
            "slow but here".to_owned()
        }
        Some("/child") => child.to_string(),
        Some("/burn") => burn().to_string(),
        _ => std::env::var("TIDEMILL_REPLICA").unwrap_or_default(),
    };
    let _ = write!(stream, "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
}

/// Turns for a second and says how many thousandths of a second of processor time that took.
fn burn() -> u128 {
    let cpu = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap()).as_millis()
    };
    let clock = Clock::system();
    let (began, until) = (cpu(), clock.now() + 1_000_000_000);
    while clock.now() < until {
        std::hint::black_box((0..1000_u64).sum::<u64>());
    }
    cpu() - began
}

/// A process that owns replicas and prints their numbers, when it was started as one.
#[tokio::test]
async fn as_an_owner() {
    let Ok(ports) = std::env::var(OWNER) else { return };
    let process = Process::open(config(&ports, "parent", ""), ground().0).await.unwrap();
    process.apply(2).await.unwrap();
    let mut pids: Vec<String> = pids(&process).iter().map(u32::to_string).collect();
    for address in process.targets() {
        pids.push(get(&address, "/child").await);
    }
    println!("\nowns {}", pids.join(" "));
    sleep(Duration::from_secs(60)).await;
}

fn itself(test: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap().display().to_string();
    let module = module_path!().split_once("::").unwrap().1;
    vec![program, "--exact".to_owned(), format!("{module}::{test}"), "--nocapture".to_owned()]
}

// ---- how the tests work with it -------------------------------------------------------------------------------------------

/// So many ports that were free a moment ago.
fn free_ports(count: u16) -> String {
    loop {
        let first = free_port();
        let last = first.saturating_add(count - 1);
        if (first..=last).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) && last > first {
            return format!("{first}-{last}");
        }
    }
}

fn free_port() -> u16 {
    // Not where the system hands out ports for connections, which would take one of a range at any moment.
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let step = NEXT.fetch_add(16, std::sync::atomic::Ordering::Relaxed);
    let start = u16::try_from(std::process::id() % 500).unwrap() * 16;
    12_000 + start + step
}

fn config(ports: &str, manner: &str, more: &str) -> Config {
    let text = format!(
        "command = {command:?}\nports = \"{ports}\"\nenv = {{ {PORT} = \"{{port}}\", {MANNER} = \"{manner}\" }}\n\
         health = \"/healthz\"\nhealth_every = \"100ms\"\n{more}",
        command = itself("as_a_replica"),
    );
    toml::from_str(&text).unwrap()
}

type Published = Arc<Mutex<Vec<Replica>>>;

fn ground() -> (Ground, Published) {
    let published = Published::default();
    let told = published.clone();
    let publish = Arc::new(move |replicas| *told.lock().unwrap() = replicas);
    let workload = format!("test{}", free_port());
    (Ground { workload, clock: Clock::system(), publish }, published)
}

fn pids(process: &Process) -> Vec<u32> {
    process.status().replicas.iter().filter_map(|replica| replica.pid).collect()
}

/// Whether a process is there and not merely waiting to be collected.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waited = timeout(Duration::from_secs(20), async {
        while !is() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

async fn get(address: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

async fn stop(process: &Process) {
    let pids = pids(process);
    timeout(Duration::from_secs(10), process.stop()).await.expect("it stops within ten seconds");
    assert!(pids.iter().all(|&pid| !lives(pid)), "no process is left behind");
    assert_eq!(process.status().running, 0);
}

// ---- the tests ------------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn replicas_start_spread_come_back_and_end() {
    let front = format!("127.0.0.1:{}", free_port());
    let (ground, published) = ground();
    let config = config(&free_ports(5), "", &format!("listen = \"{front}\""));
    let process = Process::open(config, ground).await.unwrap();
    let outcome = process.apply(3).await.unwrap();
    assert!(outcome.reached && outcome.words.starts_with("started 3 replicas in "), "{}", outcome.words);
    assert_eq!((process.status().ready, process.targets().len()), (3, 3));
    assert_eq!(published.lock().unwrap().len(), 3);
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(get(&front, "/").await);
    }
    seen.sort();
    assert_eq!(seen, ["1", "1", "2", "2", "3", "3"]);

    let before = process.status().replicas[1].clone();
    kill(before.pid.unwrap());
    until("the dead replica is noticed", || process.status().ready < 3).await;
    until("it comes back", || process.status().ready == 3).await;
    let after = process.status().replicas[1].clone();
    assert_eq!((after.number, after.restarts), (2, 1));
    assert_ne!(after.pid, before.pid);

    assert_eq!(process.apply(3).await.unwrap().words, "3 replicas ready, nothing to do");
    let outcome = process.apply(1).await.unwrap();
    assert!(outcome.reached && outcome.words.starts_with("stopped 2 replicas in "), "{}", outcome.words);
    assert_eq!(process.status().replicas.iter().map(|replica| replica.number).collect::<Vec<_>>(), [1]);
    assert!(process.apply(6).await.is_err(), "there are five ports");
    stop(&process).await;
    assert!(published.lock().unwrap().is_empty());
    assert!(process.apply(1).await.is_err(), "nothing starts after the end");
}

#[tokio::test]
async fn a_slow_answer_arrives_while_its_replica_drains() {
    let front = format!("127.0.0.1:{}", free_port());
    let process =
        Process::open(config(&free_ports(2), "", &format!("listen = \"{front}\"")), ground().0).await.unwrap();
    process.apply(1).await.unwrap();
    let slow = tokio::spawn({
        let front = front.clone();
        async move { get(&front, "/slow").await }
    });
    until("the connection is open", || process.status().connections.unwrap().open == 1).await;
    let outcome = process.apply(0).await.unwrap();
    assert!(outcome.reached, "{}", outcome.words);
    assert_eq!(slow.await.unwrap(), "slow but here");

    process.apply(1).await.unwrap();
    let pid = pids(&process);
    let slow = tokio::spawn(async move { get(&front, "/slow").await });
    until("the connection is open", || process.status().connections.unwrap().open == 1).await;
    let (down, up) = tokio::join!(process.apply(0), async {
        until("it drains", || process.status().replicas[0].phase == Phase::Draining).await;
        process.apply(1).await
    });
    assert!(!down.unwrap().reached, "another number was asked for meanwhile");
    assert!(up.unwrap().reached);
    assert_eq!(pids(&process), pid, "the same replica goes on");
    assert_eq!(slow.await.unwrap(), "slow but here");
    stop(&process).await;
}

#[tokio::test]
async fn a_taken_port_is_skipped() {
    let ports = free_ports(3);
    let (first, _) = ports.split_once('-').unwrap();
    let _taken = TcpListener::bind(format!("127.0.0.1:{first}")).unwrap();
    let process = Process::open(config(&ports, "", ""), ground().0).await.unwrap();
    assert!(process.apply(2).await.unwrap().reached);
    assert!(process.targets().iter().all(|address| !address.ends_with(first)), "{:?}", process.targets());
    stop(&process).await;
}

#[tokio::test]
async fn one_that_is_never_healthy_is_started_again_ever_later() {
    let config = config(&free_ports(2), "sick", "start_timeout = \"300ms\"");
    let process = Process::open(config, ground().0).await.unwrap();
    process.ask(1).unwrap();
    until("it was tried three times", || process.status().replicas.iter().any(|replica| replica.restarts >= 3)).await;
    let replica = process.status().replicas[0].clone();
    assert!(replica.message.contains("not healthy within 300ms: GET /healthz answered 503"), "{}", replica.message);
    assert_eq!(process.status().ready, 0);
    stop(&process).await;
}

#[tokio::test]
async fn one_that_dies_says_why() {
    let process = Process::open(config(&free_ports(2), "dies", ""), ground().0).await.unwrap();
    process.ask(1).unwrap();
    until("it died", || process.status().replicas.iter().any(|replica| replica.restarts >= 2)).await;
    let message = process.status().replicas[0].message.clone();
    assert!(message.contains("exit status: 3") && message.contains("cannot go on"), "{message}");
    stop(&process).await;

    let mut config = config(&free_ports(2), "", "");
    config.command[0] = "/no/such/program".to_owned();
    let process = Process::open(config, ground().0).await.unwrap();
    process.ask(1).unwrap();
    until("it failed", || process.status().replicas.iter().any(|replica| replica.restarts >= 1)).await;
    let message = process.status().replicas[0].message.clone();
    assert!(message.contains("`/no/such/program` cannot be started"), "{message}");
    stop(&process).await;
}

#[tokio::test]
async fn one_that_does_not_listen_to_us_is_killed_with_its_children() {
    let deaf = Process::open(config(&free_ports(2), "deaf", ""), ground().0).await.unwrap();
    let parent = Process::open(config(&free_ports(2), "parent", ""), ground().0).await.unwrap();
    deaf.apply(2).await.unwrap();
    parent.apply(1).await.unwrap();
    let child: u32 = get(&parent.targets()[0], "/child").await.parse().unwrap();
    assert!(lives(child));
    tokio::join!(stop(&deaf), stop(&parent));
    until("its child is gone", || !lives(child)).await;
}

#[tokio::test]
async fn no_replica_outlives_an_owner_that_is_killed() {
    let itself = itself("as_an_owner");
    let mut command = Command::new(&itself[0]);
    command.args(&itself[1..]).env(OWNER, free_ports(3)).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut owner = command.spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let owned = tokio::task::spawn_blocking(move || {
        let line = lines.find_map(|line| line.ok()?.strip_prefix("owns ").map(str::to_owned)).unwrap();
        line.split(' ').map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    });
    let owned = timeout(Duration::from_secs(30), owned).await.unwrap().unwrap();
    assert!(owned.len() == 4 && owned.iter().all(|&pid| lives(pid)));
    kill(owner.id());
    owner.wait().unwrap();
    until("they are gone", || !owned.iter().any(|&pid| lives(pid))).await;
}

#[tokio::test]
async fn a_share_of_the_processor_is_held() {
    let process = Process::open(config(&free_ports(2), "", "cpu = \"200m\""), ground().0).await.unwrap();
    process.apply(1).await.unwrap();
    let status = process.status();
    if !status.replicas[0].cpu_enforced {
        eprintln!("skipped: {}", status.cpu);
        assert!(status.cpu.contains("not enforced"));
        stop(&process).await;
        return;
    }
    let millis: u64 = get(&process.targets()[0], "/burn").await.parse().unwrap();
    assert!((20..=320).contains(&millis), "200 of 1000 ms, not {millis} ({})", status.cpu);
    let place = Place::find("other").unwrap();
    stop(&process).await;
    let left = format!("-{}-", process.plan.ground.workload);
    assert!(!place.names().iter().any(|name| name.contains(&left)), "the group is removed");
}

#[tokio::test]
async fn output_goes_where_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("replica-{replica}.log");
    let config = config(&free_ports(2), "dies", &format!("log = {:?}", log.display().to_string()));
    let process = Process::open(config, ground().0).await.unwrap();
    process.ask(1).unwrap();
    let path = directory.path().join("replica-1.log");
    let said = || {
        let mut text = String::new();
        std::fs::File::open(&path)
            .and_then(|mut file| file.read_to_string(&mut text))
            .is_ok_and(|_| text.contains("cannot go on"))
    };
    until("it is in the file", said).await;
    stop(&process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_converges_whatever_is_asked_and_whoever_dies() {
    let front = format!("127.0.0.1:{}", free_port());
    let (ground, published) = ground();
    let config = config(&free_ports(6), "", &format!("listen = \"{front}\"\ndrain = \"500ms\""));
    let process = Arc::new(Process::open(config, ground).await.unwrap());
    let mut dice = 7_u32;
    for step in 0..40 {
        dice = dice.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        process.ask(dice >> 16 & 3).unwrap();
        sleep(Duration::from_millis(u64::from(dice >> 20 & 63))).await;
        if let (0, Some(&pid)) = (step % 4, pids(&process).first()) {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            // It is a child of ours that may have ended this very moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    assert!(process.apply(3).await.unwrap().reached, "{:?}", process.status());
    let status = process.status();
    assert_eq!((status.asked, status.running, status.ready), (3, 3, 3));
    assert_eq!(published.lock().unwrap().len(), 3);
    assert_eq!(get(&front, "/").await.len(), 1, "the balancer knows them");
    stop(&process).await;
}
