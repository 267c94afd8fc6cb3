//! How events of backups change the fleet.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::event::{BackupFinished, BackupJobFinished, BackupStarted, TaskFinished};
use pvewatch_protocol::{NodeName, Position, Vmid};

use super::backup::{Backup, Running};
use super::backup_job::BackupJob;
use super::change::Change;
use super::entity::Version;
use super::moment::Moment;
use super::state::{BACKUPS_PER_NODE_MAX, Fleet};

/// Where a description comes from: its place in its stream, when it happened, and when it came.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub at: (Version, Position),
    pub moment: Moment,
    pub received_at: Timestamp,
}

impl Fleet {
    /// A guest's backups on this node; of several nodes of a cluster the one that has it now.
    pub fn backup(&self, node: &NodeName, id: &str) -> Option<&Arc<Backup>> {
        self.nodes.get(node)?.backups.get(id)
    }

    /// What is kept of a guest's backups on this node, be the guest there or not.
    pub fn backup_to_record(&self, node: &NodeName, id: &str) -> Option<&Arc<Backup>> {
        let departed = || self.nodes.get(node)?.departed.get(&id.parse().ok()?);
        self.backup(node, id).or_else(departed)
    }

    /// A backup job of a node.
    pub fn backup_job(&self, node: &NodeName, id: &str) -> Option<&Arc<BackupJob>> {
        self.nodes.get(node)?.jobs.get(id)
    }

    /// Puts a guest's backups back as they were recorded; their node may follow later.
    pub fn restore_backup(&mut self, backup: Backup) {
        let node = backup.node.clone();
        self.backup_nodes.entry(backup.vmid).or_default().insert(node.clone());
        let slot = self.slot_to_restore(&node, backup.since.judged);
        if backup.has_departed() {
            slot.departed.insert(backup.vmid, Arc::new(backup));
        } else if slot.backups.insert(backup.id.clone(), Arc::new(backup)).is_none() {
            self.backups_count += 1;
        }
    }

    /// Puts a backup job back as it was recorded; its node may follow later.
    pub fn restore_job(&mut self, job: BackupJob) {
        let slot = self.slot_to_restore(&job.node, job.since.judged);
        if slot.jobs.insert(job.id.clone(), Arc::new(job)).is_none() {
            self.jobs_count += 1;
        }
    }

    pub(super) fn start_backup(
        &mut self,
        node: &NodeName,
        started: BackupStarted,
        told: Told,
    ) -> Vec<Change> {
        let begun = started.job.as_deref().zip(task_began(&started.upid));
        let job = begun
            .and_then(|(job, at)| self.change_job(node, job, told.moment, |job| job.begin(at)));
        let upid = started.upid.clone();
        let running = Running { upid: started.upid, since: told.moment.fact };
        let mut changes =
            self.change_backup(node, started.vmid, told, |backup| backup.running = Some(running));
        if !changes.is_empty() {
            changes.extend(self.begin_guest_backup(node, (started.vmid, &upid), told.moment));
        }
        changes.extend(job);
        changes
    }

    pub(super) fn finish_backup(
        &mut self,
        node: &NodeName,
        finished: BackupFinished,
        told: Told,
    ) -> Vec<Change> {
        let vmid = finished.vmid;
        let guest = self.end_guest_backup(node, (vmid, &finished.upid), told.moment);
        let other = self.elsewhere(node, vmid);
        // Of two that end at the same time the names decide, whichever comes first.
        let is_past = |other: &&Arc<Backup>| {
            let (here, there) = ((told.moment.fact, node), (other.known_there_at(), &other.node));
            !other.has_departed() && here < there
        };
        if let Some(other) = other.as_ref().filter(is_past) {
            // The guest has moved since, or was backed up there: this is history.
            let elsewhere = other.node.clone();
            let changes = self.change(&elsewhere, vmid, told.moment, |backup| {
                backup.end(finished, told.moment, false);
            });
            return changes.into_iter().chain(guest).collect();
        }
        let mut changes = self.change_backup(node, vmid, told, |backup| {
            if let Some(other) = other.as_ref().filter(|_| backup.last.is_none()) {
                backup.inherit(other);
            }
            backup.end(finished, told.moment, true);
        });
        if !changes.is_empty()
            && let Some(other) = other
        {
            changes.extend(self.forget_backup(&other, told.moment));
        }
        changes.extend(guest);
        changes
    }

    pub(super) fn finish_task(
        &mut self,
        node: &NodeName,
        task: &TaskFinished,
        told: Told,
    ) -> Vec<Change> {
        if task.kind == "startall" {
            return self.end_start_of_all(node, told.moment);
        }
        let is_restore = matches!(&*task.kind, "qmrestore" | "vzrestore");
        if !is_restore || !task.outcome.is_success() {
            return Vec::new();
        }
        // A drill restores under another number; it proves the backup of the guest all the same.
        let is_here = |vmid: &Vmid| self.backup(node, &vmid.to_string()).is_some();
        match task.restored_from.filter(is_here).or(task.vmid) {
            Some(vmid) => self.change_backup(node, vmid, told, |backup| {
                backup.restored_at = backup.restored_at.max(Some(told.moment.fact));
            }),
            None => Vec::new(),
        }
    }

