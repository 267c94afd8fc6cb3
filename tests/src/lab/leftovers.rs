//! What a killed test run leaves behind, found by its marker and removed by the next run.
//!
//! A node's folder holds a file `owner` with the process id and start time of the test that
//! made it; the node's control groups carry the folder's name. Mounts need no cleaning: they
//! end with the node's processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::container::{GROUP_PREFIX, group_folders};
use crate::deadline::look_until;

/// How long killed processes may take to leave their control group.
const EMPTY: Duration = Duration::from_secs(10);

/// The folder of all nodes.
pub(super) fn nodes_folder(lab: &Path) -> PathBuf {
    lab.join("nodes")
}

/// Makes a node's folder, with the marker that says whose it is.
///
/// # Panics
/// When it cannot be written.
pub(crate) fn claim(lab: &Path, id: &str) -> PathBuf {
    let directory = nodes_folder(lab).join(id);
    fs::create_dir_all(&directory).expect("the lab's folder can be written");
    let owner = process::id();
    let marker = format!("{owner} {}", start_time(owner).unwrap_or_default());
    fs::write(directory.join("owner"), marker).expect("the lab's folder can be written");
    directory
}

/// Ends and removes the nodes whose owners are gone.
pub(super) fn remove(lab: &Path) {
    for entry in fs::read_dir(nodes_folder(lab)).into_iter().flatten().flatten() {
        let directory = entry.path();
        // A folder without a marker is just being made.
        let Ok(marker) = fs::read_to_string(directory.join("owner")) else { continue };
        if is_alive(&marker) {
            continue;
        }
        eprintln!("lab: removing {}, left by a run that was killed", directory.display());
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group_name = format!("{GROUP_PREFIX}{}", entry.file_name().to_string_lossy());
        for folder in group_folders(&mounts, &own) {
            let group = folder.join(&group_name);
            end_processes(&group);
            remove_group(&group);
        }
        let _ = fs::remove_dir_all(&directory);
    }
}

/// Removes an empty control group with everything below it.
pub(super) fn remove_group(group: &Path) {
    look_until(EMPTY, || {
        for below in groups_below(group) {
            let _ = fs::remove_dir(below);
        }
        (!group.exists()).then_some(())
    });
}

/// Whether the process of a marker still runs; ids are reused, start times are not.
fn is_alive(marker: &str) -> bool {
    let Some((id, started)) = marker.split_once(' ') else { return false };
    let Ok(id) = id.parse() else { return false };
    start_time(id).is_some_and(|now| now == started)
}

/// When a process started, in the kernel's ticks: field 22 of its `stat`. None for one that has
/// ended, also while nobody has asked for its exit code.
fn start_time(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let has_ended = fields.next() == Some("Z");
    fields.nth(18).filter(|_| !has_ended).map(str::to_owned)
}

fn end_processes(group: &Path) {
    for below in groups_below(group) {
        let members = fs::read_to_string(below.join("cgroup.procs")).unwrap_or_default();
        for member in members.lines().filter_map(|id| id.parse().ok()).filter_map(Pid::from_raw) {
            let _ = kill_process(member, Signal::KILL);
        }
    }
}

/// The group and all below it, the deepest first.
fn groups_below(group: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(groups_below(&entry.path()));
        }
    }
    found.push(group.to_owned());
    found
}
