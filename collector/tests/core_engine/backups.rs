//! Backups as entities: what the last run of a guest says, wherever it was.

use super::story::{CATALOGUE, tell};

#[test]
fn a_backup_that_fails_is_told_at_once_and_ends_with_the_next_success() {
    let stage = tell(
        CATALOGUE,
        "
        0s     pve1 beats
        10s    pve1 backup 100 ok run=1
        1h     pve1 beats
        1h     pve1 backup 100 failed run=2
        => 1h BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        2h     pve1 beats
        2h     pve1 backup 100 ok run=3
        => 2h BackupJobFailed pve1/100 firing -> resolved: condition_ended, told
        ",
    );
    let title = stage.transitions[0].notice().unwrap().title;
    assert_eq!(title, "Critical: The backup of guest 100 (web) failed");
    let runbook = &stage.transitions[0].alert.annotations["runbook_url"];
    assert_eq!(runbook, "guide/backup-restore");
}

#[test]
fn a_failure_that_was_made_good_during_an_outage_is_history() {
    tell(
        CATALOGUE,
        "
        3h     pve1 beats
        3h1s   pve1 backup 100 failed run=1 at=1h
        => 1h BackupJobFailed pve1/100 none -> pending: condition_began
        3h1s   pve1 backup 100 ok run=2 at=2h
        => 1h BackupJobFailed pve1/100 pending -> firing: condition_lasted, past
        => 2h BackupJobFailed pve1/100 firing -> resolved: condition_ended, past
        3h10s
        ",
    );
}

#[test]
fn a_run_that_is_told_twice_or_late_takes_nothing_back() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats
        2h     pve1 beats
        2h     pve1 backup 100 failed run=2
        => 2h BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        2h1m   pve1 backup 100 failed run=2 at=2h
        2h2m   pve1 backup 100 ok run=1 at=1h
        2h3m   pve1 backing-up 100 run=3
        2h4m   pve1 backup 100 ok run=3
        => 2h4m BackupJobFailed pve1/100 firing -> resolved: condition_ended, told
        ",
    );
}

#[test]
fn a_failure_does_not_last_for_ever() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats
        10s    pve1 backup 100 interrupted
        => 10s BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        => 30h0m10s BackupJobFailed pve1/100 firing -> resolved: condition_ended, told
        31h
        ",
    );
}

#[test]
fn a_guest_that_moved_is_judged_by_its_last_run_wherever_that_was() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats
        0s     pve2 beats
        1s     pve1 started cluster=lab
        1s     pve2 started cluster=lab
        1s     pve3 beats
        1h     pve1 backup 100 failed run=1
        => 1h BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        2h     pve3 backup 100 ok run=2
        3h     pve2 backup 100 ok run=3
        => 3h BackupJobFailed pve1/100 firing -> resolved: entity_removed, told
        3h1m   pve1 backup 100 failed run=1 at=1h
        4h
        ",
    );
}

#[test]
fn an_archive_of_an_unusual_size_is_told() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats
        1h     pve1 backup 100 ok run=1 size=1000
        2h     pve1 backup 100 ok run=2 size=1100
        3h     pve1 backup 100 ok run=3 size=900
        4h     pve1 backup 100 ok run=4 size=2100
        => 4h BackupSizeAnomaly pve1/100 none -> firing: condition_lasted, told
        5h     pve1 backup 100 ok run=5 size=1900
        => 5h BackupSizeAnomaly pve1/100 firing -> resolved: condition_ended, told
        6h     pve1 backup 100 ok run=6 size=0
        => 6h BackupSizeAnomaly pve1/100 none -> firing: condition_lasted, told
        ",
    );
}

#[test]
fn a_backup_in_stop_mode_is_no_outage() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats
        1s     pve1 unit pve-container@101.service active run=1
        1m     pve1 backing-up 101 began=1m
        1m2s   pve1 unit pve-container@101.service inactive run=1
        40m    pve1 unit pve-container@101.service active run=2
        41m    pve1 backup 101 ok began=1m
        1h
        ",
    );
}
