//! Nodes that are guests: when an agent that runs in one is missed.

use super::story::{CATALOGUE, tell};

/// A virtual machine with an agent of its own: `vm` is guest 100 of pve1.
fn with_an_agent_inside(rest: &str) {
    let beginning = "
        0s     pve1 beats
        0s     vm beats
        1s     pve1 started
        1s     vm started mac=m1
        2s     pve1 guests 100:nobackup,+mac.m1 101:nobackup,+mac.m2
        2s     pve1 runs 100 101
";
    tell(CATALOGUE, &format!("{beginning}{rest}"));
}

#[test]
fn an_agent_in_a_guest_that_was_stopped_is_not_missed() {
    with_an_agent_inside(
        "
        1h     pve1 guest 100:stopped:requested
        1h1s   vm hushes
        2h     pve1 guest 100:running:requested
        => 2h HostDown vm none -> pending: condition_began
        2h1m   vm beats
        => 2h1m HostDown vm pending -> none: condition_did_not_last
        3h     vm hushes
        => 3h0m30s HostDown vm none -> pending: condition_began
        3h1m   pve1 guest 100:stopped:requested
        => 3h1m HostDown vm pending -> none: condition_did_not_last
        4h     pve1 guest 100:running:requested
        => 4h HostDown vm none -> pending: condition_began
        => 4h2m HostDown vm pending -> firing: condition_lasted, told
        5h
        ",
    );
}

#[test]
fn an_agent_in_a_guest_that_stopped_by_itself_is_missed() {
    with_an_agent_inside(
        "
        1h     pve1 guest 100:stopped:crash
        => 1h ProxmoxVMStopped pve1/100 none -> pending: condition_began
        1h     vm hushes
        => 1h0m30s HostDown vm none -> pending: condition_began
        => 1h2m30s HostDown vm pending -> firing: condition_lasted, told
        => 1h10m ProxmoxVMStopped pve1/100 pending -> firing: condition_lasted, told
        1h20m
        ",
    );
}

#[test]
fn agents_in_guests_of_a_node_that_is_down_are_not_missed_for_it() {
    with_an_agent_inside(
        "
        1h     pve1 hushes
        1h5s   vm hushes
        => 1h0m30s HostDown pve1 none -> pending: condition_began
        => 1h2m30s HostDown pve1 pending -> firing: condition_lasted, told
        2h     pve1 beats
        => 2h HostDown pve1 firing -> resolved: condition_ended, told
        => 2h HostDown vm none -> pending: condition_began
        2h10s  pve1 started
        2h1m   vm beats
        => 2h1m HostDown vm pending -> none: condition_did_not_last
        3h
        ",
    );
}

#[test]
fn an_agent_in_a_guest_is_missed_although_the_agent_of_its_node_was_stopped() {
    with_an_agent_inside(
        "
        1h     pve1 stopping reason=stopped
        1h     pve1 hushes
        => 1h0m30s HostDown pve1 none -> pending: condition_began
        1h1m   vm hushes
        => 1h1m30s HostDown vm none -> pending: condition_began
        => 1h2m30s HostDown pve1 pending -> firing: condition_lasted, told
        => 1h3m30s HostDown vm pending -> firing: condition_lasted, told
        1h10m
        ",
    );
}

#[test]
fn of_copies_of_a_guest_one_that_runs_counts() {
    with_an_agent_inside(
        "
        1h     pve1 guests 100:nobackup,+mac.m1 101:nobackup,+mac.m1
        1h     pve1 guest 100:stopped:requested
        2h     vm hushes
        => 2h0m30s HostDown vm none -> pending: condition_began
        => 2h2m30s HostDown vm pending -> firing: condition_lasted, told
        2h10m
        ",
    );
}

#[test]
fn a_guest_is_known_from_inside_where_it_has_moved_to() {
    with_an_agent_inside(
        "
        5s     pve2 beats
        5s     pve2 started
        5s     pve2 guests
        5s     pve2 runs
        1h     pve2 guests 100:nobackup,+mac.m1
        1h     pve2 runs 100
        1h1s   pve1 guests 101:nobackup,+mac.m2
        1h1s   pve1 runs 101
        2h     pve1 hushes
        => 2h0m30s HostDown pve1 none -> pending: condition_began
        => 2h2m30s HostDown pve1 pending -> firing: condition_lasted, told
        3h     pve1 beats
        => 3h HostDown pve1 firing -> resolved: condition_ended, told
        4h     pve2 guest 100:stopped:requested
        4h1s   vm hushes
        5h
        ",
    );
}
