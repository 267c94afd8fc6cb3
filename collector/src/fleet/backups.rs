//! How events of backups change the fleet.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::event::{BackupFinished, BackupStarted, TaskFinished};
use pvewatch_protocol::{NodeName, Position, Vmid};

use super::backup::{Backup, Running};
use super::entity::Version;
use super::moment::Moment;
use super::state::{BACKUPS_PER_NODE_MAX, Change, Fleet};

/// Where a description comes from: its place in its stream, when it happened, and when it came.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub at: (Version, Position),
    pub moment: Moment,
    pub received_at: Timestamp,
}

impl Fleet {
    /// A guest's backup of this node; of several nodes of a cluster the one that has it now.
    pub fn backup(&self, node: &NodeName, id: &str) -> Option<&Arc<Backup>> {
        self.nodes.get(node)?.backups.get(id)
    }

    /// The backups of a node's guests, by their numbers as text.
    pub fn backups(&self, node: &NodeName) -> impl Iterator<Item = &Arc<Backup>> {
        self.nodes.get(node).into_iter().flat_map(|slot| slot.backups.values())
    }

    /// Puts a guest's backups back as they were recorded; their node may follow later.
    pub fn restore_backup(&mut self, backup: Backup) {
        let node = backup.node.clone();
        self.backup_nodes.entry(backup.vmid).or_default().insert(node.clone());
        let slot = self.slot_to_restore(&node, backup.since.judged);
        if slot.backups.insert(backup.id.clone(), Arc::new(backup)).is_none() {
            self.backups_count += 1;
        }
    }

    pub(super) fn start_backup(
        &mut self,
        node: &NodeName,
        started: BackupStarted,
        told: Told,
    ) -> Vec<Change> {
        let running = Running { upid: started.upid, since: told.moment.fact };
        self.change_backup(node, started.vmid, told, |backup| backup.running = Some(running))
    }

    pub(super) fn finish_backup(
        &mut self,
        node: &NodeName,
        finished: BackupFinished,
        told: Told,
    ) -> Vec<Change> {
        let vmid = finished.vmid;
        let other = self.elsewhere(node, vmid);
        if let Some(other) = other.as_ref().filter(|other| told.moment.fact < other.since.fact) {
            // The guest has moved since, and was backed up there: this is history.
            let elsewhere = other.node.clone();
            return self.change(&elsewhere, vmid, told.moment, |backup| {
                backup.end(finished, told.moment);
            });
        }
        let mut changes = self.change_backup(node, vmid, told, |backup| {
            if let Some(other) = other.as_ref().filter(|_| backup.last.is_none()) {
                backup.inherit(other);
            }
            backup.end(finished, told.moment);
        });
        if !changes.is_empty()
            && let Some(other) = other
        {
            changes.push(self.forget_backup(&other, told.moment));
        }
        changes
    }

    pub(super) fn finish_task(
        &mut self,
        node: &NodeName,
        task: &TaskFinished,
        told: Told,
    ) -> Vec<Change> {
        let is_restore = matches!(&*task.kind, "qmrestore" | "vzrestore");
        match task.vmid.filter(|_| is_restore && task.outcome.is_success()) {
            Some(vmid) => self.change_backup(node, vmid, told, |backup| {
                backup.restored_at = backup.restored_at.max(Some(told.moment.fact));
            }),
            None => Vec::new(),
        }
    }

    /// Changes a guest's backups, if this is newer than what is known of them.
    fn change_backup(
        &mut self,
        node: &NodeName,
        vmid: Vmid,
        told: Told,
        change: impl FnOnce(&mut Backup),
    ) -> Vec<Change> {
        let Some(slot) = self.slot(node, told.received_at) else { return Vec::new() };
        let id = vmid.to_string();
        match slot.backups.get(&*id) {
            Some(known) if told.at.0 <= known.version => {
                self.counters.not_newer += 1;
                return Vec::new();
            }
            Some(_) => {}
            None if slot.backups.len() >= BACKUPS_PER_NODE_MAX => {
                self.counters.entities_refused += 1;
                return Vec::new();
            }
            None => {
                let backup = Arc::new(Backup::new(node.clone(), vmid, told.moment, told.at));
                slot.backups.insert(id.into(), backup);
                self.backups_count += 1;
                self.backup_nodes.entry(vmid).or_default().insert(node.clone());
            }
        }
        self.change(node, vmid, told.moment, |backup| {
            change(backup);
            (backup.version, backup.position) = told.at;
        })
    }

    fn change(
        &mut self,
        node: &NodeName,
        vmid: Vmid,
        moment: Moment,
        change: impl FnOnce(&mut Backup),
    ) -> Vec<Change> {
        let slot = self.nodes.get_mut(node);
        let Some(backup) = slot.and_then(|slot| slot.backup_mut(&vmid.to_string())) else {
            return Vec::new();
        };
        change(Arc::make_mut(backup));
        vec![Change::Backup { backup: backup.clone(), moment }]
    }

    /// The guest's backups on another node of the same cluster.
    fn elsewhere(&self, node: &NodeName, vmid: Vmid) -> Option<Arc<Backup>> {
        let cluster = |node| self.node(node)?.facts.as_ref()?.cluster.as_ref();
        let own = cluster(node)?;
        let others = self.backup_nodes.get(&vmid)?.iter().filter(|other| *other != node);
        let other = others.into_iter().find(|other| cluster(other) == Some(own))?;
        self.backup(other, &vmid.to_string()).cloned()
    }

    fn forget_backup(&mut self, backup: &Arc<Backup>, moment: Moment) -> Change {
        if let Some(slot) = self.nodes.get_mut(&backup.node)
            && slot.remove_backup(&backup.id).is_some()
        {
            self.backups_count -= 1;
        }
        if let Some(nodes) = self.backup_nodes.get_mut(&backup.vmid) {
            nodes.remove(&backup.node);
        }
        Change::BackupGone { backup: backup.clone(), moment }
    }
}
