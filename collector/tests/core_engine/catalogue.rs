//! The shipped rules, each made to fire and to resolve again.

use pvewatch_protocol::AlertState;

use super::story::{CATALOGUE, Stage, tell};

/// Tests with a story each, and the titles of the notices that are told.
macro_rules! stories {
    ($($name:ident: $story:literal tells $titles:expr;)+) => { $(
        #[test]
        fn $name() {
            let stage = tell(CATALOGUE, $story);
            let told: Vec<_> = stage.transitions.iter().filter_map(|it| it.notice()).collect();
            let titles: Vec<&str> = told.iter().map(|notice| notice.title.as_str()).collect();
            let expected: &[&str] = &$titles;
            assert_eq!(titles, expected);
        }
    )+ };
}

stories! {
    a_service_that_recovers_in_time_is_no_alert: "
        0s    pve1 beats
        10s   pve1 unit ssh.service failed
        => 10s SystemdServiceFailed pve1/ssh.service none -> pending: condition_began
        5m    pve1 unit ssh.service active
        => 5m SystemdServiceFailed pve1/ssh.service pending -> none: condition_did_not_last
        20m
        " tells [];

    a_critical_service_fires_after_ten_seconds_and_hides_the_general_alert: "
        0s    pve1 beats
        10s   pve1 unit pveproxy.service failed
        => 10s SystemdServiceFailed pve1/pveproxy.service none -> pending: condition_began
        => 10s ProxmoxServiceFailed pve1/pveproxy.service none -> pending: condition_began
        => 20s ProxmoxServiceFailed pve1/pveproxy.service pending -> firing: condition_lasted, told
        => 20s SystemdServiceFailed pve1/pveproxy.service pending -> pending: inhibition_began
        => 5m10s SystemdServiceFailed pve1/pveproxy.service pending -> firing: condition_lasted
        10m
        11m   pve1 unit pveproxy.service active
        => 11m SystemdServiceFailed pve1/pveproxy.service firing -> resolved: condition_ended
        => 11m ProxmoxServiceFailed pve1/pveproxy.service firing -> resolved: condition_ended, told
        " tells [
        "Critical: pveproxy.service failed on pve1, and will not restart by itself",
        "Resolved: pveproxy.service failed on pve1, and will not restart by itself",
    ];

    a_critical_service_that_systemd_restarts_is_no_critical_alert: "
        0s    pve1 beats
        10s   pve1 unit pveproxy.service failed will_restart
        => 10s SystemdServiceFailed pve1/pveproxy.service none -> pending: condition_began
        1m    pve1 unit pveproxy.service active
        => 1m SystemdServiceFailed pve1/pveproxy.service pending -> none: condition_did_not_last
        " tells [];

    corosync_is_critical_only_in_a_cluster: "
        0s    pve1 beats
        10s   pve1 unit corosync.service failed
        => 10s SystemdServiceFailed pve1/corosync.service none -> pending: condition_began
        1m
        2m    pve1 started cluster=lab
        => 2m ProxmoxServiceFailed pve1/corosync.service none -> pending: condition_began
        => 2m10s ProxmoxServiceFailed pve1/corosync.service pending -> firing: condition_lasted, told
        => 2m10s SystemdServiceFailed pve1/corosync.service pending -> pending: inhibition_began
        3m
        " tells [
        "Critical: corosync.service failed on pve1, and will not restart by itself",
    ];

    a_load_above_two_per_processor_fires_after_ten_minutes: "
        0s    pve1 beats load15=7.9
        1m    pve1 beats load15=9
        => 1m HighLoadAverage pve1 none -> pending: condition_began
        => 11m HighLoadAverage pve1 pending -> firing: condition_lasted, told
        12m   pve1 beats load15=10
        13m   pve1 beats load15=8
        => 13m HighLoadAverage pve1 firing -> resolved: condition_ended, told
        " tells [
        "Warning: The load of pve1 is 2.25 per processor",
        "Resolved: The load of pve1 is 2.5 per processor",
    ];

    an_announced_shutdown_is_nobodys_trouble: "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 hushes
        1m1s  pve1 stopping reason=shutdown
        1m2s  pve1 offline reason=shutdown
        10h
        " tells [];

    an_announced_shutdown_counts_even_if_the_last_will_speaks_after_it: "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 hushes
        1m1s  pve1 stopping reason=shutdown
        1m2s  pve1 offline reason=lost
        10h
        " tells [];

    an_agent_that_was_stopped_leaves_its_node_unwatched_and_the_alert_says_so: "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 hushes
        1m    pve1 stopping reason=stopped
        1m    pve1 offline reason=stopped
        => 1m HostDown pve1 none -> pending: condition_began
        => 3m HostDown pve1 pending -> firing: condition_lasted, told
        5m
        " tells ["Critical: pve1 is not watched: its agent was stopped"];

    an_agent_that_is_restarted_is_no_trouble: "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 hushes
        1m    pve1 stopping reason=stopped
        1m    pve1 offline reason=stopped
        => 1m HostDown pve1 none -> pending: condition_began
        1m3s  pve1 online
        => 1m3s HostDown pve1 pending -> none: condition_did_not_last
        1m3s  pve1 started
        1m3s  pve1 beats
        10m
        " tells [];

    a_node_that_comes_back_from_its_announced_reboot_in_ten_minutes_is_nobodys_trouble: "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 hushes
        1m    pve1 offline reason=reboot
        10m   pve1 online boot=boot-2
        10m   pve1 beats
        20m
        " tells [];

    a_node_that_does_not_come_back_from_its_announced_reboot_is_down: "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 hushes
        1m    pve1 offline reason=reboot
        => 11m HostDown pve1 none -> pending: condition_began
        => 13m HostDown pve1 pending -> firing: condition_lasted, told
        20m
        " tells ["Critical: pve1 has not come back from its reboot"];
}

