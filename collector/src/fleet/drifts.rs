//! How policies and pictures change the drift of a node.
//!
//! Promised: a node is checked when something of it changed that a policy can ask for, as a whole,
//! and no other node with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::{Guest, NodeName};

use super::change::Change;
use super::drift::Drift;
use super::drift_check::Checker;
use super::entity::Drawn;
use super::moment::Moment;
use super::node::Node;
use super::policy::{Policies, Policy};
use super::slot::Slot;
use super::state::Fleet;

/// The source of an agent that reads guests and jobs.
const SOURCE: &str = "backup_jobs";

/// What is to be checked, and by what.
#[derive(Debug, Default)]
pub(super) struct Checks {
    pub(super) policies: Arc<Policies>,
    /// Nodes of which something changed that a policy can ask for, and when it did.
    due: BTreeMap<NodeName, Moment>,
    /// Nodes that have told of guests.
    tellers: BTreeSet<NodeName>,
    /// The one of them where a file is told of that cannot be read.
    file_told_on: Option<NodeName>,
}

impl Fleet {
    /// The policies in force.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.checks.policies
    }

    /// Follows other policies. Returns the guests and backups whose environment is another one now.
    /// If the file cannot be read, environments stay as they were known.
    pub fn follow_policies(&mut self, policies: Policies, now: Timestamp) -> Vec<Change> {
        self.checks.policies = Arc::new(policies);
        let policies = self.checks.policies.clone();
        let moment = Moment::both(now);
        let mut changes = Vec::new();
        for (name, slot) in &mut self.nodes {
            self.checks.due.insert(name.clone(), moment);
            if policies.problem.is_none() {
                changes.extend(slot.settle_environments(&policies, moment));
            }
        }
        changes
    }

    /// Something changed that a policy can ask for.
    pub(super) fn drift_is_due(&mut self, node: &NodeName, moment: Moment) {
        let due = self.checks.due.entry(node.clone()).or_insert(moment);
        *due = moment.max(*due);
    }

    /// A node's facts are others, or it cannot be heard, or can again: that may change which guests it
    /// can still have, what policies come to, and which node tells of what several see.
    pub(super) fn settle_anew(&mut self, node: &NodeName, moment: Moment) -> Vec<Change> {
        self.drift_is_due(node, moment);
        let mut changes = self.forget_absent_guests(node, moment);
        changes.extend(self.share_storages_anew(node, moment));
        changes
    }

    /// Checks the nodes of which something changed since this was called last.
    pub fn check_drift(&mut self) -> Vec<Change> {
        let due = std::mem::take(&mut self.checks.due);
        due.into_iter().flat_map(|(node, moment)| self.check_node(&node, moment)).collect()
    }

    fn check_node(&mut self, name: &NodeName, moment: Moment) -> Vec<Change> {
        let policies = self.checks.policies.clone();
        let mut changes = self.settle_file(name, moment);
        let Some(slot) = self.nodes.get_mut(name) else { return changes };
        if policies.is_empty() && slot.drifts.is_empty() {
            return changes;
        }
        let mut found = Vec::new();
        if let Some(problem) = &policies.problem
            && self.checks.file_told_on.as_ref() == Some(name)
        {
            found.push(Drift::of_file(name.clone(), problem.clone()));
        }
        found.extend(policies.policies.iter().filter_map(|policy| slot.check(policy)));
        let named: BTreeSet<_> = found.iter().map(|drift| drift.id.clone()).collect();
        let gone: Vec<_> =
            slot.drifts.values().filter(|it| !named.contains(&it.id)).cloned().collect();
        for drift in gone {
            slot.remove_drift(&drift.id);
            self.drifts_count -= 1;
            changes.push(Change::DriftGone { drift, moment });
        }
        for drift in found {
            let known = slot.drifts.get(&drift.id);
            if known.is_some_and(|known| **known == drift) {
                continue;
            }
            self.drifts_count += usize::from(known.is_none());
            let drift = slot.put_drift(drift);
            changes.push(Change::Drift { drift, moment });
        }
        changes
    }

    /// Settles where a file is told of that cannot be read: on one node alone, the first by name of
    /// those that have guests and can be heard; the first of all if none can.
    fn settle_file(&mut self, name: &NodeName, moment: Moment) -> Vec<Change> {
        if self.node(name).is_some_and(|node| node.guests_as_of > Drawn::default()) {
            self.checks.tellers.insert(name.clone());
        }
        if self.checks.policies.problem.is_none() {
            return Vec::new();
        }
        let is_heard = |node: &&NodeName| self.node(node).is_some_and(|node| node.silent.is_none());
        let tellers = &self.checks.tellers;
        let next = tellers.iter().find(is_heard).or(tellers.first()).cloned();
        if next == self.checks.file_told_on {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.checks.file_told_on, next.clone());
        // The node itself is about to be checked.
        let others = before.into_iter().chain(next).filter(|other| other != name);
        let others: Vec<NodeName> = others.collect();
        others.iter().flat_map(|other| self.check_node(other, moment)).collect()
    }
}

