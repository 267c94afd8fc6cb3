//! What the core is told: a closed list.

use jiff::Timestamp;
use pvewatch_protocol::{Checkpoint, Event, Fingerprint, NodeName, NodePresence, Sample};

use crate::fleet::{Backlog, Loss, Version};

/// Something that the core is told. Times of receipt are by the collector's clock.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// An event, in the order of its stream.
    Event {
        /// The event.
        event: Event,
        /// Its stream's ordinal and its sequence.
        version: Version,
        /// When it came.
        received_at: Timestamp,
    },
    /// A sample.
    Sample {
        /// Whose.
        node: NodeName,
        /// The sample.
        sample: Box<Sample>,
        /// What its agent has and this collector has not.
        backlog: Backlog,
        /// When it came.
        received_at: Timestamp,
    },
    /// A part of a checkpoint.
    Checkpoint {
        /// Whose.
        node: NodeName,
        /// The part.
        checkpoint: Checkpoint,
        /// The version of its `as_of`.
        version: Version,
        /// When it came.
        received_at: Timestamp,
    },
    /// Events of a node are lost, and nobody but this collector has noticed.
    Lost {
        /// Whose.
        node: NodeName,
        /// Which, and why.
        loss: Loss,
    },
    /// A birth message or last will of an agent.
    NodePresence {
        /// Whose.
        node: NodeName,
        /// The message.
        presence: NodePresence,
        /// When it came.
        received_at: Timestamp,
    },
    /// Another collector told of an alert.
    Peer {
        /// Which one.
        fingerprint: Fingerprint,
        /// Since when it fires there; none if it does not.
        starts_at: Option<Timestamp>,
    },
    /// The time that [`super::Core::next_deadline`] named has come.
    Deadline,
}
