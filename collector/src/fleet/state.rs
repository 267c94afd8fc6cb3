//! All nodes and units of a site, and how inputs change them.
//!
//! Promises: the cost of an input does not depend on the number of nodes; what changed is
//! returned, never searched for. A view of a node is shared until the node changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::{NodeName, Site, Vmid};
use serde::Serialize;

use super::backup::Backup;
use super::backup_job::BackupJob;
use super::drift::Drift;
use super::drifts::Checks;
use super::entity::{Entity, EntityKind};
use super::guest::Guest;
use super::inside::Marks;
use super::moment::shift;
use super::node::Node;
use super::slot::Slot;
use super::storage::Storage;
use super::storages::Shared;
use super::unit::Unit;

/// Nodes that one collector keeps; more are refused and counted. Twice the largest fleet that
/// one collector is measured with.
pub const NODES_MAX: usize = 20_000;

/// Units that are kept of one node; more are refused and counted.
pub const UNITS_PER_NODE_MAX: usize = 20_000;

/// Guests whose backups are kept of one node; more are refused and counted.
pub const BACKUPS_PER_NODE_MAX: usize = 10_000;

/// Backup jobs that are kept of one node; more are refused and counted.
pub const JOBS_PER_NODE_MAX: usize = 1_000;

/// Storages that are kept of one node; more are refused and counted.
pub const STORAGES_PER_NODE_MAX: usize = 1_000;

/// Guests that are kept of one node; more are refused and counted.
pub const GUESTS_PER_NODE_MAX: usize = 10_000;

/// What was left out or doubted since the collector started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct FleetCounters {
    /// Events and checkpoints that were not newer than what they speak of.
    pub not_newer: u64,
    /// Events whose time lay too far in the future.
    pub future_times: u64,
    /// Events that came from a backlog.
    pub late_events: u64,
    /// Events from before this store that agents no longer hold.
    pub events_before: u64,
    /// Last wills of connections that had been taken over.
    pub superseded_wills: u64,
    /// Units that a picture found otherwise than the events of the same agent's start had told:
    /// one was missed. In a healthy system there are none.
    pub corrected_units: u64,
    /// Guests that run, or do not, otherwise than those events had told.
    pub corrected_guests: u64,
    /// Events and checkpoints of a kind that this version does not know.
    pub unknown_kinds: u64,
    /// Nodes and units beyond what is kept.
    pub entities_refused: u64,
}

/// One node with its units, as they were at one moment. Cheap to share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeView {
    /// The node itself.
    pub node: Arc<Node>,
    /// Its units, by name.
    pub units: Vec<Arc<Unit>>,
    /// The backups of its guests.
    pub backups: Vec<Arc<Backup>>,
    /// Its backup jobs, by name.
    pub jobs: Vec<Arc<BackupJob>>,
    /// Its storages, by name.
    pub storages: Vec<Arc<Storage>>,
    /// Its guests, by number.
    pub guests: Vec<Arc<Guest>>,
    /// What policies come to on it, by name.
    pub drifts: Vec<Arc<Drift>>,
}

/// Everything that is known of a site's nodes.
#[derive(Debug)]
pub struct Fleet {
    site: Site,
    pub(super) listening_since: Timestamp,
    /// When the store behind the fleet began.
    pub(super) began_at: Timestamp,
    pub(super) nodes: HashMap<NodeName, Slot>,
    pub(super) units_count: usize,
    pub(super) backups_count: usize,
    pub(super) jobs_count: usize,
    pub(super) storages_count: usize,
    pub(super) guests_count: usize,
    pub(super) drifts_count: usize,
    pub(super) checks: Checks,
    /// The nodes that have, or had, backups of a guest of this number.
    pub(super) backup_nodes: HashMap<Vmid, BTreeSet<NodeName>>,
    /// The nodes of a cluster that see the same storage.
    pub(super) storage_nodes: HashMap<Shared, BTreeSet<NodeName>>,
    pub(super) marks: Marks,
    pub(super) counters: FleetCounters,
    /// Nodes that were first heard of since this was asked last.
    pub(super) created: Vec<NodeName>,
}

