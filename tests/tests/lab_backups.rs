//! Stories of backups on real nodes: a played Proxmox runs its tasks, and the agent from its
//! package, under the unit that is shipped, tells of each of them once.

use std::collections::BTreeMap;
use std::time::Duration;

use pvewatch_protocol::event::{BackupFinished, BackupJobFinished, Outcome, TaskFinished};
use pvewatch_protocol::{Event, EventData};
use pvewatch_tests::lab::Suite;
use pvewatch_tests::on_both_releases;
use pvewatch_tests::servers::Collector;
use pvewatch_tests::story::{Site, WatchedNode};

on_both_releases!(
    a_night_of_backups_is_told_guest_by_guest,
    an_agent_that_is_killed_in_the_middle_tells_nothing_twice,
    a_night_without_the_agent_is_told_when_it_starts,
    a_worker_that_dies_leaves_no_verdict,
    a_power_loss_leaves_no_verdict,
    a_failed_backup_is_an_alert_until_one_succeeds,
    what_is_due_is_known_and_what_does_not_come_is_told,
    a_night_on_three_nodes_of_which_one_is_off,
);

fn proxmox(site: &mut Site, suite: Suite) -> WatchedNode {
    let pve1 = site.node("pve1", suite);
    pve1.plays_proxmox();
    pve1.restart_agent();
    site.wait_until_watching(&pve1);
    pve1
}

/// The next end of a guest's backup.
#[track_caller]
fn backup(site: &mut Site, node: &WatchedNode, vmid: &str) -> BackupFinished {
    let is_end = |data: &EventData| matches!(data, EventData::BackupFinished(_));
    match site.hears(node, vmid).next("a backup's end", is_end).event.data {
        EventData::BackupFinished(finished) => *finished,
        other => unreachable!("{other:?}"),
    }
}

/// The next end of a run; `job` is empty for one by hand.
#[track_caller]
fn run(site: &mut Site, node: &WatchedNode, job: &str) -> BackupJobFinished {
    let is_end = |data: &EventData| matches!(data, EventData::BackupJobFinished(_));
    match site.hears(node, job).next("a run's end", is_end).event.data {
        EventData::BackupJobFinished(finished) => finished,
        other => unreachable!("{other:?}"),
    }
}

/// The next end of another task.
#[track_caller]
fn task(site: &mut Site, node: &WatchedNode, vmid: &str) -> TaskFinished {
    let is_end = |data: &EventData| matches!(data, EventData::TaskFinished(_));
    match site.hears(node, vmid).next("a task's end", is_end).event.data {
        EventData::TaskFinished(finished) => finished,
        other => unreachable!("{other:?}"),
    }
}

/// How often each end was told, by what it is the end of.
fn ends(site: &mut Site, node: &WatchedNode) -> BTreeMap<String, usize> {
    let mut ends = BTreeMap::new();
    for heard in site.events_of(node) {
        let end = match heard.event.data {
            EventData::BackupFinished(it) => format!("{} of {}", it.vmid, it.upid),
            EventData::BackupJobFinished(it) => it.upid,
            EventData::TaskFinished(it) => it.upid,
            _ => continue,
        };
        *ends.entry(end).or_default() += 1;
    }
    ends
}

#[track_caller]
fn expect_nothing_twice(site: &mut Site, node: &WatchedNode) {
    let twice: Vec<_> = ends(site, node).into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(twice.is_empty(), "told more than once: {twice:?}");
    site.expect_no_gaps(node);
}

