//! A node whose storages are folders, and the source that watches them.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::time::Duration;

use pvewatch_agent::backups::storages::watch::{self, StoragePaths};
use pvewatch_agent::proxmox::Api;
use pvewatch_agent::source::{Report, Reporter};
use pvewatch_protocol::{BackupStorage, CheckpointContent, GuestArchives};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch as channel};
use tokio::time::timeout;

/// A node with two guests and a job, whose storages are folders.
pub struct Node {
    folder: TempDir,
}

impl Node {
    pub fn new() -> Self {
        let node = Self { folder: TempDir::new().unwrap() };
        for name in ["pve/nodes/pve1/qemu-server", "pve/nodes/pve1/lxc", "jobs"] {
            fs::create_dir_all(node.path(name)).unwrap();
        }
        symlink("nodes/pve1", node.path("pve/local")).unwrap();
        node.write("pve/.version", r#"{"starttime":7,"vmlist":1}"#);
        let list = r#"{"version":1,"ids":{"100":{"node":"pve1","type":"qemu","version":1},
            "101":{"node":"pve1","type":"lxc","version":1},
            "102":{"node":"pve2","type":"lxc","version":1}}}"#;
        node.write("pve/.vmlist", list);
        node.write("pve/nodes/pve1/qemu-server/100.conf", "name: web\n");
        node.write("pve/nodes/pve1/lxc/101.conf", "hostname: db\n");
        node.write("pve/jobs.cfg", "vzdump: nightly\n\tschedule 21:00\n\tall 1\n\tstorage usb\n");
        node.write("mountinfo", "25 1 8:2 / / rw - ext4 /dev/sda2 rw\n");
        node.write("fstab", "");
        node
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Has these storages of the type `dir`, with more keys each.
    pub fn has(&self, storages: &[(&str, &str)]) {
        let mut text = String::new();
        for (id, keys) in storages {
            fs::create_dir_all(self.path(id).join("dump")).unwrap();
            let path = self.path(id);
            text += &format!("dir: {id}\n\tpath {}\n\tcontent backup\n{keys}\n", path.display());
        }
        self.write("pve/storage.cfg", &format!("{text}\ndir: local\n\tpath /x\n\tdisable\n"));
    }

    /// A run of a guest on one day of November, with what its log says it keeps, if anything.
    pub fn archive(&self, storage: &str, guest: &str, day: u32, keeps: Option<&str>) {
        let run = format!("{storage}/dump/vzdump-{guest}-2026_11_{day:02}-21_00_04");
        let ending = if guest.starts_with("qemu") { "vma.zst" } else { "tar.zst" };
        self.write(&format!("{run}.{ending}"), "archive");
        let log = keeps.map(|keeps| format!("INFO: prune older backups with retention: {keeps}\n"));
        self.write(&format!("{run}.log"), &log.unwrap_or_default());
    }

    /// Nothing has changed in a storage for an hour.
    pub fn rests(&self, storage: &str) {
        let dump = File::open(self.path(storage).join("dump")).unwrap();
        let hour_ago = dump.metadata().unwrap().modified().unwrap() - Duration::from_secs(3600);
        dump.set_times(FileTimes::new().set_modified(hour_ago)).unwrap();
    }

    pub fn watch(&self) -> Watching {
        self.watch_with(None)
    }

    /// With a way to Proxmox' API.
    pub fn watch_with(&self, api: Option<Api>) -> Watching {
        let paths = StoragePaths {
            config: self.path("pve"),
            vzdump: self.path("vzdump.conf"),
            mountinfo: self.path("mountinfo"),
            fstab: self.path("fstab"),
        };
        let (reports_in, reports) = mpsc::channel(16);
        let (wanted, wanted_out) = channel::channel(0);
        tokio::spawn(async move {
            let _ = watch::run(paths, api, Reporter::new(reports_in), wanted_out).await;
        });
        Watching { reports, wanted }
    }
}

/// The source, while it watches.
pub struct Watching {
    reports: mpsc::Receiver<Report>,
    /// Asks for a picture.
    pub wanted: channel::Sender<u64>,
}

impl Watching {
    pub async fn next(&mut self) -> Report {
        timeout(Duration::from_secs(3600), self.reports.recv()).await.unwrap().unwrap()
    }

    pub async fn storages(&mut self) -> Vec<BackupStorage> {
        loop {
            if let Report::Picture(CheckpointContent::BackupStorages(storages)) = self.next().await
            {
                return storages;
            }
        }
    }

    /// Whether the source is active, and why.
    pub async fn status(&mut self) -> (bool, String) {
        loop {
            if let Report::Status(status) = self.next().await {
                return (status.active, status.detail);
            }
        }
    }
}

/// Each guest of a storage: its archives, and those that should be gone.
pub fn archives(storage: &BackupStorage) -> Vec<(u32, u32, Option<u32>)> {
    let one = |it: &GuestArchives| (u32::from(it.vmid), it.count, it.surplus);
    storage.guests.iter().map(one).collect()
}
