//! What exists: archives that should be there and are not, that should not and are, and storages
//! that fill up.

use super::story::{CATALOGUE, tell};

const BACKED_UP: &str = "
    0s     pve1 beats every=600
    0s     pve1 jobs nightly:100:21:00
    0s     pve1 guests 100
    1s     pve1 storages nas:50
    18h1m  pve1 jobs nightly:100:21:00;ran@18h
    18h5m  pve1 backup 100 ok run=1 made=18h
    ";

/// A story that goes on after a first backup.
fn after_a_backup(rest: &str) {
    tell(CATALOGUE, &format!("{BACKED_UP}{rest}"));
}

#[test]
fn a_backup_that_is_there_is_no_news() {
    after_a_backup(
        "
        18h7m  pve1 storages nas:50;100*1@18h
        30h    pve1 storages nas:50;100*1@18h
        40h
        ",
    );
}

#[test]
fn a_backup_whose_archive_is_not_there_is_told_after_an_hour() {
    after_a_backup(
        "
        18h7m  pve1 storages nas:50;100*2@18h
        20h    pve1 storages nas:50;100*1@1h
        => 20h BackupArchiveGone pve1/100 none -> pending: condition_began
        => 21h BackupArchiveGone pve1/100 pending -> firing: condition_lasted, told
        42h5m  pve1 backup 100 ok run=2 made=42h
        => 42h5m BackupArchiveGone pve1/100 firing -> resolved: condition_ended, told
        42h7m  pve1 storages nas:50;100*2@42h
        42h9m
        ",
    );
}

#[test]
fn a_backup_of_which_nothing_ever_was_there_is_told() {
    after_a_backup(
        "
        18h7m  pve1 storages nas:50
        => 18h7m BackupArchiveGone pve1/100 none -> pending: condition_began
        => 19h7m BackupArchiveGone pve1/100 pending -> firing: condition_lasted, told
        20h    pve1 storages nas:50;100*1@18h
        => 20h BackupArchiveGone pve1/100 firing -> resolved: condition_ended, told
        21h
        ",
    );
}

#[test]
fn what_was_listed_before_the_run_ended_says_nothing_of_it() {
    after_a_backup(
        "
        18h6m  pve1 storages nas:50;listed@18h4m
        30h    pve1 storages nas:50;listed@18h4m
        40h
        ",
    );
}

#[test]
fn a_storage_that_cannot_be_looked_at_is_not_empty() {
    after_a_backup(
        "
        18h7m  pve1 storages nas:50;100*1@18h
        20h    pve1 storages nas:0;not_mounted
        30h    pve1 storages nas:50;100*1@18h
        31h    pve1 storages
        40h    pve1 storages nas:50;listed@18h1m
        42h
        ",
    );
}

#[test]
fn an_archive_made_by_hand_stands_for_the_one_before_it() {
    after_a_backup(
        "
        19h    pve1 storages nas:50;100*1@18h30m
        30h
        ",
    );
}

#[test]
fn archives_that_are_not_removed_are_told_after_an_hour() {
    after_a_backup(
        "
        18h7m  pve1 storages nas:50;100*3@18h
        19h    pve1 storages nas:50;100*5-2@18h usb:5;100*2-1@5h
        => 19h BackupRetentionDrift pve1/100 none -> pending: condition_began
        => 20h BackupRetentionDrift pve1/100 pending -> firing: condition_lasted, told
        21h    pve1 storages nas:50;100*3@18h usb:5;100*1@5h
        => 21h BackupRetentionDrift pve1/100 firing -> resolved: condition_ended, told
        22h
        ",
    );
}

#[test]
fn a_storage_that_fills_up_is_told_once_and_worse_when_it_is_full() {
    tell(
        CATALOGUE,
        "
        0s   pve1 beats every=600
        1h   pve1 storages nas:81
        => 1h BackupStorageAlmostFull pve1/nas none -> pending: condition_began
        => 1h5m BackupStorageAlmostFull pve1/nas pending -> firing: condition_lasted, told
        2h   pve1 storages nas:96
        => 2h BackupStorageCritical pve1/nas none -> pending: condition_began
        => 2h1m BackupStorageCritical pve1/nas pending -> firing: condition_lasted, told
        => 2h1m BackupStorageAlmostFull pve1/nas firing -> firing: inhibition_began
        3h   pve1 storages nas:0;not_mounted
        4h   pve1 storages nas:70
        => 4h BackupStorageAlmostFull pve1/nas firing -> resolved: condition_ended, told
        => 4h BackupStorageCritical pve1/nas firing -> resolved: condition_ended, told
        5h   pve1 storages nas:99
        => 5h BackupStorageAlmostFull pve1/nas none -> pending: condition_began
        => 5h BackupStorageCritical pve1/nas none -> pending: condition_began
        5h2s pve1 storages
        => 5h0m2s BackupStorageAlmostFull pve1/nas pending -> none: entity_removed
        => 5h0m2s BackupStorageCritical pve1/nas pending -> none: entity_removed
        6h
        ",
    );
}

#[test]
fn of_a_shared_storage_one_node_of_the_cluster_tells() {
    tell(
        CATALOGUE,
        "
        0s   pve1 beats every=600
        0s   pve2 beats every=600
        0s   pve3 beats every=600
        1s   pve1 started cluster=lab
        1s   pve2 started cluster=lab
        1s   pve3 started cluster=other
        1h   pve2 storages nas:90;shared
        => 1h BackupStorageAlmostFull pve2/nas none -> pending: condition_began
        1h1s pve3 storages nas:90;shared
        => 1h0m1s BackupStorageAlmostFull pve3/nas none -> pending: condition_began
        1h2s pve1 storages nas:90;shared
        => 1h0m2s BackupStorageAlmostFull pve2/nas pending -> none: condition_did_not_last
        => 1h0m2s BackupStorageAlmostFull pve1/nas none -> pending: condition_began
        => 1h5m1s BackupStorageAlmostFull pve3/nas pending -> firing: condition_lasted, told
        => 1h5m2s BackupStorageAlmostFull pve1/nas pending -> firing: condition_lasted, told
        2h   pve2 storages nas:91;shared
        3h   pve1 storages nas:0;shared;not_mounted
        => 3h BackupStorageAlmostFull pve2/nas none -> pending: condition_began
        => 3h BackupStorageAlmostFull pve1/nas firing -> resolved: condition_ended, told
        => 3h5m BackupStorageAlmostFull pve2/nas pending -> firing: condition_lasted, told
        4h
        ",
    );
}

#[test]
fn a_picture_in_parts_counts_when_it_is_complete() {
    after_a_backup(
        "
        19h    pve1 storages nas:96;100*5-2@18h part=1/2
        20h    pve1 storages nas:50;100*1@18h
        20h    pve1 storages nas:50;100*5-2@18h part=2/2 at=19h
        30h    pve1 storages nas:96 part=2/2
        30h1s  pve1 storages nas:96;100*1@18h part=1/2 at=30h
        => 30h BackupStorageAlmostFull pve1/nas none -> pending: condition_began
        => 30h BackupStorageCritical pve1/nas none -> pending: condition_began
        30h2s
        ",
    );
}

#[test]
fn a_guest_that_comes_after_the_picture_of_its_archives_has_them() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        0s     pve1 storages nas:50;100*5-2@0s
        1s     pve1 jobs nightly:100:21:00
        1s     pve1 guests 100
        => 1s BackupRetentionDrift pve1/100 none -> pending: condition_began
        2s
        ",
    );
}