#[test]
fn a_failed_service_fires_after_five_minutes_and_resolves_when_it_recovers() {
    let stage = tell(
        CATALOGUE,
        "
        0s    pve1 beats
        10s   pve1 unit ssh.service failed
        => 10s SystemdServiceFailed pve1/ssh.service none -> pending: condition_began
        15s   pve1 log ssh.service no-such-key
        => 5m10s SystemdServiceFailed pve1/ssh.service pending -> firing: condition_lasted, told
        5m30s pve1 unit ssh.service active
        => 5m30s SystemdServiceFailed pve1/ssh.service firing -> resolved: condition_ended, told
        ",
    );
    let notices: Vec<_> = stage.transitions.iter().filter_map(|t| t.notice()).collect();
    let [fired, resolved] = notices.as_slice() else { panic!("{notices:?}") };
    assert_eq!(fired.title, "Warning: ssh.service failed on pve1");
    assert_eq!(
        fired.text,
        "ssh.service is failed since 2026-11-21 03:00:10 UTC (exit-code, exited with 1). \
         See: systemctl status ssh.service\n\
         Since 2026-11-21 03:00:10 UTC, for 5 min.\n\
         Its last words:\nno-such-key"
    );
    assert_eq!((fired.status, fired.severity.as_str()), (AlertState::Firing, "warning"));
    assert_eq!(resolved.title, "Resolved: ssh.service failed on pve1");
    assert_eq!(resolved.status, AlertState::Resolved);
    assert_ne!(fired.key, resolved.key);
    assert_eq!(fired.alerts, resolved.alerts);
}

#[test]
fn a_node_whose_connection_is_lost_is_down_after_two_minutes() {
    let stage = tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        5m    pve1 hushes
        5m1s  pve1 offline reason=lost
        => 5m HostDown pve1 none -> pending: condition_began
        => 7m HostDown pve1 pending -> firing: condition_lasted, told
        10m
        1h    pve1 online
        => 1h HostDown pve1 firing -> resolved: condition_ended, told
        ",
    );
    let (title, text) = first_notice(&stage);
    assert_eq!(title, "Critical: pve1 is down");
    assert_eq!(
        text,
        "Its connection ended without a goodbye. The last sign of life was at \
         2026-11-21 03:05:00 UTC.\nSince 2026-11-21 03:05:00 UTC, for 2 min."
    );
}

#[test]
fn a_node_without_heartbeats_is_down_though_its_connection_stands() {
    let stage = tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 hushes
        => 1m30s HostDown pve1 none -> pending: condition_began
        => 3m30s HostDown pve1 pending -> firing: condition_lasted, told
        5m
        6m    pve1 beats
        => 6m HostDown pve1 firing -> resolved: condition_ended, told
        ",
    );
    let (_, text) = first_notice(&stage);
    assert!(text.contains("It sends no heartbeats since"), "{text}");
}

#[test]
fn events_that_were_lost_are_told_at_once_and_no_longer_than_an_hour() {
    tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        10s   pve1 dropped 7 9
        => 10s AgentOutboxDropped pve1 none -> firing: condition_lasted, told
        30m   pve1 dropped 12 12
        => 1h30m AgentOutboxDropped pve1 firing -> resolved: condition_ended, told
        2h
        ",
    );
}

