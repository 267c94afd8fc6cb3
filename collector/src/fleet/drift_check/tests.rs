//! What is a difference, what is not, and what cannot be told.

use pvewatch_protocol::{BackupJob as Plan, BackupStorage};
use serde_json::{Value, json};

use super::super::moment::Moment;
use super::super::policy::{Selection, Wants};
use super::super::storage::Storage;
use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

fn at() -> Timestamp {
    "2026-11-21T03:00:00Z".parse().unwrap()
}

fn policy(wants: Wants) -> Policy {
    Policy { name: "prod".into(), about: Selection::default(), wants }
}

/// A machine of the number 100 with what `more` says.
fn guest(more: Value) -> Guest {
    let mut guest = json!({"vmid": 100, "kind": "qemu", "name": "web"});
    guest.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(guest).unwrap()
}

/// A job that covers the guest, with what `more` says.
fn job(name: &str, more: Value) -> Arc<BackupJob> {
    let mut plan = json!({
        "job": name, "enabled": true, "schedule": "21:00", "zone": "Europe/Berlin",
        "guests": [100], "storage": "nas", "notes_runs": true,
    });
    plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let plan: Plan = serde_json::from_value(plan).unwrap();
    let mut job = BackupJob::new("pve1".parse().unwrap(), plan, Moment::both(at()));
    job.plan_run(None, SignedDuration::ZERO);
    Arc::new(job)
}

fn nas(prune: Option<&str>) -> Storages {
    let seen = json!({"storage": "nas", "type": "nfs", "state": "available", "prune": prune});
    let seen: BackupStorage = serde_json::from_value(seen).unwrap();
    let storage = Storage::new("pve1".parse().unwrap(), seen, Moment::both(at()));
    [(storage.id.clone(), Arc::new(storage))].into()
}

/// The differences in words, and then what was not told.
fn found(wants: Wants, guest: &Guest, around: (Option<&Jobs>, Option<&Storages>)) -> Vec<String> {
    let mut checker = Checker::new(around, at());
    let differences = checker.check(&policy(wants), guest);
    let words = differences
        .iter()
        .map(|it| format!("{}: {}, not {} ({})", it.what, it.found, it.expected, it.place));
    let missing = checker.is_missing.then(|| "missing".to_owned());
    words.chain(checker.untold.iter().cloned()).chain(missing).collect()
}

#[track_caller]
fn check_settings(wants: Wants, settings: Value, expected: &[&str]) {
    assert_eq!(found(wants, &guest(json!({"settings": settings})), (None, None)), expected);
}

#[test]
fn a_configuration_that_says_otherwise_differs_and_one_that_says_so_does_not() {
    let described = Wants { description: true, ..Wants::default() };
    check_settings(described.clone(), json!({"described": true}), &[]);
    let place = "/etc/pve/qemu-server/100.conf";
    let expected = format!("description: empty, not not empty ({place})");
    check_settings(described, json!({}), &[&expected]);

    let single = Wants { scsihw: Some("virtio-scsi-single".to_owned()), ..Wants::default() };
    check_settings(single.clone(), json!({"scsihw": "virtio-scsi-single"}), &[]);
    let expected = format!("scsihw: pvscsi, not virtio-scsi-single ({place})");
    check_settings(single.clone(), json!({"scsihw": "pvscsi"}), &[&expected]);
    let expected = format!("scsihw: lsi, since it is not set, not virtio-scsi-single ({place})");
    check_settings(single, json!({}), &[&expected]);
    let lsi = Wants { scsihw: Some("lsi".to_owned()), ..Wants::default() };
    check_settings(lsi, json!({}), &[]);

    for wanted in [true, false] {
        let wants = Wants { protection: Some(wanted), ..Wants::default() };
        check_settings(wants.clone(), json!({"protection": wanted}), &[]);
        let (on, off) = if wanted { ("on", "off") } else { ("off", "on") };
        let expected = format!("protection: {off}, not {on} ({place})");
        check_settings(wants, json!({"protection": !wanted}), &[&expected]);
    }
}

#[test]
fn a_disk_is_whole_in_gib_or_its_size_is_named() {
    let wants = Wants { disks_in_gib: true, ..Wants::default() };
    let disk =
        |key: &str, size: Option<u64>| json!({"key": key, "storage": "nas", "size_bytes": size});
    let whole = json!({"disks": [disk("scsi0", Some(32 << 30)), disk("scsi1", Some(8 << 40))]});
    check_settings(wants.clone(), whole, &[]);
    check_settings(wants.clone(), json!({}), &[]);
    let odd = json!({"disks": [disk("scsi0", Some(2252 << 20)), disk("scsi1", None)]});
    let place = "not a whole number of GiB (/etc/pve/qemu-server/100.conf)";
    let expected = [
        format!("size of scsi0: 2252 MiB on nas, {place}"),
        format!("size of scsi1: not in the configuration, on nas, {place}"),
    ];
    check_settings(wants, odd, &[&expected[0], &expected[1]]);
}

