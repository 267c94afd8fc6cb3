//! One node's place in the fleet: the node, its units, and what was removed lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::Position;
use pvewatch_protocol::event::{UnitChange, UnitState};

use super::backup::Backup;
use super::entity::Version;
use super::moment::Moment;
use super::node::Node;
use super::parts::Parts;
use super::state::{Change, NodeView, UNITS_PER_NODE_MAX};
use super::unit::Unit;

/// Removed units remembered for one node; beyond it the one removed longest ago is forgotten.
const REMOVED_UNITS_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) node: Arc<Node>,
    pub(super) units: BTreeMap<Arc<str>, Arc<Unit>>,
    pub(super) backups: BTreeMap<Arc<str>, Arc<Backup>>,
    pub(super) parts: Parts,
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
            parts: Parts::default(),
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

    /// A guest's backups, to be changed.
    pub(super) fn backup_mut(&mut self, id: &str) -> Option<&mut Arc<Backup>> {
        self.view = None;
        self.backups.get_mut(id)
    }

    /// Takes a guest's backups out.
    pub(super) fn remove_backup(&mut self, id: &str) -> Option<Arc<Backup>> {
        self.view = None;
        self.backups.remove(id)
    }

    /// The node and its units as they are, shared until something changes.
    pub(super) fn view(&mut self) -> Arc<NodeView> {
        let (node, units, backups) = (&self.node, &self.units, &self.backups);
        let make = || {
            let units = units.values().cloned().collect();
            let backups = backups.values().cloned().collect();
            Arc::new(NodeView { node: node.clone(), units, backups })
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
