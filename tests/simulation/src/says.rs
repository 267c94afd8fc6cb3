//! What a collector says of nodes, units and alerts, for the judge to compare.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use pvewatch_collector::alerts::Alert;
use pvewatch_protocol::{AlertMessage, AlertState, CollectorName, NodeName};

use crate::collector::Collector;

impl Collector {
    /// Whether it says that a unit is failed; none if it does not know the unit.
    pub fn says_failed(&mut self, node: &NodeName, unit: usize) -> Option<(bool, String)> {
        let snapshot = self.snapshot()?;
        let id = format!("unit-{unit}.service");
        let found = snapshot.units().find(|it| it.node == *node && *it.id == *id)?;
        Some((
            found.state.is_failed(),
            format!("by {:?}, {}", found.position, found.state.active_state),
        ))
    }

    /// Why it says that a node is silent, if it does.
    pub fn says_silent(&mut self, node: &NodeName) -> Option<String> {
        let snapshot = self.snapshot()?;
        let node = &snapshot.nodes.iter().find(|view| view.node.name == *node)?.node;
        let since = node.silent?;
        Some(format!("since {since:?}, {:?}, heard {:?}", node.presence, node.last_seen))
    }

    /// How many transitions its store has.
    pub fn newest_transition(&self) -> usize {
        self.disk.borrow().transitions.len()
    }

    /// What it says of what fires.
    pub fn says_firing(&mut self) -> BTreeSet<String> {
        let nobody = self.nobody();
        let Some(snapshot) = self.snapshot() else { return BTreeSet::new() };
        let firing = snapshot.alerts.iter().filter(|it| it.state() == AlertState::Firing);
        firing.filter_map(|it| comparable(it, &nobody)).collect()
    }

    /// A name in place of its own.
    fn nobody(&self) -> CollectorName {
        "nobody".parse().unwrap_or_else(|_| self.name.clone())
    }

    /// What it says of alerts that began after these times, by node: what is retained of them, and
    /// the keys of notices from this transition on.
    pub fn says(&mut self, since: &BTreeMap<NodeName, Timestamp>, from: usize) -> BTreeSet<String> {
        let nobody = self.nobody();
        let is_new = |alert: &Alert| {
            since.get(&alert.entity.node).is_some_and(|since| alert.starts_at >= *since)
        };
        let mut said = BTreeSet::new();
        if let Some(snapshot) = self.snapshot() {
            let alerts = snapshot.alerts.iter();
            let alerts = alerts.filter(|it| it.state() != AlertState::Pending && is_new(it));
            said.extend(alerts.filter_map(|it| comparable(it, &nobody)));
        }
        let disk = self.disk.borrow();
        let steps = disk.transitions[from..].iter().filter(|step| is_new(&step.alert));
        said.extend(steps.filter_map(|step| step.notice()).map(|notice| notice.key));
        said
    }
}

/// What is retained of an alert, byte for byte but for two things: who says it, and what it was
/// heard from. A picture that overtakes its events at one collector is what that one has it from.
fn comparable(alert: &Alert, nobody: &CollectorName) -> Option<String> {
    let message = AlertMessage { as_of: None, ..alert.message(nobody) };
    serde_json::to_string(&message).ok()
}
