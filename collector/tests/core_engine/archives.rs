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
        => 2h ProxmoxStorageAlmostFull pve1/nas none -> pending: condition_began
        => 2h BackupStorageCritical pve1/nas none -> pending: condition_began
        => 2h1m BackupStorageCritical pve1/nas pending -> firing: condition_lasted, told
        => 2h1m BackupStorageAlmostFull pve1/nas firing -> firing: inhibition_began
        => 2h5m ProxmoxStorageAlmostFull pve1/nas pending -> firing: condition_lasted
        3h   pve1 storages nas:0;not_mounted
        4h   pve1 storages nas:70
        => 4h ProxmoxStorageAlmostFull pve1/nas firing -> resolved: condition_ended
        => 4h BackupStorageAlmostFull pve1/nas firing -> resolved: condition_ended, told
        => 4h BackupStorageCritical pve1/nas firing -> resolved: condition_ended, told
        5h   pve1 storages nas:99
        => 5h ProxmoxStorageAlmostFull pve1/nas none -> pending: condition_began
        => 5h BackupStorageAlmostFull pve1/nas none -> pending: condition_began
        => 5h BackupStorageCritical pve1/nas none -> pending: condition_began
        5h2s pve1 storages
        => 5h0m2s BackupStorageAlmostFull pve1/nas pending -> none: entity_removed
        => 5h0m2s BackupStorageCritical pve1/nas pending -> none: entity_removed
        => 5h0m2s ProxmoxStorageAlmostFull pve1/nas pending -> none: entity_removed
        6h
        ",
    );
}

#[test]
fn a_storage_of_guests_disks_is_told_when_its_data_or_its_metadata_fill_up() {
    tell(
        CATALOGUE,
        "
        0s   pve1 beats every=600
        1h   pve1 storages local-lvm:86;disks;metadata:40
        => 1h ProxmoxStorageAlmostFull pve1/local-lvm none -> pending: condition_began
        => 1h5m ProxmoxStorageAlmostFull pve1/local-lvm pending -> firing: condition_lasted, told
        2h   pve1 storages local-lvm:80;disks;metadata:86
        => 2h ProxmoxStorageAlmostFull pve1/local-lvm firing -> resolved: condition_ended, told
        => 2h ProxmoxThinPoolMetadataAlmostFull pve1/local-lvm none -> pending: condition_began
        => 2h5m ProxmoxThinPoolMetadataAlmostFull pve1/local-lvm pending -> firing: condition_lasted, told
        3h   pve1 storages local-lvm:99;disks;metadata:50
        => 3h ProxmoxStorageAlmostFull pve1/local-lvm none -> pending: condition_began
        => 3h ProxmoxThinPoolMetadataAlmostFull pve1/local-lvm firing -> resolved: condition_ended, told
        3h1m pve1 storages local-lvm:0;disks;not_mounted
        => 3h5m ProxmoxStorageAlmostFull pve1/local-lvm pending -> firing: condition_lasted, told
        4h
        ",
    );
}

