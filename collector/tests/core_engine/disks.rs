//! What each sample says of a host: its filesystems, pools of disks, cluster and memory.

use super::story::{CATALOGUE, tell};

#[test]
fn a_filesystem_that_fills_up_is_told_once_and_worse_when_it_is_full() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 disks=/:50,/var:86
        => 0s HighDiskUsage pve1//var none -> pending: condition_began
        => 5m HighDiskUsage pve1//var pending -> firing: condition_lasted, told
        10m    pve1 beats every=60 disks=/:50,/var:96
        => 10m DiskAlmostFull pve1//var none -> pending: condition_began
        => 11m DiskAlmostFull pve1//var pending -> firing: condition_lasted, told
        => 11m HighDiskUsage pve1//var firing -> firing: inhibition_began
        20m    pve1 beats every=60 disks=/:50,/var:70
        => 20m HighDiskUsage pve1//var firing -> resolved: condition_ended, told
        => 20m DiskAlmostFull pve1//var firing -> resolved: condition_ended, told
        1h
        ",
    );
}

#[test]
fn what_is_read_only_or_within_bounds_is_no_alert() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 disks=/:85;90,/mnt/iso:100;100;ro pools=rpool:online,md0:active
        1h
        ",
    );
}

#[test]
fn inodes_and_shares_that_hang_are_told() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 disks=/:50;95,/mnt/nas:10
        => 0s NodeFilesystemAlmostOutOfInodes pve1// none -> pending: condition_began
        => 5m NodeFilesystemAlmostOutOfInodes pve1// pending -> firing: condition_lasted, told
        10m    pve1 beats every=60 disks=/:50;80,/mnt/nas:0;hanging
        => 10m NodeFilesystemAlmostOutOfInodes pve1// firing -> resolved: condition_ended, told
        => 10m FilesystemHangs pve1//mnt/nas none -> pending: condition_began
        => 11m FilesystemHangs pve1//mnt/nas pending -> firing: condition_lasted, told
        20m    pve1 beats every=60 disks=/:50
        => 20m FilesystemHangs pve1//mnt/nas firing -> resolved: entity_removed, told
        1h
        ",
    );
}

#[test]
fn a_pool_that_lacks_a_disk_is_told_at_once() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 pools=rpool:online,md0:active
        10m    pve1 beats every=60 pools=rpool:degraded,md0:active
        => 10m ZfsPoolUnhealthy pve1/rpool none -> firing: condition_lasted, told
        20m    pve1 beats every=60 pools=rpool:degraded,md0:degraded
        => 20m MdArrayDegraded pve1/md0 none -> firing: condition_lasted, told
        30m    pve1 beats every=60 pools=rpool:online,md0:active
        => 30m ZfsPoolUnhealthy pve1/rpool firing -> resolved: condition_ended, told
        => 30m MdArrayDegraded pve1/md0 firing -> resolved: condition_ended, told
        1h
        ",
    );
}

#[test]
fn a_node_that_wants_a_reboot_is_told_after_a_day() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=600 reboot=true
        => 0s VMRebootRequired pve1 none -> pending: condition_began
        => 24h VMRebootRequired pve1 pending -> firing: condition_lasted, told
        25h    pve1 beats every=600 reboot=false
        => 25h VMRebootRequired pve1 firing -> resolved: condition_ended, told
        30h
        ",
    );
}

#[test]
fn a_node_without_a_quorum_is_told_half_a_minute_later() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 quorate=true
        10m    pve1 beats every=60 quorate=false
        => 10m PveClusterNotQuorate pve1 none -> pending: condition_began
        => 10m30s PveClusterNotQuorate pve1 pending -> firing: condition_lasted, told
        20m    pve1 beats every=60 quorate=true
        => 20m PveClusterNotQuorate pve1 firing -> resolved: condition_ended, told
        1h
        ",
    );
}

#[test]
fn a_process_that_is_killed_for_its_memory_is_told_for_an_hour() {
    tell(
        CATALOGUE,
        "
        0s     pve1 beats every=60 kills=3
        10m    pve1 beats every=60 kills=4
        => 10m HostOomKill pve1 none -> firing: condition_lasted, told
        30m    pve1 beats every=60 kills=6
        => 1h30m HostOomKill pve1 firing -> resolved: condition_ended, told
        3h
        ",
    );
}

#[test]
fn a_boot_that_nobody_announced_is_told_for_a_day() {
    tell(
        CATALOGUE,
        "
        0s     pve1 started
        0s     pve1 beats every=600
        1h     pve1 started boot=boot-2
        => 1h HostUncleanReboot pve1 none -> pending: condition_began
        1h     pve1 beats every=600
        => 1h1m HostUncleanReboot pve1 pending -> firing: condition_lasted, told
        => 25h HostUncleanReboot pve1 firing -> resolved: condition_ended, told
        30h
        ",
    );
}