fn a_night_of_backups_is_told_guest_by_guest(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = proxmox(&mut site, suite);
    pve1.begins_task(&[
        "vzdump",
        "--job",
        "nightly",
        "--storage",
        "nas",
        "100:qemu:web:hold=/run/go",
        "101:lxc:dns:warn=attempt to clean up fleecing images failed - no such volume",
        "102:qemu:db:fail=no space left on device",
    ]);
    let is_start = |data: &EventData| matches!(data, EventData::BackupStarted(_));
    site.hears(&pve1, "100").next("the first guest's start", is_start);
    pve1.shell("touch /run/go");

    let web = backup(&mut site, &pve1, "100");
    assert_eq!((web.outcome, web.size_bytes), (Outcome::Ok, Some(312 * 1024 * 1024)));
    assert_eq!((web.name.as_deref(), web.storage.as_deref()), (Some("web"), Some("nas")));
    assert_eq!(web.job.as_deref(), Some("nightly"));
    let archive = web.archive.unwrap_or_default();
    assert!(archive.starts_with("/mnt/pve/nas/dump/vzdump-qemu-100-"), "{archive}");
    let dns = backup(&mut site, &pve1, "101");
    assert_eq!((dns.outcome, dns.warnings.len()), (Outcome::Warnings, 1));
    let db = backup(&mut site, &pve1, "102");
    assert_eq!(db.outcome, Outcome::Failed);
    assert_eq!(db.error.as_deref(), Some("no space left on device"));
    let night = run(&mut site, &pve1, "nightly");
    assert_eq!((night.outcome, night.error.as_deref()), (Outcome::Failed, Some("job errors")));
    assert_eq!((night.succeeded.len(), night.failed.len()), (2, 1));

    // By hand, and what else happens to guests.
    pve1.runs_task(&["vzdump", "--id", "100", "100:qemu:web:ok"]);
    assert_eq!(backup(&mut site, &pve1, "100").job, None);
    assert_eq!(run(&mut site, &pve1, "").outcome, Outcome::Ok);
    pve1.runs_task(&["aptupdate", "starting apt-get update"]);
    pve1.runs_task(&["qmshutdown", "--id", "100", "--user", "eve@pve!key", "fail=VM quit timeout"]);
    let stop = task(&mut site, &pve1, "100");
    assert_eq!((&*stop.kind, &*stop.user), ("qmshutdown", "eve@pve!key"));
    assert_eq!((stop.outcome, stop.error.as_deref()), (Outcome::Failed, Some("VM quit timeout")));
    expect_nothing_twice(&mut site, &pve1);
}

fn an_agent_that_is_killed_in_the_middle_tells_nothing_twice(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = proxmox(&mut site, suite);
    pve1.begins_task(&["vzdump", "100:qemu:web:ok", "101:qemu:db:hold=/run/go", "102:lxc:dns:ok"]);
    backup(&mut site, &pve1, "100");
    // It is noted as soon as it is on the disk.
    pve1.shell(
        "until grep -q ' 100 ok$' /var/lib/pvewatch-agent/spool/tasks-told; do sleep 0.1; done",
    );
    pve1.kill_agent();
    pve1.shell("touch /run/go");
    site.wait_until_watching(&pve1);
    backup(&mut site, &pve1, "101");
    backup(&mut site, &pve1, "102");
    assert_eq!(run(&mut site, &pve1, "").succeeded.len(), 3);
    expect_nothing_twice(&mut site, &pve1);
}

fn a_night_without_the_agent_is_told_when_it_starts(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = proxmox(&mut site, suite);
    pve1.runs_task(&["vzdump", "--id", "100", "100:qemu:web:ok"]);
    backup(&mut site, &pve1, "100");
    run(&mut site, &pve1, "");
    pve1.stop_agent();
    let upid = pve1.runs_task(&["vzdump", "--id", "100", "100:qemu:web:fail=no space"]);
    pve1.runs_task(&["qmrestore", "--id", "103", "progress 100%"]);
    pve1.start_agent();
    let late = backup(&mut site, &pve1, "100");
    assert_eq!((late.outcome, &late.upid), (Outcome::Failed, &upid));
    assert_eq!(run(&mut site, &pve1, "").upid, upid);
    assert_eq!(task(&mut site, &pve1, "103").outcome, Outcome::Ok);
    let of_late =
        |data: &EventData| matches!(data, EventData::BackupFinished(it) if it.upid == upid);
    let events = site.events_of(&pve1);
    let told = events.iter().find(|heard| of_late(&heard.event.data)).map(|heard| &heard.event);
    let is_late = |event: &Event| event.time < event.recorded_time;
    assert!(told.is_some_and(is_late), "it happened before it was learned: {told:?}");

    // Proxmox removed the log of a task before the agent came back: the guest's own log is there.
    pve1.stop_agent();
    let upid = pve1.runs_task(&["vzdump", "--id", "104", "104:lxc:mail:ok"]);
    pve1.shell(&format!("rm /var/log/pve/tasks/?/{upid}"));
    pve1.start_agent();
    let kept = backup(&mut site, &pve1, "104");
    assert_eq!((kept.outcome, kept.name.as_deref()), (Outcome::Ok, Some("mail")));
    assert!(kept.upid.starts_with("lxc-104.log@"), "{}", kept.upid);
    pve1.restart_agent();
    site.wait_until_watching(&pve1);
    pve1.runs_task(&["vzdump", "--id", "104", "104:lxc:mail:ok"]);
    assert!(backup(&mut site, &pve1, "104").upid.starts_with("UPID:"));
    run(&mut site, &pve1, "");
    expect_nothing_twice(&mut site, &pve1);
}

