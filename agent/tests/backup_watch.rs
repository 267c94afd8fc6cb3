//! The source `backups` on real files: a played Proxmox writes logs of tasks, as its workers do.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should fail at that place")]

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use jiff::Timestamp;
use pvewatch_agent::backups::watch::{self, BackupsPaths};
use pvewatch_agent::source::{Report, Reporter};
use pvewatch_protocol::EventData;
use pvewatch_protocol::event::Outcome;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test depends on speed: this is how long what never comes is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node's folders.
struct Node {
    folder: TempDir,
    /// Tasks begun so far, so that none has another's name.
    tasks: u32,
}

impl Node {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir_all(folder.path().join("tasks")).unwrap();
        fs::create_dir_all(folder.path().join("jobs")).unwrap();
        fs::create_dir_all(folder.path().join("state")).unwrap();
        Self { folder, tasks: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A task of this process, which does not end while the test runs.
    fn task(&mut self, kind: &str, id: &str) -> TaskLog {
        self.task_of(std::process::id(), now(), kind, id)
    }

    fn task_of(&mut self, pid: u32, started: Timestamp, kind: &str, id: &str) -> TaskLog {
        self.tasks += 1;
        let (count, started) = (self.tasks, started.as_second());
        let upid = format!("UPID:pve1:{pid:08X}:{count:08X}:{started:08X}:{kind}:{id}:root@pam:");
        let folder = self.path("tasks").join(format!("{:X}", started & 0xF));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(&upid);
        let file = OpenOptions::new().append(true).create_new(true).open(path).unwrap();
        TaskLog { upid, file }
    }

    /// A guest's own log of its last run, which was written last then.
    fn own_log(&self, name: &str, written: Timestamp, text: &str) {
        fs::create_dir_all(self.path("vzdump")).unwrap();
        let path = self.path("vzdump").join(name);
        fs::write(&path, text).unwrap();
        File::open(path).unwrap().set_modified(written.into()).unwrap();
    }

    /// Starts the source, as an agent that starts does.
    fn watch(&self) -> Watching {
        let paths = BackupsPaths {
            tasks: self.path("tasks"),
            guests: self.path("vzdump"),
            jobs: self.path("jobs"),
            state: Some(self.path("state")),
            booted_at: Timestamp::UNIX_EPOCH,
        };
        let (reports_in, reports) = mpsc::channel(16);
        let (wanted, wanted_out) = channel::channel(0);
        let source = tokio::spawn(async move {
            let _ = watch::run(paths, Reporter::new(reports_in), wanted_out).await;
        });
        Watching { reports, source, _wanted: wanted }
    }
}

struct TaskLog {
    upid: String,
    file: File,
}

impl TaskLog {
    fn write(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).unwrap();
    }

    /// The last words; then nobody writes it any more.
    fn close(mut self, text: &str) {
        self.write(text);
    }
}

struct Watching {
    reports: mpsc::Receiver<Report>,
    source: JoinHandle<()>,
    _wanted: channel::Sender<u64>,
}

impl Watching {
    /// The next event; whoever asks is told that all is kept.
    async fn event(&mut self) -> (EventData, Timestamp) {
        loop {
            match timeout(PATIENCE, self.reports.recv()).await.unwrap().unwrap() {
                Report::Fact(fact) => return (fact.data, fact.time),
                Report::AreKept(answer) => answer.send(()).unwrap(),
                Report::Picture(_) | Report::Status(_) => {}
            }
        }
    }

    /// Whether the source is active, and why.
    async fn status(&mut self) -> (bool, String) {
        loop {
            if let Report::Status(status) =
                timeout(PATIENCE, self.reports.recv()).await.unwrap().unwrap()
            {
                return (status.active, status.detail);
            }
        }
    }

    /// What the next events are, in short.
    async fn told(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            told.push(short(&self.event().await.0));
        }
        told
    }

    /// Everything that was told is kept and noted; the agent is killed.
    async fn kill_when_all_is_noted(mut self, node: &Node, key: &str) {
        let note = node.path("state").join("tasks-told");
        let is_noted = || fs::read_to_string(&note).is_ok_and(|text| text.contains(key));
        while !is_noted() {
            let report = timeout(Duration::from_millis(20), self.reports.recv()).await;
            if let Ok(Some(Report::AreKept(answer))) = report {
                answer.send(()).unwrap();
            }
        }
        self.source.abort();
    }
}

fn short(data: &EventData) -> String {
    match data {
        EventData::BackupStarted(started) => format!("started {}", started.vmid),
        EventData::BackupFinished(finished) => {
            let error = finished.root_cause.as_ref().or(finished.error.as_ref());
            let error = error.map(|error| format!(": {error}")).unwrap_or_default();
            format!("{} {}{error}", finished.vmid, finished.outcome.as_str())
        }
        EventData::BackupJobFinished(job) => {
            let of = job.job.as_ref().map(|job| format!(" {job}")).unwrap_or_default();
            format!("job{of} {}", job.outcome.as_str())
        }
        EventData::TaskFinished(task) => {
            let vmid = task.vmid.map(|vmid| format!(" {vmid}")).unwrap_or_default();
            format!("{}{vmid} by {} {}", task.kind, task.user, task.outcome.as_str())
        }
        other => other.kind().to_owned(),
    }
}

