//! The page in a real browser: what failed is there, on a phone too, light and dark, and nothing
//! comes from elsewhere.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use played::units_that_fail;
use pvewatch_tests::browser::{Measured, Mirror, Scheme, document, measure};
use pvewatch_tests::deadline::now;
use pvewatch_tests::servers::{Agent, Collector, Mosquitto, Security};

mod played;

/// What the narrowest phones have, in CSS pixels.
const PHONE: u32 = 360;
const DESK: u32 = 1280;

/// The least contrast of text that the accessibility guidelines allow.
const CONTRAST_MIN: f64 = 4.5;

#[test]
fn the_page_shows_what_failed_on_a_phone_and_at_a_desk_in_light_and_dark() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("bus");
    // As long as systemd allows, without a place to break the line.
    let long = format!("{}.service", "x".repeat(240));
    units_that_fail(&socket, vec!["pveproxy.service".to_owned(), long.clone()]);
    let broker = Mosquitto::start(Security::Open);
    let collector = Collector::on(&broker.access(None));
    backups_of_guests(folder.path());
    let sections = format!(
        "[units.log]\nenabled = false\n[paths]\nsystem_bus = \"unix:path={}\"\ntasks = {:?}\n\
         pve = {:?}\n",
        socket.display(),
        folder.path().join("tasks"),
        folder.path().join("pve"),
    );
    let url = format!("url = \"mqtt://127.0.0.1:{}\"", broker.port());
    let _agent = Agent::start_with(&url, &sections, &[]);
    for unit in ["pveproxy.service", long.as_str()] {
        collector.expect_alert("firing", &[("unit", unit), ("node", "pve1")]);
    }

    collector.expect_alert("firing", &[("alertname", "BackupJobFailed"), ("vmid", "100")]);
    collector.expect_metric("pvewatch_backup_jobs{node=\"pve1\",vmid=\"101\"}", "1.0");

    // The page as it is served, with its policy.
    let served = document(&collector.url("/"), Scheme::Light);
    assert!(served.contains("pveproxy.service failed on pve1"), "{served}");
    let (_, lost) = served.split_once("id=\"lost\"").unwrap();
    assert!(lost.split('>').next().unwrap().contains("hidden"), "its script cannot refresh it");

    let mirror = Mirror::of(&collector.url(""));
    for (width, scheme) in
        [(PHONE, Scheme::Light), (PHONE, Scheme::Dark), (DESK, Scheme::Light), (DESK, Scheme::Dark)]
    {
        check(&measure(&mirror, width, scheme), &mirror, width, scheme);
    }
}

/// A run that failed for a guest of a name as long as it can be, and one that is due.
fn backups_of_guests(folder: &Path) {
    let long = "x".repeat(240);
    let log = format!(
        "INFO: starting new backup job: vzdump --all 1 --storage nas\n\
         INFO: Starting Backup of VM 100 (qemu)\nINFO: VM Name: {long}\n\
         ERROR: Backup of VM 100 failed - {long}\n\
         INFO: Starting Backup of VM 101 (lxc)\nINFO: archive file size: 312MB\n\
         INFO: Finished Backup of VM 101 (00:01:10)\n\
         INFO: Backup job finished with errors\nTASK ERROR: job errors\n"
    );
    for path in ["tasks/0", "pve/nodes/pve1/qemu-server", "pve/nodes/pve1/lxc"] {
        fs::create_dir_all(folder.join(path)).unwrap();
    }
    symlink("nodes/pve1", folder.join("pve/local")).unwrap();
    let vmlist = r#"{"version":1,"ids":{"100":{"node":"pve1","type":"qemu","version":1},
        "101":{"node":"pve1","type":"lxc","version":1}}}"#;
    // Of a worker that is gone: no process has the number.
    let started = now().as_second();
    let task = format!("tasks/0/UPID:pve1:7FFFFFFE:00ABCDEF:{started:08X}:vzdump::root@pam:");
    for (path, text) in [
        (task.as_str(), log.as_str()),
        ("pve/.vmlist", vmlist),
        ("pve/nodes/pve1/qemu-server/100.conf", &format!("name: {long}\nscsi1: a:b,backup=0\n")),
        ("pve/nodes/pve1/lxc/101.conf", "hostname: dns\n"),
        ("pve/jobs.cfg", "vzdump: nightly\n\tschedule 21:00\n\tvmid 101\n"),
        ("pve/.version", r#"{"starttime":1,"vmlist":1}"#),
    ] {
        fs::write(folder.join(path), text).unwrap();
    }
}

#[track_caller]
fn check(page: &Measured, mirror: &Mirror, width: u32, scheme: Scheme) {
    let case = format!("{width} px, {scheme:?}");
    assert_eq!((page.width, page.dark), (width, scheme == Scheme::Dark), "{case}");
    assert!(page.text.contains("pveproxy.service failed on pve1"), "{case}: {}", page.text);
    assert!(page.text.contains("how to read a failure"), "{case}: {}", page.text);
    assert!(page.text.contains("in no backup job"), "{case}: {}", page.text);
    assert!(!page.lost, "{case}: it says that the collector does not answer");
    assert!(page.overflow <= 0, "{case}: {} px too wide: {:?}", page.overflow, page.beyond);
    let is_dark = page.background < 0.2;
    assert_eq!(is_dark, scheme == Scheme::Dark, "{case}: its ground is {}", page.background);
    assert!(page.contrast >= CONTRAST_MIN, "{case}: contrast {}", page.contrast);
    let refreshes = page.requests.iter().filter(|it| it.ends_with("/now")).count();
    assert!(refreshes > 0, "{case}: never refreshed: {:?}", page.requests);
    let here = format!("{}/", mirror.origin());
    let elsewhere: Vec<&String> =
        page.requests.iter().filter(|it| !it.starts_with(&here)).collect();
    assert!(elsewhere.is_empty(), "{case}: {elsewhere:?}");
}
