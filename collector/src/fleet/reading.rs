//! The newest sample of a node, and what it says of the agent's own way to the collector.

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::Sample;
use serde::{Deserialize, Serialize};

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
}