fn begin(vmid: u32) -> String {
    format!(
        "INFO: Starting Backup of VM {vmid} (qemu)\nINFO: Backup started at 2026-11-26 01:00:00\n"
    )
}

fn finish(vmid: u32) -> String {
    format!(
        "INFO: Finished Backup of VM {vmid} (00:01:00)\nINFO: Backup finished at 2026-11-26 01:01:00\n"
    )
}

fn fail(vmid: u32) -> String {
    format!("ERROR: Backup of VM {vmid} failed - no space\nINFO: Failed at 2026-11-26 01:01:00\n")
}

#[tokio::test]
async fn a_guest_is_told_of_when_its_backup_ends_and_not_when_the_job_does() {
    let mut node = Node::new();
    let mut watching = node.watch();
    assert!(watching.status().await.0);
    // A folder that was not there when the source began.
    let mut log = node.task("vzdump", "");
    log.write(&begin(100));
    assert_eq!(watching.told(1).await, ["started 100"]);
    let end_of_first = finish(100);
    let (first, second) = end_of_first.split_at(30);
    log.write(first);
    log.write(second);
    assert_eq!(watching.told(1).await, ["100 ok"]);
    log.write(&format!("{}{}", begin(101), fail(101)));
    let told = watching.told(1).await;
    assert_eq!(told, ["101 failed: no space"]);
    let state = format!(r#"{{"state":"started","upid":"{}"}}"#, log.upid);
    fs::write(node.path("jobs").join("vzdump-nightly.json"), state).unwrap();
    log.close("INFO: Backup job finished with errors\nTASK ERROR: job errors\n");
    assert_eq!(watching.told(1).await, ["job nightly failed"]);
}

#[tokio::test]
async fn what_ended_while_the_agent_was_down_is_told_once_and_what_was_told_is_not_told_again() {
    let mut node = Node::new();
    let mut watching = node.watch();
    let mut worker = worker();
    let mut long = node.task_of(worker.id(), now(), "vzdump", "");
    long.write(&format!("{}{}{}", begin(100), finish(100), begin(101)));
    let upid = long.upid.clone();
    assert_eq!(watching.told(2).await, ["100 ok", "started 101"]);
    watching.kill_when_all_is_noted(&node, &format!("{upid} 101 started")).await;

    long.close(&format!("{}TASK OK\n", finish(101)));
    let dead = end(&mut worker);
    let now = now();
    node.task_of(dead, now, "vzdump", "102").close(&format!(
        "{}{}TASK OK\n",
        begin(102),
        finish(102)
    ));
    node.task_of(dead, now, "qmstop", "103").close("TASK OK\n");
    // A note that was torn when it was written.
    let mut note =
        OpenOptions::new().append(true).open(node.path("state").join("tasks-told")).unwrap();
    note.write_all(b"UPID:pve1:0000").unwrap();

    let mut watching = node.watch();
    let mut told = watching.told(5).await;
    told.sort();
    assert_eq!(told, ["101 ok", "102 ok", "job ok", "job ok", "qmstop 103 by root@pam ok"]);
    // And nothing else, before what happens next.
    let mut worker = self::worker();
    node.task_of(worker.id(), self::now(), "vzstart", "104").close("TASK OK\n");
    end(&mut worker);
    assert_eq!(watching.told(1).await, ["vzstart 104 by root@pam ok"]);
}

#[tokio::test]
async fn a_worker_that_died_leaves_no_verdict() {
    let mut node = Node::new();
    let mut watching = node.watch();
    let mut worker = worker();
    let mut log = node.task_of(worker.id(), now(), "vzdump", "100");
    log.write(&begin(100));
    assert_eq!(watching.told(1).await, ["started 100"]);
    log.close("INFO:  12% (1.2 GiB of 10.0 GiB) in 3s, read: 400");
    end(&mut worker);
    assert_eq!(watching.told(2).await, ["100 unknown", "job unknown"]);
}

#[tokio::test]
async fn a_job_that_fails_before_it_begins_names_its_only_guest() {
    let mut node = Node::new();
    let mut watching = node.watch();
    let mut worker = worker();
    let log = node.task_of(worker.id(), now(), "vzdump", "100");
    // Before anybody can watch its folder.
    log.close("TASK ERROR: could not activate storage 'nas': storage 'nas' is not online\n");
    end(&mut worker);
    let (data, _) = watching.event().await;
    let EventData::BackupFinished(finished) = data else { panic!("{data:?}") };
    assert_eq!((finished.outcome, finished.kind), (Outcome::Failed, None));
    assert!(finished.error.unwrap().starts_with("could not activate storage 'nas'"));
    assert_eq!(watching.told(1).await, ["job failed"]);
}

#[tokio::test]
async fn tasks_that_do_not_matter_are_not_told_and_old_ones_not_by_a_new_agent() {
    let mut node = Node::new();
    let dead = end(&mut worker());
    let old = now() - Duration::from_secs(3 * 24 * 3600);
    node.task_of(dead, old, "qmstart", "100").close("TASK OK\n");
    node.task_of(dead, old, "qmrestore", "100").close("TASK OK\n");
    node.task_of(dead, old, "aptupdate", "").close("TASK OK\n");
    let mut watching = node.watch();
    assert_eq!(watching.told(1).await, ["qmrestore 100 by root@pam ok"]);
    let mut worker = worker();
    node.task_of(worker.id(), now(), "aptupdate", "").close("TASK OK\n");
    node.task_of(worker.id(), now(), "vzshutdown", "101").close("\nTASK ERROR: command failed\n");
    // Closed perhaps before its folder is watched: the end of its worker tells.
    end(&mut worker);
    assert_eq!(watching.told(1).await, ["vzshutdown 101 by root@pam failed"]);
}

#[tokio::test]
async fn a_run_of_which_no_task_log_is_left_is_told_by_the_guests_own_log() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut node = Node::new();
    let dead = end(&mut worker());
    let (now, day) = (now(), 24 * HOUR);
    let own = |vmid: u32, end: &str| {
        let kept: String =
            format!("{}{end}", begin(vmid)).replace("INFO:", "2026-11-26 01:00:00 INFO:");
        kept.replace("ERROR:", "2026-11-26 01:01:00 ERROR:")
    };
    // The task's log tells of 100 and is there; it began an hour before the guest was done.
    let task = node.task_of(dead, now - HOUR, "vzdump", "");
    let covered = task.upid.clone();
    task.close(&format!("{}{}TASK OK\n", begin(100), finish(100)));
    node.own_log("qemu-100.log", now - HOUR / 2, &own(100, &finish(100)));
    // Of these there is none, and a task that is not vzdump's says nothing of it.
    node.task_of(dead, now - 9 * day, "qmstart", "101").close("TASK OK\n");
    node.own_log("qemu-101.log", now - 8 * day, &own(101, &finish(101)));
    node.own_log("lxc-102.log", now - 3 * day, &own(102, &fail(102)));
    // Broken off; too old; no log of a guest.
    node.own_log("qemu-103.log", now - 3 * day, &own(103, ""));
    node.own_log("qemu-104.log", now - 40 * day, &own(104, &finish(104)));
    node.own_log("qemu-105.log.old", now - day, &own(105, &finish(105)));

    let mut watching = node.watch();
    let mut told = watching.told(4).await;
    told.sort();
    assert_eq!(told, ["100 ok", "101 ok", "102 failed: no space", "job ok"]);
    watching.kill_when_all_is_noted(&node, "qemu-103.log@").await;

    // Told once, and what a task told is not told again when the task's log is gone.
    let folder = format!("{:X}", (now - HOUR).as_second() & 0xF);
    fs::remove_file(node.path("tasks").join(folder).join(covered)).unwrap();
    // A run while the agent was down, so long ago that its task's log is gone as well.
    node.own_log("lxc-102.log", now - 2 * day, &own(102, &finish(102)));
    let mut watching = node.watch();
    let (data, _) = watching.event().await;
    let EventData::BackupFinished(finished) = data else { panic!("{data:?}") };
    assert_eq!((u32::from(finished.vmid), finished.outcome), (102, Outcome::Ok));
    assert_eq!(finished.upid, format!("lxc-102.log@{:.0}", now - 2 * day));
    let mut worker = worker();
    node.task_of(worker.id(), self::now(), "vzstart", "106").close("TASK OK\n");
    end(&mut worker);
    assert_eq!(watching.told(1).await, ["vzstart 106 by root@pam ok"]);
}

