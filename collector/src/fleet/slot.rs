//! One node's place in the fleet: the node, its units, and what was removed lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{GuestRun, UnitChange, UnitState};
use pvewatch_protocol::{BackupStorage, Position, Vmid};

use super::backup::Backup;
use super::backup_job::{BackupJob, Jobs};
use super::change::Change;
use super::drift::Drift;
use super::entity::{Drawn, EntityKind, Version};
use super::guest::{Guest, Guests};
use super::moment::Moment;
use super::node::Node;
use super::parts::Parts;
use super::state::{NodeView, UNITS_PER_NODE_MAX};
use super::storage::{Storage, Storages};
use super::unit::Unit;

/// Removed units remembered for one node; beyond it the one removed longest ago is forgotten.
const REMOVED_UNITS_MAX: usize = 1024;

/// For how long the past of a guest is kept that is nowhere any more.
const DEPARTED_KEPT_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);

/// Guests of which that is kept; beyond it the one that left first is forgotten.
const DEPARTED_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) node: Arc<Node>,
    pub(super) units: BTreeMap<Arc<str>, Arc<Unit>>,
    pub(super) backups: BTreeMap<Arc<str>, Arc<Backup>>,
    /// What is remembered of guests that are not here any more: they may be back, or elsewhere.
    pub(super) departed: BTreeMap<Vmid, Arc<Backup>>,
    pub(super) jobs: Jobs,
    pub(super) storages: Storages,
    pub(super) guests: Guests,
    /// What policies come to here, by name.
    pub(super) drifts: BTreeMap<Arc<str>, Arc<Drift>>,
    pub(super) parts: Parts,
    pub(super) guest_parts: Parts<Drawn>,
    pub(super) run_parts: Parts<Drawn, GuestRun>,
    pub(super) job_parts: Parts<Drawn>,
    pub(super) storage_parts: Parts<Drawn, BackupStorage>,
    /// The newest event of the node since the collector started.
    pub(super) told_through: Version,
    /// When the sample before the newest one was taken, if that came since the collector listens.
    pub(super) read_before: Option<Timestamp>,
    view: Option<Arc<NodeView>>,
}

/// What became of a description of a unit.
pub(super) enum Put {
    /// The unit was not known.
    New(Change),
    /// The unit is different now.
    Changed(Change),
    /// What is known is as new or newer.
    NotNewer,
    /// The node has too many units.
    Refused,
}