#[test]
fn a_node_whose_events_do_not_come_is_told_of_though_it_is_heard() {
    tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 beats missing=40 since=1m
        => 6m10s EventsDelayed pve1 none -> pending: condition_began
        => 16m10s EventsDelayed pve1 pending -> firing: condition_lasted, told
        20m   pve1 beats
        => 20m EventsDelayed pve1 firing -> resolved: condition_ended, told
        30m
        ",
    );
}

#[test]
fn a_node_whose_events_are_not_acked_is_told_of_though_all_of_them_are_here() {
    tell(
        CATALOGUE,
        "
        0s    pve1 online
        0s    pve1 beats
        1m    pve1 beats oldest=299
        2m    pve1 beats oldest=301
        => 2m EventsDelayed pve1 none -> pending: condition_began
        => 12m EventsDelayed pve1 pending -> firing: condition_lasted, told
        20m   pve1 beats
        => 20m EventsDelayed pve1 firing -> resolved: condition_ended, told
        30m
        ",
    );
}

#[test]
fn the_shipped_rules_are_those_that_are_promised() {
    let rules = super::story::rules(CATALOGUE);
    let seen: Vec<String> = rules
        .rules()
        .iter()
        .map(|rule| {
            let seconds = rule.for_duration.as_secs();
            format!("{} {} {} {seconds}", rule.name, rule.scope, rule.severity.as_str())
        })
        .collect();
    let promised = [
        "HostDown node critical 120",
        "SystemdServiceFailed unit warning 300",
        "ProxmoxServiceFailed unit critical 10",
        "SystemdUnitCrashLooping unit critical 0",
        "HighCpuUsage node warning 300",
        "HighMemoryUsage node warning 300",
        "HighLoadAverage node warning 600",
        "AgentOutboxDropped node critical 0",
        "EventsDelayed node warning 600",
        "HighDiskUsage filesystem warning 300",
        "DiskAlmostFull filesystem critical 60",
        "NodeFilesystemAlmostOutOfInodes filesystem warning 300",
        "FilesystemHangs filesystem warning 60",
        "ZfsPoolUnhealthy pool critical 0",
        "MdArrayDegraded pool critical 0",
        "HighNetworkErrors interface warning 300",
        "PveClusterNotQuorate node critical 30",
        "ProxmoxNodeDown member critical 120",
        "HostOomKill node warning 0",
        "HostUncleanReboot node warning 60",
        "VMRebootRequired node warning 86400",
        "HostClockNotSynchronised node warning 600",
        "HostTemperatureCritical node critical 120",
        "NodeCertificateExpires node warning 3600",
        "LabVMExpired guest warning 300",
        "SnapshotOlderThanWeek guest info 60",
        "PveReplicationFailed guest warning 0",
        "ProxmoxHighCpuUsage guest warning 600",
        "ProxmoxHighMemoryUsage guest warning 600",
        "ProxmoxVMStopped guest warning 600",
        "GuestDidNotReturn guest critical 0",
        "BackupJobFailed backup critical 0",
        "BackupSizeAnomaly backup warning 0",
        "GuestsNotBackedUp backup warning 600",
        "BackupJobMissing backup warning 0",
        "BackupRunMissed backup_job warning 0",
        "BackupRunFailed backup_job critical 0",
        "BackupRetentionDrift backup warning 3600",
        "BackupArchiveGone backup critical 3600",
        "DriftDetected drift warning 300",
        "DriftCheckFailed drift critical 300",
        "DriftCheckStale drift warning 3600",
        "BackupStorageAlmostFull storage warning 300",
        "BackupStorageCritical storage critical 60",
        "ProxmoxStorageAlmostFull storage warning 300",
        "ProxmoxThinPoolMetadataAlmostFull storage warning 300",
    ];
    assert_eq!(seen, promised);
}

/// Title and text of the first notice that was told.
fn first_notice(stage: &Stage) -> (String, String) {
    let fired = stage.transitions.iter().find_map(|it| it.notice()).unwrap();
    (fired.title.clone(), fired.text.clone())
}

#[test]
fn a_unit_that_fails_again_and_again_is_told_at_once() {
    tell(
        CATALOGUE,
        "
        0s    pve1 beats every=60
        10s   pve1 unit a.service activating crashes=6
        => 10s SystemdUnitCrashLooping pve1/a.service none -> firing: condition_lasted, told
        20s   pve1 unit a.service active
        => 20s SystemdUnitCrashLooping pve1/a.service firing -> resolved: condition_ended, told
        1m
        ",
    );
}
