//! Archives and storages, in words.

use pvewatch_protocol::{NodeName, StorageState};

use super::Tone;
use crate::output::http::api::{
    ArchivesAnswer, BackupAnswer, CountedStorage, SeenBy, StorageAnswer,
};
use crate::rules::human;

/// From what share on a storage is almost full: as the rules BackupStorageAlmostFull and
/// ProxmoxStorageAlmostFull count.
const ALMOST_FULL_OF_ARCHIVES: f64 = 0.8;
const ALMOST_FULL: f64 = 0.85;

/// Characters of the notes on an archive where there is little room.
const NOTES_CHARS_MAX: usize = 40;

/// Where a guest's archives are and how many: `11 on nas, 3 on local of pve1`; empty if there are
/// none, or nobody knows.
pub fn archives(guest: &BackupAnswer) -> String {
    let on = |on: &ArchivesAnswer| {
        let elsewhere = match on.node == guest.node {
            true => String::new(),
            false => format!(" of {}", on.node),
        };
        let doubt = if on.state == StorageState::Available { "" } else { " when last seen" };
        let more = more(on, guest.name.as_deref());
        format!("{} on {}{elsewhere}{doubt}{more}", on.archives.count, on.storage)
    };
    let places = guest.archives.iter().filter(|on| on.archives.count > 0);
    places.map(on).collect::<Vec<_>>().join(", ")
}

/// What is special about a guest's archives: how many are protected, and the notes on the newest,
/// unless they are the guest's name, which Proxmox writes there by itself.
fn more(on: &ArchivesAnswer, guest: Option<&str>) -> String {
    let protected = match on.archives.protected {
        0 => None,
        count => Some(format!("{count} protected")),
    };
    let notes = on.archives.newest.as_ref().and_then(|newest| newest.notes.as_deref());
    let line = notes.and_then(|notes| notes.lines().next()).filter(|line| Some(*line) != guest);
    let notes = line.map(|line| format!("newest: {}", cut(line)));
    let told: Vec<_> = protected.into_iter().chain(notes).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) }
}

fn cut(notes: &str) -> String {
    match notes.char_indices().nth(NOTES_CHARS_MAX) {
        Some((end, _)) => format!("{}…", notes[..end].trim_end()),
        None => notes.to_owned(),
    }
}

/// What is wrong with them; none if nothing is.
pub fn archives_trouble(guest: &BackupAnswer) -> Option<(Tone, String)> {
    let surplus = guest.surplus();
    if guest.archive_gone_since.is_some() {
        Some((Tone::Bad, "the last one is gone".to_owned()))
    } else if surplus > 0 {
        Some((Tone::Doubtful, format!("{surplus} too many")))
    } else {
        None
    }
}

/// What lies on a storage, the most first: `images 1.8 TiB, backup 412 GiB`; empty if nobody knows.
pub fn held(storage: &StorageAnswer) -> String {
    let mut held: Vec<_> = storage.held_bytes.iter().filter(|(_, bytes)| **bytes > 0).collect();
    held.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    let words =
        held.into_iter().map(|(what, bytes)| format!("{what} {}", human::bytes(*bytes as f64)));
    words.collect::<Vec<_>>().join(", ")
}

/// Which nodes see a storage, and which of them cannot use it: `pve1, pve2 (not_mounted)`.
pub fn seen_by(counted: &CountedStorage) -> String {
    let is_blind = |node: &NodeName| counted.blind().any(|blind| blind.node == *node);
    let word = |it: &SeenBy| match is_blind(&it.node) && counted.seen_by.len() > 1 {
        true => format!("{} ({})", it.node, it.state.as_str()),
        false => it.node.to_string(),
    };
    counted.seen_by.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// How a storage is: `83 % full, 633 GiB left`, or why nobody knows.
pub fn storage(storage: &StorageAnswer) -> (Tone, String) {
    let why = || storage.detail.clone().unwrap_or_else(|| storage.state.as_str().to_owned());
    match (storage.state, storage.used_ratio, storage.available_bytes) {
        (StorageState::Available, Some(ratio), Some(left)) => {
            let limit = match storage.takes_backups() {
                true => ALMOST_FULL_OF_ARCHIVES,
                false => ALMOST_FULL,
            };
            let metadata = storage.metadata_used_ratio;
            let is_almost_full = ratio > limit || metadata.is_some_and(|it| it > ALMOST_FULL);
            let tone = match (storage.is_full(), is_almost_full || storage.detail.is_some()) {
                (true, _) => Tone::Bad,
                (false, true) => Tone::Doubtful,
                (false, false) => Tone::Good,
            };
            let (full, left) = (human::percent(ratio), human::bytes(left as f64));
            let metadata = metadata.map(|it| format!("metadata {} full", human::percent(it)));
            let parts =
                [Some(format!("{full} full, {left} left")), metadata, storage.detail.clone()];
            (tone, parts.into_iter().flatten().collect::<Vec<_>>().join("; "))
        }
        (StorageState::Available, ..) => (Tone::Good, "available".to_owned()),
        (StorageState::NotRead, ..) => (Tone::Neutral, why()),
        _ => (Tone::Doubtful, format!("unknown: {}", why())),
    }
}