    pub(super) fn end_job(
        &mut self,
        node: &NodeName,
        finished: BackupJobFinished,
        moment: Moment,
    ) -> Option<Change> {
        let id = finished.job.clone()?;
        self.change_job(node, &id, moment, |job| job.end(finished, moment))
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
            None => self.add_backup(Backup::new(node.clone(), vmid, told.moment, told.at)),
        }
        self.change(node, vmid, told.moment, |backup| {
            change(backup);
            (backup.version, backup.position) = told.at;
        })
    }

    /// Adds a guest that its node did not have.
    pub(super) fn add_backup(&mut self, backup: Backup) {
        let Some(slot) = self.nodes.get_mut(&backup.node) else { return };
        self.backup_nodes.entry(backup.vmid).or_default().insert(backup.node.clone());
        self.backups_count += 1;
        slot.backups.insert(backup.id.clone(), Arc::new(backup));
    }

    /// Changes a guest's backups, and works out anew when it is due.
    pub(super) fn change(
        &mut self,
        node: &NodeName,
        vmid: Vmid,
        moment: Moment,
        change: impl FnOnce(&mut Backup),
    ) -> Vec<Change> {
        let Some(slot) = self.nodes.get_mut(node) else { return Vec::new() };
        let skew = slot.node.clock_skew();
        let changed = slot.change_backup(&vmid.to_string(), |backup, jobs| {
            change(backup);
            backup.plan_due(jobs, (moment, skew));
        });
        changed.map(|backup| Change::Backup { backup, moment }).into_iter().collect()
    }

    /// Changes a job, and works out anew when its next run is due.
    pub(super) fn change_job(
        &mut self,
        node: &NodeName,
        id: &str,
        moment: Moment,
        change: impl FnOnce(&mut BackupJob),
    ) -> Option<Change> {
        let slot = self.nodes.get_mut(node)?;
        let (booted_at, skew) = (slot.booted_at(), slot.node.clock_skew());
        let before = slot.jobs.get(id)?.clone();
        let job = slot.change_job(id, |job| {
            change(job);
            job.plan_run(booted_at, skew);
        })?;
        (job != before).then_some(Change::BackupJob { job, moment })
    }

    /// A node may have started anew: jobs that make up for what they missed are due from then on.
    pub(super) fn make_up_for_runs(&mut self, node: &NodeName, moment: Moment) -> Vec<Change> {
        let Some(slot) = self.nodes.get(node) else { return Vec::new() };
        let jobs = slot.jobs.values().filter(|job| job.plan.repeat_missed);
        let ids: Vec<_> = jobs.map(|job| job.id.clone()).collect();
        ids.iter().filter_map(|id| self.change_job(node, id, moment, |_| {})).collect()
    }

    /// The guest's backups on another node of the same cluster.
    pub(super) fn elsewhere(&self, node: &NodeName, vmid: Vmid) -> Option<Arc<Backup>> {
        let cluster = |node| self.node(node)?.facts.as_ref()?.cluster.as_ref();
        let own = cluster(node)?;
        let others = self.backup_nodes.get(&vmid)?.iter().filter(|other| *other != node);
        let others = others.filter(|other| cluster(other) == Some(own));
        let known = |other| self.backup_to_record(other, &vmid.to_string());
        // One that is there counts for more than one that was.
        others.filter_map(known).min_by_key(|other| other.has_departed()).cloned()
    }

    /// A guest's backups are another node's now: nothing is kept of them here.
    pub(super) fn forget_backup(&mut self, backup: &Arc<Backup>, moment: Moment) -> Option<Change> {
        if let Some(nodes) = self.backup_nodes.get_mut(&backup.vmid) {
            nodes.remove(&backup.node);
        }
        self.drift_is_due(&backup.node, moment);
        let slot = self.nodes.get_mut(&backup.node)?;
        let was_there = slot.remove_backup(&backup.id).is_some();
        let had_departed = slot.departed.remove(&backup.vmid).is_some();
        self.backups_count -= usize::from(was_there);
        (was_there || had_departed).then(|| Change::BackupGone { backup: backup.clone(), moment })
    }
}

/// When a task began, by its name: `UPID:node:pid:pstart:starttime:...`, in hexadecimal digits.
fn task_began(upid: &str) -> Option<Timestamp> {
    let seconds = i64::from_str_radix(upid.split(':').nth(4)?, 16).ok()?;
    Timestamp::from_second(seconds).ok()
}
