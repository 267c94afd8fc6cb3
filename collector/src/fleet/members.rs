//! Members of Proxmox clusters, as their nodes see them: which node is to tell of one that is
//! offline.
//!
//! Promised: one node tells of it, however many see it; nobody tells of one whose agent is silent,
//! since that node's own alert does, or it went down as announced.

use pvewatch_protocol::NodeName;
use pvewatch_protocol::sample::{Cluster, Member};

use super::node::Node;
use super::reading::Reading;
use super::state::Fleet;

/// A member of a cluster, as one of its nodes sees it.
#[derive(Debug, Clone, Copy)]
pub struct SeenMember<'a> {
    /// What the node says of it.
    pub member: &'a Member,
    /// The cluster.
    pub cluster: &'a str,
    /// Whether the node is the one to tell of it.
    pub is_told_here: bool,
}

impl Reading {
    /// One of the members of the node's cluster.
    pub fn member(&self, name: &str) -> Option<SeenMember<'_>> {
        let cluster = self.sample.cluster.as_deref()?;
        let member = cluster.members.iter().find(|member| member.node == name)?;
        let is_told_here = self.members_told.iter().any(|told| told == name);
        Some(SeenMember { member, cluster: &cluster.name, is_told_here })
    }
}

impl Fleet {
    /// Settles anew of which members a node is to tell.
    pub(super) fn settle_members(&mut self, name: &NodeName) {
        let Some(reading) = self.node(name).and_then(|node| node.reading.as_ref()) else { return };
        let told = reading.sample.cluster.as_deref().map_or(Vec::new(), |it| self.told(name, it));
        if told == reading.members_told {
            return;
        }
        let reading = self.nodes.get_mut(name).and_then(|slot| slot.node_mut().reading.as_mut());
        if let Some(reading) = reading {
            reading.members_told = told;
        }
    }

    /// The members that are offline and of which a node that sees the cluster so is to tell: it is
    /// the first by name of those that are heard and have a quorum. Without one it is itself cut off.
    fn told(&self, name: &NodeName, cluster: &Cluster) -> Vec<String> {
        if cluster.members.iter().all(|member| member.online) {
            return Vec::new();
        }
        let offline = cluster.members.iter().filter(|member| !member.online);
        let is_before = |member: &&Member| member.online && *member.node < *name.as_str();
        let mut before = cluster.members.iter().filter(is_before);
        if !cluster.quorate || before.any(|member| self.can_tell(member, &cluster.name)) {
            return Vec::new();
        }
        // One without an agent has nobody else to tell of it; one whose agent is heard is cut off
        // from its cluster.
        let is_heard = |node: &Node| node.silent.is_none();
        let is_nobody_elses = |member: &&Member| self.agent_of(member).is_none_or(is_heard);
        offline.filter(is_nobody_elses).map(|member| member.node.clone()).collect()
    }

    /// Whether a member's own agent sees the cluster, and is heard.
    fn can_tell(&self, member: &Member, cluster: &str) -> bool {
        let sees = |node: &Node| {
            let seen = node.reading.as_ref().and_then(|it| it.sample.cluster.as_deref());
            seen.is_some_and(|seen| seen.quorate && seen.name == cluster)
        };
        self.agent_of(member).is_some_and(|node| node.silent.is_none() && sees(node))
    }

    fn agent_of(&self, member: &Member) -> Option<&Node> {
        self.node(&member.node.parse().ok()?).map(|node| &**node)
    }
}
