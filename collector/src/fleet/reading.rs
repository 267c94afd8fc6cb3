//! The newest sample of a node, and what it says of the agent's own way to the collector.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::Sample;
use pvewatch_protocol::sample::{Filesystem, Pool};
use serde::{Deserialize, Serialize};

use super::entity::EntityKind;
use super::silence::epoch_time;

/// A sample and when it came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// What the node measured.
    pub sample: Sample,
    /// By the collector's clock.
    pub received_at: Timestamp,
}

impl Reading {
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

    /// The names of what the sample has of a kind.
    pub fn names(&self, kind: EntityKind) -> Vec<Arc<str>> {
        let Sample { filesystems, pools, .. } = &self.sample;
        match kind {
            EntityKind::Filesystem => {
                filesystems.iter().map(|it| it.mount.as_str().into()).collect()
            }
            EntityKind::Pool => pools.iter().map(|it| it.name.as_str().into()).collect(),
            _ => Vec::new(),
        }
    }
}
