//! Reads what Proxmox notes of its guests: their configuration, and its tasks.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::Path;

use pvewatch_protocol::Vmid;
use pvewatch_protocol::event::{GuestCause, GuestKind, GuestRun, GuestState};

use super::GuestsPaths;
use crate::guests::cause::{Clues, Config};
use crate::guests::tasks::{Deed, Task, active};
use crate::proxmox::{Upid, config_folder};

/// Most of a guest's configuration that is looked at, in bytes: its lock is before the snapshots.
const CONFIG_BYTES_MAX: u64 = 64 * 1024;

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

/// What Proxmox notes of a guest, and of what goes on.
pub fn clues(paths: &GuestsPaths, vmid: Vmid, kind: GuestKind) -> Clues {
    let list = fs::read_to_string(paths.tasks.join("active")).unwrap_or_default();
    let tasks = active(&list);
    let own = tasks.iter().filter(|task| task.is_about(vmid));
    let by_ha = own.filter(|task| is_asked_by_ha(&paths.tasks, &task.upid));
    Clues {
        config: config(&paths.pve, vmid, kind),
        asked_by_ha: by_ha.map(|task| task.upid.to_string()).collect(),
        tasks,
        ..Clues::default()
    }
}

/// A guest's configuration on this node.
pub fn config(pve: &Path, vmid: Vmid, kind: GuestKind) -> Config {
    let folder = pve.join("local").join(config_folder(kind));
    let file = match File::open(folder.join(format!("{vmid}.conf"))) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Config::Absent,
        Err(_) => return Config::Unknown,
    };
    let mut text = Vec::new();
    if file.take(CONFIG_BYTES_MAX).read_to_end(&mut text).is_err() {
        return Config::Unknown;
    }
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().take_while(|line| !line.starts_with('['));
    Config::Here(lines.find_map(|line| line.strip_prefix("lock:")).map(|it| it.trim().to_owned()))
}

fn is_asked_by_ha(tasks: &Path, upid: &Upid) -> bool {
    let Ok(log) = File::open(tasks.join(upid.folder()).join(upid.as_str())) else { return false };
    let first = BufReader::new(log.take(CONFIG_BYTES_MAX)).lines().next();
    first.is_some_and(|line| line.is_ok_and(|line| line.contains(BY_HA)))
}

/// Guests whose newest task stopped them, by the names of all logs there are.
pub fn last_stops(tasks: &Path) -> BTreeMap<Vmid, GuestRun> {
    let mut newest: BTreeMap<Vmid, Task> = BTreeMap::new();
    for folder in fs::read_dir(tasks).into_iter().flatten().flatten() {
        for log in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let name = log.file_name();
            let Some(upid) = name.to_str().and_then(|name| name.parse::<Upid>().ok()) else {
                continue;
            };
            let Ok(vmid) = upid.id.parse() else { continue };
            let task = Task { upid, ended: None };
            let is_newer = newest.get(&vmid).is_none_or(|it| it.upid.started < task.upid.started);
            if task.deed().is_some_and(|deed| deed != Deed::Backup) && is_newer {
                newest.insert(vmid, task);
            }
        }
    }
    let stops = newest.into_iter().filter(|(_, task)| task.deed() == Some(Deed::Stop));
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