impl Fleet {
    /// A fleet of which nothing is known. Silence is counted from `listening_since` at the
    /// earliest.
    pub fn new(site: Site, listening_since: Timestamp) -> Self {
        Self {
            site,
            listening_since,
            began_at: Timestamp::MIN,
            nodes: HashMap::new(),
            units_count: 0,
            backups_count: 0,
            jobs_count: 0,
            storages_count: 0,
            guests_count: 0,
            drifts_count: 0,
            checks: Checks::default(),
            backup_nodes: HashMap::new(),
            storage_nodes: HashMap::new(),
            marks: Marks::default(),
            counters: FleetCounters::default(),
            created: Vec::new(),
        }
    }

    /// The store behind the fleet began at this time: what agents no longer hold of streams that
    /// are older is no loss to it.
    pub fn begin_at(&mut self, began_at: Timestamp) {
        self.began_at = began_at;
    }

    /// Whether the newest sample of a node came since the collector listens; also if there never
    /// was one.
    pub fn is_read(&self, name: &NodeName) -> bool {
        let reading = self.node(name).and_then(|node| node.reading.as_ref());
        reading.is_none_or(|reading| reading.received_at >= self.listening_since)
    }

    /// When the sample before the newest one of a node was taken, if it came since the collector
    /// listens.
    pub fn read_before(&self, name: &NodeName) -> Option<Timestamp> {
        self.nodes.get(name)?.read_before
    }

    /// The collector was away until now: silence is counted from here.
    pub fn listen_from(&mut self, now: Timestamp) {
        self.listening_since = now;
    }

    /// The collector's clock was set ahead by as much: what was noted by it moves along. Of units,
    /// those that are in a state that should not last; the others stay as they are recorded,
    /// which is too much to write anew. Returns the units that changed.
    pub fn clock_jumped(&mut self, by: SignedDuration) -> Vec<Arc<Unit>> {
        let mut changed = Vec::new();
        self.listening_since = shift(self.listening_since, by);
        for slot in self.nodes.values_mut() {
            slot.node_mut().clock_jumped(by);
            let is_passing =
                |unit: &Unit| !matches!(&*unit.state.active_state, "active" | "inactive");
            for unit in slot.units.values_mut().filter(|unit| is_passing(unit)) {
                let moved = Arc::make_mut(unit);
                moved.since.judged = shift(moved.since.judged, by);
                changed.push(unit.clone());
            }
        }
        changed
    }

    /// The site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// A node.
    pub fn node(&self, name: &NodeName) -> Option<&Arc<Node>> {
        self.nodes.get(name).map(|slot| &slot.node)
    }

    /// A unit of a node.
    pub fn unit(&self, node: &NodeName, id: &str) -> Option<&Arc<Unit>> {
        self.nodes.get(node)?.units.get(id)
    }

    /// The units of a node, by name.
    pub fn units(&self, node: &NodeName) -> impl Iterator<Item = &Arc<Unit>> {
        self.nodes.get(node).into_iter().flat_map(|slot| slot.units.values())
    }

    /// A node, and one of the entities that belong to it.
    pub fn find(
        &self,
        node: &NodeName,
        (kind, id): (EntityKind, &str),
    ) -> Option<(&Arc<Node>, Entity<'_>)> {
        let slot = self.nodes.get(node)?;
        let entity = match kind {
            EntityKind::Node => Entity::Node,
            EntityKind::Unit => Entity::Unit(slot.units.get(id)?),
            EntityKind::Backup => Entity::Backup(slot.backups.get(id)?),
            EntityKind::BackupJob => Entity::BackupJob(slot.jobs.get(id)?),
            EntityKind::Storage => Entity::Storage(slot.storages.get(id)?),
            EntityKind::Guest => Entity::Guest(slot.guests.get(id)?),
            EntityKind::Filesystem => {
                Entity::Filesystem(slot.node.reading.as_ref()?.filesystem(id)?)
            }
            EntityKind::Drift => Entity::Drift(slot.drifts.get(id)?),
            EntityKind::Pool => Entity::Pool(slot.node.reading.as_ref()?.pool(id)?),
            EntityKind::Interface => Entity::Interface(slot.node.reading.as_ref()?.interface(id)?),
            EntityKind::Member => Entity::Member(slot.node.reading.as_ref()?.member(id)?),
        };
        Some((&slot.node, entity))
    }

