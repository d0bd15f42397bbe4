//! a share of the processor for each replica, held by a cgroup where one can be made
//!
//! Version 2 (`cpu.max`) is tried first, then version 1 (`cpu.cfs_quota_us`); in each the group this process is in, then those
//! above it. Where none can be made, a replica is told its share and may keep to it by itself.
//!
//! **Always:** a group is removed with its replica; groups of a tidemill that is gone are emptied and removed at the next start.

use crate::units::Cores;
use procfs::ProcessCGroups;
use procfs::process::{MountInfo, Process};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the kernel hands out the share. Short, because a replica that has used its share stands still for the rest of it.
const PERIOD_US: u64 = 20_000;
/// The least that the kernel takes as a share of a period.
const QUOTA_US_MIN: u64 = 1_000;

/// Which files say what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A directory in which groups can be made.
#[derive(Clone, Debug)]
pub struct Place {
    version: Version,
    parent: PathBuf,
    prefix: String,
}

/// One replica's group.
pub struct Group {
    directory: PathBuf,
}

impl Place {
    /// Finds one by making a group in it; an error says why there is none, as a part of a sentence.
    pub fn find(workload: &str) -> Result<Place, String> {
        let myself = Process::myself().map_err(|error| format!("/proc cannot be read: {error}"))?;
        let mounts = myself.mountinfo().map_err(|error| format!("mounts cannot be read: {error}"))?;
        let groups = myself.cgroups().map_err(|error| format!("own cgroups cannot be read: {error}"))?;
        let prefix = format!("tidemill-{}-{workload}-", std::process::id());
        let mut why = "no cgroup file system is mounted".to_owned();
        for (version, parent) in candidates(&mounts.0, &groups) {
            let place = Place { version, parent, prefix: prefix.clone() };
            match place.probe() {
                Ok(()) => {
                    place.sweep();
                    return Ok(place);
                }
                Err(error) => why = format!("{}: {error}", place.parent.display()),
            }
        }
        Err(why)
    }

    /// In words, for the status.
    pub fn tell(&self) -> String {
        let version = if self.version == Version::V2 { 2 } else { 1 };
        format!("held by cgroup v{version} in {}", self.parent.display())
    }

    /// A group with a share of the processor and nobody in it, and the file by which a process enters it.
    pub fn group(&self, replica: &str, share: Cores) -> io::Result<(Group, File)> {
        let group = Group { directory: self.parent.join(format!("{}{replica}", self.prefix)) };
        match fs::create_dir(&group.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let (period, quota) = period_and_quota(share);
        match self.version {
            Version::V2 => fs::write(group.directory.join("cpu.max"), format!("{quota} {period}"))?,
            Version::V1 => {
                fs::write(group.directory.join("cpu.cfs_period_us"), period.to_string())?;
                fs::write(group.directory.join("cpu.cfs_quota_us"), quota.to_string())?;
            }
        }
        let enter = OpenOptions::new().write(true).open(group.directory.join("cgroup.procs"))?;
        Ok((group, enter))
    }

    fn probe(&self) -> io::Result<()> {
        if self.version == Version::V2 {
            let has_cpu = |file: &str| -> io::Result<bool> {
                Ok(fs::read_to_string(self.parent.join(file))?.split_whitespace().any(|name| name == "cpu"))
            };
            if !has_cpu("cgroup.controllers")? {
                return Err(io::Error::other("it has no cpu controller"));
            }
            if !has_cpu("cgroup.subtree_control")? {
                fs::write(self.parent.join("cgroup.subtree_control"), "+cpu")?;
            }
        }
        self.group("probe", Cores { millis: 1000 }).map(drop)
    }

    /// The names of the groups in it.
    #[cfg(test)]
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.parent).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Empties and removes what a tidemill that is gone (or an earlier one of this number) has left.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.parent) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(owner) = name.to_str().and_then(owner) else { continue };
            let of_ours = name.to_str().is_some_and(|name| name.starts_with(&self.prefix));
            let gone = !Path::new("/proc").join(owner.to_string()).exists();
            let group = Group { directory: entry.path() };
            if (gone || of_ours) && group.processes().iter().all(|&pid| visible(pid)) {
                for _ in 0..50 {
                    group.kill();
                    if group.remove() {
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            } else {
                std::mem::forget(group);
            }
        }
    }
}

