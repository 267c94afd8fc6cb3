//! Where backups are kept, and which archives are there: the elements of the checkpoint
//! `backup_storages`.
//!
//! A node tells of every storage for backups that its configuration gives it. What cannot be looked
//! at is unknown, and never empty.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::Vmid;

/// A storage of Proxmox, as one node sees it.
///
/// One with the archives of many guests is told as several elements of the same name, which differ
/// in `guests` alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupStorage {
    /// Its name in `storage.cfg`.
    pub storage: String,
    /// Its type there, such as `dir`, `nfs` or `pbs`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it may hold, such as `images`, `rootdir`, `iso` or `backup`, or `none`; empty if an agent
    /// tells it that knew only of storages for backups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub content: Vec<String>,
    /// Whether other nodes see the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Whether it can be used and looked at.
    pub state: StorageState,
    /// Why it cannot, or what of it cannot, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What tells the medium from another one under the same name; none if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// What is in use. With what is available, less than all of it: some is kept for root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// What can still be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// Size of a thin pool's metadata: a pool is full when either is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_total_bytes: Option<u64>,
    /// What of that is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_used_bytes: Option<u64>,
    /// What its files take, by what they are, as in `content`; empty if that is not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub held_bytes: BTreeMap<String, u64>,
    /// Which archives are kept unless a job says otherwise, such as `keep-daily=7`; all if none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<String>,
    /// When its archives were listed, by the node's clock; none if they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listed_at: Option<Timestamp>,
    /// The guests that have something there, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<GuestArchives>,
}

impl BackupStorage {
    /// Whether backups go there.
    pub fn takes_backups(&self) -> bool {
        takes_backups(&self.content)
    }
}

/// Whether backups go to a storage of this [`content`](BackupStorage::content).
pub fn takes_backups(content: &[String]) -> bool {
    content.is_empty() || content.iter().any(|content| content == "backup")
}

/// How a storage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StorageState {
    /// It is there.
    Available,
    /// What should be mounted is not.
    NotMounted,
    /// It does not answer.
    Hanging,
    /// It is there and cannot be looked at.
    Unreadable,
    /// It is of a type that the agent does not look at, or not without being told how.
    NotRead,
    /// A state of a later version.
    #[serde(other)]
    Unknown,
}

impl StorageState {
    /// The state as labels and fields carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::NotMounted => "not_mounted",
            Self::Hanging => "hanging",
            Self::Unreadable => "unreadable",
            Self::NotRead => "not_read",
            Self::Unknown => "unknown",
        }
    }
}

/// One guest's archives on one storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GuestArchives {
    /// The guest.
    pub vmid: Vmid,
    /// How many archives.
    pub count: u32,
    /// What they take; none if that cannot be told, as where archives share what they hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The newest of them; none if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Archive>,
    /// When the run of the oldest began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// How many are protected from being removed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub protected: u32,
    /// How many should have been removed by the last run that removes old ones; none if that
    /// cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surplus: Option<u32>,
    /// Which archives that run keeps, such as `keep-daily=7`; none if nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<String>,
    /// What runs left that did not end, and what one writes just now.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unfinished: u32,
}

/// An archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Archive {
    /// The file's name; on a Proxmox Backup Server the snapshot, such as
    /// `vm/100/2026-11-20T20:00:04Z`.
    pub name: String,
    /// When its run began.
    pub began: Timestamp,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What somebody, or the job's template, wrote about it: at most [`Archive::NOTES_CHARS_MAX`]
    /// characters, the last of them `…` if it was more; none if nobody did or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Whether it is protected from being removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
}

impl Archive {
    /// Characters of the notes that are told.
    pub const NOTES_CHARS_MAX: usize = 200;
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
