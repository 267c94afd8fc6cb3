//! Reads what Proxmox notes of its tasks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use jiff::Timestamp;
use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::{GuestCause, GuestKind, GuestRun, GuestState};

use crate::guests::tasks::{Deed, Task, active};
use crate::proxmox::Upid;

/// Most of a log's first line that is looked at, in bytes.
const LINE_BYTES_MAX: u64 = 1024;

/// What the manager of high availability writes first into the log of what it asks for.
const BY_HA: &str = "task started by HA resource agent";

/// A guest that runs, and nobody saw since when.
pub fn unseen(vmid: Vmid, kind: GuestKind) -> GuestRun {
    GuestRun {
        vmid,
        kind,
        state: GuestState::Running,
        since: None,
        cause: None,
        expected: false,
        awaited: false,
        upid: None,
        user: None,
        detail: None,
    }
}

/// The tasks that start or stop guests, and which of them about this one the manager of high
/// availability asked for.
pub fn tasks(folder: &Path, vmid: Vmid) -> (Vec<Task>, Vec<String>) {
    let list = fs::read_to_string(folder.join("active")).unwrap_or_default();
    let tasks = active(&list);
    let own = tasks.iter().filter(|task| task.is_about(vmid));
    let by_ha = own.filter(|task| is_asked_by_ha(folder, &task.upid));
    let by_ha = by_ha.map(|task| task.upid.to_string()).collect();
    (tasks, by_ha)
}

/// Whether a backup runs.
pub fn is_backing_up(folder: &Path) -> bool {
    let list = fs::read_to_string(folder.join("active")).unwrap_or_default();
    active(&list).iter().any(|task| task.deed() == Some(Deed::Backup) && task.ended.is_none())
}

fn is_asked_by_ha(tasks: &Path, upid: &Upid) -> bool {
    let Ok(log) = File::open(tasks.join(upid.folder()).join(upid.as_str())) else { return false };
    let first = BufReader::new(log.take(LINE_BYTES_MAX)).lines().next();
    first.is_some_and(|line| line.is_ok_and(|line| line.contains(BY_HA)))
}

/// Guests whose newest task stopped them, by the names of all logs there are. What was stopped before
/// the node was booted was stopped for that, or has been known for long.
pub fn last_stops(tasks: &Path, booted_at: Timestamp) -> BTreeMap<Vmid, GuestRun> {
    let mut newest: BTreeMap<Vmid, Task> = BTreeMap::new();
    for folder in fs::read_dir(tasks).into_iter().flatten().flatten() {
        for log in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let name = log.file_name();
            let Some(upid) = name.to_str().and_then(|name| name.parse::<Upid>().ok()) else {
                continue;
            };
            let Ok(vmid) = upid.id.parse() else { continue };
            let task = Task { upid, ended: None, has_failed: false };
            let is_newer = newest.get(&vmid).is_none_or(|it| it.upid.started < task.upid.started);
            if task.deed().is_some_and(|deed| deed != Deed::Backup) && is_newer {
                newest.insert(vmid, task);
            }
        }
    }
    let is_stop = |(_, task): &(Vmid, Task)| {
        task.deed() == Some(Deed::Stop) && task.upid.started >= booted_at
    };
    let stops = newest.into_iter().filter(is_stop);
    let stop = |(vmid, task): (Vmid, Task)| {
        let is_container = task.upid.kind.starts_with("vz");
        let run = GuestRun {
            kind: if is_container { GuestKind::Lxc } else { GuestKind::Qemu },
            state: GuestState::Stopped,
            since: Some(task.upid.started),
            cause: Some(GuestCause::Requested),
            expected: true,
            upid: Some(task.upid.to_string()),
            user: Some(task.upid.user),
            ..unseen(vmid, GuestKind::Qemu)
        };
        (vmid, run)
    };
    stops.map(stop).collect()
}