impl Group {
    /// Kills whoever is still in it and removes it; gives up after a second.
    pub async fn close(self) {
        for _ in 0..100 {
            self.kill();
            if self.remove() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tracing::warn!(directory = %self.directory.display(), "cgroup not removed");
    }

    fn kill(&self) {
        if fs::write(self.directory.join("cgroup.kill"), "1").is_ok() {
            return;
        }
        for pid in self.processes() {
            // It may have ended by itself since the list was read.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }

    fn processes(&self) -> Vec<i32> {
        let list = fs::read_to_string(self.directory.join("cgroup.procs")).unwrap_or_default();
        list.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    fn remove(&self) -> bool {
        match fs::remove_dir(&self.directory) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Whether a process is of our own pid namespace, so that its number means the same to us as to whoever started it.
fn visible(pid: i32) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/pid")).ok();
    pid > 0 && namespace(&pid.to_string()) == namespace("self")
}

/// The number of the tidemill that made a group of this name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix("tidemill-")?.split_once('-')?.0.parse().ok()
}

/// The kernel's figures for a share.
fn period_and_quota(share: Cores) -> (u64, u64) {
    let millis = u64::from(share.millis.max(1));
    let quota = millis * PERIOD_US / 1000;
    if quota >= QUOTA_US_MIN { (PERIOD_US, quota) } else { (QUOTA_US_MIN * 1000 / millis, QUOTA_US_MIN) }
}

/// Directories to try, best first.
fn candidates(mounts: &[MountInfo], groups: &ProcessCGroups) -> Vec<(Version, PathBuf)> {
    let mut found = Vec::new();
    for (version, fs_type) in [(Version::V2, "cgroup2"), (Version::V1, "cgroup")] {
        for mount in mounts.iter().filter(|mount| mount.fs_type == fs_type) {
            let group = groups.0.iter().find(|group| match version {
                Version::V2 => group.hierarchy == 0,
                Version::V1 => {
                    mount.super_options.contains_key("cpu") && group.controllers.iter().any(|name| name == "cpu")
                }
            });
            let Some(group) = group else { continue };
            let own = Path::new(&group.pathname);
            let below = own.strip_prefix(&mount.root).unwrap_or(Path::new(""));
            let own = mount.mount_point.join(below);
            let up = own.ancestors().take_while(|path| path.starts_with(&mount.mount_point));
            found.extend(up.map(|path| (version, path.to_owned())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::FromBufRead;
    use procfs::process::MountInfos;

    #[test]
    fn shares_become_figures() {
        for (millis, figures) in
            [(200, (20_000, 4_000)), (1500, (20_000, 30_000)), (10, (100_000, 1_000)), (1, (1_000_000, 1_000))]
        {
            assert_eq!(period_and_quota(Cores { millis }), figures, "{millis}");
        }
    }

    #[test]
    fn names_tell_their_owner() {
        assert_eq!(owner("tidemill-77-web-1"), Some(77));
        for other in ["tidemill", "tidemill-x-1", "system.slice", "tidemill-5"] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    fn check(mounts: &str, groups: &str, expected: &[(Version, &str)]) {
        let mounts = MountInfos::from_buf_read(mounts.as_bytes()).unwrap();
        let groups = ProcessCGroups::from_buf_read(groups.as_bytes()).unwrap();
        let expected: Vec<_> = expected.iter().map(|(version, path)| (*version, PathBuf::from(path))).collect();
        assert_eq!(candidates(&mounts.0, &groups), expected);
    }

    #[test]
    fn places_to_try() {
        let v2 = "30 23 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
        check(
            v2,
            "0::/a/b\n",
            &[(Version::V2, "/sys/fs/cgroup/a/b"), (Version::V2, "/sys/fs/cgroup/a"), (Version::V2, "/sys/fs/cgroup")],
        );
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        check(v1, "1:cpu:/\n4:memory:/x\n", &[(Version::V1, "/sys/fs/cgroup/cpu")]);
        let docker = "32 31 0:29 /docker/1 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
        check(docker, "3:cpu,cpuacct:/docker/1\n", &[(Version::V1, "/sys/fs/cgroup/cpu,cpuacct")]);
        check("", "0::/\n", &[]);
    }
}
