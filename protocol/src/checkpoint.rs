//! The complete picture of one source of a node at one moment, in parts.
//!
//! What a checkpoint does not name is gone only when all parts of one `as_of` are there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backup_plan::{BackupJob, Guest};
use crate::backup_storage::BackupStorage;
use crate::event::{AgentFacts, GuestRun, UnitState};
use crate::identity::Position;

/// Largest encoded part in bytes: a quarter of the smallest packet limit among the brokers.
pub const PART_BYTES_MAX: usize = 256 * 1024;

/// Payload of `node/{node}/checkpoint/{source}/{part}`: retained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Checkpoint {
    /// The last event that the picture includes.
    pub as_of: Position,
    /// This part's number, from 1.
    pub part: u32,
    /// How many parts there are.
    pub of: u32,
    /// When the picture was taken, by the node's clock.
    pub at: Timestamp,
    /// The picture.
    #[serde(flatten)]
    pub content: CheckpointContent,
}

/// What the sources of v1 draw; the member's name is the source's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CheckpointContent {
    /// The agent and its host.
    Agent(AgentFacts),
    /// Every watched unit that is loaded.
    Units(Vec<UnitState>),
    /// Every guest that the node has.
    Guests(Vec<Guest>),
    /// Every guest that runs on the node, and those that were seen to stop.
    GuestRuns(Vec<GuestRun>),
    /// Every backup job of the node.
    BackupJobs(Vec<BackupJob>),
    /// Every storage for backups, and which archives are there.
    BackupStorages(Vec<BackupStorage>),
    /// A source of a later version, kept as it came.
    #[serde(untagged)]
    Unknown(Value),
}

impl CheckpointContent {
    /// The source as it stands in the topic; none for one of a later version.
    pub fn source(&self) -> Option<&'static str> {
        match self {
            Self::Agent(_) => Some("agent"),
            Self::Units(_) => Some("units"),
            Self::Guests(_) => Some("guests"),
            Self::GuestRuns(_) => Some("guest_runs"),
            Self::BackupJobs(_) => Some("backup_jobs"),
            Self::BackupStorages(_) => Some("backup_storages"),
            Self::Unknown(_) => None,
        }
    }
}

/// Splits the elements of a picture into parts that stay below [`PART_BYTES_MAX`]; at least one
/// part, if empty.
///
/// Every part carries whole elements. Sizes are estimated from the encoded elements, with room for
/// the members around them.
pub fn split<T: Serialize>(elements: Vec<T>) -> Vec<Vec<T>> {
    const ROOM_FOR_THE_REST: usize = 1024;
    let mut parts = vec![Vec::new()];
    let mut bytes = ROOM_FOR_THE_REST;
    for element in elements {
        let element_bytes = serde_json::to_vec(&element).map_or(0, |encoded| encoded.len() + 1);
        if bytes + element_bytes > PART_BYTES_MAX {
            parts.push(Vec::new());
            bytes = ROOM_FOR_THE_REST;
        }
        bytes += element_bytes;
        if let Some(part) = parts.last_mut() {
            part.push(element);
        }
    }
    parts
}