impl Slot {
    /// What a policy comes to here; none if it is about no guest of the node.
    fn check(&self, policy: &Policy) -> Option<Drift> {
        let node = &self.node;
        let is_told = |as_of: Drawn| as_of > Drawn::default();
        let jobs = is_told(node.jobs_as_of).then_some(&self.jobs);
        let storages = is_told(node.storages_as_of).then_some(&self.storages);
        let mut checker = Checker::new((jobs, storages), node.guests_as_of.at);
        let mut drift = Drift::new(node.name.clone(), policy.name.clone());
        drift.environment = policy.about.environment().map(str::to_owned);
        drift.checked_at = is_told(node.guests_as_of).then_some(node.guests_as_of.at);
        let mut guests: Vec<_> = self.backups.values().collect();
        guests.sort_by_key(|backup| backup.vmid);
        for backup in guests {
            let Some(guest) = &backup.guest else { continue };
            let environment = backup.environment.as_deref().or(node.label("environment"));
            if policy.about.has(guest, environment.unwrap_or_default()) {
                drift.guests += 1;
                drift.find(checker.check(policy, guest));
            }
        }
        let blocked = why_blocked(node);
        let is_unseen = drift.checked_at.is_none();
        if drift.guests == 0 && !(is_unseen && blocked.is_some()) {
            return None;
        }
        let untold = checker.untold.into_iter().map(|what| format!("not known: {what}"));
        let problem: Vec<String> = blocked.into_iter().chain(untold).collect();
        drift.problem = (!problem.is_empty()).then(|| problem.join("; "));
        drift.is_checked = !checker.is_missing && !is_unseen;
        drift.put_into_words();
        Some(drift)
    }

    /// Works out anew to which environments guests belong.
    fn settle_environments(&mut self, policies: &Policies, moment: Moment) -> Vec<Change> {
        let of = |guest: Option<&Guest>| {
            guest.and_then(|guest| policies.environment_of(guest)).map(str::to_owned)
        };
        let mut changes = Vec::new();
        for backup in self.backups.values_mut() {
            let environment = of(backup.guest.as_ref());
            if backup.environment != environment {
                Arc::make_mut(backup).environment = environment;
                changes.push(Change::Backup { backup: backup.clone(), moment });
            }
        }
        for guest in self.guests.values_mut() {
            let environment = of(guest.plan.as_ref());
            if guest.environment != environment {
                Arc::make_mut(guest).environment = environment;
                changes.push(Change::Guest { guest: guest.clone(), moment });
            }
        }
        if !changes.is_empty() {
            self.be_different();
        }
        changes
    }
}

/// Why the node's agent cannot read Proxmox' configuration, if it says so. One of a host without
/// Proxmox says nothing.
fn why_blocked(node: &Node) -> Option<String> {
    let sources = &node.facts.as_ref()?.sources;
    let source = sources.iter().find(|source| source.name == SOURCE && !source.active)?;
    Some(format!("guests and jobs cannot be read: {}", source.detail))
}
