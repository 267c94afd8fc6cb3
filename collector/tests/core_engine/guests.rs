//! Guests: told apart into what was meant and what was not.

use super::story::{CATALOGUE, tell};

const RUNNING: &str = "
    0s     pve1 started
    0s     pve1 beats every=600
    1s     pve1 guests 100
    2s     pve1 runs 100
    ";

/// A story that goes on while guest 100 runs.
fn while_it_runs(rest: &str) {
    tell(CATALOGUE, &format!("{RUNNING}{rest}"));
}

#[test]
fn a_guest_that_stops_without_an_explanation_is_told_after_ten_minutes() {
    for cause in ["unexplained", "crash", "out_of_memory", "guest"] {
        while_it_runs(&format!(
            "
            1h     pve1 guest 100:stopped:{cause}
            => 1h ProxmoxVMStopped pve1/100 none -> pending: condition_began
            => 1h10m ProxmoxVMStopped pve1/100 pending -> firing: condition_lasted, told
            2h     pve1 guest 100:running:requested
            => 2h ProxmoxVMStopped pve1/100 firing -> resolved: condition_ended, told
            3h
            "
        ));
    }
}

#[test]
fn a_guest_that_was_meant_to_stop_is_no_alert() {
    for cause in ["requested", "ha"] {
        while_it_runs(&format!(
            "
            1h     pve1 guest 100:stopped:{cause}
            5h     pve1 runs 100:stopped:{cause}
            9h
            "
        ));
    }
}

#[test]
fn a_backup_that_stops_a_guest_is_no_outage_if_it_comes_back() {
    while_it_runs(
        "
        1h     pve1 guest 100:stopped:backup:awaited
        3h     pve1 guest 100:running:backup
        3h1m   pve1 backup 100 ok
        9h
        ",
    );
}

#[test]
fn a_guest_that_does_not_come_back_after_its_backup_is_told_five_minutes_later() {
    while_it_runs(
        "
        1h     pve1 guest 100:stopped:backup:awaited
        2h     pve1 runs 100:stopped:backup:awaited
        3h     pve1 backup 100 failed
        => 3h BackupJobFailed pve1/100 none -> firing: condition_lasted, told
        => 3h5m GuestDidNotReturn pve1/100 none -> firing: condition_lasted, told
        4h     pve1 guest 100:running:requested
        => 4h GuestDidNotReturn pve1/100 firing -> resolved: condition_ended, told
        5h     pve1 backup 100 ok
        => 5h BackupJobFailed pve1/100 firing -> resolved: condition_ended, told
        9h
        ",
    );
}

#[test]
fn a_stopped_machine_that_runs_for_its_backup_alone_is_not_awaited() {
    while_it_runs(
        "
        10m    pve1 guest 100:stopped:requested
        1h     pve1 guest 100:running:backup:awaited
        2h     pve1 guest 100:stopped:backup
        2h     pve1 backup 100 ok
        9h
        ",
    );
}

#[test]
fn after_a_reboot_each_guest_that_ran_is_to_run_again() {
    tell(
        CATALOGUE,
        "
        0s     pve1 started
        0s     pve1 beats every=600
        1s     pve1 guests 100 101 102
        2s     pve1 runs 100 101
        1h     pve1 guest 100:stopped:node_shutdown:awaited
        1h     pve1 guest 101:stopped:node_shutdown:awaited
        1h1s   pve1 stopping reason=reboot
        1h5m   pve1 started boot=boot-2
        1h5m   pve1 beats every=600
        1h5m1s pve1 runs
        1h6m   pve1 guest 100:running:node_boot
        1h8m   pve1 task startall ok
        => 1h13m GuestDidNotReturn pve1/101 none -> firing: condition_lasted, told
        1h20m  pve1 runs 100
        2h     pve1 guest 101:running:requested
        => 2h GuestDidNotReturn pve1/101 firing -> resolved: condition_ended, told
        9h
        ",
    );
}

#[test]
fn after_a_reset_that_nobody_announced_too() {
    tell(
        CATALOGUE,
        "
        0s     pve1 started
        0s     pve1 beats every=600
        1s     pve1 guests 100 101
        2s     pve1 runs 100
        1h     pve1 started boot=boot-2
        => 1h HostUncleanReboot pve1 none -> pending: condition_began
        1h     pve1 beats every=600
        1h1s   pve1 runs
        => 1h1m HostUncleanReboot pve1 pending -> firing: condition_lasted, told
        => 1h20m1s GuestDidNotReturn pve1/100 none -> firing: condition_lasted, told
        3h     pve1 guest 100:running:requested
        => 3h GuestDidNotReturn pve1/100 firing -> resolved: condition_ended, told
        9h
        ",
    );
}

