//! Whole nights of backups on three real nodes, with failures of every kind: each is told once, as
//! what it is, each is one alert, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use pvewatch_protocol::event::{BackupFinished, BackupJobFinished};
use pvewatch_protocol::{EventData, Vmid};
use pvewatch_tests::deadline::{GENEROUS, look_until};
use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::Collector;
use pvewatch_tests::story::{Site, WatchedNode};
use serde_json::Value;

on_both_releases!(a_night_on_three_nodes_in_which_everything_fails_somewhere);

/// Runs one after another, in which guests fail in their own ways; the first waits for a file.
const NIGHTLY: &str = "\
option all 1
option quiet 1
option storage nas
storage nas
skipped 200, 201, 300
notes {{guestname}}
prune keep-last=2
fleecing local-lvm
script /usr/local/bin/hook
notified mail-to-root
guest 100 qemu
name web
freeze done
hold started /run/go
guest 101 lxc
name dns
mount in rootfs /
mount out bind mp0 /srv not a volume
guest 102 qemu
name db
fleecing-left no such volume
guest 103 qemu
name app
freeze done
freeze-error VM 103 qmp command 'guest-fsfreeze-freeze' failed - got timeout
guest 104 qemu
fails begin unable to find VM '104'
guest 105 lxc
name files
child copied tar: ./srv/secret: Cannot open: Permission denied
child copied tar: Error is not recoverable: exiting now
exits copied 2
guest 106 lxc
name ci
fails snapshot API Return-Code: 500. Message: no snapshot, because:\\nread timeout\\n\\n at line 620.
guest 107 qemu
name old
fails lock VM is locked (backup)
guest 108 qemu
name idle
status stopped
fails kvm start failed: QEMU exited with code 1
guest 109 qemu
name hooked
hook backup-start preparing
hook-fails backup-start 3
guest 110 qemu
name kept
fails prune error pruning backups - check log
guest 111 qemu
name broken
fails copied job failed with err -5 - Input/output error
";

/// The configuration of a node that has one to read.
const GUESTS_OF_PVE2: &[(u32, &str, &str)] = &[
    (200, "qemu", "name: big\n"),
    (201, "lxc", "hostname: bigger\n"),
    (210, "lxc", "hostname: mail\n"),
    (211, "qemu", "name: shop\n"),
    (212, "qemu", "name: far\n"),
    (220, "qemu", "name: a\n"),
    (221, "qemu", "name: b\n"),
];

/// A run of one guest, with `more` about it.
fn run_of(vmid: u32, kind: &str, storage: &str, more: &str) -> String {
    format!(
        "option storage {storage}\nstorage {storage}\n{more}\nguest {vmid} {kind}\nname g{vmid}\n"
    )
}

/// What ended on a node, in order, by the job that asked for it; by hand, by nobody.
type Told = BTreeMap<String, Vec<String>>;

fn told(site: &mut Site, node: &WatchedNode) -> Told {
    let mut told = Told::new();
    for heard in site.events_of(node) {
        let (job, line) = match heard.event.data {
            EventData::BackupFinished(it) => (it.job.clone(), end_of_guest(&it)),
            EventData::BackupJobFinished(it) => (it.job.clone(), end_of_run(&it)),
            _ => continue,
        };
        told.entry(job.unwrap_or_default()).or_default().push(line);
    }
    told
}

fn end_of_guest(it: &BackupFinished) -> String {
    let storage = it.storage.as_deref().unwrap_or("nowhere");
    let why = it.why().map(|why| format!(": {why}")).unwrap_or_default();
    let warned: Vec<String> = it.warnings.iter().map(|it| format!(", warned: {it}")).collect();
    format!("{} to {storage} {}{why}{}", it.vmid, it.outcome.as_str(), warned.concat())
}

fn end_of_run(it: &BackupJobFinished) -> String {
    let list = |vmids: &[Vmid]| {
        let vmids: Vec<String> = vmids.iter().map(ToString::to_string).collect();
        vmids.join(" ")
    };
    let error = it.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let (good, bad) = (list(&it.succeeded), list(&it.failed));
    format!("run {}{error}; good [{good}] bad [{bad}]", it.outcome.as_str())
}

/// Waits until exactly this was told. What comes too much, comes before the next thing that is
/// waited for.
#[track_caller]
fn expect_told(site: &mut Site, node: &WatchedNode, expected: &[(&str, &[&str])]) {
    let own = |(job, lines): &(&str, &[&str])| {
        ((*job).to_owned(), lines.iter().map(|line| (*line).to_owned()).collect())
    };
    let expected: Told = expected.iter().map(own).collect();
    let count = |told: &Told| told.values().map(Vec::len).sum::<usize>();
    look_until(GENEROUS, || (count(&told(site, node)) >= count(&expected)).then_some(()));
    assert_eq!(told(site, node), expected, "{}: left was told, right should be", node.name());
    site.expect_no_gaps(node);
}

/// Waits until a guest's backup is told to have begun.
#[track_caller]
fn expect_started(site: &mut Site, node: &WatchedNode, vmid: &str) {
    let is_start = |data: &EventData| matches!(data, EventData::BackupStarted(_));
    site.hears(node, vmid).next("a guest's start", is_start);
}

