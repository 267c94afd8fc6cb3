//! How events and pictures change what is known of guests: which run, and why not.
//!
//! Promised: what was seen of a stop is not forgotten for a picture that knows less; a picture of
//! those that run counts when all its parts are there, and then all at once. A guest that moves is
//! on two nodes for a moment: stopped, as was meant, on the one, and running on the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::event::{GuestKind, GuestRun, GuestState};
use pvewatch_protocol::{Checkpoint, Guest as GuestPlan, NodeName, Position, Vmid};

use super::apply::node_change;
use super::backups::Told;
use super::change::Change;
use super::entity::{Drawn, Version};
use super::guest::Guest;
use super::moment::Moment;
use super::state::{Fleet, GUESTS_PER_NODE_MAX};

impl Fleet {
    /// A guest of a node.
    pub fn guest(&self, node: &NodeName, id: &str) -> Option<&Arc<Guest>> {
        self.nodes.get(node)?.guests.get(id)
    }

    /// Puts a guest back as it was recorded; its node may follow later.
    pub fn restore_guest(&mut self, guest: Guest) {
        let slot = self.slot_to_restore(&guest.node, guest.since.judged);
        if slot.guests.insert(guest.id.clone(), Arc::new(guest)).is_none() {
            self.guests_count += 1;
        }
    }

    /// A guest was started or stopped.
    pub(super) fn turn_guest(&mut self, node: &NodeName, run: GuestRun, told: Told) -> Vec<Change> {
        let (vmid, (version, position)) = (run.vmid, told.at);
        let known = self.guest(node, &vmid.to_string());
        let newest = known.map(|known| known.version).max(self.runs_as_of(node));
        if newest.is_some_and(|newest| version <= newest) {
            self.counters.not_newer += 1;
            return Vec::new();
        }
        let of = (vmid, run.kind);
        let changed = self.change_guest(node, of, (told.moment, position), |guest, boot| {
            guest.turn(run, boot, told.moment);
            (guest.version, guest.position) = told.at;
            true
        });
        let forgotten = self.forget_absent_guests(node, told.moment);
        changed.into_iter().chain(forgotten).collect()
    }

    /// The last event that the newest picture of the node's running guests includes.
    fn runs_as_of(&self, node: &NodeName) -> Option<Version> {
        self.node(node).map(|node| node.runs_as_of.version)
    }

    pub(super) fn draw_runs(
        &mut self,
        name: &NodeName,
        (checkpoint, runs): (&Checkpoint, &[GuestRun]),
        version: Version,
        received_at: Timestamp,
    ) -> Vec<Change> {
        let drawn = Drawn { version, at: checkpoint.at };
        let Some(slot) = self.slot(name, received_at) else { return Vec::new() };
        if drawn <= slot.node.runs_as_of {
            self.counters.not_newer += 1;
            return Vec::new();
        }
        let part = (checkpoint.part, checkpoint.of);
        let Some(runs) = slot.run_parts.add(drawn, part, runs.iter().cloned()) else {
            return Vec::new();
        };
        let runs: Vec<GuestRun> = runs;
        let before = slot.node.runs_as_of.version;
        slot.node_mut().runs_as_of = drawn;
        let skew = slot.node.clock_skew();
        let moment = Moment::judge(checkpoint.at, received_at, skew);
        let named: BTreeSet<String> = runs.iter().map(|run| run.vmid.to_string()).collect();
        if slot.is_told_by_events(before, version) {
            self.counters.corrected_guests += self.otherwise_than_told(name, &runs, version);
        }
        let mut changes = Vec::new();
        for run in runs {
            let since = run.since.map_or(moment, |at| Moment::judge(at, received_at, skew));
            let at = (since, checkpoint.as_of);
            changes.extend(self.change_guest(name, (run.vmid, run.kind), at, |guest, boot| {
                guest.version <= version && guest.learn(run, boot, since)
            }));
        }
        changes.extend(self.change_guests(name, moment, |guest, boot| {
            let is_stopped = !named.contains(&*guest.id)
                && guest.version <= version
                && guest.is_not_running(boot, moment);
            guest.await_after_boot(boot, moment) || is_stopped
        }));
        changes.extend(self.forget_absent_guests(name, moment));
        changes.push(node_change(name, Vec::new(), moment));
        changes
    }

    /// How many guests a complete picture of those that run shows otherwise than the events before
    /// it told.
    fn otherwise_than_told(&self, name: &NodeName, runs: &[GuestRun], version: Version) -> u64 {
        let Some(slot) = self.nodes.get(name) else { return 0 };
        let shown: BTreeMap<Vmid, GuestState> =
            runs.iter().map(|run| (run.vmid, run.state)).collect();
        let is_unknown = |run: &&GuestRun| !slot.guests.contains_key(&*run.vmid.to_string());
        let is_other = |guest: &&Arc<Guest>| {
            let state = shown.get(&guest.vmid).copied().unwrap_or(GuestState::Stopped);
            guest.version <= version && guest.state().is_some_and(|known| known != state)
        };
        let others = slot.guests.values().filter(is_other).count();
        (others + runs.iter().filter(is_unknown).count()) as u64
    }

