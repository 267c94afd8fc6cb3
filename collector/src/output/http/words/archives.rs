//! Archives and the storages that they are on, in words.

use pvewatch_protocol::StorageState;

use super::Tone;
use crate::output::http::api::{ArchivesAnswer, BackupAnswer, StorageAnswer};
use crate::rules::human;

/// From what share on a storage is almost full, and full: as the rules BackupStorageAlmostFull and
/// BackupStorageCritical count.
const ALMOST_FULL: f64 = 0.8;
const FULL: f64 = 0.95;

/// Where a guest's archives are and how many: `11 on nas, 3 on local of pve1`; empty if there are
/// none, or nobody knows.
pub fn archives(guest: &BackupAnswer) -> String {
    let on = |on: &ArchivesAnswer| {
        let elsewhere = match on.node == guest.node {
            true => String::new(),
            false => format!(" of {}", on.node),
        };
        let doubt = if on.state == StorageState::Available { "" } else { " when last seen" };
        format!("{} on {}{elsewhere}{doubt}", on.archives.count, on.storage)
    };
    let places = guest.archives.iter().filter(|on| on.archives.count > 0);
    places.map(on).collect::<Vec<_>>().join(", ")
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

/// How a storage is: `83 % full, 633 GiB left`, or why nobody knows.
pub fn storage(storage: &StorageAnswer) -> (Tone, String) {
    let why = || storage.detail.clone().unwrap_or_else(|| storage.state.as_str().to_owned());
    match (storage.state, storage.used_ratio, storage.available_bytes) {
        (StorageState::Available, Some(ratio), Some(left)) => {
            let tone = match ratio {
                ratio if ratio > FULL => Tone::Bad,
                ratio if ratio > ALMOST_FULL => Tone::Doubtful,
                _ => Tone::Good,
            };
            let (full, left) = (human::percent(ratio), human::bytes(left as f64));
            match &storage.detail {
                None => (tone, format!("{full} full, {left} left")),
                Some(detail) => (Tone::Doubtful, format!("{full} full, {left} left; {detail}")),
            }
        }
        (StorageState::Available, ..) => (Tone::Good, "available".to_owned()),
        (StorageState::NotRead, ..) => (Tone::Neutral, why()),
        _ => (Tone::Doubtful, format!("unknown: {}", why())),
    }
}