fn a_worker_that_dies_leaves_no_verdict(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let pve1 = proxmox(&mut site, suite);
    pve1.runs_task(&["vzdump", "100:qemu:web:ok", "101:qemu:db:die", "102:lxc:dns:ok"]);
    assert_eq!(backup(&mut site, &pve1, "100").outcome, Outcome::Ok);
    assert_eq!(backup(&mut site, &pve1, "101").outcome, Outcome::Unknown);
    let run = run(&mut site, &pve1, "");
    assert_eq!((run.outcome, run.succeeded.len(), run.failed.len()), (Outcome::Unknown, 1, 1));
    expect_nothing_twice(&mut site, &pve1);
}

fn a_power_loss_leaves_no_verdict(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let mut pve1 = proxmox(&mut site, suite);
    pve1.begins_task(&["vzdump", "100:qemu:web:hold=/run/never"]);
    let is_start = |data: &EventData| matches!(data, EventData::BackupStarted(_));
    site.hears(&pve1, "100").next("the guest's start", is_start);
    pve1.power_loss();
    pve1.boot();
    assert_eq!(backup(&mut site, &pve1, "100").outcome, Outcome::Unknown);
    assert_eq!(run(&mut site, &pve1, "").outcome, Outcome::Unknown);
    expect_nothing_twice(&mut site, &pve1);
}

fn a_failed_backup_is_an_alert_until_one_succeeds(suite: Suite) {
    const FAILED: [(&str, &str); 3] =
        [("alertname", "BackupJobFailed"), ("node", "pve1"), ("vmid", "100")];
    let collector = Collector::with_embedded_broker();
    let mut site = Site::on(collector.broker().clone());
    let pve1 = proxmox(&mut site, suite);
    pve1.runs_task(&["vzdump", "--id", "100", "100:qemu:web:ok"]);
    backup(&mut site, &pve1, "100");
    pve1.runs_task(&["vzdump", "--id", "100", "100:qemu:web:fail=no space left on device"]);
    let firing = collector.expect_alert("firing", &FAILED);
    assert_eq!(firing["annotations"]["summary"], "The backup of guest 100 (web) failed");
    let description = firing["annotations"]["description"].as_str().unwrap_or_default();
    assert!(description.starts_with("no space left on device (on pve1"), "{description}");

    // The next one succeeds while nobody watches.
    pve1.stop_agent();
    pve1.runs_task(&["vzdump", "--id", "100", "100:qemu:web:ok"]);
    pve1.start_agent();
    collector.expect_alert("resolved", &FAILED);
    expect_nothing_twice(&mut site, &pve1);
}

/// The catalogue's rules, but for people who cannot wait for two days.
const IMPATIENT: &str = r#"
[[rule]]
name = "RunMissedSoon"
scope = "backup_job"
when = 'older(run_due_at, "5s")'
severity = "warning"
summary = "{{ id }} did not begin"

[[rule]]
name = "BackupMissingSoon"
scope = "backup"
when = 'older(due_at, "20s")'
severity = "warning"
summary = "{{ vmid }} was due at {{ due_at }}"

[[rule]]
name = "InNoJob"
scope = "backup"
when = "jobs == 0 && !template && !unwanted"
severity = "warning"
summary = "{{ vmid }} is in no job"
"#;

fn what_is_due_is_known_and_what_does_not_come_is_told(suite: Suite) {
    let alert = |name, label, value| [("alertname", name), ("node", "pve1"), (label, value)];
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let pve1 = proxmox(&mut site, suite);
    pve1.has_guests(&[
        (100, "qemu", "name: web\nscsi0: local:vm-100-disk-0,size=8G\n"),
        (101, "lxc", "hostname: dns\nrootfs: local:vm-101-disk-0,size=1G\n"),
        (102, "qemu", "name: lab\n"),
        (103, "qemu", "name: golden\ntemplate: 1\n"),
        (104, "qemu", "name: scratch\ntags: a;nobackup\n"),
    ]);
    pve1.has_jobs("vzdump: minutely\n\tschedule *:0/1\n\tvmid 100,101\n\tstorage nas\n");
    // The source may have found nothing before, and looks again after a minute.
    pve1.restart_agent();
    collector.expect_alert("firing", &alert("InNoJob", "vmid", "102"));

    // Nobody begins what is due every minute.
    let patience = Duration::from_mins(3);
    for missing in [
        alert("RunMissedSoon", "backup_job", "minutely"),
        alert("BackupMissingSoon", "vmid", "100"),
        alert("BackupMissingSoon", "vmid", "101"),
    ] {
        collector.expect_alert_within(patience, "firing", &missing);
    }
    pve1.runs_task(&[
        "vzdump",
        "--job",
        "minutely",
        "100:qemu:web:ok",
        "101:lxc:dns:fail=no space",
    ]);
    collector.expect_alert("resolved", &alert("RunMissedSoon", "backup_job", "minutely"));
    collector.expect_alert("resolved", &alert("BackupMissingSoon", "vmid", "100"));

    // It is added to a job that is due in months; nothing is, and nothing was.
    pve1.has_jobs(
        "vzdump: minutely\n\tschedule *:0/1\n\tvmid 100,101\n\tenabled 0\n\n\
         vzdump: yearly\n\tschedule 01-01 00:00\n\tall 1\n\texclude 104\n",
    );
    collector.expect_alert("resolved", &alert("InNoJob", "vmid", "102"));
    let is_about = |guest: &str| {
        let alerts = collector.alerts();
        let labels = alerts.iter().map(|alert| &alert["labels"]);
        labels.filter(|labels| labels["vmid"] == guest).count()
    };
    assert_eq!((is_about("103"), is_about("104")), (0, 0), "{:?}", collector.alerts());
}