#[test]
fn a_container_has_no_scsi_controller_and_a_file_elsewhere() {
    let wants = Wants {
        scsihw: Some("virtio-scsi-single".to_owned()),
        onboot: Some(true),
        ..Wants::default()
    };
    let container = guest(json!({"kind": "lxc", "settings": {}}));
    let expected = ["onboot: off, not on (/etc/pve/lxc/100.conf)"];
    assert_eq!(found(wants, &container, (None, None)), expected);
}

#[test]
fn each_tag_that_is_missing_is_named_beside_those_that_are_there() {
    let tags = ["owner-web", "tier-1"].map(str::to_owned).to_vec();
    let wants = Wants { tags_include: tags, ..Wants::default() };
    let place = "(/etc/pve/qemu-server/100.conf)";
    let check = |tags: Value, expected: &[String]| {
        assert_eq!(found(wants.clone(), &guest(json!({"tags": tags})), (None, None)), expected);
    };
    check(json!(["tier-1", "x", "owner-web"]), &[]);
    check(json!(["tier-1", "x"]), &[format!("tags: tier-1, x, not with owner-web {place}")]);
    let both = ["owner-web", "tier-1"].map(|tag| format!("tags: none, not with {tag} {place}"));
    check(json!([]), &both);
}

#[test]
fn what_an_older_agent_does_not_tell_is_untold_and_no_difference() {
    let old = guest(json!({"onboot": true}));
    for wants in [
        Wants { description: true, ..Wants::default() },
        Wants { disks_in_gib: true, ..Wants::default() },
        Wants { protection: Some(false), ..Wants::default() },
        Wants { scsihw: Some("lsi".to_owned()), ..Wants::default() },
    ] {
        assert_eq!(found(wants, &old, (None, None)), [UNTOLD_SETTINGS]);
    }
    let container = guest(json!({"kind": "lxc", "onboot": true}));
    let controller = Wants { scsihw: Some("lsi".to_owned()), ..Wants::default() };
    assert_eq!(found(controller, &container, (None, None)), [""; 0]);
    let told = Wants { onboot: Some(true), ..Wants::default() };
    assert_eq!(found(told, &old, (None, None)), [""; 0]);
}

fn every(text: &str, duration: SignedDuration) -> Wants {
    let every = Some(Every { text: text.to_owned(), duration });
    Wants { backup: Some(BackupWants { every, keep: BTreeMap::new() }), ..Wants::default() }
}

#[track_caller]
fn check_jobs(wants: Wants, jobs: &[Arc<BackupJob>], expected: &[&str]) {
    let jobs: Jobs = jobs.iter().map(|job| (job.id.clone(), job.clone())).collect();
    assert_eq!(found(wants, &guest(json!({})), (Some(&jobs), None)), expected);
}

#[test]
fn a_guest_is_backed_up_as_often_as_all_of_its_jobs_together_run() {
    let daily = every("1d", DAY);
    check_jobs(daily.clone(), &[job("a", json!({}))], &[]);
    check_jobs(daily.clone(), &[job("a", json!({"schedule": "*:0/15"}))], &[]);
    // The clocks of Berlin are put back and forward within the year that is compared.
    check_jobs(daily.clone(), &[job("a", json!({"schedule": "02:30"}))], &[]);
    let workdays = json!({"schedule": "mon..fri 21:00"});
    let expected = "backup schedule: 3 days apart at most (mon..fri 21:00), not every 1d \
                    (/etc/pve/jobs.cfg, a)";
    check_jobs(daily.clone(), &[job("a", workdays.clone())], &[expected]);
    let weekend = job("b", json!({"schedule": "sat,sun 21:00"}));
    check_jobs(daily.clone(), &[job("a", workdays), weekend], &[]);
    let monthly = json!({"schedule": "monthly", "notes_runs": false});
    let expected = "backup schedule: 31 days apart at most (monthly), not every 1d \
                    (/etc/pve/vzdump.cron)";
    check_jobs(daily.clone(), &[job("a", monthly)], &[expected]);
    let ends = json!({"schedule": "2027-*-01 21:00"});
    let expected = "backup schedule: never again at some time (2027-*-01 21:00), not every 1d \
                    (/etc/pve/jobs.cfg, a)";
    check_jobs(daily, &[job("a", ends)], &[expected]);
    let expected = "backup schedule: 12 h apart at most (0/12:00), not every 6h \
                    (/etc/pve/jobs.cfg, a)";
    let twice = job("a", json!({"schedule": "0/12:00"}));
    check_jobs(every("6h", SignedDuration::from_hours(6)), &[twice], &[expected]);
}

