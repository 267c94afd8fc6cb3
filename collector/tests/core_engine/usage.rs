//! What guests use of their processors and memory.

use super::story::{CATALOGUE, tell};

/// Two machines of two processors each, of a node of four, and a container of one gibibyte.
const GUESTS: &str = "
    0s     pve1 started
    1s     pve1 guests 100:+cpus.2 101:+cpus.2 700:+memory.1024
    2s     pve1 runs 100 101 700
    ";

fn with_guests(rest: &str) {
    tell(CATALOGUE, &format!("{GUESTS}{rest}"));
}

#[test]
fn a_guest_that_keeps_its_own_processors_busy_is_told_after_ten_minutes() {
    with_guests(
        "
        10s    pve1 beats every=60 used=100:1.9/s@0s,101:1.7/s@0s,700:3.5/s@0s
        => 1m10s ProxmoxHighCpuUsage pve1/100 none -> pending: condition_began
        => 11m10s ProxmoxHighCpuUsage pve1/100 pending -> firing: condition_lasted, told
        20m40s pve1 beats every=60 used=100:2400,101:1.7/s@0s,700:3.5/s@0s
        => 21m40s ProxmoxHighCpuUsage pve1/100 firing -> resolved: condition_ended, told
        1h
        ",
    );
}

#[test]
fn a_container_without_a_limit_has_the_processors_of_its_node() {
    with_guests(
        "
        10s    pve1 beats every=60 used=700:3.7/s@0s
        => 1m10s ProxmoxHighCpuUsage pve1/700 none -> pending: condition_began
        5m10s  pve1 beats every=60 used=700:1147
        => 6m10s ProxmoxHighCpuUsage pve1/700 pending -> none: condition_did_not_last
        25m
        ",
    );
}

#[test]
fn a_container_that_has_almost_no_memory_left_is_told_and_a_machine_is_not() {
    with_guests(
        "
        10s    pve1 beats every=60 used=100:0:512,700:0:930
        => 10s ProxmoxHighMemoryUsage pve1/700 none -> pending: condition_began
        => 10m10s ProxmoxHighMemoryUsage pve1/700 pending -> firing: condition_lasted, told
        20m40s pve1 beats every=60 used=100:0:512,700:0:900
        => 20m40s ProxmoxHighMemoryUsage pve1/700 firing -> resolved: condition_ended, told
        1h
        ",
    );
}

#[test]
fn a_guest_that_stops_uses_nothing() {
    with_guests(
        "
        10s    pve1 beats every=60 used=100:1.9/s@0s,700:0:1000
        => 10s ProxmoxHighMemoryUsage pve1/700 none -> pending: condition_began
        => 1m10s ProxmoxHighCpuUsage pve1/100 none -> pending: condition_began
        5m     pve1 guest 100:stopped:requested
        => 5m ProxmoxHighCpuUsage pve1/100 pending -> none: condition_did_not_last
        5m     pve1 beats every=60 used=700:0:1000
        6m     pve1 guest 700:stopped:requested
        => 6m ProxmoxHighMemoryUsage pve1/700 pending -> none: condition_did_not_last
        6m     pve1 beats every=60
        25m
        ",
    );
}

#[test]
fn counters_that_begin_anew_or_stand_alone_tell_of_nothing() {
    with_guests(
        "
        10s    pve1 sample every=600 used=100:5000
        11s    pve1 sample every=600 used=100:5009
        1m11s  pve1 sample every=600 used=100:7
        2m11s  pve1 sample every=600 up=20 used=100:120
        20m    pve1 sample every=600 used=100:2000
        25m
        ",
    );
}

#[test]
fn after_a_silence_the_time_that_a_guest_runs_is_not_the_time_that_it_is_busy() {
    with_guests(
        "
        10s    pve1 beats used=100:0
        2h     pve1 hushes
        => 2h0m30s HostDown pve1 none -> pending: condition_began
        2h1m   pve1 beats used=100:200
        => 2h1m ProxmoxHighCpuUsage pve1/100 none -> pending: condition_began
        => 2h1m HostDown pve1 pending -> none: condition_did_not_last
        => 2h1m20s ProxmoxHighCpuUsage pve1/100 pending -> none: condition_did_not_last
        3h
        ",
    );
}

#[test]
fn samples_between_say_nothing_of_guests_and_change_nothing() {
    with_guests(
        "
        10s    pve1 sample every=600 used=100:0
        1m10s  pve1 sample every=600 used=100:114
        => 1m10s ProxmoxHighCpuUsage pve1/100 none -> pending: condition_began
        1m20s  pve1 sample every=600
        1m50s  pve1 sample every=600
        2m10s  pve1 sample every=600 used=100:124
        => 2m10s ProxmoxHighCpuUsage pve1/100 pending -> none: condition_did_not_last
        25m
        ",
    );
}

#[test]
fn while_a_backup_runs_the_work_for_it_is_nobodys_trouble() {
    with_guests(
        "
        10s    pve1 beats every=60 used=100:1.9/s@0s
        => 1m10s ProxmoxHighCpuUsage pve1/100 none -> pending: condition_began
        5m     pve1 backing-up 100 run=1
        => 5m ProxmoxHighCpuUsage pve1/100 pending -> none: condition_did_not_last
        30m    pve1 backup 100 ok run=1
        => 30m ProxmoxHighCpuUsage pve1/100 none -> pending: condition_began
        35m
        ",
    );
}

#[test]
fn what_was_pending_before_a_long_silence_does_not_fire_after_it() {
    with_guests(
        "
        10s    pve1 beats every=60 used=100:1.9/s@0s
        => 1m10s ProxmoxHighCpuUsage pve1/100 none -> pending: condition_began
        5m     pve1 hushes
        => 7m10s ProxmoxHighCpuUsage pve1/100 pending -> pending: witness_lost
        => 7m10s HostDown pve1 none -> pending: condition_began
        => 9m10s HostDown pve1 pending -> firing: condition_lasted, told
        => 9m10s ProxmoxHighCpuUsage pve1/100 pending -> pending: inhibition_began
        30m    pve1 beats every=60
        => 30m ProxmoxHighCpuUsage pve1/100 pending -> pending: witness_returned
        => 30m ProxmoxHighCpuUsage pve1/100 pending -> none: condition_did_not_last
        => 30m HostDown pve1 firing -> resolved: condition_ended, told
        40m
        ",
    );
}

#[test]
fn a_rule_of_ones_own_about_what_a_guest_uses_ends_when_that_stops() {
    let rule = "[[rule]]\nname = 'Much'\nscope = 'guest'\nwhen = 'memory_used_ratio > 0.5'\n\
                severity = 'info'\nsummary = 'x'\n";
    tell(
        rule,
        &format!(
            "{GUESTS}
        10s    pve1 beats every=60 used=100:0:1000,700:0:900
        => 10s Much pve1/700 none -> firing: condition_lasted, told
        5m     pve1 guest 700:stopped:requested
        => 5m Much pve1/700 firing -> resolved: condition_ended, told
        5m     pve1 beats every=60 used=100:0:1000
        10m
        "
        ),
    );
}
