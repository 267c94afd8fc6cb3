//! What an input changed, and which kinds of fields can have changed with it.

use std::sync::Arc;

use pvewatch_protocol::NodeName;
use serde::Serialize;

use super::backup::Backup;
use super::backup_job::BackupJob;
use super::drift::Drift;
use super::entity::EntityKind;
use super::guest::Guest;
use super::moment::Moment;
use super::storage::Storage;
use super::unit::Unit;

/// Where a node's field comes from: which kind of input can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Events and checkpoints.
    Facts,
    /// Samples.
    Reading,
    /// Presence and heartbeats: the collector's own judgement of whether it hears the node.
    Silence,
    /// A calendar: what is due is due although the node cannot be heard.
    Due,
}

/// What an input changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A node's own fields.
    Node {
        /// Whose.
        node: NodeName,
        /// Which fields can have changed.
        origins: Vec<Origin>,
        /// When.
        moment: Moment,
    },
    /// A unit is new or different.
    Unit {
        /// As it is now.
        unit: Arc<Unit>,
        /// When it came to be so.
        moment: Moment,
        /// Whether its state differs, and not only its log.
        state: bool,
        /// Since when it was as it was known before; none if it was not known.
        known_since: Option<Moment>,
    },
    /// A unit is no longer there.
    UnitGone {
        /// As it was.
        unit: Arc<Unit>,
        /// When.
        moment: Moment,
    },
    /// A guest was backed up, is being backed up, or was restored.
    Backup {
        /// As it is now.
        backup: Arc<Backup>,
        /// When it came to be so.
        moment: Moment,
    },
    /// A guest is another node's now, or is gone.
    BackupGone {
        /// As its backups were.
        backup: Arc<Backup>,
        /// When.
        moment: Moment,
    },
    /// A backup job is new or different, or it ran.
    BackupJob {
        /// As it is now.
        job: Arc<BackupJob>,
        /// When it came to be so.
        moment: Moment,
    },
    /// A backup job is no longer there.
    BackupJobGone {
        /// As it was.
        job: Arc<BackupJob>,
        /// When.
        moment: Moment,
    },
    /// A storage is new or different.
    Storage {
        /// As it is now.
        storage: Arc<Storage>,
        /// When it came to be so.
        moment: Moment,
    },
    /// A storage is no longer there.
    StorageGone {
        /// As it was.
        storage: Arc<Storage>,
        /// When.
        moment: Moment,
    },
    /// A guest is new or different, or was started or stopped.
    Guest {
        /// As it is now.
        guest: Arc<Guest>,
        /// When it came to be so.
        moment: Moment,
    },
    /// Something that the sample before named is no longer there.
    SampledGone {
        /// Of which node.
        node: NodeName,
        /// What it was.
        kind: EntityKind,
        /// Its name.
        id: Arc<str>,
        /// When.
        moment: Moment,
    },
    /// A policy comes to something new or different on a node.
    Drift {
        /// As it is now.
        drift: Arc<Drift>,
        /// When it came to be so.
        moment: Moment,
    },
    /// A policy is about nothing on a node any more, or is gone.
    DriftGone {
        /// As it was.
        drift: Arc<Drift>,
        /// When.
        moment: Moment,
    },
    /// A guest is no longer there.
    GuestGone {
        /// As it was.
        guest: Arc<Guest>,
        /// When.
        moment: Moment,
    },
}
