//! The newest sample of a node, and what it says of the agent's own way to the collector.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::Sample;
use pvewatch_protocol::sample::{Filesystem, Pool, Temperature};
use serde::{Deserialize, Serialize};

use super::entity::EntityKind;
use super::moment::Moment;
use super::silence::epoch_time;
use super::traffic::{self, SeenInterface, Traffic};
use super::usage::{self, Usage};

/// A sample and when it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What the node measured, but for what its guests used.
    pub sample: Sample,
    /// By the collector's clock.
    pub received_at: Timestamp,
    /// Processes that the kernel killed for want of memory since the node is known.
    #[serde(default)]
    pub oom_kills_seen: u64,
    /// When the last of them was, at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_killed_at: Option<Moment>,
    /// How each of the sample's interfaces fares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<Traffic>,
    /// What its guests used, as the newest sample says that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Arc<Usage>>,
    /// Members of its cluster that are offline and of which this node is to tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members_told: Vec<String>,
}

impl Reading {
    /// A sample that comes after another one, if that is known.
    pub fn after(before: Option<&Self>, sample: &Sample, moment: Moment) -> Self {
        let (mut seen, mut at) = (0, None);
        if let Some(before) = before {
            (seen, at) = (before.oom_kills_seen, before.oom_killed_at);
            let is_same_boot = sample.uptime_seconds >= before.sample.uptime_seconds;
            let counted = before.sample.oom_kills.filter(|_| is_same_boot);
            let more = sample.oom_kills.map_or(0, |kills| {
                // What an agent begins to count is no news.
                let known = if is_same_boot { counted.unwrap_or(kills) } else { 0 };
                kills.saturating_sub(known)
            });
            if more > 0 {
                (seen, at) = (seen.saturating_add(more), Some(moment));
            }
        }
        let traffic = traffic::follow(before, sample);
        let usage = usage::follow(before, sample);
        let members_told = before.map(|before| before.members_told.clone()).unwrap_or_default();
        Self {
            sample: Sample { guests: None, ..sample.clone() },
            received_at: moment.judged,
            oom_kills_seen: seen,
            oom_killed_at: at,
            traffic,
            usage,
            members_told,
        }
    }

    /// For how long the agent's connection has lasted without an answer to any of its heartbeats;
    /// none if one was answered, or if the agent does not measure that.
    pub fn unanswered_for(&self) -> Option<SignedDuration> {
        let Sample { at, epoch, agent, .. } = &self.sample;
        let is_answered = agent.ack_round_trip_seconds.is_some();
        // Agents that measure the round trip also say this.
        let is_measured = agent.oldest_unacked_seconds.is_some();
        let connected_at = Some(epoch_time(*epoch)).filter(|at| *at != Timestamp::MIN)?;
        let lasted = at.duration_since(connected_at).max(SignedDuration::ZERO);
        (is_measured && !is_answered).then_some(lasted)
    }

    /// One of the filesystems, by where it is mounted.
    pub fn filesystem(&self, mount: &str) -> Option<&Filesystem> {
        self.sample.filesystems.iter().find(|filesystem| filesystem.mount == mount)
    }

    /// One of the pools of disks.
    pub fn pool(&self, name: &str) -> Option<&Pool> {
        self.sample.pools.iter().find(|pool| pool.name == name)
    }

    /// One of the network interfaces.
    pub fn interface(&self, name: &str) -> Option<SeenInterface<'_>> {
        let counted = self.sample.interfaces.iter().find(|interface| interface.name == name)?;
        let traffic = self.traffic.iter().find(|traffic| traffic.name == name);
        Some(SeenInterface { counted, traffic })
    }

    /// How much the sample has of a kind.
    pub fn count(&self, kind: EntityKind) -> usize {
        names(&self.sample, kind).len()
    }

    /// What the sample names and another one does not.
    pub fn missing_from(&self, other: &Sample) -> Vec<(EntityKind, Arc<str>)> {
        let of_kind = |kind| {
            let still_there = names(other, kind);
            let is_missing = move |name: &&str| !still_there.contains(name);
            let missing = names(&self.sample, kind).into_iter().filter(is_missing);
            missing.map(move |name| (kind, Arc::from(name)))
        };
        EntityKind::OF_SAMPLE.into_iter().flat_map(of_kind).collect()
    }

    /// The names of what the sample has of a kind.
    pub fn names(&self, kind: EntityKind) -> Vec<Arc<str>> {
        names(&self.sample, kind).into_iter().map(Arc::from).collect()
    }
}

/// The chip that is the hottest.
pub fn hottest(chips: &[Temperature]) -> Option<&Temperature> {
    chips.iter().max_by(|one, other| one.celsius.total_cmp(&other.celsius))
}

/// A chip that is as hot as it must not become, by its own word.
pub fn overheated(chips: &[Temperature]) -> Option<&Temperature> {
    chips.iter().find(|it| it.critical_celsius.is_some_and(|critical| it.celsius >= critical))
}

fn names(sample: &Sample, kind: EntityKind) -> Vec<&str> {
    match kind {
        EntityKind::Filesystem => sample.filesystems.iter().map(|it| &*it.mount).collect(),
        EntityKind::Pool => sample.pools.iter().map(|it| &*it.name).collect(),
        EntityKind::Interface => sample.interfaces.iter().map(|it| &*it.name).collect(),
        EntityKind::Member => {
            let members = sample.cluster.iter().flat_map(|cluster| &cluster.members);
            members.map(|it| &*it.node).collect()
        }
        _ => Vec::new(),
    }
}
