//! The core's state as records for the store: all records together are the whole state.

use serde::{Deserialize, Serialize};

/// A piece of state, to be written in the transaction of the input that changed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What it describes.
    pub kind: RecordKind,
    /// Which one; unique within the kind.
    pub key: String,
    /// The state as JSON; none if it is to be deleted.
    pub body: Option<String>,
    /// Whether it must be written with the input that caused it.
    pub urgency: Urgency,
}

/// What a record describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A node; the key is its name.
    Node,
    /// A unit; the key is `node/unit`.
    Unit,
    /// A guest's backups; the key is `node/vmid`.
    Backup,
    /// A backup job; the key is `node/job`.
    BackupJob,
    /// A storage for backups; the key is `node/storage`.
    Storage,
    /// A guest; the key is `node/vmid`.
    Guest,
    /// An alert; the key is its fingerprint.
    Alert,
}

impl RecordKind {
    /// The kind as the store names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Unit => "unit",
            Self::Backup => "backup",
            Self::BackupJob => "backup_job",
            Self::Storage => "storage",
            Self::Guest => "guest",
            Self::Alert => "alert",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Node,
            Self::Unit,
            Self::Backup,
            Self::BackupJob,
            Self::Storage,
            Self::Guest,
            Self::Alert,
        ];
        all.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Whether a record may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// A fact or a judgement: part of the transaction.
    Now,
    /// A mere reading: it comes only every [`super::LAZY_INTERVAL`], and losing it costs nothing
    /// that the next sample does not bring again.
    Lazy,
}