/// All archives of a guest are known when all storages for backups were listed: others never are.
#[test]
fn storages_that_take_no_backups_hide_no_archives() {
    let rule = r#"
        [[rule]]
        name = "NoArchive"
        scope = "backup"
        when = "archives == 0"
        for = "0s"
        severity = "warning"
        summary = "{{ vmid }} has no archive"
        "#;
    tell(
        rule,
        "
        0s   pve1 beats every=600
        0s   pve1 guests 100
        1h   pve1 storages nas:10;100*1@30m local-lvm:20;disks
        2h   pve1 storages nas:10 local-lvm:20;disks
        => 2h NoArchive pve1/100 none -> firing: condition_lasted, told
        3h   pve1 storages nas:10;100*1@2h local-lvm:20;disks
        => 3h NoArchive pve1/100 firing -> resolved: condition_ended, told
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
        => 1h ProxmoxStorageAlmostFull pve2/nas none -> pending: condition_began
        => 1h BackupStorageAlmostFull pve2/nas none -> pending: condition_began
        1h1s pve3 storages nas:90;shared
        => 1h0m1s ProxmoxStorageAlmostFull pve3/nas none -> pending: condition_began
        => 1h0m1s BackupStorageAlmostFull pve3/nas none -> pending: condition_began
        1h2s pve1 storages nas:90;shared
        => 1h0m2s ProxmoxStorageAlmostFull pve1/nas none -> pending: condition_began
        => 1h0m2s BackupStorageAlmostFull pve1/nas none -> pending: condition_began
        => 1h0m2s ProxmoxStorageAlmostFull pve2/nas pending -> none: condition_did_not_last
        => 1h0m2s BackupStorageAlmostFull pve2/nas pending -> none: condition_did_not_last
        => 1h5m1s BackupStorageAlmostFull pve3/nas pending -> firing: condition_lasted, told
        => 1h5m1s ProxmoxStorageAlmostFull pve3/nas pending -> pending: inhibition_began
        => 1h5m1s ProxmoxStorageAlmostFull pve3/nas pending -> firing: condition_lasted
        => 1h5m2s BackupStorageAlmostFull pve1/nas pending -> firing: condition_lasted, told
        => 1h5m2s ProxmoxStorageAlmostFull pve1/nas pending -> pending: inhibition_began
        => 1h5m2s ProxmoxStorageAlmostFull pve1/nas pending -> firing: condition_lasted
        2h   pve2 storages nas:91;shared
        3h   pve1 storages nas:0;shared;not_mounted
        => 3h ProxmoxStorageAlmostFull pve1/nas firing -> resolved: condition_ended
        => 3h BackupStorageAlmostFull pve1/nas firing -> resolved: condition_ended, told
        => 3h ProxmoxStorageAlmostFull pve2/nas none -> pending: condition_began
        => 3h BackupStorageAlmostFull pve2/nas none -> pending: condition_began
        => 3h5m BackupStorageAlmostFull pve2/nas pending -> firing: condition_lasted, told
        => 3h5m ProxmoxStorageAlmostFull pve2/nas pending -> pending: inhibition_began
        => 3h5m ProxmoxStorageAlmostFull pve2/nas pending -> firing: condition_lasted
        4h
        ",
    );
}

#[test]
fn of_a_shared_storage_another_node_tells_when_one_cannot_be_heard() {
    tell(
        CATALOGUE,
        "
        0s   pve1 beats
        0s   pve2 beats
        1s   pve1 started cluster=lab
        1s   pve2 started cluster=lab
        2s   pve1 storages nas:50;shared
        2s   pve2 storages nas:50;shared
        60s  pve1 hushes
        => 1m30s HostDown pve1 none -> pending: condition_began
        => 3m30s HostDown pve1 pending -> firing: condition_lasted, told
        5m   pve2 storages nas:96;shared
        => 5m ProxmoxStorageAlmostFull pve2/nas none -> pending: condition_began
        => 5m BackupStorageAlmostFull pve2/nas none -> pending: condition_began
        => 5m BackupStorageCritical pve2/nas none -> pending: condition_began
        => 6m BackupStorageCritical pve2/nas pending -> firing: condition_lasted, told
        => 6m BackupStorageAlmostFull pve2/nas pending -> pending: inhibition_began
        => 6m ProxmoxStorageAlmostFull pve2/nas pending -> pending: inhibition_began
        7m   pve2 storages nas:50;shared
        => 7m ProxmoxStorageAlmostFull pve2/nas pending -> none: condition_did_not_last
        => 7m BackupStorageAlmostFull pve2/nas pending -> none: condition_did_not_last
        => 7m BackupStorageCritical pve2/nas firing -> resolved: condition_ended, told
        8m
        ",
    );
}

