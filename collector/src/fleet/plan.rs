//! How pictures of guests and backup jobs change the fleet: what is to be backed up, and when.
//!
//! Promised: a guest of a cluster is on one node, that of the newest picture that named it anew;
//! what is known of its past follows it there, and is kept for a while if it is nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{BackupJob as JobPlan, Checkpoint, Guest, NodeName, Position, Vmid};

use super::apply::node_change;
use super::backup::Backup;
use super::backup_job::BackupJob;
use super::change::Change;
use super::entity::{Drawn, Version};
use super::inside::are_one;
use super::moment::Moment;
use super::state::{BACKUPS_PER_NODE_MAX, Fleet, JOBS_PER_NODE_MAX};

impl Fleet {
    pub(super) fn draw_guests(
        &mut self,
        name: &NodeName,
        (checkpoint, guests): (&Checkpoint, &[Guest]),
        version: Version,
        received_at: Timestamp,
    ) -> Vec<Change> {
        let drawn = Drawn { version, at: checkpoint.at };
        let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
        if drawn <= slot.node.guests_as_of {
            self.counters.not_newer += 1;
            return Vec::new();
        }
        let moment = Moment::judge(checkpoint.at, received_at, slot.node.clock_skew());
        let names = guests.iter().map(|guest| guest.vmid.to_string());
        let part = (checkpoint.part, checkpoint.of);
        let complete = slot.guest_parts.add(drawn, part, names);
        let mut changes = Vec::new();
        for guest in guests {
            let Some(put) = self.put_guest(name, guest, checkpoint.as_of, moment) else { continue };
            changes.extend(put);
            changes.extend(self.put_guest_plan(name, guest, (moment, checkpoint.as_of)));
        }
        self.drift_is_due(name, moment);
        if let Some(named) = complete {
            changes.extend(self.keep_only_guests(name, &named, drawn, moment));
            changes.extend(self.keep_only_guest_plans(name, &named, moment));
            changes.push(node_change(name, Vec::new(), moment));
        }
        changes
    }

    /// A picture names a guest; none if that has moved to another node since it was drawn.
    fn put_guest(
        &mut self,
        name: &NodeName,
        guest: &Guest,
        as_of: Position,
        moment: Moment,
    ) -> Option<Vec<Change>> {
        let slot = self.nodes.get(name)?;
        let known = slot.backups.get(&*guest.vmid.to_string());
        if known.is_some_and(|known| known.guest.as_ref() == Some(guest)) {
            return Some(Vec::new());
        }
        if known.is_none() && slot.backups.len() >= BACKUPS_PER_NODE_MAX {
            self.counters.entities_refused += 1;
            return Some(Vec::new());
        }
        let is_new = known.is_none();
        let was_here = known.is_some_and(|known| known.here_since.is_some());
        let other = if was_here { None } else { self.elsewhere(name, guest.vmid) };
        let mut changes = Vec::new();
        if let Some(other) = &other {
            if other.here_since.is_some_and(|since| moment.fact <= since.fact) {
                self.counters.not_newer += 1;
                return None;
            }
            changes.extend(self.forget_backup(other, moment));
            changes.extend(self.take_guest_from(&other.node, guest.vmid, moment));
        }
        let past = other.or(self.take_back(name, guest));
        if is_new {
            // A picture says nothing of what events tell: all of them are newer.
            let unheard = (Version::default(), as_of);
            self.add_backup(Backup::new(name.clone(), guest.vmid, moment, unheard));
        }
        let policies = self.policies().clone();
        changes.extend(self.change_plan(name, guest.vmid, moment, |backup| {
            if let Some(past) = past.filter(|_| backup.last.is_none()) {
                backup.inherit(&past);
            }
            backup.guest = Some(guest.clone());
            if policies.problem.is_none() {
                backup.environment = policies.environment_of(guest).map(str::to_owned);
            }
            backup.here_since.get_or_insert(moment);
            true
        }));
        changes.extend(self.look_at_archives(name, guest.vmid, moment));
        Some(changes)
    }

    /// What is remembered of a guest that was here before, if this is the same.
    fn take_back(&mut self, name: &NodeName, guest: &Guest) -> Option<Arc<Backup>> {
        let departed = self.nodes.get_mut(name)?.departed.remove(&guest.vmid)?;
        let is_same_kind = departed.kind().is_none_or(|kind| kind == guest.kind);
        let is_same = match departed.guest.as_ref().and_then(|before| are_one(before, guest)) {
            Some(are_one) => are_one,
            None => departed.name().is_none_or(|name| Some(name) == guest.name.as_deref()),
        };
        (is_same_kind && is_same).then_some(departed)
    }

