//! `/api/v1/backups`: every guest that was backed up, and how.

use jiff::Timestamp;
use pvewatch_protocol::event::{BackupFinished, GuestKind, Outcome};
use pvewatch_protocol::{NodeName, Site, Vmid};
use serde::{Deserialize, Serialize};

use super::checked_limit;
use crate::fleet::{Backup, Run, Running};
use crate::output::http::error::ApiError;
use crate::output::http::picture::Picture;

/// Guests in one answer, unless a limit is given.
pub const BACKUPS_DEFAULT: usize = 1000;

/// Guests in one answer at most.
pub const BACKUPS_MAX: usize = 10_000;

/// The parameters of `/api/v1/backups`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupsQuery {
    /// Of this node only.
    pub node: Option<NodeName>,
    /// Of this guest only; a number can be that of several guests, of nodes without a cluster.
    pub vmid: Option<Vmid>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// The answer of `/api/v1/backups`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupsAnswer {
    /// The site.
    pub site: Site,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// Guests that the question is about; more than are listed if there is a limit.
    pub total: usize,
    /// The guests: those first whose last run did not succeed, then by number.
    pub backups: Vec<BackupAnswer>,
}

/// The backups of one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupAnswer {
    /// The guest.
    pub vmid: Vmid,
    /// `qemu` or `lxc`.
    pub kind: Option<GuestKind>,
    /// Its name, as the last run told it.
    pub name: Option<String>,
    /// The node on which its last run was.
    pub node: NodeName,
    /// How the last run ended; none if none has.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// All that it told.
    pub last: Option<BackupFinished>,
    /// When a run succeeded last.
    pub last_success_at: Option<Timestamp>,
    /// Runs up to the last one that did not succeed.
    pub failures_in_a_row: usize,
    /// The run that is under way.
    pub running: Option<Running>,
    /// When the guest was last restored.
    pub restored_at: Option<Timestamp>,
    /// Median size of the 7 successful runs before the last one, in bytes.
    pub usual_size_bytes: Option<u64>,
    /// The last 30 runs, the oldest first.
    pub runs: Vec<Run>,
}

impl BackupsAnswer {
    /// Answers.
    ///
    /// # Errors
    /// When the limit is not possible.
    pub fn of(picture: &Picture, query: &BackupsQuery) -> Result<Self, ApiError> {
        let limit = checked_limit(query.limit, BACKUPS_DEFAULT, BACKUPS_MAX)?;
        let views = picture.snapshot.nodes.iter();
        let mut backups: Vec<&Backup> = views
            .filter(|view| query.node.as_ref().is_none_or(|node| view.node.name == *node))
            .flat_map(|view| view.backups.iter().map(|backup| &**backup))
            .filter(|backup| query.vmid.is_none_or(|vmid| backup.vmid == vmid))
            .collect();
        backups.sort_by_key(|backup| (!backup.is_bad(), backup.vmid, backup.node.clone()));
        Ok(Self {
            site: picture.snapshot.site.clone(),
            at: picture.now,
            total: backups.len(),
            backups: backups.into_iter().take(limit).map(BackupAnswer::of).collect(),
        })
    }

    /// Whether the last run of a guest did not succeed.
    pub fn is_anything_wrong(&self) -> bool {
        self.backups.iter().any(BackupAnswer::is_bad)
    }
}

impl BackupAnswer {
    /// Whether the last run did not succeed.
    pub fn is_bad(&self) -> bool {
        self.outcome.is_some_and(|outcome| !outcome.is_success())
    }

    fn of(backup: &Backup) -> Self {
        Self {
            vmid: backup.vmid,
            kind: backup.kind(),
            name: backup.name().map(str::to_owned),
            node: backup.node.clone(),
            outcome: backup.outcome(),
            finished_at: backup.last.as_ref().map(|_| backup.since.fact),
            last: backup.last.clone(),
            last_success_at: backup.last_success.map(|at| at.fact),
            failures_in_a_row: backup.failures_in_a_row(),
            running: backup.running.clone(),
            restored_at: backup.restored_at,
            usual_size_bytes: backup.usual_size_bytes(),
            runs: backup.runs.clone(),
        }
    }
}
