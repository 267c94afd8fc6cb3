//! Metrics of filesystems, pools of disks and cluster members, by the newest samples of nodes that are
//! heard.

use std::fmt;

use pvewatch_protocol::sample::{Filesystem, Pool};

use super::families::Families;
use super::nodes::fresh_samples;
use crate::core::Snapshot;

/// Writes the metrics of all filesystems and pools.
pub fn write(families: &mut Families<'_>, snapshot: &Snapshot) -> fmt::Result {
    let flag = |flag: bool| Some(f64::from(u8::from(flag)));
    families.gauge(
        "pvewatch_filesystem_size_bytes",
        "Size of a filesystem.",
        filesystems(snapshot, |it| it.total_bytes.map(|bytes| bytes as f64)),
    )?;
    families.gauge(
        "pvewatch_filesystem_used_bytes",
        "What is in use of a filesystem. With what is available, less than its size: some is kept \
         for root.",
        filesystems(snapshot, |it| it.used_bytes.map(|bytes| bytes as f64)),
    )?;
    families.gauge(
        "pvewatch_filesystem_available_bytes",
        "What can still be written to a filesystem.",
        filesystems(snapshot, |it| it.available_bytes.map(|bytes| bytes as f64)),
    )?;
    families.gauge(
        "pvewatch_filesystem_inodes",
        "How many files a filesystem can have.",
        filesystems(snapshot, |it| it.inodes.map(|inodes| inodes as f64)),
    )?;
    families.gauge(
        "pvewatch_filesystem_inodes_free",
        "How many files more a filesystem can have.",
        filesystems(snapshot, |it| it.inodes_free.map(|inodes| inodes as f64)),
    )?;
    families.gauge(
        "pvewatch_filesystem_readonly",
        "Whether nothing can be written to a filesystem.",
        filesystems(snapshot, |it| flag(it.read_only)),
    )?;
    families.gauge(
        "pvewatch_filesystem_hanging",
        "Whether a filesystem does not answer.",
        filesystems(snapshot, |it| flag(it.hanging)),
    )?;
    families.gauge(
        "pvewatch_pool_healthy",
        "Whether a pool of disks has all of them, and can be used.",
        pools(snapshot, |pool| flag(pool.healthy)),
    )?;
    families.gauge(
        "pvewatch_cluster_member_online",
        "Whether a node sees another one of its cluster, or itself.",
        members(snapshot),
    )
}

/// One series for each node of a cluster, as each of them sees it.
fn members(snapshot: &Snapshot) -> impl Iterator<Item = ([(&str, &str); 2], f64)> {
    fresh_samples(snapshot).flat_map(|(node, sample)| {
        let members = sample.cluster.iter().flat_map(|cluster| &cluster.members);
        members.map(move |member| {
            let labels = [("node", node.as_str()), ("member", &*member.node)];
            (labels, f64::from(u8::from(member.online)))
        })
    })
}

/// One series for each filesystem that `read` has a value for.
fn filesystems(
    snapshot: &Snapshot,
    read: impl Fn(&Filesystem) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 4], f64)> {
    fresh_samples(snapshot).flat_map(move |(node, sample)| {
        sample.filesystems.iter().filter_map(move |it| {
            let labels = [
                ("node", node.as_str()),
                ("mountpoint", &*it.mount),
                ("device", &*it.device),
                ("fstype", &*it.kind),
            ];
            Some((labels, read(it)?))
        })
    })
}

/// One series for each pool that `read` has a value for.
fn pools(
    snapshot: &Snapshot,
    read: impl Fn(&Pool) -> Option<f64> + Copy,
) -> impl Iterator<Item = ([(&str, &str); 3], f64)> {
    fresh_samples(snapshot).flat_map(move |(node, sample)| {
        sample.pools.iter().filter_map(move |pool| {
            let (node, name) = (("node", node.as_str()), ("pool", &*pool.name));
            Some(([node, name, ("kind", pool.kind.as_str())], read(pool)?))
        })
    })
}
