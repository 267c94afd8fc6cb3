//! What a story's node says of its storages and of the archives there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use pvewatch_protocol::{Archive, BackupStorage, GuestArchives, StorageState};

use super::configured::kept;
use super::story::at;

/// The name of an archive whose run began at a time.
pub fn archive_name(vmid: &str, began: Timestamp) -> String {
    let time = began.to_zoned(TimeZone::UTC).strftime("%Y_%m_%d-%H_%M_%S");
    format!("vzdump-qemu-{vmid}-{time}.vma.zst")
}

/// `NAME:PERCENT[;shared][;disks][;metadata:PERCENT][;not_mounted][;medium@NAME][;listed@TIME][;daily:NUMBER][;VMID*COUNT[-SURPLUS]@TIME]...`, the last
/// time that of the newest archive. What was listed was listed just now unless it says so.
pub fn storage(word: &str, now: Timestamp) -> BackupStorage {
    let mut parts = word.split(';');
    let (name, percent) = parts.next().unwrap().split_once(':').unwrap();
    let used: u64 = percent.parse().unwrap();
    let flags: Vec<&str> = parts.collect();
    // Of guests' disks, as thin pools are.
    let for_disks = flags.contains(&"disks");
    let metadata = flags.iter().find_map(|flag| flag.strip_prefix("metadata:")?.parse().ok());
    let is_there = !flags.contains(&"not_mounted");
    let listed = flags.iter().find_map(|flag| flag.strip_prefix("listed@"));
    let bytes = |percent: u64| is_there.then_some(percent << 30);
    BackupStorage {
        storage: name.to_owned(),
        kind: "nfs".to_owned(),
        content: vec![if for_disks { "images" } else { "backup" }.to_owned()],
        shared: flags.contains(&"shared"),
        state: if is_there { StorageState::Available } else { StorageState::NotMounted },
        detail: (!is_there).then(|| "nothing is mounted at /mnt/pve/nas".to_owned()),
        place: flags.iter().find_map(|flag| flag.strip_prefix("medium@")).map(str::to_owned),
        total_bytes: bytes(100),
        used_bytes: bytes(used),
        available_bytes: bytes(100 - used),
        metadata_total_bytes: metadata.map(|_| 100),
        metadata_used_bytes: metadata,
        held_bytes: BTreeMap::new(),
        prune: flags.iter().find_map(|flag| flag.strip_prefix("daily:")).map(kept),
        listed_at: (is_there && !for_disks).then(|| listed.map_or(now, at)),
        guests: flags.iter().filter_map(|flag| guest(flag)).collect(),
    }
}

fn guest(flag: &str) -> Option<GuestArchives> {
    let (vmid, rest) = flag.split_once('*')?;
    let (counts, newest) = rest.split_once('@').unwrap();
    let (count, surplus) = counts.split_once('-').unwrap_or((counts, "0"));
    let began = at(newest);
    Some(GuestArchives {
        vmid: vmid.parse().unwrap(),
        count: count.parse().unwrap(),
        bytes: Some(1 << 30),
        newest: Some(Archive {
            name: archive_name(vmid, began),
            began,
            bytes: Some(1 << 29),
            notes: None,
            protected: false,
        }),
        oldest: Some(began),
        protected: 0,
        surplus: Some(surplus.parse().unwrap()),
        prune: Some("keep-last=3".to_owned()),
        unfinished: 0,
    })
}
