//! The collector's word that it has stored a stream up to a sequence.

use serde::{Deserialize, Serialize};

use crate::identity::{Epoch, Sequence, StreamId};

/// Payload of `node/{node}/ack/{collector}`: cumulative, retained.
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