/// A night that all nodes begin at the same minute: one goes well although its agent is killed in
/// the middle, one runs out of space, one is off and comes back later.
fn a_night_on_three_nodes_of_which_one_is_off(suite: Suite) {
    let mut site = Site::with_mosquitto();
    let collector = Collector::named_on("main", site.access(), IMPATIENT);
    let mut nodes = ["pve1", "pve2", "pve3"].map(|name| {
        let node = site.node(name, suite);
        node.plays_proxmox();
        node
    });
    // Long enough for all of them to be known, and for one to be off.
    let time = nodes[0].shell("date -d '+100 seconds' '+%H:%M %s'");
    let (time, asked_at) = time.split_once(' ').expect("two words");
    let due = asked_at.parse::<u64>().expect("seconds") / 60 * 60;
    for (node, vmid) in nodes.iter().zip([100, 200, 300]) {
        node.has_guests(&[(vmid, "qemu", "name: web\n"), (vmid + 1, "lxc", "hostname: dns\n")]);
        node.has_jobs(&format!("vzdump: nightly\n\tschedule {time}\n\tall 1\n\tstorage nas\n"));
        node.restart_agent();
    }
    for guest in ["100", "101", "200", "201", "300", "301"] {
        let series =
            format!("pvewatch_backup_jobs{{node=\"pve{}\",vmid=\"{guest}\"}}", &guest[..1]);
        collector.expect_metric(&series, "1.0");
    }
    let [pve1, pve2, pve3] = &mut nodes;
    pve3.power_loss();
    let seconds: u64 = pve1.shell("date +%s").parse().expect("seconds");
    std::thread::sleep(Duration::from_secs(due.saturating_sub(seconds)));

    pve1.begins_task(&[
        "vzdump",
        "--job",
        "nightly",
        "100:qemu:web:hold=/run/go",
        "101:lxc:dns:ok",
    ]);
    pve2.begins_task(&[
        "vzdump",
        "--job",
        "nightly",
        "200:qemu:web:fail=no space",
        "201:lxc:dns:ok",
    ]);
    let is_start = |data: &EventData| matches!(data, EventData::BackupStarted(_));
    site.hears(pve1, "100").next("the guest's start", is_start);
    pve1.kill_agent();
    pve1.shell("touch /run/go");
    site.wait_until_watching(pve1);
    assert_eq!(run(&mut site, pve1, "nightly").succeeded.len(), 2);
    collector.expect_alert("firing", &[("alertname", "BackupJobFailed"), ("vmid", "200")]);
    pve3.boot();
    for missing in [
        [("alertname", "RunMissedSoon"), ("node", "pve3")],
        [("alertname", "BackupMissingSoon"), ("vmid", "300")],
        [("alertname", "BackupMissingSoon"), ("vmid", "301")],
        [("alertname", "BackupMissingSoon"), ("vmid", "200")],
    ] {
        collector.expect_alert_within(Duration::from_mins(2), "firing", &missing);
    }

    // These, and that the node was lost; nothing else.
    let mut names = BTreeMap::<String, usize>::new();
    for alert in collector.alerts() {
        *names
            .entry(alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned())
            .or_default() += 1;
    }
    for beside in ["HostDown", "HostUncleanReboot"] {
        names.remove(beside);
    }
    let expected = [("BackupJobFailed", 1), ("BackupMissingSoon", 3), ("RunMissedSoon", 1)];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(names, BTreeMap::from(expected), "{:#?}", collector.alerts());
    for node in [&*pve1, pve2, pve3] {
        expect_nothing_twice(&mut site, node);
    }
}