    /// The names of a node's entities of a kind.
    pub fn ids(&self, node: &NodeName, kind: EntityKind) -> Vec<Arc<str>> {
        let Some(slot) = self.nodes.get(node) else { return Vec::new() };
        match kind {
            EntityKind::Node => vec![Arc::from("")],
            EntityKind::Unit => slot.units.keys().cloned().collect(),
            EntityKind::Backup => slot.backups.keys().cloned().collect(),
            EntityKind::BackupJob => slot.jobs.keys().cloned().collect(),
            EntityKind::Storage => slot.storages.keys().cloned().collect(),
            EntityKind::Guest => slot.guests.keys().cloned().collect(),
            EntityKind::Drift => slot.drifts.keys().cloned().collect(),
            EntityKind::Filesystem
            | EntityKind::Pool
            | EntityKind::Interface
            | EntityKind::Member => slot.sampled(kind),
        }
    }

    /// All nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        let mut nodes: Vec<_> = self.nodes.values().map(|slot| &slot.node).collect();
        nodes.sort_by(|left, right| left.name.cmp(&right.name));
        nodes.into_iter()
    }

    /// How many entities of a kind there are.
    pub fn count(&self, kind: EntityKind) -> usize {
        match kind {
            EntityKind::Node => self.nodes.len(),
            EntityKind::Unit => self.units_count,
            EntityKind::Backup => self.backups_count,
            EntityKind::BackupJob => self.jobs_count,
            EntityKind::Storage => self.storages_count,
            EntityKind::Guest => self.guests_count,
            EntityKind::Drift => self.drifts_count,
            EntityKind::Filesystem
            | EntityKind::Pool
            | EntityKind::Interface
            | EntityKind::Member => {
                let readings = self.nodes.values().filter_map(|slot| slot.node.reading.as_ref());
                readings.map(|reading| reading.count(kind)).sum()
            }
        }
    }

    /// What was left out or doubted.
    pub fn counters(&self) -> FleetCounters {
        self.counters
    }

    /// Nodes that were first heard of since this was asked last.
    pub fn take_created(&mut self) -> Vec<NodeName> {
        std::mem::take(&mut self.created)
    }

    /// Puts a node back as it was recorded.
    pub fn restore_node(&mut self, node: Node) {
        let name = node.name.clone();
        let node = Arc::new(node);
        match self.nodes.get_mut(&name) {
            Some(slot) => slot.node = node,
            None => {
                self.nodes.insert(name.clone(), Slot::new(node));
            }
        }
        self.note_marks(&name);
    }

    /// Puts a unit back as it was recorded; its node may follow later.
    pub fn restore_unit(&mut self, unit: Unit) {
        let slot = self.slot_to_restore(&unit.node, unit.since.judged);
        if slot.units.insert(unit.id.clone(), Arc::new(unit)).is_none() {
            self.units_count += 1;
        }
    }

    /// The slot of something that is put back before its node.
    pub(super) fn slot_to_restore(&mut self, name: &NodeName, since: Timestamp) -> &mut Slot {
        let new_node = || Slot::new(Arc::new(Node::new(name.clone(), since)));
        self.nodes.entry(name.clone()).or_insert_with(new_node)
    }

    /// All nodes with their units, by name. What has not changed since the last call is shared.
    pub fn views(&mut self) -> Vec<Arc<NodeView>> {
        let mut views: Vec<_> = self.nodes.values_mut().map(Slot::view).collect();
        views.sort_by(|left, right| left.node.name.cmp(&right.node.name));
        views
    }

    /// When a node's silence must be judged next, if nothing more is heard of it.
    pub fn next_judgement(&self, name: &NodeName) -> Option<Timestamp> {
        self.nodes.get(name)?.node.next_judgement(self.listening_since)
    }
}
