//! `/api/v1/storages`: every storage, how full it is, and what lies there; and the archives of
//! guests on them, as `/api/v1/backups` tells them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pvewatch_protocol::{GuestArchives, NodeName, Site, StorageState, Vmid, takes_backups};
use serde::{Deserialize, Serialize};

use super::checked_limit;
use crate::core::Snapshot;
use crate::fleet::{NodeView, Storage};
use crate::output::http::error::ApiError;
use crate::output::http::picture::Picture;

/// Storages in one answer, unless a limit is given.
pub const STORAGES_DEFAULT: usize = 1000;

/// Storages in one answer at most.
pub const STORAGES_MAX: usize = 10_000;

/// From what share on a storage is full, as the rule BackupStorageCritical counts.
pub const FULL: f64 = 0.95;

/// The parameters of `/api/v1/storages`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoragesQuery {
    /// Those that this node sees; without it each storage comes once, whoever sees it.
    pub node: Option<NodeName>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// The answer of `/api/v1/storages`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoragesAnswer {
    /// The site.
    pub site: Site,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// Storages that the question is about; more than are listed if there is a limit.
    pub total: usize,
    /// The storages: those that are full or that a node cannot use, then by name.
    pub storages: Vec<CountedStorage>,
}

/// A storage that is counted once, whoever sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountedStorage {
    /// As the node tells it that tells how full it is.
    #[serde(flatten)]
    pub storage: StorageAnswer,
    /// The nodes that see it, and whether they can use it.
    pub seen_by: Vec<SeenBy>,
}

/// How a node sees a storage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeenBy {
    /// The node.
    pub node: NodeName,
    /// Whether it can use it.
    pub state: StorageState,
    /// Why it cannot.
    pub detail: Option<String>,
}

/// A storage, as one node sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StorageAnswer {
    /// Its name in `storage.cfg`.
    pub storage: String,
    /// The node.
    pub node: NodeName,
    /// Its type, such as `nfs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it may hold, such as `images` or `backup`.
    pub content: Vec<String>,
    /// Whether other nodes see the same.
    pub shared: bool,
    /// The cluster whose nodes see the same; none if no other does.
    pub cluster: Option<String>,
    /// Whether this node tells how full it is: of those that see the same one does.
    pub counted_here: bool,
    /// Whether it can be looked at. If it cannot, what stands here of its archives is what was
    /// there when it could.
    pub state: StorageState,
    /// Why it cannot.
    pub detail: Option<String>,
    /// Its size.
    pub total_bytes: Option<u64>,
    /// What is in use.
    pub used_bytes: Option<u64>,
    /// What can still be written.
    pub available_bytes: Option<u64>,
    /// How full it is, 0 to 1.
    pub used_ratio: Option<f64>,
    /// How full the metadata of a thin pool is, 0 to 1.
    pub metadata_used_ratio: Option<f64>,
    /// What its files take, in bytes, by what they are; empty if that is not known.
    pub held_bytes: BTreeMap<String, u64>,
    /// Which archives are kept unless a job says otherwise.
    pub prune: Option<String>,
    /// As of when its archives are known; none if they never were.
    pub listed_at: Option<Timestamp>,
    /// How many archives of the node's guests are there; if it is not shared, of all guests.
    pub archives: u64,
    /// What they take; none if that cannot be told.
    pub archives_bytes: Option<u64>,
}

impl StoragesAnswer {
    /// Answers a question.
    ///
    /// # Errors
    /// When the limit is not possible.
    pub fn of(picture: &Picture, query: &StoragesQuery) -> Result<Self, ApiError> {
        let limit = checked_limit(query.limit, STORAGES_DEFAULT, STORAGES_MAX)?;
        let all = picture.snapshot.nodes.iter().flat_map(|view| &view.storages);
        let mut storages: Vec<CountedStorage> = seen_alike(all.map(|storage| &**storage))
            .into_iter()
            .filter_map(|seen| CountedStorage::of(&seen, query.node.as_ref()))
            .collect();
        storages.sort_by_cached_key(|it| {
            (!it.is_wrong(), it.storage.storage.clone(), it.storage.node.clone())
        });
        let total = storages.len();
        storages.truncate(limit);
        Ok(Self { site: picture.snapshot.site.clone(), at: picture.now, total, storages })
    }

    /// Whether a storage cannot be used, or is full.
    pub fn is_anything_wrong(&self) -> bool {
        self.storages.iter().any(CountedStorage::is_wrong)
    }
}

/// The storages, each with all that see it.
fn seen_alike<'a>(storages: impl Iterator<Item = &'a Storage>) -> Vec<Vec<&'a Storage>> {
    let mut alone = Vec::new();
    let mut shared: BTreeMap<(&str, &str), Vec<&Storage>> = BTreeMap::new();
    for storage in storages {
        match &storage.cluster {
            Some(cluster) => shared.entry((cluster, &storage.id)).or_default().push(storage),
            None => alone.push(vec![storage]),
        }
    }
    alone.extend(shared.into_values());
    alone
}

impl CountedStorage {
    /// A storage as `node` sees it, or the node that tells how full it is; none if `node` does not
    /// see it.
    fn of(seen: &[&Storage], node: Option<&NodeName>) -> Option<Self> {
        let counted = match node {
            Some(node) => seen.iter().find(|storage| storage.node == *node),
            // While no node could ever look at it, none tells.
            None => seen.iter().find(|storage| storage.counted_here).or(seen.first()),
        };
        let seen_by = seen.iter().map(|storage| SeenBy::of(storage)).collect();
        Some(Self { storage: StorageAnswer::of(counted?), seen_by })
    }

    /// Whether a node cannot use it, or it is full.
    pub fn is_wrong(&self) -> bool {
        self.storage.is_full() || self.blind().next().is_some()
    }

    /// The nodes that should be able to use it and cannot.
    pub fn blind(&self) -> impl Iterator<Item = &SeenBy> {
        let is_blind =
            |it: &&SeenBy| !matches!(it.state, StorageState::Available | StorageState::NotRead);
        self.seen_by.iter().filter(is_blind)
    }
}

impl SeenBy {
    fn of(storage: &Storage) -> Self {
        let (node, detail) = (storage.node.clone(), storage.seen.detail.clone());
        Self { node, state: storage.seen.state, detail }
    }
}

impl StorageAnswer {
    /// Whether backups go there.
    pub fn takes_backups(&self) -> bool {
        takes_backups(&self.content)
    }

    /// Whether nothing more can be written to it, or soon cannot.
    pub fn is_full(&self) -> bool {
        [self.used_ratio, self.metadata_used_ratio].into_iter().flatten().any(|it| it > FULL)
    }

    pub(super) fn of(storage: &Storage) -> Self {
        let seen = &storage.seen;
        Self {
            storage: seen.storage.clone(),
            node: storage.node.clone(),
            kind: seen.kind.clone(),
            content: seen.content.clone(),
            shared: seen.shared,
            cluster: storage.cluster.clone(),
            counted_here: storage.counted_here,
            state: seen.state,
            detail: seen.detail.clone(),
            total_bytes: seen.total_bytes,
            used_bytes: seen.used_bytes,
            available_bytes: seen.available_bytes,
            used_ratio: storage.used_ratio(),
            metadata_used_ratio: storage.metadata_used_ratio(),
            held_bytes: seen.held_bytes.clone(),
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