#[test]
fn a_guest_that_no_job_can_back_up_differs() {
    let covered = Wants { backup: Some(BackupWants::default()), ..Wants::default() };
    check_jobs(covered.clone(), &[job("a", json!({}))], &[]);
    let expected = "backup: in no such job, not covered by a job that is on (/etc/pve/jobs.cfg)";
    for jobs in [
        vec![],
        vec![job("a", json!({"enabled": false}))],
        vec![job("a", json!({"guests": [101]}))],
        vec![job("a", json!({"schedule": "02-30 21:00"}))],
    ] {
        check_jobs(covered.clone(), &jobs, &[expected]);
    }
}

#[test]
fn a_job_whose_times_nobody_understands_proves_nothing() {
    let covered = Wants { backup: Some(BackupWants::default()), ..Wants::default() };
    let odd = job("a", json!({"schedule": "every full moon"}));
    let jobs: Jobs = [(odd.id.clone(), odd)].into();
    let said = found(covered, &guest(json!({})), (Some(&jobs), None));
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("when job a is due: \"every full moon\""), "{said:?}");
}

fn keeps(pairs: &[(Keep, u32)]) -> Wants {
    let keep = pairs.iter().copied().collect();
    Wants { backup: Some(BackupWants { every: None, keep }), ..Wants::default() }
}

#[test]
fn what_is_kept_is_what_the_job_says_and_otherwise_its_storage() {
    let check = |own: Option<&str>, storage: Option<&str>, expected: &[&str]| {
        let job = job("a", json!({"prune": own}));
        let jobs: Jobs = [(job.id.clone(), job)].into();
        let storages = nas(storage);
        let wants = keeps(&[(Keep::Daily, 7), (Keep::Weekly, 4)]);
        let around = (Some(&jobs), Some(&storages));
        assert_eq!(found(wants, &guest(json!({})), around), expected);
    };
    check(Some("keep-daily=7,keep-weekly=4"), Some("keep-last=1"), &[]);
    check(None, Some("keep-weekly=4,keep-daily=7,keep-last=3"), &[]);
    let expected = "keep-weekly: not set, not 4 (/etc/pve/jobs.cfg, a)";
    check(Some("keep-daily=7"), Some("keep-daily=7,keep-weekly=4"), &[expected]);
    let expected = "keep-daily: 14, not 7 (/etc/pve/storage.cfg, nas)";
    check(None, Some("keep-daily=14,keep-weekly=4"), &[expected]);
    for everything in [None, Some("keep-all=1"), Some("keep-daily=0")] {
        let kept = |keep: &str, number: u32| {
            let place = "/etc/pve/storage.cfg, nas";
            format!("{keep}: not set: nothing is removed, not {number} ({place})")
        };
        check(None, everything, &[&kept("keep-daily", 7), &kept("keep-weekly", 4)]);
    }
}

#[test]
fn everything_can_be_what_is_to_be_kept() {
    let check = |own: &str, expected: &[&str]| {
        let job = job("a", json!({"prune": own}));
        let jobs: Jobs = [(job.id.clone(), job)].into();
        let around = (Some(&jobs), None);
        assert_eq!(found(keeps(&[(Keep::All, 1)]), &guest(json!({})), around), expected);
    };
    check("keep-all=1", &[]);
    let expected = "keep-all: keep-last=3,keep-daily=7, not that nothing is removed \
                    (/etc/pve/jobs.cfg, a)";
    check("keep-daily=7,keep-last=3", &[expected]);
}

#[test]
fn of_several_jobs_one_that_keeps_enough_is_enough() {
    let wants = keeps(&[(Keep::Daily, 7), (Keep::Weekly, 4)]);
    let right = job("b", json!({"prune": "keep-daily=7,keep-weekly=4"}));
    let near = job("c", json!({"prune": "keep-daily=7"}));
    let wrong = job("a", json!({"prune": "keep-last=1"}));
    check_jobs(wants.clone(), &[wrong.clone(), right, near.clone()], &[]);
    let expected = "keep-weekly: not set, not 4 (/etc/pve/jobs.cfg, c)";
    check_jobs(wants.clone(), &[wrong.clone(), near], &[expected]);
    // What the second one keeps may be what is asked for.
    let folder = job("b", json!({"storage": null}));
    let expected = "what job b keeps, which writes into a folder";
    check_jobs(wants, &[wrong, folder], &[expected]);
}

#[test]
fn what_has_not_come_yet_is_waited_for() {
    let daily = every("1d", DAY);
    assert_eq!(found(daily, &guest(json!({})), (None, None)), ["missing"]);
    let jobs: Jobs = [("a".into(), job("a", json!({})))].into();
    let wants = keeps(&[(Keep::Last, 3)]);
    assert_eq!(found(wants.clone(), &guest(json!({})), (Some(&jobs), None)), ["missing"]);
    let other = Storages::new();
    let said = found(wants, &guest(json!({})), (Some(&jobs), Some(&other)));
    assert_eq!(said, ["what job a keeps: its storage nas is not known"]);
}