#[test]
fn a_restart_that_does_not_come_back_is_told() {
    while_it_runs(
        "
        1h     pve1 guest 100:stopped:requested:awaited
        1h1m   pve1 guest 100:running:requested
        2h     pve1 guest 100:stopped:requested:awaited
        => 2h5m GuestDidNotReturn pve1/100 none -> firing: condition_lasted, told
        3h     pve1 guest 100:stopped:requested
        => 3h GuestDidNotReturn pve1/100 firing -> resolved: condition_ended, told
        9h
        ",
    );
}

#[test]
fn what_stopped_while_nobody_watched_is_explained_by_its_task_or_not_at_all() {
    while_it_runs(
        "
        1h     pve1 started
        1h1s   pve1 runs 100:stopped:requested
        9h
        ",
    );
    while_it_runs(
        "
        1h     pve1 started
        1h1s   pve1 runs
        => 1h0m1s ProxmoxVMStopped pve1/100 none -> pending: condition_began
        => 1h10m1s ProxmoxVMStopped pve1/100 pending -> firing: condition_lasted, told
        2h     pve1 runs 100
        => 2h ProxmoxVMStopped pve1/100 firing -> resolved: condition_ended, told
        9h
        ",
    );
}

#[test]
fn of_guests_that_never_ran_only_those_that_start_at_boot_are_told() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        1s     pve1 guests 100 101:onboot 102:template
        2s     pve1 runs
        => 2s ProxmoxVMStopped pve1/101 none -> pending: condition_began
        => 10m2s ProxmoxVMStopped pve1/101 pending -> firing: condition_lasted, told
        1h     pve1 guests 100
        => 1h ProxmoxVMStopped pve1/101 firing -> resolved: entity_removed, told
        9h
        ",
    );
}

#[test]
fn a_guest_that_moves_is_one_guest() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        0s     pve2 beats every=600
        1s     pve1 guests 100:onboot
        1s     pve2 guests
        2s     pve1 runs 100
        2s     pve2 runs
        1h     pve2 guest 100:running:migration
        1h2s   pve1 guest 100:stopped:migration
        1h10s  pve2 guests 100:onboot
        1h10s  pve1 guests
        2h     pve1 runs
        2h     pve2 runs 100
        9h
        ",
    );
}

/// A guest that is told wherever it runs, on a node that is lost after an hour.
fn when_its_node_is_lost(rest: &str) {
    tell(
        CATALOGUE,
        &format!(
            "
        0s     pve1 beats
        0s     pve2 beats
        0s     pve1 started cluster=lab
        0s     pve2 started cluster=lab
        1s     pve1 guests 100:expires-2026-11-20
        1s     pve2 guests
        2s     pve2 runs
        2s     pve1 runs 100
        => 2s LabVMExpired pve1/100 none -> pending: condition_began
        => 5m2s LabVMExpired pve1/100 pending -> firing: condition_lasted, told
        1h     pve1 hushes
        {rest}
        "
        ),
    );
}

#[test]
fn a_guest_of_a_lost_node_is_where_high_availability_has_taken_it() {
    when_its_node_is_lost(
        "
        => 1h0m30s LabVMExpired pve1/100 firing -> firing: witness_lost
        => 1h0m30s HostDown pve1 none -> pending: condition_began
        => 1h2m30s HostDown pve1 pending -> firing: condition_lasted, told
        1h3m   pve2 guests 100:expires-2026-11-20
        => 1h3m LabVMExpired pve1/100 firing -> resolved: entity_removed, told
        1h3m   pve2 guest 100:running:ha
        => 1h3m LabVMExpired pve2/100 none -> pending: condition_began
        => 1h8m LabVMExpired pve2/100 pending -> firing: condition_lasted, told
        2h
        ",
    );
}

#[test]
fn a_guest_is_taken_from_its_node_before_that_is_known_to_be_lost() {
    when_its_node_is_lost(
        "
        1h10s  pve2 guests 100:expires-2026-11-20
        => 1h0m10s LabVMExpired pve1/100 firing -> resolved: condition_ended, told
        1h10s  pve2 guest 100:running:ha
        => 1h0m10s LabVMExpired pve2/100 none -> pending: condition_began
        => 1h0m30s HostDown pve1 none -> pending: condition_began
        => 1h2m30s HostDown pve1 pending -> firing: condition_lasted, told
        => 1h5m10s LabVMExpired pve2/100 pending -> firing: condition_lasted, told
        2h
        ",
    );
}

#[test]
fn what_was_seen_of_a_stop_outlives_pictures_and_older_events() {
    while_it_runs(
        "
        1h     pve1 guest 100:stopped:crash
        => 1h ProxmoxVMStopped pve1/100 none -> pending: condition_began
        1h1m   pve1 runs 100:stopped
        1h2m   pve1 runs
        => 1h10m ProxmoxVMStopped pve1/100 pending -> firing: condition_lasted, told
        1h20m  pve1 guests
        => 1h20m ProxmoxVMStopped pve1/100 firing -> resolved: entity_removed, told
        9h
        ",
    );
}