/// The alerts of a node, each as its name, what it is about, and its state. One that has not
/// lasted yet is none.
fn alerts_of(collector: &Collector, node: &str) -> BTreeSet<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let describe = |alert: &Value| {
        let labels = &alert["labels"];
        let about = text(&labels["vmid"]) + &text(&labels["backup_job"]);
        format!("{} {about} {}", text(&labels["alertname"]), text(&alert["state"]))
    };
    let alerts = collector.alerts();
    let of_node = alerts
        .iter()
        .filter(|alert| alert["labels"]["node"] == node && alert["state"] != "pending");
    of_node.map(describe).collect()
}

#[track_caller]
fn expect_alerts(collector: &Collector, node: &str, failed: &[u32], more: &[&str]) {
    let failed = failed.iter().map(|vmid| format!("BackupJobFailed {vmid} firing"));
    let expected: BTreeSet<String> = failed.chain(more.iter().map(|it| (*it).to_owned())).collect();
    let has_all = || (alerts_of(collector, node) == expected).then_some(());
    look_until(GENEROUS, has_all);
    assert_eq!(alerts_of(collector, node), expected, "{node}: left is so, right should be");
}

fn a_night_on_three_nodes_in_which_everything_fails_somewhere(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let nodes = ["pve1", "pve2", "pve3"].map(|name| {
        let node = site.node(name, suite);
        node.plays_proxmox();
        if name == "pve2" {
            // A job that is known can fail as a whole.
            node.has_guests(GUESTS_OF_PVE2);
            node.has_jobs("vzdump: usb\n\tschedule 01-01 00:00\n\tall 1\n\tstorage usb\n");
        }
        node.restart_agent();
        site.wait_until_watching(&node);
        node
    });
    let collector = Collector::named_on("main", site.access(), "");
    let [pve1, pve2, pve3] = &nodes;
    many_kinds_and_two_at_once(&mut site, pve1);
    a_full_storage_and_a_backup_server(&mut site, pve2);
    killed_and_interrupted(&mut site, pve3);

    let failed = [104, 105, 106, 107, 108, 109, 110, 111, 121];
    expect_alerts(&collector, "pve1", &failed, &[]);
    // Its agent was restarted in between.
    let more = ["BackupRunFailed usb firing", "HostDown  resolved"];
    expect_alerts(&collector, "pve2", &[200, 201, 212], &more);
    expect_alerts(&collector, "pve3", &[301, 310], &[]);

    // What succeeds by hand is no alert any more, and the rest stays.
    pve1.runs_task(&["vzdump", "111:qemu:broken:ok"]);
    pve3.runs_task(&["vzdump", "301:qemu:db:ok"]);
    expect_alerts(
        &collector,
        "pve1",
        &failed[..7],
        &["BackupJobFailed 111 resolved", "BackupJobFailed 121 firing"],
    );
    expect_alerts(&collector, "pve3", &[310], &["BackupJobFailed 301 resolved"]);
}

/// A long night; meanwhile one run waits for it, and one does not want to wait that long.
fn many_kinds_and_two_at_once(site: &mut Site, pve1: &WatchedNode) {
    // The log of a guest that is gone says for ever that it was backed up.
    pve1.runs_task(&["vzdump", "--storage", "nas", "104:qemu:gone:ok"]);
    pve1.begins_task(&["vzdump", "--job", "nightly", "--play", NIGHTLY]);
    expect_started(site, pve1, "100");
    let weekly = run_of(120, "qemu", "nas", "");
    pve1.begins_task(&["vzdump", "--job", "weekly", "--play", &weekly]);
    pve1.waits_for_task_to_say("trying to get global lock - waiting...");
    let impatient = run_of(121, "qemu", "nas", "lockwait 1");
    pve1.runs_task(&["vzdump", "--job", "impatient", "--play", &impatient]);
    let is_end = |data: &EventData| matches!(data, EventData::BackupFinished(_));
    site.hears(pve1, "121").next("the end without a word", is_end);
    pve1.shell("touch /run/go");
    let nightly: &[&str] = &[
        "100 to nas ok",
        "101 to nas ok",
        "102 to nas warnings, warned: attempt to clean up fleecing images failed - no such volume",
        "103 to nas ok, warned: VM 103 qmp command 'guest-fsfreeze-freeze' failed - got timeout",
        "104 to nas failed: unable to find VM '104'",
        "105 to nas failed: tar: ./srv/secret: Cannot open: Permission denied",
        "106 to nas failed: API Return-Code: 500. Message: no snapshot, because:",
        "107 to nas failed: VM is locked (backup)",
        "108 to nas failed: start failed: QEMU exited with code 1",
        "109 to nas failed: command '/usr/local/bin/hook backup-start snapshot 109' failed: exit \
         code 3",
        "110 to nas failed: error pruning backups - check log",
        "111 to nas failed: job failed with err -5 - Input/output error",
        "run failed: job errors; good [100 101 102 103] bad [104 105 106 107 108 109 110 111]",
    ];
    let impatient: &[&str] = &[
        "121 to nowhere unknown: can't acquire lock '/var/run/vzdump.lock' - got timeout",
        "run unknown: can't acquire lock '/var/run/vzdump.lock' - got timeout; good [] bad [121]",
    ];
    let expected: &[(&str, &[&str])] = &[
        ("", &["104 to nas ok", "run ok; good [104] bad []"]),
        ("impatient", impatient),
        ("nightly", nightly),
        ("weekly", &["120 to nas ok", "run ok; good [120] bad []"]),
    ];
    expect_told(site, pve1, expected);
    let log = pve1.shell("cat /var/log/vzdump/qemu-104.log");
    assert!(log.contains("Finished Backup of VM 104"), "{log}");
}

