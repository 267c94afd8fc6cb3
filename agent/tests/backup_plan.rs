//! The source `backup_jobs` on real files: what Proxmox has in `/etc/pve`, and how it changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should fail at that place")]

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use pvewatch_agent::backups::plan::watch;
use pvewatch_agent::backups::plan::watch::reader::PlanPaths;
use pvewatch_agent::source::{Report, Reporter};
use pvewatch_protocol::{BackupJob, CheckpointContent, Guest};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{Instant, timeout};

/// A node's folders.
struct Node {
    folder: TempDir,
    version: u32,
}

impl Node {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["pve/nodes/pve1/qemu-server", "pve/nodes/pve1/lxc", "jobs"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        symlink("nodes/pve1", folder.path().join("pve/local")).unwrap();
        symlink("/usr/share/zoneinfo/Europe/Berlin", folder.path().join("localtime")).unwrap();
        let mut node = Self { folder, version: 1 };
        node.write("pve/user.cfg", "pool:prod::100::\n");
        node.write("pve/nodes/pve1/qemu-server/100.conf", "name: web\ntags: a;b\n");
        node.write("pve/nodes/pve1/lxc/101.conf", "hostname: db\n");
        node.write("pve/jobs.cfg", "vzdump: nightly\n\tschedule 21:00\n\tall 1\n\tstorage nas\n");
        node.list(&[(100, "qemu", 1), (101, "lxc", 2)]);
        node
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Writes `.vmlist`, and that something has changed.
    fn list(&mut self, guests: &[(u32, &str, u32)]) {
        let entry = |(vmid, kind, version): &(u32, &str, u32)| {
            format!(r#""{vmid}":{{"node":"pve1","type":"{kind}","version":{version}}}"#)
        };
        let entries: Vec<String> = guests.iter().map(entry).collect();
        let entries = entries.join(",");
        self.write("pve/.vmlist", &format!(r#"{{"version":1,"ids":{{{entries}}}}}"#));
        self.change();
    }

    /// Writes that something has changed.
    fn change(&mut self) {
        self.version += 1;
        let version = self.version;
        self.write("pve/.version", &format!(r#"{{"starttime":7,"vmlist":{version}}}"#));
    }

    fn watch(&self) -> Watching {
        let path = |name: &str| self.folder.path().join(name);
        let paths = PlanPaths {
            config: path("pve"),
            states: path("jobs"),
            replication: path("replication.json"),
            localtime: path("localtime"),
        };
        let (reports_in, reports) = mpsc::channel(16);
        let (wanted, wanted_out) = channel::channel(0);
        tokio::spawn(async move {
            let _ = watch::run(paths, Reporter::new(reports_in), wanted_out).await;
        });
        Watching { reports, wanted }
    }
}

struct Watching {
    reports: mpsc::Receiver<Report>,
    wanted: channel::Sender<u64>,
}

impl Watching {
    async fn next(&mut self) -> Report {
        timeout(Duration::from_secs(3600), self.reports.recv()).await.unwrap().unwrap()
    }

    async fn guests(&mut self) -> Vec<Guest> {
        loop {
            if let Report::Picture(CheckpointContent::Guests(guests)) = self.next().await {
                return guests;
            }
        }
    }

    async fn jobs(&mut self) -> Vec<BackupJob> {
        loop {
            if let Report::Picture(CheckpointContent::BackupJobs(jobs)) = self.next().await {
                return jobs;
            }
        }
    }

    /// Whether the source is active, and why.
    async fn status(&mut self) -> (bool, String) {
        loop {
            if let Report::Status(status) = self.next().await {
                return (status.active, status.detail);
            }
        }
    }
}

fn vmids(job: &BackupJob) -> Vec<u32> {
    job.guests.iter().map(|vmid| u32::from(*vmid)).collect()
}

#[tokio::test(start_paused = true)]
async fn guests_and_jobs_are_told_and_told_again_when_they_change() {
    let mut node = Node::new();
    let mut watching = node.watch();
    let job = watching.jobs().await.remove(0);
    assert_eq!((&*job.job, &*job.schedule, &*job.zone), ("nightly", "21:00", "Europe/Berlin"));
    assert_eq!((vmids(&job), job.enabled, job.last_run), (vec![100, 101], true, None));
    let guests = watching.guests().await;
    let names: Vec<_> = guests.iter().map(|guest| guest.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["web", "db"]);
    assert_eq!(guests[0].tags, ["a", "b"]);
    assert_eq!(guests[0].pool.as_deref(), Some("prod"));

    // A guest less, as another node's move leaves it.
    node.list(&[(100, "qemu", 1)]);
    assert_eq!(watching.guests().await.len(), 1);
    assert_eq!(vmids(&watching.jobs().await[0]), [100]);

    // A run begins: only the jobs are different.
    let upid = "UPID:pve1:0000C0DE:00ABCDEF:6925A380:vzdump::root@pam:";
    let state = format!(r#"{{"state":"started","upid":"{upid}"}}"#);
    node.write("jobs/vzdump-nightly.json", &state);
    let job = watching.jobs().await.remove(0);
    assert_eq!(job.last_run.unwrap().as_second(), 0x6925_A380);
}

#[tokio::test(start_paused = true)]
async fn only_configurations_with_another_version_are_read_again() {
    let mut node = Node::new();
    let mut watching = node.watch();
    watching.guests().await;
    // Proxmox would give it another version; one with the old is not looked at.
    node.write("pve/nodes/pve1/qemu-server/100.conf", "name: other\n");
    node.list(&[(100, "qemu", 1), (101, "lxc", 3)]);
    node.write("pve/nodes/pve1/lxc/101.conf", "hostname: sql\n");
    let names = |guests: Vec<Guest>| -> Vec<String> {
        guests.into_iter().filter_map(|guest| guest.name).collect()
    };
    assert_eq!(names(watching.guests().await), ["web", "sql"]);
    // Another pmxcfs counts anew.
    node.write("pve/.version", r#"{"starttime":8,"vmlist":1}"#);
    assert_eq!(names(watching.guests().await), ["other", "sql"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_quorum_nothing_is_told_that_can_be_old() {
    let mut node = Node::new();
    let members = |quorate: u8| {
        let cluster = format!(r#""cluster":{{"name":"lab","nodes":2,"quorate":{quorate}}}"#);
        format!(r#"{{"nodename":"pve1",{cluster},"nodelist":{{"pve1":{{"online":1}}}}}}"#)
    };
    node.write("pve/.members", &members(0));
    let mut watching = node.watch();
    let (active, why) = watching.status().await;
    assert!(!active && why.starts_with("the cluster has no quorum"), "{why}");
    node.write("pve/.members", &members(1));
    assert_eq!(watching.guests().await.len(), 2);

    // It is cut off, and a guest is another node's meanwhile.
    node.write("pve/.members", &members(0));
    while watching.status().await.0 {}
    let told = Instant::now();
    node.list(&[(100, "qemu", 1)]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    node.write("pve/.members", &members(1));
    assert_eq!(watching.guests().await.len(), 1);
    assert!(told.elapsed() >= Duration::from_secs(3600), "not even because it was time");
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_told_with_how_the_manager_of_high_availability_has_it() {
    let node = Node::new();
    let mut watching = node.watch();
    let states = |guests: Vec<Guest>| guests.into_iter().map(|it| it.ha).collect::<Vec<_>>();
    assert_eq!(states(watching.guests().await), [None, None]);
    fs::create_dir(node.folder.path().join("pve/ha")).unwrap();
    let notes = |state: &str, timestamp: u32| {
        let service = format!(r#""vm:100":{{"node":"pve1","state":"{state}"}}"#);
        node.write(
            "pve/ha/manager_status",
            &format!(r#"{{"service_status":{{{service}}},"timestamp":{timestamp}}}"#),
        );
    };
    notes("started", 1);
    assert_eq!(states(watching.guests().await), [Some("started".to_owned()), None]);
    let told = Instant::now();
    notes("started", 2);
    assert_eq!(states(watching.guests().await), [Some("started".to_owned()), None]);
    assert!(told.elapsed() >= Duration::from_secs(14 * 60), "told only because it is time");
    // One that cannot be read says nothing, and is no reason to think that none keeps it.
    node.write("pve/ha/manager_status", "{\"service_status\":");
    assert_eq!(states(watching.guests().await), [Some("started".to_owned()), None]);
    notes("error", 3);
    assert_eq!(states(watching.guests().await), [Some("error".to_owned()), None]);
}

#[tokio::test(start_paused = true)]
async fn a_replication_is_told_with_its_guest_and_again_when_it_fails() {
    let mut node = Node::new();
    node.write("pve/replication.cfg", "local: 101-0\n\ttarget pve2\n");
    let mut watching = node.watch();
    let guests = watching.guests().await;
    let counts = |guest: &Guest| -> Vec<u32> {
        guest.replications.iter().map(|replication| replication.fail_count).collect()
    };
    assert_eq!((counts(&guests[0]), counts(&guests[1])), (vec![], vec![0]));
    let state = r#"{"101":{"local/pve2":{"fail_count":1,"error":"no route","last_sync":0}}}"#;
    node.write("replication.json", state);
    assert_eq!(counts(&watching.guests().await[1]), [1]);
    // Switched off, it is nobody's trouble.
    node.write("pve/replication.cfg", "local: 101-0\n\ttarget pve2\n\tdisable\n");
    node.change();
    assert_eq!(counts(&watching.guests().await[1]), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_gone_is_not_an_empty_one() {
    let mut node = Node::new();
    let mut watching = node.watch();
    watching.guests().await;
    assert!(watching.status().await.0);
    let config = node.folder.path().join("pve");
    let aside = node.folder.path().join("aside");
    fs::rename(&config, &aside).unwrap();
    let (is_active, detail) = watching.status().await;
    assert!(!is_active && detail.contains("no Proxmox VE node"), "{detail}");
    fs::create_dir(&config).unwrap();
    let (is_active, detail) = watching.status().await;
    assert!(!is_active && detail.contains("pve-cluster"), "{detail}");
    fs::remove_dir(&config).unwrap();
    fs::rename(&aside, &config).unwrap();
    assert!(watching.status().await.0, "nothing else was told meanwhile");

    for (name, text) in [(".version", "torn"), (".vmlist", "{")] {
        node.write(&format!("pve/{name}"), text);
        if name == ".vmlist" {
            node.change();
        }
        let (is_active, detail) = watching.status().await;
        assert!(!is_active && detail.contains(name), "{detail}");
        node.list(&[(100, "qemu", 1), (101, "lxc", 2)]);
        assert!(watching.status().await.0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_is_told_again_when_it_is_wanted_and_now_and_then() {
    let node = Node::new();
    let mut watching = node.watch();
    watching.guests().await;
    let begun = Instant::now();
    watching.wanted.send_modify(|count| *count += 1);
    watching.jobs().await;
    watching.guests().await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    watching.guests().await;
    let passed = begun.elapsed().as_secs();
    assert!((900..960).contains(&passed), "{passed}");
}

#[tokio::test(start_paused = true)]
async fn the_zone_of_a_copied_file_is_its_rule() {
    let node = Node::new();
    let localtime = node.folder.path().join("localtime");
    for (text, zone) in [
        (Some("TZif2...binary...\nCET-1CEST,M3.5.0,M10.5.0/3\n"), "CET-1CEST,M3.5.0,M10.5.0/3"),
        (None, "UTC"),
    ] {
        fs::remove_file(&localtime).unwrap_or_default();
        if let Some(text) = text {
            fs::write(&localtime, text).unwrap();
        }
        assert_eq!(node.watch().jobs().await[0].zone, zone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_no_proxmox_node_says_nothing() {
    let node = Node::new();
    fs::remove_dir_all(node.folder.path().join("pve")).unwrap();
    let mut watching = node.watch();
    let said = timeout(Duration::from_secs(3600), watching.reports.recv()).await;
    assert!(said.is_err(), "{said:?}");
}