impl Slot {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            units: BTreeMap::new(),
            backups: BTreeMap::new(),
            departed: BTreeMap::new(),
            jobs: Jobs::new(),
            storages: Storages::new(),
            guests: Guests::new(),
            drifts: BTreeMap::new(),
            parts: Parts::default(),
            guest_parts: Parts::default(),
            run_parts: Parts::default(),
            job_parts: Parts::default(),
            storage_parts: Parts::default(),
            told_through: Version::default(),
            read_before: None,
            view: None,
        }
    }

    /// The node, to be changed.
    pub(super) fn node_mut(&mut self) -> &mut Node {
        self.view = None;
        Arc::make_mut(&mut self.node)
    }

    /// The unit, to be changed.
    pub(super) fn unit_mut(&mut self, id: &str) -> Option<&mut Arc<Unit>> {
        self.view = None;
        self.units.get_mut(id)
    }

    /// Changes a guest's backups, with the jobs of the node at hand, and gives them as they are
    /// then; none if there are none.
    pub(super) fn change_backup(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut Backup, &Jobs),
    ) -> Option<Arc<Backup>> {
        self.view = None;
        let backup = self.backups.get_mut(id)?;
        change(Arc::make_mut(backup), &self.jobs);
        Some(backup.clone())
    }

    /// Forgets guests that left long ago, and those that left first if there are too many.
    pub(super) fn forget_departed(&mut self, now: Moment) -> Vec<Arc<Backup>> {
        let left_at = |backup: &Backup| backup.gone_since.map_or(Timestamp::MIN, |at| at.fact);
        let mut by_time: Vec<_> = self.departed.values().cloned().collect();
        by_time.sort_by_key(|backup| left_at(backup));
        let excess = by_time.len().saturating_sub(DEPARTED_MAX);
        let is_old = |backup: &Backup| now.fact.duration_since(left_at(backup)) > DEPARTED_KEPT_FOR;
        let old = by_time.iter().take_while(|backup| is_old(backup)).count();
        by_time.truncate(excess.max(old));
        for backup in &by_time {
            self.departed.remove(&backup.vmid);
        }
        by_time
    }

    /// Takes a guest's backups out.
    pub(super) fn remove_backup(&mut self, id: &str) -> Option<Arc<Backup>> {
        self.view = None;
        self.backups.remove(id)
    }

    /// The names of what the newest sample has of a kind.
    pub(super) fn sampled(&self, kind: EntityKind) -> Vec<Arc<str>> {
        self.node.reading.as_ref().map(|reading| reading.names(kind)).unwrap_or_default()
    }

    /// When the node's kernel started.
    pub(super) fn booted_at(&self) -> Option<Timestamp> {
        self.node.facts.as_ref().map(|facts| facts.booted_at)
    }

    /// Adds a job.
    pub(super) fn add_job(&mut self, job: BackupJob) -> Arc<BackupJob> {
        self.view = None;
        let job = Arc::new(job);
        self.jobs.insert(job.id.clone(), job.clone());
        job
    }

    /// Changes a job; none if there is no such.
    pub(super) fn change_job(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut BackupJob),
    ) -> Option<Arc<BackupJob>> {
        self.view = None;
        let job = self.jobs.get_mut(id)?;
        change(Arc::make_mut(job));
        Some(job.clone())
    }

    /// Takes a job out.
    pub(super) fn remove_job(&mut self, id: &str) -> Option<Arc<BackupJob>> {
        self.view = None;
        self.jobs.remove(id)
    }

    /// Adds a storage, or changes it.
    pub(super) fn put_storage(&mut self, storage: Arc<Storage>) {
        self.view = None;
        self.storages.insert(storage.id.clone(), storage);
    }

    /// Takes a storage out.
    pub(super) fn remove_storage(&mut self, id: &str) {
        self.view = None;
        self.storages.remove(id);
    }

    /// Adds a guest.
    pub(super) fn add_guest(&mut self, guest: Guest) {
        self.view = None;
        self.guests.insert(guest.id.clone(), Arc::new(guest));
    }

    /// Changes a guest, with the boot at hand in which its node runs, and gives it as it is then;
    /// none if `change` says that this is no news.
    pub(super) fn change_guest(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut Guest, Option<&str>) -> bool,
    ) -> Option<Arc<Guest>> {
        self.view = None;
        let boot = self.node.boots.current.as_ref().map(|boot| &*boot.id);
        let guest = self.guests.get_mut(id)?;
        change(Arc::make_mut(guest), boot).then(|| guest.clone())
    }

    /// Takes a guest out.
    pub(super) fn remove_guest(&mut self, id: &str) {
        self.view = None;
        self.guests.remove(id);
    }

    /// Adds what a policy comes to, or changes it.
    pub(super) fn put_drift(&mut self, drift: Drift) -> Arc<Drift> {
        self.view = None;
        let drift = Arc::new(drift);
        self.drifts.insert(drift.id.clone(), drift.clone());
        drift
    }

    /// Takes out what a policy came to.
    pub(super) fn remove_drift(&mut self, id: &str) {
        self.view = None;
        self.drifts.remove(id);
    }

    /// Something was changed in place.
    pub(super) fn be_different(&mut self) {
        self.view = None;
    }

    /// The node and what belongs to it, shared until something changes.
    pub(super) fn view(&mut self) -> Arc<NodeView> {
        let (node, units, backups) = (&self.node, &self.units, &self.backups);
        let (jobs, storages, guests) = (&self.jobs, &self.storages, &self.guests);
        let drifts = &self.drifts;
        let make = || {
            let units = units.values().cloned().collect();
            let backups = backups.values().cloned().collect();
            let jobs = jobs.values().cloned().collect();
            let storages = storages.values().cloned().collect();
            let guests = guests.values().cloned().collect();
            let drifts = drifts.values().cloned().collect();
            let node = node.clone();
            Arc::new(NodeView { node, units, backups, jobs, storages, guests, drifts })
        };
        self.view.get_or_insert_with(make).clone()
    }

    /// Whether a description of a unit is newer than all that is known of it.
    pub(super) fn is_newer(&self, id: &str, version: Version) -> bool {
        let known = self.units.get(id).map(|unit| unit.version);
        let removed = self.node.removed_units.get(id).copied();
        let newest = known.into_iter().chain(removed).max();
        version > self.node.units_as_of.max(newest.unwrap_or_default())
    }

    /// Whether events had to tell, and did, all that changed from one picture to another: both are
    /// of the same start of the agent, and all events have come that the later one includes.
    pub(super) fn is_told_by_events(&self, before: Version, picture: Version) -> bool {
        let start = picture.stream_ordinal;
        let is_of_start = |version: Version| version.stream_ordinal == start;
        is_of_start(before) && is_of_start(self.told_through) && self.told_through >= picture
    }

    /// Whether a picture shows a unit otherwise than the events before it told.
    pub(super) fn is_corrected(&self, state: &UnitState, picture: Version) -> bool {
        let known = self.units.get(&*state.unit);
        let is_other = known.is_none_or(|known| known.state.active_state != state.active_state);
        is_other
            && self.is_told_by_events(self.node.units_as_of, picture)
            && self.is_newer(&state.unit, picture)
    }

    /// Takes a description of a unit, if it is newer. `since` is when the state was entered.
    pub(super) fn put_unit(
        &mut self,
        state: UnitState,
        change: Option<UnitChange>,
        (version, position): (Version, Position),
        since: Moment,
    ) -> Put {
        if !self.is_newer(&state.unit, version) {
            return Put::NotNewer;
        }
        if let Some(unit) = self.unit_mut(&state.unit) {
            let unit_now = Arc::make_mut(unit);
            let known_since = Some(unit_now.since);
            let entered = unit_now.state.active_state != state.active_state
                || unit_now.state.invocation_id != state.invocation_id;
            if entered {
                unit_now.since = since;
            }
            let differs = unit_now.state != state;
            unit_now.state = state;
            unit_now.change = change.or(unit_now.change);
            unit_now.version = version;
            unit_now.position = position;
            let unit = unit.clone();
            let state = differs;
            return Put::Changed(Change::Unit { unit, moment: since, state, known_since });
        }
        if self.units.len() >= UNITS_PER_NODE_MAX {
            return Put::Refused;
        }
        let id: Arc<str> = Arc::from(state.unit.as_str());
        let node = self.node.name.clone();
        let unit =
            Unit { node, id: id.clone(), state, change, version, position, since, log: None };
        let unit = Arc::new(unit);
        self.view = None;
        self.units.insert(id, unit.clone());
        Put::New(Change::Unit { unit, moment: since, state: true, known_since: None })
    }

    /// Takes a unit out and remembers how new that was.
    pub(super) fn remove_unit(&mut self, id: &str, version: Version) -> Option<Arc<Unit>> {
        let removed = &mut self.node_mut().removed_units;
        if removed.len() >= REMOVED_UNITS_MAX {
            let oldest = removed.iter().min_by_key(|(_, version)| **version);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                removed.remove(&oldest);
            }
        }
        removed.insert(id.to_owned(), version);
        self.units.remove(id)
    }

    /// Takes out all units that a complete checkpoint does not name and that are not newer.
    pub(super) fn keep_only(&mut self, named: &BTreeSet<String>, as_of: Version) -> Vec<Arc<Unit>> {
        let node = self.node_mut();
        node.units_as_of = as_of;
        node.removed_units.retain(|_, removed| *removed > as_of);
        let gone: Vec<Arc<Unit>> = self
            .units
            .values()
            .filter(|unit| unit.version <= as_of && !named.contains(&*unit.id))
            .cloned()
            .collect();
        for unit in &gone {
            self.units.remove(&unit.id);
        }
        gone
    }
}
