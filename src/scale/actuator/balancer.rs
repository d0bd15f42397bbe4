//! one address in front of all replicas, as a Kubernetes Service is
//!
//!     client ─► accept ─► replica with the fewest open connections ─► bytes both ways until both have ended
//!                  └ no replica ready: waits, a few seconds and so many at most, then it is closed
//!
//! **Always:** a replica that drains keeps the connections it has and gets no new ones.
//! **Never:** it looks into the bytes; what it balances is connections.

use crate::error::{Error, Result};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// The longest that a connection waits for a replica.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Connections that may wait for a replica at once; more are closed.
const WAITING_MAX: usize = 1024;
/// The longest that a replica may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// A connection on which nothing moves for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(3600);
/// The longest silence of a client to whom a server has closed.
const SERVER_ENDED_MAX: Duration = Duration::from_secs(5);
/// Bytes on their way in one direction of a connection.
const BUFFER_BYTES: usize = 16 * 1024;

/// A listener and the replicas behind it; closed when dropped.
pub struct Balancer {
    shared: Arc<Shared>,
}

/// A balancer's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// accepted since it was opened
    pub accepted: u64,
    /// open now
    pub open: usize,
    /// waiting for a replica now
    pub waiting: usize,
    /// closed because no replica was ready in time, or too many waited
    pub refused: u64,
}

struct Shared {
    backends: Mutex<Vec<Arc<Backend>>>,
    turn: AtomicUsize,
    /// counts changes of the backends, for those who wait for one
    changed: watch::Sender<u64>,
    waiting: Semaphore,
    accepted: AtomicU64,
    refused: AtomicU64,
    closing: CancellationToken,
    cut: CancellationToken,
}

struct Backend {
    number: u32,
    address: SocketAddr,
    standing: Mutex<Standing>,
    open: watch::Sender<usize>,
    failures: AtomicU64,
    suspected: Notify,
}

/// What a replica may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// new connections
    Ready,
    /// new connections only while nobody else is ready
    Doubtful,
    /// nothing new
    Draining,
}

/// A replica's place behind a balancer; it leaves when this is dropped.
pub struct Member {
    shared: Arc<Shared>,
    backend: Arc<Backend>,
}

impl Balancer {
    /// Listens; `connections_max` bounds the connections that are open at once, more wait to be accepted.
    pub async fn listen(address: &str, connections_max: usize) -> Result<Balancer> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| Error::io(format!("cannot listen on {address} for the balancer"), error))?;
        let shared = Arc::new(Shared {
            backends: Mutex::default(),
            turn: AtomicUsize::new(0),
            changed: watch::Sender::new(0),
            waiting: Semaphore::new(WAITING_MAX),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            closing: CancellationToken::new(),
            cut: CancellationToken::new(),
        });
        tokio::spawn(accept(listener, shared.clone(), Arc::new(Semaphore::new(connections_max))));
        Ok(Balancer { shared })
    }

    /// A replica that is ready for connections.
    pub fn join(&self, number: u32, address: SocketAddr) -> Member {
        let backend = Arc::new(Backend {
            number,
            address,
            standing: Mutex::new(Standing::Ready),
            open: watch::Sender::new(0),
            failures: AtomicU64::new(0),
            suspected: Notify::new(),
        });
        lock(&self.shared.backends).push(backend.clone());
        self.shared.tell();
        Member { shared: self.shared.clone(), backend }
    }

    /// Accepts no more; open connections stay.
    pub fn close(&self) {
        self.shared.closing.cancel();
    }

    /// Its figures.
    pub fn connections(&self) -> Connections {
        let shared = &self.shared;
        Connections {
            accepted: shared.accepted.load(Ordering::Relaxed),
            open: lock(&shared.backends).iter().map(|backend| *backend.open.borrow()).sum(),
            waiting: WAITING_MAX.saturating_sub(shared.waiting.available_permits()),
            refused: shared.refused.load(Ordering::Relaxed),
        }
    }

    /// Connections open to a replica, and those it did not take.
    pub fn of(&self, number: u32) -> (usize, u64) {
        let backends = lock(&self.shared.backends);
        let backend = backends.iter().find(|backend| backend.number == number);
        backend.map_or((0, 0), |backend| (*backend.open.borrow(), backend.failures.load(Ordering::Relaxed)))
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.shared.closing.cancel();
        self.shared.cut.cancel();
    }
}

impl Member {
    /// Says what it may be sent from now on.
    pub fn stand(&self, standing: Standing) {
        {
            // Whoever picks holds this lock too: once we return, no connection is on its way that was not counted.
            let _nobody_picks = lock(&self.shared.backends);
            *lock(&self.backend.standing) = standing;
        }
        self.shared.tell();
    }