#[tokio::test]
async fn a_source_that_nobody_answers_any_more_ends() {
    let mut node = Node::new();
    node.task_of(end(&mut worker()), now(), "qmstart", "100").close("TASK OK\n");
    let mut watching = node.watch();
    loop {
        let report = timeout(PATIENCE, watching.reports.recv()).await.unwrap();
        if let Some(Report::AreKept(answer)) = report {
            drop(answer);
            break;
        }
    }
    timeout(PATIENCE, watching.source).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_without_tasks_is_said_to_be_none_of_proxmox() {
    let node = Node::new();
    fs::remove_dir(node.path("tasks")).unwrap();
    let (is_active, detail) = node.watch().status().await;
    assert!(!is_active);
    assert!(detail.ends_with("is not there: this is no Proxmox VE node"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn a_host_without_anything_of_proxmox_says_nothing() {
    let node = Node::new();
    fs::remove_dir_all(node.folder.path()).unwrap();
    let mut watching = node.watch();
    let said = timeout(Duration::from_secs(3600), watching.reports.recv()).await;
    assert!(said.is_err(), "{said:?}");
}

/// A process that does nothing, until it is ended.
fn worker() -> Child {
    Command::new("sleep").arg("infinity").spawn().unwrap()
}

/// Ends a process, and gives its number.
fn end(worker: &mut Child) -> u32 {
    worker.kill().unwrap();
    worker.wait().unwrap();
    worker.id()
}

#[expect(clippy::disallowed_methods, reason = "a played task begins now, as real ones do")]
fn now() -> Timestamp {
    Timestamp::now()
}