    /// A picture of what there is names a guest.
    pub(super) fn put_guest_plan(
        &mut self,
        name: &NodeName,
        plan: &GuestPlan,
        (moment, as_of): (Moment, Position),
    ) -> Option<Change> {
        let node = self.node(name)?;
        let are_runs_known = node.runs_as_of > Drawn::default();
        let is_node_known = node.guests_as_of > Drawn::default();
        let policies = self.policies().clone();
        self.change_guest(name, (plan.vmid, plan.kind), (moment, as_of), |guest, boot| {
            guest.is_newcomer |= is_node_known && guest.plan.is_none() && !guest.is_running();
            let is_stopped =
                are_runs_known && guest.run.is_none() && guest.is_not_running(boot, moment);
            let is_news = guest.plan.as_ref() != Some(plan);
            guest.plan = Some(plan.clone());
            if policies.problem.is_none() {
                guest.environment = policies.environment_of(plan).map(str::to_owned);
            }
            is_news || is_stopped
        })
    }

    /// A picture of what there is is complete: a guest that it does not name is not here, unless it
    /// runs.
    pub(super) fn keep_only_guest_plans(
        &mut self,
        name: &NodeName,
        named: &BTreeSet<String>,
        moment: Moment,
    ) -> Vec<Change> {
        let mut changes = self.change_guests(name, moment, |guest, _| {
            let is_gone = !named.contains(&*guest.id);
            is_gone && guest.plan.take().is_some()
        });
        changes.extend(self.forget_absent_guests(name, moment));
        changes
    }

    /// Another node of the cluster has a guest now. It can run here for a moment still.
    pub(super) fn take_guest_from(
        &mut self,
        name: &NodeName,
        vmid: Vmid,
        moment: Moment,
    ) -> Vec<Change> {
        let taken =
            self.change_known_guest((name, vmid), moment, |guest, _| guest.plan.take().is_some());
        taken.into_iter().chain(self.forget_absent_guests(name, moment)).collect()
    }

    /// Takes out guests that the node does not have, if it has said which it has. One that runs all
    /// the same moves, unless the node cannot be heard: then high availability has taken it.
    pub(super) fn forget_absent_guests(&mut self, name: &NodeName, moment: Moment) -> Vec<Change> {
        let Some(slot) = self.nodes.get_mut(name) else { return Vec::new() };
        if slot.node.guests_as_of == Drawn::default() {
            return Vec::new();
        }
        let is_silent = slot.node.silent.is_some();
        let is_gone =
            |guest: &&Arc<Guest>| guest.plan.is_none() && (is_silent || !guest.is_running());
        let gone: Vec<_> = slot.guests.values().filter(is_gone).cloned().collect();
        for guest in &gone {
            slot.remove_guest(&guest.id);
        }
        self.guests_count -= gone.len();
        gone.into_iter().map(|guest| Change::GuestGone { guest, moment }).collect()
    }

    /// A backup of a guest has begun.
    pub(super) fn begin_guest_backup(
        &mut self,
        node: &NodeName,
        (vmid, upid): (Vmid, &str),
        moment: Moment,
    ) -> Option<Change> {
        self.change_known_guest((node, vmid), moment, |guest, _| {
            guest.backup = Some(upid.to_owned());
            true
        })
    }

    /// A backup of a guest has ended.
    pub(super) fn end_guest_backup(
        &mut self,
        node: &NodeName,
        (vmid, upid): (Vmid, &str),
        moment: Moment,
    ) -> Option<Change> {
        self.change_known_guest((node, vmid), moment, |guest, _| {
            let ended = guest.backup.take_if(|running| *running == *upid);
            guest.await_after_backup(moment) || ended.is_some()
        })
    }

    /// A node has started its guests after a boot.
    pub(super) fn end_start_of_all(&mut self, node: &NodeName, moment: Moment) -> Vec<Change> {
        self.change_guests(node, moment, |guest, _| guest.await_after_start_of_all(moment))
    }

    /// Changes a guest, which is added if it is not known, with the node's boot at hand. Nothing
    /// comes of it unless `change` says that it is news.
    fn change_guest(
        &mut self,
        name: &NodeName,
        (vmid, kind): (Vmid, GuestKind),
        (moment, position): (Moment, Position),
        change: impl FnOnce(&mut Guest, Option<&str>) -> bool,
    ) -> Option<Change> {
        let slot = self.slot(name, moment.judged)?;
        let id = vmid.to_string();
        if !slot.guests.contains_key(&*id) {
            if slot.guests.len() >= GUESTS_PER_NODE_MAX {
                self.counters.entities_refused += 1;
                return None;
            }
            slot.add_guest(Guest::new(name.clone(), (vmid, kind), moment, position));
            self.guests_count += 1;
        }
        self.change_known_guest((name, vmid), moment, change)
    }

    /// Changes a guest with the node's boot at hand. Nothing comes of it if it is not known, or unless
    /// `change` says that it is news.
    fn change_known_guest(
        &mut self,
        (name, vmid): (&NodeName, Vmid),
        moment: Moment,
        change: impl FnOnce(&mut Guest, Option<&str>) -> bool,
    ) -> Option<Change> {
        let slot = self.nodes.get_mut(name)?;
        let changed = slot.change_guest(&vmid.to_string(), change);
        changed.map(|guest| Change::Guest { guest, moment })
    }

    /// Changes all guests of a node; those are told for which `change` says that it is news.
    fn change_guests(
        &mut self,
        name: &NodeName,
        moment: Moment,
        mut change: impl FnMut(&mut Guest, Option<&str>) -> bool,
    ) -> Vec<Change> {
        let Some(slot) = self.nodes.get_mut(name) else { return Vec::new() };
        let ids: Vec<_> = slot.guests.keys().cloned().collect();
        let changed = ids.iter().filter_map(|id| slot.change_guest(id, &mut change));
        changed.map(|guest| Change::Guest { guest, moment }).collect()
    }
}
