//! A storage, as one node sees it, and which archives are there.

use std::collections::BTreeMap;
use std::sync::Arc;

use pvewatch_protocol::{BackupStorage, GuestArchives, NodeName, StorageState, Vmid};
use serde::{Deserialize, Serialize};

use super::moment::Moment;

/// The storages of a node, by name.
pub type Storages = BTreeMap<Arc<str>, Arc<Storage>>;

/// A storage, as one node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Storage {
    /// The node.
    pub node: NodeName,
    /// Its name in `storage.cfg`.
    pub id: Arc<str>,
    /// What the node says of it. The archives are those that were there when it could be looked at
    /// last (`listed_at`).
    pub seen: BackupStorage,
    /// Since when its state is what it is.
    pub since: Moment,
    /// The cluster whose nodes see the same; none if no other does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Whether this node tells how full it is: of those that see the same only one does.
    pub counted_here: bool,
}

impl Storage {
    /// A storage that was not known before.
    pub fn new(node: NodeName, seen: BackupStorage, since: Moment) -> Self {
        let id = seen.storage.as_str().into();
        Self { node, id, seen, since, cluster: None, counted_here: true }
    }

    /// Takes in what its node says now. What was there stays known while nobody can look.
    pub fn learn(&mut self, seen: BackupStorage, moment: Moment) {
        if self.seen.state != seen.state {
            self.since = moment;
        }
        let before = std::mem::replace(&mut self.seen, seen);
        if self.seen.listed_at.is_none() {
            (self.seen.listed_at, self.seen.guests) = (before.listed_at, before.guests);
        }
    }

    /// Whether it can be used and looked at.
    pub fn is_available(&self) -> bool {
        self.seen.state == StorageState::Available
    }

    /// What a guest has there.
    pub fn archives_of(&self, vmid: Vmid) -> Option<&GuestArchives> {
        let place = self.seen.guests.binary_search_by_key(&vmid, |guest| guest.vmid).ok()?;
        self.seen.guests.get(place)
    }

    /// How full the metadata of a thin pool is, 0 to 1.
    pub fn metadata_used_ratio(&self) -> Option<f64> {
        let total = self.seen.metadata_total_bytes.filter(|total| *total > 0)?;
        Some(self.seen.metadata_used_bytes? as f64 / total as f64)
    }

    /// How full it is, 0 to 1, as df(1) reckons: of what is in use and what can still be written.
    pub fn used_ratio(&self) -> Option<f64> {
        used_ratio(self.seen.used_bytes, self.seen.available_bytes)
    }
}

/// How full something is, 0 to 1, as df(1) reckons: of what is in use and what can still be written.
/// What is kept for root counts as in use.
pub fn used_ratio(used_bytes: Option<u64>, available_bytes: Option<u64>) -> Option<f64> {
    let used = used_bytes? as f64;
    let room = used + available_bytes? as f64;
    (room > 0.0).then(|| used / room)
}

/// The storages of a picture, each once, with its guests in order.
pub(super) fn whole(elements: Vec<BackupStorage>) -> Vec<BackupStorage> {
    let mut storages: Vec<BackupStorage> = Vec::new();
    for mut element in elements {
        match storages.iter_mut().find(|known| known.storage == element.storage) {
            Some(known) => known.guests.append(&mut element.guests),
            None => storages.push(element),
        }
    }
    for storage in &mut storages {
        storage.guests.sort_by_key(|guest| guest.vmid);
        storage.guests.dedup_by_key(|guest| guest.vmid);
    }
    storages
}
