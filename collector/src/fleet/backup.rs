//! The backups of one guest: how the last run ended, and how the ones before did.
//!
//! A guest of a cluster has one such entity, on the node on which its last run was: guests move,
//! and the run on the new node is what counts then.

use std::sync::Arc;

use jiff::Timestamp;
use pvewatch_protocol::event::{BackupFinished, GuestKind, Outcome};
use pvewatch_protocol::{NodeName, Position, Vmid};
use serde::{Deserialize, Serialize};

use super::entity::Version;
use super::moment::Moment;

/// Runs that are remembered of a guest: a month of one a day. The oldest is forgotten.
pub const RUNS_KEPT: usize = 30;

/// Runs before the last one with which its size is compared.
const SIZES_COMPARED: usize = 7;

/// The backups of one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// The node on which its last run was.
    pub node: NodeName,
    /// The guest's number as text.
    pub id: Arc<str>,
    /// The guest.
    pub vmid: Vmid,
    /// The last run that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<BackupFinished>,
    /// When it ended; when the entity was first heard of, if no run has.
    pub since: Moment,
    /// The last runs in short, this one among them, the oldest first; at most [`RUNS_KEPT`].
    #[serde(default)]
    pub runs: Vec<Run>,
    /// When the last one that succeeded ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Moment>,
    /// The task that is at it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// When it was last restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
    /// How new this description is.
    pub version: Version,
    /// The last event that this description includes.
    pub position: Position,
}

/// A run in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The task.
    pub upid: String,
    /// When it ended, by the node's clock.
    pub finished: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
    /// Size of the archive; what was read from the guest's disks, if that is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The task.
    pub upid: String,
    /// Since when.
    pub since: Timestamp,
}

impl Backup {
    /// A guest of which no run has ended yet.
    pub fn new(node: NodeName, vmid: Vmid, since: Moment, at: (Version, Position)) -> Self {
        Self {
            node,
            id: vmid.to_string().into(),
            vmid,
            last: None,
            since,
            runs: Vec::new(),
            last_success: None,
            running: None,
            restored_at: None,
            version: at.0,
            position: at.1,
        }
    }

    /// Takes in a run that ended at `moment`. One that ended before the last one changes only
    /// what is remembered; one that was told before is told better now. Returns whether it is the
    /// last one.
    pub fn end(&mut self, finished: BackupFinished, moment: Moment) -> bool {
        self.running.take_if(|running| running.upid == finished.upid);
        let run = Run {
            upid: finished.upid.clone(),
            finished: moment.fact,
            outcome: finished.outcome,
            duration_seconds: finished.duration_seconds,
            size_bytes: finished.size_bytes.or(finished.transferred_bytes),
        };
        self.runs.retain(|known| known.upid != run.upid);
        let place = self.runs.partition_point(|known| known.finished <= run.finished);
        self.runs.insert(place, run);
        let excess = self.runs.len().saturating_sub(RUNS_KEPT);
        self.runs.drain(..excess);
        let is_success = finished.outcome.is_success();
        if is_success && self.last_success.is_none_or(|known| known.fact <= moment.fact) {
            self.last_success = Some(moment);
        }
        let is_same = self.last.as_ref().is_some_and(|last| last.upid == finished.upid);
        let is_last = self.last.is_none() || is_same || self.since.fact <= moment.fact;
        if is_last {
            self.last = Some(finished);
            self.since = moment;
        }
        is_last
    }

    /// Takes over what another node knew of the guest, which runs here now.
    pub fn inherit(&mut self, other: &Self) {
        self.runs = other.runs.clone();
        self.last_success = other.last_success;
        self.restored_at = other.restored_at;
    }

    /// What it is.
    pub fn kind(&self) -> Option<GuestKind> {
        self.last.as_ref()?.kind
    }

    /// The guest's name, as its last run told it.
    pub fn name(&self) -> Option<&str> {
        self.last.as_ref()?.name.as_deref()
    }

    /// How the last run ended.
    pub fn outcome(&self) -> Option<Outcome> {
        Some(self.last.as_ref()?.outcome)
    }

    /// Whether the last run did not succeed.
    pub fn is_bad(&self) -> bool {
        self.outcome().is_some_and(|outcome| !outcome.is_success())
    }

    /// The size of the last run, if it is known.
    pub fn size_bytes(&self) -> Option<u64> {
        self.runs.last()?.size_bytes
    }

    /// The median size of the successful runs before the last one; none without any.
    pub fn usual_size_bytes(&self) -> Option<u64> {
        let before = self.runs.iter().rev().skip(1).filter(|run| run.outcome.is_success());
        let mut sizes: Vec<u64> =
            before.filter_map(|run| run.size_bytes).take(SIZES_COMPARED).collect();
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).copied()
    }

    /// How many runs in a row did not succeed, up to now.
    pub fn failures_in_a_row(&self) -> usize {
        self.runs.iter().rev().take_while(|run| !run.outcome.is_success()).count()
    }
}
