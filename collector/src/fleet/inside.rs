//! Nodes that are guests: an agent in a guest falls silent when that is stopped, or when the node
//! that has it goes down, and neither is news.
//!
//! Promised: a guest is known from inside by what its configuration and its own agent both say: the
//! id of its firmware, or the address of a network interface. Of several that fit, as copies do,
//! one that runs counts.
//!
//! Absent: what the rules make of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pvewatch_protocol::event::{AgentFacts, GuestState};
use pvewatch_protocol::{Guest as GuestPlan, GuestSettings, NodeName, StopReason};
use serde::{Deserialize, Serialize};

use super::apply::node_change;
use super::change::{Change, Origin};
use super::guest::Guest;
use super::moment::Moment;
use super::state::Fleet;

/// The guest that a node is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// The node that has it.
    pub host: NodeName,
    /// Its number there, as a text.
    pub vmid: Arc<str>,
    /// Whether it does not run, as is meant.
    pub is_stopped: bool,
    /// Whether that node cannot be heard. If its agent alone was stopped, its guests may well run.
    pub is_host_silent: bool,
}

/// The nodes, by what a guest's configuration can say of them too.
#[derive(Debug, Default)]
pub(super) struct Marks {
    nodes: HashMap<String, NodeName>,
    of: HashMap<NodeName, Vec<String>>,
}

impl Marks {
    /// A node is known by these, and by no others any more. The last node that claims a mark has it.
    fn note(&mut self, name: &NodeName, marks: Vec<String>) {
        let before = self.of.get(name).map_or(&[][..], Vec::as_slice);
        let is_known = |mark: &String| self.nodes.get(mark) == Some(name);
        if before == marks && marks.iter().all(is_known) {
            return;
        }
        for mark in self.of.remove(name).into_iter().flatten() {
            if self.nodes.get(&mark) == Some(name) {
                self.nodes.remove(&mark);
            }
        }
        self.nodes.extend(marks.iter().map(|mark| (mark.clone(), name.clone())));
        self.of.insert(name.clone(), marks);
    }
}

impl Guest {
    /// Whether it does not run as is meant: somebody asked for that, or it is waited for.
    fn is_stopped_as_meant(&self) -> bool {
        let is_stopped = self.state() == Some(GuestState::Stopped);
        is_stopped && (!self.is_unexpectedly_stopped() || self.awaited_since.is_some())
    }

    fn settings(&self) -> Option<&GuestSettings> {
        self.plan.as_ref()?.settings.as_deref()
    }
}

/// By what a guest's configuration lets it be known.
fn marks_of_guest(settings: &GuestSettings) -> impl Iterator<Item = &String> {
    settings.uuid.iter().chain(&settings.macs)
}

/// Whether two guests are one, by what each can be known by from inside; none if that is not known
/// of both. A number can be given to another guest, and a guest another name.
pub(super) fn are_one(a: &GuestPlan, b: &GuestPlan) -> Option<bool> {
    let (a, b) = (a.settings.as_deref()?, b.settings.as_deref()?);
    let are_marked = [a, b].into_iter().all(|it| marks_of_guest(it).next().is_some());
    are_marked.then(|| marks_of_guest(a).any(|mark| marks_of_guest(b).any(|other| mark == other)))
}

/// By what an agent lets its host be known.
fn marks_of_agent(facts: &AgentFacts) -> impl Iterator<Item = &String> {
    facts.product_uuid.iter().chain(&facts.macs)
}

impl Fleet {
    /// Follows what changed to the nodes that are guests.
    pub fn settle_inside(&mut self, changes: &[Change]) -> Vec<Change> {
        let mut concerned: BTreeMap<NodeName, Moment> = BTreeMap::new();
        for change in changes {
            match change {
                Change::Guest { guest, moment } | Change::GuestGone { guest, moment } => {
                    concerned.extend(self.nodes_inside(guest).map(|node| (node, *moment)));
                }
                Change::Node { node, origins, moment } if origins.contains(&Origin::Silence) => {
                    self.note_marks(node);
                    concerned.insert(node.clone(), *moment);
                    let guests = self.nodes.get(node).into_iter().flat_map(|it| it.guests.values());
                    let inside = guests.flat_map(|guest| self.nodes_inside(guest));
                    concerned.extend(inside.map(|inside| (inside, *moment)));
                }
                _ => {}
            }
        }
        let settle = |(node, moment)| self.settle_node_inside(&node, moment);
        concerned.into_iter().filter_map(settle).collect()
    }

    /// Remembers by what a node is known.
    pub(super) fn note_marks(&mut self, name: &NodeName) {
        let facts = self.nodes.get(name).and_then(|slot| slot.node.facts.as_ref());
        self.marks.note(name, facts.into_iter().flat_map(marks_of_agent).cloned().collect());
    }

    /// The nodes that a guest may be.
    fn nodes_inside(&self, guest: &Guest) -> impl Iterator<Item = NodeName> {
        let marks = guest.settings().into_iter().flat_map(marks_of_guest);
        marks.filter_map(|mark| self.marks.nodes.get(mark)).cloned()
    }

    /// Finds the guest that a node is, and says if that is news.
    fn settle_node_inside(&mut self, name: &NodeName, moment: Moment) -> Option<Change> {
        let inside = self.inside(name);
        let slot = self.nodes.get_mut(name)?;
        if slot.node.inside == inside {
            return None;
        }
        slot.node_mut().inside = inside;
        Some(node_change(name, vec![Origin::Silence], moment))
    }

    fn inside(&self, name: &NodeName) -> Option<Inside> {
        let facts = self.node(name)?.facts.as_ref()?;
        let is_it = |guest: &&Guest| {
            let mut marks = guest.settings().into_iter().flat_map(marks_of_guest);
            marks.any(|mark| marks_of_agent(facts).any(|own| own == mark))
        };
        let others = self.nodes.values().filter(|slot| slot.node.name != *name);
        let guests = others.flat_map(|slot| slot.guests.values()).map(|guest| &**guest);
        let guest = guests.filter(is_it).max_by_key(|guest| {
            (guest.is_running(), guest.since.judged, &guest.node, guest.vmid)
        })?;
        let host = self.node(&guest.node)?;
        let is_host_silent =
            host.silent.is_some() && host.stop_reason() != Some(StopReason::Stopped);
        Some(Inside {
            host: guest.node.clone(),
            vmid: guest.id.clone(),
            is_stopped: guest.is_stopped_as_meant(),
            is_host_silent,
        })
    }
}
