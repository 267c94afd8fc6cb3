//! What a story's node reads of itself, beside its load.

use jiff::Timestamp;
use pvewatch_protocol::sample::{
    Certificate, Clock, Cluster, Filesystem, GuestUsage, Interface, Member, Pool, PoolKind,
    Temperature,
};

use super::story::at;

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

/// `NAME:ERRORS[:FOLDED],...`, where `20/s@5m` are as many each second since then.
pub fn interfaces(words: &str, now: Timestamp) -> Vec<Interface> {
    let interface = |word: &str| {
        let mut parts = word.split(':');
        let name = parts.next().unwrap().to_owned();
        let receive_errors = counted(parts.next().unwrap(), now) as u64;
        let folded = parts.next().map_or(0, |count| count.parse().unwrap());
        Interface { name, receive_errors, folded, ..Interface::default() }
    };
    words.split(',').filter(|word| !word.is_empty()).map(interface).collect()
}

/// `VMID:PROCESSOR_SECONDS[:MIB],...`, where `1.9/s@5m` are as many each second since then.
pub fn usage(words: &str, now: Timestamp) -> Vec<GuestUsage> {
    let usage = |word: &str| {
        let mut parts = word.split(':');
        GuestUsage {
            vmid: parts.next().unwrap().parse().unwrap(),
            cpu_seconds: counted(parts.next().unwrap(), now),
            memory_bytes: parts.next().map(|mebibytes| mebibytes.parse::<u64>().unwrap() << 20),
        }
    };
    words.split(',').filter(|word| !word.is_empty()).map(usage).collect()
}

/// A counter: a number, or `20/s@5m`.
fn counted(text: &str, now: Timestamp) -> f64 {
    match text.split_once("/s@") {
        Some((rate, since)) => {
            rate.parse::<f64>().unwrap() * now.duration_since(at(since)).as_secs_f64()
        }
        None => text.parse().unwrap(),
    }
}

/// `CHIP:DEGREES[:CRITICAL],...`
pub fn temperatures(words: &str) -> Vec<Temperature> {
    let temperature = |word: &str| {
        let mut parts = word.split(':');
        Temperature {
            chip: parts.next().unwrap().to_owned(),
            sensor: None,
            celsius: parts.next().unwrap().parse().unwrap(),
            high_celsius: None,
            critical_celsius: parts.next().map(|critical| critical.parse().unwrap()),
        }
    };
    words.split(',').filter(|word| !word.is_empty()).map(temperature).collect()
}

/// `right` or `adrift`.
pub fn clock(word: &str) -> Clock {
    let seconds = if word == "right" { 0.01 } else { 16.0 };
    Clock {
        synchronised: word == "right",
        estimated_error_seconds: seconds / 10.0,
        maximum_error_seconds: seconds,
    }
}

/// `FILE:TIME`, when it ends.
pub fn certificate(word: &str) -> Certificate {
    let (file, ends) = word.split_once(':').unwrap();
    Certificate { file: file.to_owned(), ends_at: at(ends) }
}

/// `pve1,-pve2` and `true` or `false`: the members, of which a node does not see some, and whether
/// the cluster is quorate.
pub fn cluster(members: &str, quorate: &str) -> Cluster {
    let member = |word: &str| {
        let offline = word.strip_prefix('-');
        Member { node: offline.unwrap_or(word).to_owned(), online: offline.is_none() }
    };
    Cluster {
        name: "berlin".to_owned(),
        quorate: quorate == "true",
        members: members.split(',').map(member).collect(),
        ha: None,
    }
}