/// A storage fills up, and the agent is restarted meanwhile; on a backup server one guest of three
/// fails; a storage is not there at all.
fn a_full_storage_and_a_backup_server(site: &mut Site, pve2: &WatchedNode) {
    let full = "\
option storage small
storage small
guest 200 qemu
name big
raw copied zstd: error 70 : Write error : cannot write block : No space left on device
fails copied vma_queue_write: write error - Broken pipe
guest 201 lxc
name bigger
hold started /run/go
child copied zstd: /*stdout*\\\\: No space left on device
exits copied 1
";
    pve2.begins_task(&["vzdump", "--job", "nightly", "--play", full]);
    expect_started(site, pve2, "201");
    pve2.restart_agent();
    site.wait_until_watching(pve2);
    pve2.shell("touch /run/go");
    let server = "\
option storage pbs
storage pbs
pbs
prune keep-daily=7
guest 210 lxc
name mail
guest 211 qemu
name shop
total 34359738368
bitmap scsi0 dirty 1073741824 34359738368
guest 212 qemu
name far
fails qmp VM 212 qmp command 'backup' failed - backup connect failed: command error: timed out
";
    pve2.runs_task(&["vzdump", "--job", "off-site", "--play", server]);
    let absent = "\
option storage usb
storage usb
storage-fails storage 'usb' is not online
guest 220 qemu
guest 221 qemu
";
    pve2.runs_task(&["vzdump", "--job", "usb", "--play", absent]);
    pve2.scheduler_ticks();
    let nightly: &[&str] = &[
        "200 to small failed: zstd: error 70 : Write error : cannot write block : No space left on \
         device",
        "201 to small failed: zstd: /*stdout*\\: No space left on device",
        "run failed: job errors; good [] bad [200 201]",
    ];
    let off_site: &[&str] = &[
        "210 to pbs ok",
        "211 to pbs ok",
        "212 to pbs failed: VM 212 qmp command 'backup' failed - backup connect failed: command \
         error: timed out",
        "run failed: job errors; good [210 211] bad [212]",
    ];
    let usb: &[&str] = &["run failed: could not activate storage 'usb': storage 'usb' is not \
                          online; good [] bad []"];
    expect_told(site, pve2, &[("nightly", nightly), ("off-site", off_site), ("usb", usb)]);
    let note = pve2.shell("cat /var/lib/pve-manager/jobs/vzdump-off-site.json");
    assert!(note.contains(r#""state":"stopped""#) && note.contains("job errors"), "{note}");
}

/// A worker is killed, another is told to stop; then a run at a terminal, which warns.
fn killed_and_interrupted(site: &mut Site, pve3: &WatchedNode) {
    let killed = ["vzdump", "--job", "nightly", "300:lxc:dns:ok", "301:qemu:db:hold=/run/never"];
    pve3.begins_task(&[&killed[..], &["302:qemu:web:ok"]].concat());
    expect_started(site, pve3, "301");
    let upid = pve3.waits_for_task_to_say("Starting Backup of VM 301");
    pve3.signals_worker("KILL", &upid);
    let is_end = |data: &EventData| matches!(data, EventData::BackupJobFinished(_));
    site.hears(pve3, "nightly").next("the end of the run", is_end);

    pve3.begins_task(&["vzdump", "310:qemu:shop:hold=/run/never", "311:qemu:mail:ok"]);
    expect_started(site, pve3, "310");
    let upid = pve3.waits_for_task_to_say("Starting Backup of VM 310");
    pve3.signals_worker("TERM", &upid);
    site.hears(pve3, "").next("the end of the run", is_end);

    let quiet = "\
option storage local
version 8.2
fleecing local-lvm
guest 320 qemu
name old
mode stop
fleecing-unsupported
guest 321 lxc
name still
no-snapshots
";
    pve3.runs_task(&["vzdump", "--cli", "1", "--play", quiet]);
    let by_hand: &[&str] = &[
        "310 to local interrupted: interrupted by signal",
        "run interrupted: interrupted by signal; good [] bad [310]",
        "320 to local warnings, warned: running QEMU version does not support backup fleecing - \
         continuing without",
        "321 to local ok",
        "run warnings; good [320 321] bad []",
    ];
    let nightly: &[&str] = &[
        "300 to local ok",
        "301 to local unknown",
        "run unknown: the worker ended without a word; good [300] bad [301]",
    ];
    expect_told(site, pve3, &[("", by_hand), ("nightly", nightly)]);
}
