//! Storages for backups and the archives on them, as `/api/v1/backups` tells them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pvewatch_protocol::{GuestArchives, NodeName, StorageState, Vmid};
use serde::{Deserialize, Serialize};

use crate::core::Snapshot;
use crate::fleet::{NodeView, Storage};

/// A storage for backups, as one node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StorageAnswer {
    /// Its name in `storage.cfg`.
    pub storage: String,
    /// The node.
    pub node: NodeName,
    /// Its type, such as `nfs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether other nodes see the same.
    pub shared: bool,
    /// Whether it can be looked at. If it cannot, what stands here of its archives is what was
    /// there when it could.
    pub state: StorageState,
    /// Why it cannot.
    pub detail: Option<String>,
    /// Its size.
    pub total_bytes: Option<u64>,
    /// What can still be written.
    pub available_bytes: Option<u64>,
    /// How full it is, 0 to 1.
    pub used_ratio: Option<f64>,
    /// Which archives are kept unless a job says otherwise.
    pub prune: Option<String>,
    /// As of when its archives are known; none if they never were.
    pub listed_at: Option<Timestamp>,
    /// How many archives of the node's guests are there; if it is not shared, of all guests.
    pub archives: u64,
    /// What they take; none if that cannot be told.
    pub archives_bytes: Option<u64>,
}

impl StorageAnswer {
    pub(super) fn of(storage: &Storage) -> Self {
        let seen = &storage.seen;
        Self {
            storage: seen.storage.clone(),
            node: storage.node.clone(),
            kind: seen.kind.clone(),
            shared: seen.shared,
            state: seen.state,
            detail: seen.detail.clone(),
            total_bytes: seen.total_bytes,
            available_bytes: seen.available_bytes,
            used_ratio: storage.used_ratio(),
            prune: seen.prune.clone(),
            listed_at: seen.listed_at,
            archives: seen.guests.iter().map(|guest| u64::from(guest.count)).sum(),
            archives_bytes: seen.guests.iter().map(|guest| guest.bytes).sum(),
        }
    }
}

/// A guest's archives on one storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchivesAnswer {
    /// The storage.
    pub storage: String,
    /// The node that sees them: the guest's own, or one where the guest was.
    pub node: NodeName,
    /// Whether the storage can be looked at; if it cannot, they were there when it could.
    pub state: StorageState,
    /// As of when they are known.
    pub listed_at: Option<Timestamp>,
    /// What is there.
    #[serde(flatten)]
    pub archives: GuestArchives,
}

/// The storages of a cluster that only one node sees, by cluster.
pub(super) struct LocalStorages<'a>(BTreeMap<&'a str, Vec<&'a Storage>>);

impl<'a> LocalStorages<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let mut storages: BTreeMap<_, Vec<&Storage>> = BTreeMap::new();
        for view in &snapshot.nodes {
            let Some(cluster) = cluster(view) else { continue };
            let local = view.storages.iter().filter(|storage| !storage.seen.shared);
            storages.entry(cluster).or_default().extend(local.map(|storage| &**storage));
        }
        Self(storages)
    }

    /// A guest's archives: those that its node sees, and those that it left on others.
    pub(super) fn archives_of(&self, vmid: Vmid, view: &NodeView) -> Vec<ArchivesAnswer> {
        let own = view.storages.iter().map(|storage| &**storage);
        let cluster = cluster(view).and_then(|cluster| self.0.get(cluster));
        let others = cluster.into_iter().flatten().copied();
        let others = others.filter(|storage| storage.node != view.node.name);
        let answer = |storage: &Storage| {
            Some(ArchivesAnswer {
                storage: storage.seen.storage.clone(),
                node: storage.node.clone(),
                state: storage.seen.state,
                listed_at: storage.seen.listed_at,
                archives: storage.archives_of(vmid)?.clone(),
            })
        };
        own.chain(others).filter_map(answer).collect()
    }
}

fn cluster(view: &NodeView) -> Option<&str> {
    view.node.facts.as_ref()?.cluster.as_deref()
}
