//! which process listens on a port, to name it in an error

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process, all_processes};

/// The process that listens on this port, such as `python3 (pid 4711)`; none if it cannot be told (it is another user's).
pub(super) fn port_holder(port: u16) -> Option<String> {
    let listens = |entry: &TcpNetEntry| entry.state == TcpState::Listen && entry.local_address.port() == port;
    let entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    let sockets: Vec<u64> = entries.filter(listens).map(|entry| entry.inode).collect();
    if sockets.is_empty() {
        return None;
    }
    let process = all_processes().ok()?.flatten().find(|process| holds(process, &sockets))?;
    let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
    Some(format!("{name} (pid {})", process.pid))
}

fn holds(process: &Process, sockets: &[u64]) -> bool {
    let Ok(files) = process.fd() else { return false };
    files.flatten().any(|file| matches!(file.target, FDTarget::Socket(inode) if sockets.contains(&inode)))
}
