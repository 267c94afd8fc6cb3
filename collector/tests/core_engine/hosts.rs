//! What each sample says of a host's network, clock, heat and certificate.

use super::story::{CATALOGUE, tell};

#[test]
fn processors_and_memory_that_are_almost_used_up_are_told_after_five_minutes() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 busy=0.86 left=1
        => 0s HighCpuUsage pve1 none -> pending: condition_began
        => 0s HighMemoryUsage pve1 none -> pending: condition_began
        => 5m HighCpuUsage pve1 pending -> firing: condition_lasted, told
        => 5m HighMemoryUsage pve1 pending -> firing: condition_lasted, told
        10m    pve1 beats every=60 busy=0.85 left=2
        => 10m HighCpuUsage pve1 firing -> resolved: condition_ended, told
        => 10m HighMemoryUsage pve1 firing -> resolved: condition_ended, told
        20m
        ",
    );
}

#[test]
fn a_cable_that_damages_packets_is_told_after_five_minutes_and_until_it_is_replaced() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats net=eno1:5/s@0s,eno2:0
        20m    pve1 beats net=eno1:25/s@16m,eno2:0
        => 21m20s HighNetworkErrors pve1/eno1 none -> pending: condition_began
        => 26m20s HighNetworkErrors pve1/eno1 pending -> firing: condition_lasted, told
        1h     pve1 beats net=eno1:5/s@0s,eno2:0
        => 1h3m30s HighNetworkErrors pve1/eno1 firing -> resolved: condition_ended, told
        2h
        ",
    );
}

#[test]
fn a_burst_of_errors_is_over_before_anybody_is_told() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats net=eno1:0
        20m    pve1 beats net=eno1:600000
        => 20m10s HighNetworkErrors pve1/eno1 none -> pending: condition_began
        => 24m50s HighNetworkErrors pve1/eno1 pending -> none: condition_did_not_last
        1h
        ",
    );
}

#[test]
fn counters_that_begin_anew_are_no_errors_and_those_of_guests_may_come_and_go() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats net=eno1:9000000,guests:9000000:4
        20m    pve1 beats net=eno1:8999990,guests:7000000:3
        30m    pve1 beats net=eno1:3,guests:8999999:5 up=20
        40m    pve1 beats net=eno1:9000000,guests:0:0 up=10
        1h     pve1 beats
        2h
        ",
    );
}

#[test]
fn an_interface_that_is_gone_has_no_errors_any_more() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats net=eno1:20/s@0s
        => 10s HighNetworkErrors pve1/eno1 none -> pending: condition_began
        => 5m10s HighNetworkErrors pve1/eno1 pending -> firing: condition_lasted, told
        10m    pve1 beats net=eno2:0
        => 10m HighNetworkErrors pve1/eno1 firing -> resolved: entity_removed, told
        1h
        ",
    );
}

#[test]
fn errors_are_counted_on_where_a_collector_that_restarts_left_off() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats net=eno1:20/s@0s
        => 10s HighNetworkErrors pve1/eno1 none -> pending: condition_began
        3m     collector restarts
        => 5m10s HighNetworkErrors pve1/eno1 pending -> firing: condition_lasted, told
        6m     pve1 beats net=eno1:0
        => 8m20s HighNetworkErrors pve1/eno1 firing -> resolved: condition_ended, told
        1h
        ",
    );
}

#[test]
fn a_clock_that_nothing_keeps_right_is_told_after_ten_minutes() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats clock=adrift
        => 0s HostClockNotSynchronised pve1 none -> pending: condition_began
        5m     pve1 beats clock=right
        => 5m HostClockNotSynchronised pve1 pending -> none: condition_did_not_last
        1h     pve1 beats clock=adrift
        => 1h HostClockNotSynchronised pve1 none -> pending: condition_began
        => 1h10m HostClockNotSynchronised pve1 pending -> firing: condition_lasted, told
        2h     pve1 beats clock=right
        => 2h HostClockNotSynchronised pve1 firing -> resolved: condition_ended, told
        3h
        ",
    );
}

#[test]
fn a_chip_is_judged_only_by_its_own_limit() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats heat=coretemp:99:100,amdgpu:110
        10m    pve1 beats heat=coretemp:100:100,amdgpu:110
        => 10m HostTemperatureCritical pve1 none -> pending: condition_began
        => 12m HostTemperatureCritical pve1 pending -> firing: condition_lasted, told
        20m    pve1 beats heat=coretemp:80:100
        => 20m HostTemperatureCritical pve1 firing -> resolved: condition_ended, told
        1h
        ",
    );
}

#[test]
fn a_certificate_is_told_two_weeks_before_its_end_and_until_it_is_renewed() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600 certificate=pveproxy-ssl.pem:20d
        => 144h NodeCertificateExpires pve1 none -> pending: condition_began
        => 145h NodeCertificateExpires pve1 pending -> firing: condition_lasted, told
        7d     pve1 beats every=600 certificate=pveproxy-ssl.pem:100d
        => 168h NodeCertificateExpires pve1 firing -> resolved: condition_ended, told
        8d
        ",
    );
}

#[test]
fn proxmox_has_two_nights_to_renew_its_own_certificate() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600 certificate=pve-ssl.pem:20d
        7d     pve1 beats every=600 certificate=pve-ssl.pem:365d
        8d     pve2 beats every=600 certificate=pve-ssl.pem:15d
        => 192h NodeCertificateExpires pve2 none -> pending: condition_began
        => 193h NodeCertificateExpires pve2 pending -> firing: condition_lasted, told
        9d     pve2 beats every=600
        => 216h NodeCertificateExpires pve2 firing -> resolved: condition_ended, told
        9d1h
        ",
    );
}

#[test]
fn a_node_that_tells_nothing_of_all_this_is_no_alert() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60
        3h
        ",
    );
}
