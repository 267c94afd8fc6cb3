//! One boot of a node: the container manager, its control groups and the node's process 1.
//!
//! It ends with `kill -9` of the node's process 1: the kernel then ends every process of the
//! node, and the container manager follows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::image::Suite;
use super::leftovers::remove_group;
use super::root::Root;
use crate::deadline::{eventually, look_until};
use crate::process::Process;

/// The prefix of the nodes' control groups.
pub(super) const GROUP_PREFIX: &str = "pvewatch-lab-";

/// What the container manager exits with when the node rebooted and it is to be started again.
pub(super) const EXIT_REBOOT: i32 = 133;

/// From the start of the container manager to the node's process 1.
const START: Duration = Duration::from_secs(60);

/// From the end of process 1 to the end of the container manager.
const END: Duration = Duration::from_secs(60);

/// A node that runs, or has just stopped.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) manager: Process,
    pub(super) leader: u32,
    groups: Vec<PathBuf>,
}

impl Container {
    /// Boots; returns as soon as the node's process 1 exists.
    ///
    /// # Panics
    /// When it does not come to be.
    #[track_caller]
    pub(super) fn boot(id: &str, name: &str, suite: Suite, root: &Root, console: &Path) -> Self {
        let groups = groups(id);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", include_str!("boot.sh"), "boot.sh"]);
        command.arg(root.mount_options()).arg(root.mount_point()).arg(name).args(&groups);
        if suite == Suite::Trixie {
            // Its systemd refuses to boot on the old hierarchy.
            command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        }
        let mut manager = Process::start_command(name, console, &command);
        let leader = eventually(&format!("{name}: its process 1"), START, || {
            if let Some(status) = manager.exited() {
                panic!("{name} did not boot: {status}\n{}", manager.tail());
            }
            leader_of(manager.id())
        });
        Self { manager, leader, groups }
    }

    /// Cuts the power: every process of the node is gone at once, unannounced.
    ///
    /// # Panics
    /// When the container manager does not end.
    #[track_caller]
    pub(super) fn cut_power(mut self) {
        kill(self.leader);
        self.manager.exits_within(END);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.manager.exited().is_none() {
            kill(self.leader);
            if look_until(END, || self.manager.exited()).is_none() {
                self.manager.signal(Signal::KILL);
            }
        }
        for group in &self.groups {
            remove_group(group);
        }
    }
}

fn kill(process: u32) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// The process 1 of the node: the child of the container manager that has become systemd.
fn leader_of(manager: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{manager}/task/{manager}/children")).ok()?;
    children.split_whitespace().filter_map(|id| id.parse().ok()).find(|id: &u32| {
        let comm = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
        matches!(comm.trim(), "systemd" | "init")
    })
}

/// The control groups of a node, one in each hierarchy that systemd uses, below our own.
fn groups(id: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    group_folders(&mounts, &own)
        .into_iter()
        .map(|folder| folder.join(format!("{GROUP_PREFIX}{id}")))
        .collect()
}

/// Our own group in the unified hierarchy, and in systemd's old one where it is mounted.
pub(super) fn group_folders(mounts: &str, own: &str) -> Vec<PathBuf> {
    let lines = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.nth(1)?, fields.next()?, fields.next()?))
    });
    let is_named = |options: &str| options.split(',').any(|option| option == "name=systemd");
    lines
        .filter_map(|(mounted_at, kind, options)| {
            let hierarchy = match kind {
                "cgroup2" => "0::",
                "cgroup" if is_named(options) => ":name=systemd:",
                _ => return None,
            };
            let line = own.lines().find(|line| line.contains(hierarchy))?;
            let path = line.splitn(3, ':').nth(2)?;
            Some(Path::new(mounted_at).join(path.trim_start_matches('/')))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_gets_a_group_in_each_hierarchy_that_systemd_uses() {
        let hybrid = "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,relatime,name=systemd 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let own = "9:name=systemd:/a\n8:pids:/\n0::/b/c\n";
        assert_eq!(
            group_folders(hybrid, own),
            [Path::new("/sys/fs/cgroup/systemd/a"), Path::new("/sys/fs/cgroup/unified/b/c")]
        );
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(group_folders(unified, "0::/\n"), [Path::new("/sys/fs/cgroup/")]);
    }
}
