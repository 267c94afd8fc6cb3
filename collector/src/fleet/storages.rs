//! How pictures of storages change the fleet: how full they are, and which archives exist.
//!
//! Promised: a picture counts when all its parts are there, and then all at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{BackupStorage, Checkpoint, NodeName, Vmid};

use super::apply::node_change;
use super::change::Change;
use super::entity::{Drawn, Version};
use super::moment::Moment;
use super::state::{Fleet, STORAGES_PER_NODE_MAX};
use super::storage::{Storage, whole};

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
        let elements = slot.storage_parts.add(drawn, part, storages.iter().cloned());
        let Some(seen) = elements.map(whole) else { return Vec::new() };
        let moment = Moment::judge(checkpoint.at, received_at, slot.node.clock_skew());
        slot.node_mut().storages_as_of = drawn;
        let names: BTreeSet<String> = seen.iter().map(|it| it.storage.clone()).collect();
        let mut changes = self.keep_only_storages(name, &names, moment);
        for seen in seen {
            changes.extend(self.put_storage(name, seen, moment));
        }
        let mut guests: Vec<Vmid> = Vec::new();
        if let Some(slot) = self.nodes.get_mut(name) {
            let mut for_backups = slot.storages.values().filter(|it| it.seen.takes_backups());
            let are_known = for_backups.all(|storage| storage.seen.listed_at.is_some());
            slot.node_mut().archives_known = are_known;
            guests.extend(slot.backups.values().map(|backup| backup.vmid));
        }
        for vmid in guests {
            changes.extend(self.look_at_archives(name, vmid, moment));
        }
        changes.push(node_change(name, Vec::new(), moment));
        self.drift_is_due(name, moment);
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
        let mut storage = match &known {
            Some(known) => Storage::clone(known),
            None => Storage::new(name.clone(), seen.clone(), moment),
        };
        storage.learn(seen, moment);
        let storage = Arc::new(storage);
        slot.put_storage(storage.clone());
        self.storages_count += usize::from(known.is_none());
        let mut changes = self.share_anew(&storage, moment);
        let is_told = changes.iter().any(|change| is_about(change, &storage));
        if !is_told && known.as_ref() != Some(&storage) {
            changes.push(Change::Storage { storage, moment });
        }
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

    /// A node is in another cluster than was known, or cannot be heard, or can again: that may
    /// change which node tells how full its storages are.
    pub(super) fn share_storages_anew(&mut self, name: &NodeName, moment: Moment) -> Vec<Change> {
        let storages = self.nodes.get(name).into_iter().flat_map(|slot| slot.storages.values());
        let shared: Vec<_> = storages.filter(|storage| storage.seen.shared).cloned().collect();
        shared.iter().flat_map(|storage| self.share_anew(storage, moment)).collect()
    }

    /// Files a storage of a node under its cluster as that is now.
    fn share_anew(&mut self, storage: &Arc<Storage>, moment: Moment) -> Vec<Change> {
        let cluster =
            self.node(&storage.node).and_then(|node| node.facts.as_ref()?.cluster.clone());
        let cluster = cluster.filter(|_| storage.seen.shared);
        let mut changes = Vec::new();
        let storage = match cluster == storage.cluster {
            true => storage.clone(),
            false => {
                changes.extend(self.unshare(storage, moment));
                let storage = Arc::new(Storage { cluster, ..Storage::clone(storage) });
                if let Some(slot) = self.nodes.get_mut(&storage.node) {
                    slot.put_storage(storage.clone());
                }
                changes.push(Change::Storage { storage: storage.clone(), moment });
                storage
            }
        };
        self.share(&storage);
        changes.extend(self.count_anew(&storage, moment));
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

    /// Settles which node tells how full a storage is: of those that can be heard and can look at
    /// it the first by name. If there is none, it stays as it was.
    fn count_anew(&mut self, storage: &Storage, moment: Moment) -> Vec<Change> {
        let Some(shared) = shared(storage) else { return Vec::new() };
        let nodes: Vec<NodeName> =
            self.storage_nodes.get(&shared).into_iter().flatten().cloned().collect();
        let can_look = |node: &&NodeName| {
            let is_heard = self.node(node).is_some_and(|node| node.silent.is_none());
            is_heard && self.storage(node, &storage.id).is_some_and(|it| it.is_available())
        };
        let Some(first) = nodes.iter().find(can_look) else { return Vec::new() };
        let mut changes = Vec::new();
        for node in &nodes {
            let Some(known) = self.storage(node, &storage.id) else { continue };
            if known.counted_here == (node == first) {
                continue;
            }
            let storage = Storage { counted_here: node == first, ..Storage::clone(known) };
            let storage = Arc::new(storage);
            if let Some(slot) = self.nodes.get_mut(node) {
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

fn is_about(change: &Change, of: &Storage) -> bool {
    let Change::Storage { storage, .. } = change else { return false };
    (&storage.node, &storage.id) == (&of.node, &of.id)
}
