//! Members of clusters that are offline: told once, and by nobody if their own alert says it.

use super::story::{CATALOGUE, tell};

#[test]
fn a_member_without_an_agent_that_is_lost_is_told_once_however_many_see_it() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 members=pve1,pve2,pve9
        0s     pve2 beats every=60 members=pve1,pve2,pve9
        10m    pve1 beats every=60 members=pve1,pve2,-pve9
        => 10m ProxmoxNodeDown pve1/pve9 none -> pending: condition_began
        10m1s  pve2 beats every=60 members=pve1,pve2,-pve9
        => 12m ProxmoxNodeDown pve1/pve9 pending -> firing: condition_lasted, told
        20m    pve1 beats every=60 members=pve1,pve2,pve9
        => 20m ProxmoxNodeDown pve1/pve9 firing -> resolved: condition_ended, told
        20m    pve2 beats every=60 members=pve1,pve2,pve9
        1h
        ",
    );
}

#[test]
fn a_member_whose_agent_is_heard_is_cut_off_from_its_cluster() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 members=pve1,pve2,pve3
        0s     pve3 beats every=60 members=pve1,pve2,pve3
        10m    pve1 beats every=60 members=pve1,pve2,-pve3
        => 10m ProxmoxNodeDown pve1/pve3 none -> pending: condition_began
        10m    pve3 beats every=60 members=-pve1,-pve2,pve3 quorate=false
        => 10m PveClusterNotQuorate pve3 none -> pending: condition_began
        => 10m30s PveClusterNotQuorate pve3 pending -> firing: condition_lasted, told
        => 12m ProxmoxNodeDown pve1/pve3 pending -> firing: condition_lasted, told
        20m    pve1 beats every=60 members=pve1,pve2,pve3
        => 20m ProxmoxNodeDown pve1/pve3 firing -> resolved: condition_ended, told
        20m    pve3 beats every=60 members=pve1,pve2,pve3
        => 20m PveClusterNotQuorate pve3 firing -> resolved: condition_ended, told
        1h
        ",
    );
}

#[test]
fn a_member_that_goes_down_as_announced_is_nobodys_trouble() {
    tell(
        CATALOGUE,
        "
        0s     pve1 online
        0s     pve2 online
        0s     pve1 beats every=60 members=pve1,pve2,pve3
        0s     pve2 beats every=60 members=pve1,pve2,pve3
        10m    pve2 stopping reason=shutdown
        10m    pve2 hushes
        10m    pve2 offline reason=shutdown
        10m5s  pve1 beats every=60 members=pve1,-pve2,pve3
        2h
        ",
    );
}

#[test]
fn when_the_node_that_told_it_is_gone_the_next_one_does() {
    tell(
        CATALOGUE,
        "
        0s     pve1 online
        0s     pve1 beats every=60 members=pve1,pve2,pve9
        0s     pve2 beats every=60 members=pve1,pve2,pve9
        10m    pve1 beats every=60 members=pve1,pve2,-pve9
        => 10m ProxmoxNodeDown pve1/pve9 none -> pending: condition_began
        10m    pve2 beats every=60 members=pve1,pve2,-pve9
        11m    pve1 stopping reason=shutdown
        11m    pve1 hushes
        11m    pve1 offline reason=shutdown
        => 11m ProxmoxNodeDown pve1/pve9 pending -> pending: witness_lost
        11m5s  pve2 beats every=60 members=-pve1,pve2,-pve9
        => 11m5s ProxmoxNodeDown pve2/pve9 none -> pending: condition_began
        => 13m5s ProxmoxNodeDown pve2/pve9 pending -> firing: condition_lasted, told
        20m    pve2 beats every=60 members=-pve1,pve2,pve9
        => 20m ProxmoxNodeDown pve2/pve9 firing -> resolved: condition_ended, told
        30m
        ",
    );
}
