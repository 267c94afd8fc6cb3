//! What a story's node reads of its filesystems and pools of disks.

use pvewatch_protocol::sample::{Cluster, Filesystem, Member, Pool, PoolKind};

/// `MOUNT:PERCENT[;INODE-PERCENT|hanging|ro],...`
pub fn filesystems(words: &str) -> Vec<Filesystem> {
    words.split(',').filter(|word| !word.is_empty()).map(filesystem).collect()
}

fn filesystem(word: &str) -> Filesystem {
    let mut parts = word.split(';');
    let (mount, percent) = parts.next().unwrap().split_once(':').unwrap();
    let used: u64 = percent.parse().unwrap();
    let flags: Vec<&str> = parts.collect();
    let is_hanging = flags.contains(&"hanging");
    let bytes = |percent: u64| (!is_hanging).then_some(percent << 30);
    let inodes_used: Option<u64> = flags.iter().find_map(|flag| flag.parse().ok());
    Filesystem {
        mount: mount.to_owned(),
        device: "/dev/sda1".to_owned(),
        kind: "ext4".to_owned(),
        read_only: flags.contains(&"ro"),
        hanging: is_hanging,
        total_bytes: bytes(100),
        used_bytes: bytes(used),
        available_bytes: bytes(100 - used),
        inodes: inodes_used.map(|_| 100),
        inodes_free: inodes_used.map(|used| 100 - used),
    }
}

/// `NAME:STATE,...`
pub fn pools(words: &str) -> Vec<Pool> {
    let pool = |word: &str| {
        let (name, state) = word.split_once(':').unwrap();
        Pool {
            name: name.to_owned(),
            kind: if name.starts_with("md") { PoolKind::Md } else { PoolKind::Zfs },
            state: state.to_owned(),
            healthy: matches!(state, "online" | "active"),
            detail: None,
        }
    };
    words.split(',').filter(|word| !word.is_empty()).map(pool).collect()
}

/// `true` or `false`: whether the cluster is quorate, as one of two nodes sees it.
pub fn cluster(quorate: &str) -> Cluster {
    let quorate = quorate == "true";
    let member = |(node, online): (&str, bool)| Member { node: node.to_owned(), online };
    Cluster {
        name: "berlin".to_owned(),
        quorate,
        members: [("pve1", true), ("pve2", quorate)].map(member).to_vec(),
    }
}
