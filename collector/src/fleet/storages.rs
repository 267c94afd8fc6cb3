//! How pictures of storages change the fleet: how full they are, and which archives exist.
//!
//! Promised: a picture counts when all its parts are there, and then all at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{BackupStorage, Checkpoint, NodeName, Vmid};

use super::apply::node_change;
use super::entity::{Drawn, Version};
use super::moment::Moment;
use super::state::{Change, Fleet, STORAGES_PER_NODE_MAX};
use super::storage::Storage;

/// What nodes of one cluster see alike: the cluster, and the storage.
pub(super) type Shared = (String, Arc<str>);

impl Fleet {
    /// A storage of a node.
    pub fn storage(&self, node: &NodeName, id: &str) -> Option<&Arc<Storage>> {
        self.nodes.get(node)?.storages.get(id)
    }

    /// Puts a storage back as it was recorded; its node may follow later.
    pub fn restore_storage(&mut self, storage: Storage) {
        self.share(&storage);
        let slot = self.slot_to_restore(&storage.node, storage.since.judged);
        if slot.storages.insert(storage.id.clone(), Arc::new(storage)).is_none() {
            self.storages_count += 1;
        }
    }

    pub(super) fn draw_storages(
        &mut self,
        name: &NodeName,
        (checkpoint, storages): (&Checkpoint, &[BackupStorage]),
        version: Version,
        received_at: Timestamp,
    ) -> Vec<Change> {
        let drawn = Drawn { version, at: checkpoint.at };
        let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
        if drawn <= slot.node.storages_as_of {
            self.counters.not_newer += 1;
            return Vec::new();
        }
        let part = (checkpoint.part, checkpoint.of);
        let Some(seen) = slot.storage_parts.add(drawn, part, storages) else { return Vec::new() };
        let moment = Moment::judge(checkpoint.at, received_at, slot.node.clock_skew());
        slot.node_mut().storages_as_of = drawn;
        let names: BTreeSet<String> = seen.iter().map(|it| it.storage.clone()).collect();
        let mut changes = self.keep_only_storages(name, &names, moment);
        for seen in seen {
            changes.extend(self.put_storage(name, seen, moment));
        }
        let guests = self.nodes.get(name).into_iter().flat_map(|slot| slot.backups.values());
        let guests: Vec<Vmid> = guests.map(|backup| backup.vmid).collect();
        for vmid in guests {
            changes.extend(self.look_at_archives(name, vmid, moment));
        }
        changes.push(node_change(name, Vec::new(), moment));
        changes
    }

    /// Tells a guest which archives of it exist.
    pub(super) fn look_at_archives(
        &mut self,
        name: &NodeName,
        vmid: Vmid,
        moment: Moment,
    ) -> Option<Change> {
        let slot = self.nodes.get_mut(name)?;
        let backup = slot.backups.get(&*vmid.to_string())?;
        let mut archives = backup.archives.clone();
        if !archives.look(vmid, &slot.storages, moment) {
            return None;
        }
        let backup =
            slot.change_backup(&vmid.to_string(), |backup, _| backup.archives = archives)?;
        Some(Change::Backup { backup, moment })
    }

    fn put_storage(&mut self, name: &NodeName, seen: BackupStorage, moment: Moment) -> Vec<Change> {
        let Some(slot) = self.nodes.get_mut(name) else { return Vec::new() };
        let known = slot.storages.get(&*seen.storage).cloned();
        if known.is_none() && slot.storages.len() >= STORAGES_PER_NODE_MAX {
            self.counters.entities_refused += 1;
            return Vec::new();
        }
        let cluster = slot.node.facts.as_ref().and_then(|facts| facts.cluster.clone());
        let cluster = cluster.filter(|_| seen.shared);
        let mut storage = match &known {
            Some(known) => Storage::clone(known),
            None => Storage::new(name.clone(), seen.clone(), moment),
        };
        storage.learn(seen, moment);
        storage.cluster = cluster;
        self.storages_count += usize::from(known.is_none());
        let mut changes = Vec::new();
        if let Some(known) = known.as_ref().filter(|known| known.cluster != storage.cluster) {
            changes.extend(self.unshare(known, moment));
        }
        self.share(&storage);
        storage.counted_here = self.is_counted_at(&storage);
        let (storage, is_news) = {
            let is_news = known.as_deref() != Some(&storage);
            (Arc::new(storage), is_news)
        };
        if let Some(slot) = self.nodes.get_mut(name) {
            slot.put_storage(storage.clone());
        }
        changes.extend(self.count_anew(&storage, moment));
        changes.extend(is_news.then_some(Change::Storage { storage, moment }));
        changes
    }

    /// A picture does not name the others: they are not there.
    fn keep_only_storages(
        &mut self,
        name: &NodeName,
        named: &BTreeSet<String>,
        moment: Moment,
    ) -> Vec<Change> {
        let Some(slot) = self.nodes.get_mut(name) else { return Vec::new() };
        let is_gone = |storage: &&Arc<Storage>| !named.contains(&*storage.id);
        let gone: Vec<_> = slot.storages.values().filter(is_gone).cloned().collect();
        let mut changes = Vec::new();
        for storage in gone {
            if let Some(slot) = self.nodes.get_mut(name) {
                slot.remove_storage(&storage.id);
            }
            self.storages_count -= 1;
            changes.extend(self.unshare(&storage, moment));
            changes.push(Change::StorageGone { storage, moment });
        }
        changes
    }

    fn share(&mut self, storage: &Storage) {
        if let Some(shared) = shared(storage) {
            self.storage_nodes.entry(shared).or_default().insert(storage.node.clone());
        }
    }

    fn unshare(&mut self, storage: &Storage, moment: Moment) -> Vec<Change> {
        let Some(shared) = shared(storage) else { return Vec::new() };
        if let Some(nodes) = self.storage_nodes.get_mut(&shared) {
            nodes.remove(&storage.node);
            if nodes.is_empty() {
                self.storage_nodes.remove(&shared);
            }
        }
        self.count_anew(storage, moment)
    }

    /// Whether a node tells how full a storage is: of those that can look at it, the first by name.
    fn is_counted_at(&self, storage: &Storage) -> bool {
        let Some(nodes) = shared(storage).and_then(|shared| self.storage_nodes.get(&shared)) else {
            return true;
        };
        let can_look = |node: &&NodeName| {
            self.storage(node, &storage.id).is_some_and(|other| other.is_available())
        };
        let before = nodes.range(..&storage.node).find(can_look);
        storage.is_available() && before.is_none()
    }

    /// A storage that others see too has changed: another node may have to tell how full it is.
    fn count_anew(&mut self, storage: &Storage, moment: Moment) -> Vec<Change> {
        let nodes = shared(storage).and_then(|shared| self.storage_nodes.get(&shared));
        let others: Vec<_> =
            nodes.into_iter().flatten().filter(|node| **node != storage.node).cloned().collect();
        let mut changes = Vec::new();
        for node in others {
            let Some(other) = self.storage(&node, &storage.id) else { continue };
            let counted_here = self.is_counted_at(other);
            if other.counted_here == counted_here {
                continue;
            }
            let storage = Arc::new(Storage { counted_here, ..Storage::clone(other) });
            if let Some(slot) = self.nodes.get_mut(&node) {
                slot.put_storage(storage.clone());
            }
            changes.push(Change::Storage { storage, moment });
        }
        changes
    }
}

fn shared(storage: &Storage) -> Option<Shared> {
    Some((storage.cluster.clone()?, storage.id.clone()))
}
