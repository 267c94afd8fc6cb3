//! The collector's word that it has stored a stream up to a sequence.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::{Epoch, Sequence, StreamId};

/// What a collector has stored of a stream; the heart of an [`AckMessage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Ack {
    /// The store that speaks; a new one knows nothing and must be given everything again.
    pub collector_epoch: Epoch,
    /// The stream it speaks of.
    pub stream: StreamId,
    /// Every event of the stream up to this one is stored.
    pub through: Sequence,
}

/// Payload of `node/{node}/ack/{collector}`: cumulative, retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AckMessage {
    /// What is stored.
    #[serde(flatten)]
    pub ack: Ack,
    /// The send time of the sample that this ack answers, as the sample has it: the way there and
    /// back can be measured by one clock. Such an ack is no request to send again. None in an ack
    /// that answers events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
}