#[test]
fn a_guest_that_has_expired_is_told_while_it_runs() {
    // Stories begin on Saturday, 2026-11-21, at 03:00.
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        1s     pve1 guests 100:expires-2026-11-21 101:expires:2026-11-20 102:expires-soon
        2s     pve1 runs 100 102
        => 21h LabVMExpired pve1/100 none -> pending: condition_began
        => 21h5m LabVMExpired pve1/100 pending -> firing: condition_lasted, told
        30h    pve1 guest 100:stopped:requested
        => 30h LabVMExpired pve1/100 firing -> resolved: condition_ended, told
        40h
        ",
    );
}

#[test]
fn an_automatic_snapshot_that_nobody_removes_is_told_after_a_week() {
    tell(
        CATALOGUE,
        "
        1h     pve1 beats every=3600
        1h     pve1 guests 100:auto-daily@1h,before-upgrade@0s
        => 169h SnapshotOlderThanWeek pve1/100 none -> pending: condition_began
        => 169h1m SnapshotOlderThanWeek pve1/100 pending -> firing: condition_lasted, told
        170h   pve1 guests 100:auto-daily@169h,before-upgrade@0s
        => 170h SnapshotOlderThanWeek pve1/100 firing -> resolved: condition_ended, told
        200h
        ",
    );
}

#[test]
fn a_replication_that_fails_is_told_until_one_goes_well() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600
        1s     pve1 guests 100:to-pve2*0,to-pve3*0 101
        1h     pve1 guests 100:to-pve2*0,to-pve3*1 101
        => 1h PveReplicationFailed pve1/100 none -> firing: condition_lasted, told
        2h     pve1 guests 100:to-pve2*0,to-pve3*2 101
        3h     pve1 guests 100:to-pve2*0,to-pve3*0 101
        => 3h PveReplicationFailed pve1/100 firing -> resolved: condition_ended, told
        4h     pve1 guests 100:to-pve2*1 101
        => 4h PveReplicationFailed pve1/100 none -> firing: condition_lasted, told
        5h     pve1 guests 100 101
        => 5h PveReplicationFailed pve1/100 firing -> resolved: condition_ended, told
        9h
        ",
    );
}

#[test]
fn a_machine_that_ran_for_its_backup_when_its_node_went_down_is_not_awaited() {
    while_it_runs(
        "
        10m    pve1 guest 100:stopped:requested
        1h     pve1 guest 100:running:backup:awaited
        2h     pve1 started boot=boot-2
        => 2h HostUncleanReboot pve1 none -> pending: condition_began
        2h     pve1 runs
        => 2h1m HostUncleanReboot pve1 pending -> firing: condition_lasted, told
        2h2m   pve1 task startall ok
        9h
        ",
    );
}

#[test]
fn tasks_that_stopped_guests_for_a_reboot_do_not_make_it_meant_that_they_stay_away() {
    while_it_runs(
        "
        1h     pve1 guest 100:stopped:node_shutdown:awaited
        1h     pve1 stopping reason=reboot
        1h5m   pve1 started boot=boot-2
        1h5m   pve1 beats every=600
        1h5m1s pve1 runs 100:stopped:requested
        1h8m   pve1 task startall ok
        => 1h13m GuestDidNotReturn pve1/100 none -> firing: condition_lasted, told
        2h     pve1 guest 100:running:requested
        => 2h GuestDidNotReturn pve1/100 firing -> resolved: condition_ended, told
        9h
        ",
    );
}

#[test]
fn a_migration_that_fails_and_leaves_its_guest_stopped_is_told() {
    while_it_runs(
        "
        1h     pve1 guest 100:stopped:migration
        => 1h15m GuestDidNotReturn pve1/100 none -> firing: condition_lasted, told
        2h     pve1 guest 100:running:requested
        => 2h GuestDidNotReturn pve1/100 firing -> resolved: condition_ended, told
        9h
        ",
    );
}

#[test]
fn a_guest_that_is_made_restored_or_moved_and_not_started_yet_is_no_alert() {
    while_it_runs(
        "
        1h     pve1 guests 100 101:onboot
        5h     pve1 runs 100
        6h     pve1 guest 101:running:requested
        7h     pve1 guest 101:stopped:crash
        => 7h ProxmoxVMStopped pve1/101 none -> pending: condition_began
        => 7h10m ProxmoxVMStopped pve1/101 pending -> firing: condition_lasted, told
        8h     pve1 guests 100
        => 8h ProxmoxVMStopped pve1/101 firing -> resolved: entity_removed, told
        9h
        ",
    );
}

#[test]
fn a_stop_that_is_explained_later_is_no_alert() {
    while_it_runs(
        "
        1h     pve1 guest 100:stopped:unexplained
        => 1h ProxmoxVMStopped pve1/100 none -> pending: condition_began
        1h5m   pve1 runs 100:stopped:requested
        => 1h5m ProxmoxVMStopped pve1/100 pending -> none: condition_did_not_last
        9h
        ",
    );
}