#[test]
fn a_shared_storage_that_nobody_can_look_at_keeps_its_alert() {
    tell(
        CATALOGUE,
        "
        0s   pve1 beats every=600
        0s   pve2 beats every=600
        1s   pve1 started cluster=lab
        1s   pve2 started cluster=lab
        1h   pve1 storages nas:90;shared
        => 1h ProxmoxStorageAlmostFull pve1/nas none -> pending: condition_began
        => 1h BackupStorageAlmostFull pve1/nas none -> pending: condition_began
        1h   pve2 storages nas:90;shared
        => 1h5m BackupStorageAlmostFull pve1/nas pending -> firing: condition_lasted, told
        => 1h5m ProxmoxStorageAlmostFull pve1/nas pending -> pending: inhibition_began
        => 1h5m ProxmoxStorageAlmostFull pve1/nas pending -> firing: condition_lasted
        2h   pve2 storages nas:0;shared;not_mounted
        2h   pve1 storages nas:0;shared;not_mounted
        3h   pve1 storages nas:91;shared
        3h   pve2 storages nas:91;shared
        4h
        ",
    );
}

#[test]
fn nodes_whose_cluster_is_known_later_are_no_two_alerts() {
    tell(
        CATALOGUE,
        "
        0s   pve1 beats every=600
        0s   pve2 beats every=600
        1h   pve1 storages nas:90;shared
        => 1h ProxmoxStorageAlmostFull pve1/nas none -> pending: condition_began
        => 1h BackupStorageAlmostFull pve1/nas none -> pending: condition_began
        1h   pve2 storages nas:90;shared
        => 1h ProxmoxStorageAlmostFull pve2/nas none -> pending: condition_began
        => 1h BackupStorageAlmostFull pve2/nas none -> pending: condition_began
        1h1s pve1 started cluster=lab
        1h2s pve2 started cluster=lab
        => 1h0m2s BackupStorageAlmostFull pve2/nas pending -> none: condition_did_not_last
        => 1h0m2s ProxmoxStorageAlmostFull pve2/nas pending -> none: condition_did_not_last
        => 1h5m BackupStorageAlmostFull pve1/nas pending -> firing: condition_lasted, told
        => 1h5m ProxmoxStorageAlmostFull pve1/nas pending -> pending: inhibition_began
        => 1h5m ProxmoxStorageAlmostFull pve1/nas pending -> firing: condition_lasted
        2h
        ",
    );
}

#[test]
fn on_another_medium_under_the_same_name_nothing_is_missed() {
    after_a_backup(
        "
        18h7m  pve1 storages nas:50;medium@monday;100*1@18h
        20h    pve1 storages nas:50;medium@tuesday;100*5@1h
        30h    pve1 storages nas:50;medium@monday;100*1@18h
        31h    pve1 storages nas:50;medium@monday
        => 31h BackupArchiveGone pve1/100 none -> pending: condition_began
        31h1s  pve1 storages nas:50;medium@monday;100*1@18h
        => 31h0m1s BackupArchiveGone pve1/100 pending -> none: condition_did_not_last
        40h
        ",
    );
}

#[test]
fn a_backup_that_is_told_late_by_the_node_that_had_the_guest_is_not_missed_on_the_other() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        0s     pve2 beats every=600
        1s     pve1 started cluster=lab
        1s     pve2 started cluster=lab
        2s     pve1 jobs nightly:100:21:00
        2s     pve1 guests 100
        2s     pve2 jobs nightly::21:00
        2s     pve2 guests
        18h1m  pve1 jobs nightly:100:21:00;ran@18h
        18h1m  pve2 jobs nightly::21:00;ran@18h
        19h    pve1 guests
        19h    pve1 jobs nightly::21:00;ran@18h
        19h    pve2 jobs nightly:100:21:00;ran@18h
        19h    pve2 guests 100
        19h1s  pve1 backup 100 ok run=1 made=18h at=18h5m
        19h2s  pve2 storages nas:50
        30h
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
        => 30h ProxmoxStorageAlmostFull pve1/nas none -> pending: condition_began
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
