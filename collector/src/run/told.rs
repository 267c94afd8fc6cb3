//! What the owner is told, and what it is asked: two closed lists.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use pvewatch_protocol::{AckMessage, NodeName};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::core::Snapshot;
use crate::ingest::{Decoded, Rejection};

/// Something for the next batch.
#[derive(Debug)]
pub(super) enum Told {
    /// A message came.
    Message {
        /// What it says.
        arrived: Box<Arrived>,
        /// Its share of the inbox's bytes, given back when the message has been dealt with.
        _room: OwnedSemaphorePermit,
    },
    /// A connection to the broker is up; what it had retained comes next.
    Connected {
        /// Which connection of this link, from 1.
        connection: u64,
    },
    /// Everything that was retained has been told.
    RetainedRead,
    /// The connection is gone: from now on silence proves nothing.
    Disconnected,
}

/// A message, understood as far as it can be without knowing what came before.
#[derive(Debug)]
pub struct Arrived {
    /// Its topic.
    pub topic: String,
    /// What it holds.
    pub payload: Bytes,
    /// Whether the broker had kept it.
    pub retained: bool,
    /// When it came, by this machine's clock.
    pub received_at: Timestamp,
    /// What it means.
    pub decoded: Result<Decoded, Rejection>,
}

/// A question that is answered between two batches.
#[derive(Debug)]
pub(super) enum Asked {
    /// What is known now. What is not stored yet is not known.
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
}

/// The connection on which the collector is ready to speak; none while it is not.
pub type ReadyOn = Option<u64>;

/// Acks for nodes, in the order in which they are to be sent.
pub type Acks = Vec<(NodeName, AckMessage)>;