    /// Waits until it has no connection.
    pub async fn idle(&self) {
        // It cannot fail: the sender is the backend's own.
        let _ = self.backend.open.subscribe().wait_for(|open| *open == 0).await;
    }

    /// Waits until a connection could not be made to it.
    pub async fn suspected(&self) {
        self.backend.suspected.notified().await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        lock(&self.shared.backends).retain(|backend| !Arc::ptr_eq(backend, &self.backend));
        self.shared.tell();
    }
}

/// One connection counted as open to a replica.
struct Open(Arc<Backend>);

impl Open {
    fn new(backend: Arc<Backend>) -> Open {
        backend.open.send_modify(|open| *open += 1);
        Open(backend)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open = open.saturating_sub(1));
    }
}

impl Shared {
    fn tell(&self) {
        self.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// A connection to a replica, or nothing if too many wait for one already. Waits without end: the caller has a limit.
    async fn connect(&self) -> Option<(TcpStream, Open)> {
        let mut changed = self.changed.subscribe();
        let mut tried: Vec<u32> = Vec::new();
        let mut _waits = None;
        loop {
            if let Some(open) = self.pick(&tried) {
                match open.0.connect().await {
                    Ok(stream) => return Some((stream, open)),
                    Err(_) => tried.push(open.0.number),
                }
                continue;
            }
            if _waits.is_none() {
                _waits = Some(self.waiting.try_acquire().ok()?);
            }
            // A replica that did not take a connection may take one a moment later.
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            tried.clear();
        }
    }

    /// The replica to send to, with the connection counted already, so that the next one goes elsewhere.
    fn pick(&self, tried: &[u32]) -> Option<Open> {
        let backends = lock(&self.backends);
        let choices: Vec<(Standing, usize)> = backends
            .iter()
            .map(|backend| match tried.contains(&backend.number) {
                true => (Standing::Draining, 0),
                false => (*lock(&backend.standing), *backend.open.borrow()),
            })
            .collect();
        let at = choose(&choices, self.turn.fetch_add(1, Ordering::Relaxed))?;
        backends.get(at).map(|backend| Open::new(backend.clone()))
    }
}

/// The one with the fewest open connections among the ready (else among the doubtful); of equals, the next in turn.
fn choose(choices: &[(Standing, usize)], turn: usize) -> Option<usize> {
    let start = turn.checked_rem(choices.len())?;
    let in_turn = || choices.iter().enumerate().cycle().skip(start).take(choices.len());
    let best = |wanted: Standing| {
        in_turn().filter(|(_, (standing, _))| *standing == wanted).min_by_key(|(_, (_, open))| *open).map(|(at, _)| at)
    };
    best(Standing::Ready).or_else(|| best(Standing::Doubtful))
}

impl Backend {
    async fn connect(&self) -> io::Result<TcpStream> {
        let attempt = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(self.address)).await;
        let failure = match attempt {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        self.failures.fetch_add(1, Ordering::Relaxed);
        let its_own = matches!(
            failure.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut
        );
        // Anything else (no file descriptor left) is our trouble and says nothing about the replica.
        if its_own {
            let mut standing = lock(&self.standing);
            if *standing == Standing::Ready {
                *standing = Standing::Doubtful;
            }
            self.suspected.notify_one();
        }
        Err(failure)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, room: Arc<Semaphore>) {
    let serve = async {
        // The semaphore is never closed.
        while let Ok(place) = room.clone().acquire_owned().await {
            match listener.accept().await {
                Ok((client, _)) => {
                    shared.accepted.fetch_add(1, Ordering::Relaxed);
                    let shared = shared.clone();
                    tokio::spawn(async move {
                        let _place = place;
                        let cut = shared.cut.clone();
                        let _ = cut.run_until_cancelled(serve(client, shared)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "balancer cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    let _ = shared.closing.run_until_cancelled(serve).await;
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let Ok(Some((server, _open))) = tokio::time::timeout(WAIT_MAX, shared.connect()).await else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    // Small answers should not wait for more; where that cannot be set, they do.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let moved = AtomicU64::new(0);
    let up = pump(client_reads, server_writes, &moved);
    let down = pump(server_reads, client_writes, &moved);
    tokio::pin!(up, down);
    // An error of either side ends both; an end of one side is passed on and the other goes on.
    tokio::select! {
        ended = &mut up => if ended.is_ok() {
            let _ = down.await;
        },
        ended = &mut down => if ended.is_ok() {
            // What the server could say it has said; a client that leaves its end open and silent is not waited for long.
            while_moving(up, &moved).await;
        },
    }
}

/// Goes on with a direction until it ends or falls silent.
async fn while_moving(mut pump: impl Future + Unpin, moved: &AtomicU64) {
    loop {
        let before = moved.load(Ordering::Relaxed);
        let ended = tokio::time::timeout(SERVER_ENDED_MAX, &mut pump).await.is_ok();
        if ended || moved.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// Moves bytes until the sender ends, and passes the end on.
async fn pump(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, moved: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let before = moved.load(Ordering::Relaxed);
        let bytes = match tokio::time::timeout(IDLE_MAX, from.read(&mut buffer)).await {
            Ok(bytes) => bytes?,
            // Quiet here, but not in the other direction.
            Err(_) if moved.load(Ordering::Relaxed) != before => continue,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        if bytes == 0 {
            return to.shutdown().await;
        }
        let sent = to.write_all(buffer.get(..bytes).unwrap_or_default());
        tokio::time::timeout(IDLE_MAX, sent).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        moved.fetch_add(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::Standing::{Doubtful, Draining, Ready};
    use super::*;

    #[test]
    fn fewest_open_first_and_equals_in_turn() {
        let check = |choices: &[(Standing, usize)], turn, expected| {
            assert_eq!(choose(choices, turn), expected, "{choices:?} {turn}");
        };
        check(&[], 3, None);
        check(&[(Draining, 0)], 0, None);
        check(&[(Ready, 2), (Ready, 1), (Ready, 3)], 2, Some(1));
        for (turn, at) in [(0, 0), (1, 1), (2, 2), (3, 0)] {
            check(&[(Ready, 1), (Ready, 1), (Ready, 1)], turn, Some(at));
        }
        check(&[(Ready, 9), (Doubtful, 0), (Draining, 0)], 1, Some(0));
        check(&[(Draining, 0), (Doubtful, 7)], 0, Some(1));
    }

    /// A server that says its name, then sends back what it gets until the end, then `.`.
    async fn echo(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reads, mut writes) = stream.split();
                    let _ = writes.write_all(name.as_bytes()).await;
                    let _ = tokio::io::copy(&mut reads, &mut writes).await;
                    let _ = writes.write_all(b".").await;
                });
            }
        });
        address
    }

    async fn front() -> (Balancer, SocketAddr) {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        (Balancer::listen(&address.to_string(), 100).await.unwrap(), address)
    }

    async fn ask(front: SocketAddr, text: &str) -> String {
        let mut stream = TcpStream::connect(front).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn it_spreads_keeps_half_closed_connections_and_leaves_the_draining_alone() {
        let (balancer, front) = front().await;
        let (a, b) = (balancer.join(1, echo("a").await), balancer.join(2, echo("b").await));
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(ask(front, "hello").await);
        }
        seen.sort();
        assert_eq!(seen, ["ahello.", "ahello.", "bhello.", "bhello."]);
        let mut held = TcpStream::connect(front).await.unwrap();
        let mut name = [0; 1];
        held.read_exact(&mut name).await.unwrap();
        let (drained, other) = if &name == b"a" { (a, "bx.") } else { (b, "ax.") };
        drained.stand(Draining);
        for _ in 0..4 {
            assert_eq!(ask(front, "x").await, other);
        }
        assert_eq!(balancer.connections().open, 1);
        held.write_all(b"late").await.unwrap();
        held.shutdown().await.unwrap();
        let mut rest = String::new();
        held.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "late.");
        tokio::time::timeout(Duration::from_secs(5), drained.idle()).await.unwrap();
    }

    #[tokio::test]
    async fn a_replica_that_refuses_is_passed_over_and_suspected() {
        let (balancer, front) = front().await;
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dead = balancer.join(1, nobody);
        let _alive = balancer.join(2, echo("b").await);
        for _ in 0..6 {
            assert_eq!(ask(front, "x").await, "bx.");
        }
        tokio::time::timeout(Duration::from_secs(5), dead.suspected()).await.unwrap();
        assert_eq!(balancer.of(1), (0, 1), "it is tried once, then doubtful");
    }

    #[tokio::test]
    async fn a_connection_waits_for_the_first_replica() {
        let (balancer, front) = front().await;
        let waiting = tokio::spawn(async move { ask(front, "x").await });
        while balancer.connections().waiting == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _member = balancer.join(1, echo("a").await);
        assert_eq!(waiting.await.unwrap(), "ax.");
        assert_eq!(balancer.connections().waiting, 0);
    }
}