    /// A picture is complete: guests that it does not name are not here.
    fn keep_only_guests(
        &mut self,
        name: &NodeName,
        named: &BTreeSet<String>,
        drawn: Drawn,
        moment: Moment,
    ) -> Vec<Change> {
        let Some(slot) = self.nodes.get_mut(name) else { return Vec::new() };
        slot.node_mut().guests_as_of = drawn;
        let is_gone =
            |backup: &&Arc<Backup>| !named.contains(&*backup.id) && backup.version <= drawn.version;
        let gone: Vec<_> = slot.backups.values().filter(is_gone).cloned().collect();
        for backup in &gone {
            slot.remove_backup(&backup.id);
            slot.departed.insert(backup.vmid, Arc::new(backup.departed(moment)));
        }
        let forgotten = slot.forget_departed(moment);
        self.backups_count -= gone.len();
        for backup in &forgotten {
            if let Some(nodes) = self.backup_nodes.get_mut(&backup.vmid) {
                nodes.remove(name);
            }
        }
        let gone = gone.into_iter().chain(forgotten);
        gone.map(|backup| Change::BackupGone { backup, moment }).collect()
    }

    pub(super) fn draw_jobs(
        &mut self,
        name: &NodeName,
        (checkpoint, jobs): (&Checkpoint, &[JobPlan]),
        version: Version,
        received_at: Timestamp,
    ) -> Vec<Change> {
        let drawn = Drawn { version, at: checkpoint.at };
        let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
        if drawn <= slot.node.jobs_as_of {
            self.counters.not_newer += 1;
            return Vec::new();
        }
        let moment = Moment::judge(checkpoint.at, received_at, slot.node.clock_skew());
        let names = jobs.iter().map(|job| job.job.clone());
        let part = (checkpoint.part, checkpoint.of);
        let complete: Option<BTreeSet<String>> = slot.job_parts.add(drawn, part, names);
        let mut changes = Vec::new();
        let mut touched = BTreeSet::new();
        for job in jobs {
            changes.extend(self.put_job(name, job, moment, &mut touched));
        }
        let mut is_first = false;
        if let (Some(named), Some(slot)) = (complete, self.nodes.get_mut(name)) {
            is_first = slot.node.jobs_as_of == Drawn::default();
            slot.node_mut().jobs_as_of = drawn;
            if is_first {
                // That no job covers a guest is news too.
                touched.extend(slot.backups.values().map(|backup| backup.vmid));
            }
            let is_gone = |job: &&Arc<BackupJob>| !named.contains(&*job.id);
            let gone: Vec<_> = slot.jobs.values().filter(is_gone).cloned().collect();
            for job in gone {
                touched.extend(job.plan.guests.iter().copied());
                slot.remove_job(&job.id);
                self.jobs_count -= 1;
                changes.push(Change::BackupJobGone { job, moment });
            }
            changes.push(node_change(name, Vec::new(), moment));
        }
        for vmid in touched {
            changes.extend(self.change_plan(name, vmid, moment, |_| is_first));
        }
        self.drift_is_due(name, moment);
        changes
    }

    /// A picture names a job. Guests of which it may change that they are covered are `touched`.
    fn put_job(
        &mut self,
        name: &NodeName,
        plan: &JobPlan,
        moment: Moment,
        touched: &mut BTreeSet<Vmid>,
    ) -> Option<Change> {
        let slot = self.nodes.get_mut(name)?;
        let Some(known) = slot.jobs.get(&*plan.job) else {
            if slot.jobs.len() >= JOBS_PER_NODE_MAX {
                self.counters.entities_refused += 1;
                return None;
            }
            touched.extend(plan.guests.iter().copied());
            let mut job = BackupJob::new(name.clone(), plan.clone(), moment);
            job.plan_run(slot.booted_at(), slot.node.clock_skew());
            let job = slot.add_job(job);
            self.jobs_count += 1;
            return Some(Change::BackupJob { job, moment });
        };
        if known.plan.guests != plan.guests {
            touched.extend(known.plan.guests.iter().chain(&plan.guests).copied());
        }
        let mut is_other = false;
        let change = self.change_job(name, &plan.job, moment, |job| {
            is_other = job.learn(plan.clone(), moment);
        });
        if is_other {
            touched.extend(plan.guests.iter().copied());
        }
        change
    }

    /// Changes a guest, and works out anew which jobs cover it and when it is due. Nothing comes of
    /// it if neither `change` nor the jobs say anything new.
    fn change_plan(
        &mut self,
        name: &NodeName,
        vmid: Vmid,
        moment: Moment,
        change: impl FnOnce(&mut Backup) -> bool,
    ) -> Option<Change> {
        let slot = self.nodes.get_mut(name)?;
        let skew = slot.node.clock_skew();
        let mut is_news = false;
        let backup = slot.change_backup(&vmid.to_string(), |backup, jobs| {
            is_news = change(backup);
            is_news |= backup.cover(jobs, moment);
            backup.plan_due(jobs, (moment, skew));
        })?;
        is_news.then_some(Change::Backup { backup, moment })
    }
}
