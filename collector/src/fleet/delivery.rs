//! How well a node's events arrive: what is still to come, and what never will.

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::OutboxDropped;
use pvewatch_protocol::{Epoch, Sequence, StreamId};
use serde::{Deserialize, Serialize};

use super::moment::Moment;
use super::silence::epoch_time;

/// What a node's agent has and this collector has not, as of the node's newest sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// Events of the agent's present stream that are missing.
    pub events: u64,
    /// When the collector learned of the first of them that is still missing, by its own clock.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

impl Backlog {
    /// For how long the events have been missing at `now`, at least.
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        let age = self.since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
        age.max(SignedDuration::ZERO)
    }
}

/// The last loss of events that a node's agents declared, or that this collector found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// The stream that they belonged to.
    pub stream: StreamId,
    /// The first of them.
    pub from: Sequence,
    /// The last of them.
    pub through: Sequence,
    /// Why, in the agent's words.
    pub reason: String,
    /// When it was declared.
    pub at: Moment,
}

impl Loss {
    pub(crate) fn declared(stream: StreamId, dropped: &OutboxDropped, at: Moment) -> Self {
        let OutboxDropped { from, through, reason } = dropped;
        Self { stream, from: *from, through: *through, reason: reason.clone(), at }
    }

    /// Whether these are the first events of a stream that is older than a store that began at
    /// `began_at`: to a new store that is the past, which nobody owes it.
    pub(crate) fn is_before(&self, began_at: Timestamp) -> bool {
        self.from == Sequence(1) && epoch_time(Epoch(self.stream.0)) < began_at
    }

    /// How many events it is.
    pub fn events(&self) -> u64 {
        self.through.0.saturating_sub(self.from.0).saturating_add(1)
    }
}
