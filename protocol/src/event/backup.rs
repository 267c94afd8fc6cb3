//! Events of backups: what vzdump did, guest by guest and job by job.
//!
//! A run for one guest is known by its task (`upid`) and the guest; it can be told more than once,
//! and then the last word counts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::Vmid;

/// What a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
}

impl GuestKind {
    /// As Proxmox names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
        }
    }
}

/// How a backup, a job or a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was finished, without a warning.
    Ok,
    /// It was finished, and warned meanwhile.
    Warnings,
    /// It failed.
    Failed,
    /// Somebody stopped it.
    Interrupted,
    /// It ended without a verdict: its worker died. Also an outcome of a later version.
    #[serde(other)]
    Unknown,
}

impl Outcome {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warnings => "warnings",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
        }
    }

    /// Whether there is an archive that can be restored.
    pub fn is_success(self) -> bool {
        matches!(self, Self::Ok | Self::Warnings)
    }
}

/// `backup.started`: vzdump began with a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupStarted {
    /// The guest.
    pub vmid: Vmid,
    /// What it is, if the log tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<GuestKind>,
    /// The task, as Proxmox names it: `UPID:node:pid:pstart:starttime:type:id:user:`.
    pub upid: String,
    /// The job of `jobs.cfg` that asked for it; none if somebody did by hand, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Where the archive goes, as the job names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
}

/// `backup.finished`: a guest's backup ended, one way or the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupFinished {
    /// The guest.
    pub vmid: Vmid,
    /// What it is, if the log tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<GuestKind>,
    /// The guest's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The task. If its log is gone, the guest's own log and when that was written last, such as
    /// `qemu-100.log@2026-11-20T20:04:00Z`.
    pub upid: String,
    /// The job of `jobs.cfg` that asked for it; none if somebody did by hand, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it failed, as vzdump says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// An earlier line that explains the failure better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_cause: Option<String>,
    /// When it began, to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// How long it took, in seconds; for a failure the time until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
    /// Size of the archive; vzdump rounds it, and does not say it for a backup server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Read from the guest's disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transferred_bytes: Option<u64>,
    /// Found on the backup server already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_bytes: Option<u64>,
    /// Path of the archive, or its name on a backup server; `-` is standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// The storage that the job names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// `snapshot`, `suspend` or `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What was warned of; the first ones, if there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl BackupFinished {
    /// The line that explains a failure best: an earlier one, or the error.
    pub fn why(&self) -> Option<&str> {
        self.root_cause.as_deref().or(self.error.as_deref())
    }
}

/// `backup_job.finished`: a run of vzdump ended, over however many guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupJobFinished {
    /// The task.
    pub upid: String,
    /// The job of `jobs.cfg`; none if somebody asked for it by hand, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Who asked for it, such as `root@pam`.
    pub user: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What the task's last line says of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it began, to the second.
    pub started: Timestamp,
    /// Where the archives go, as the job names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// Guests whose backup it finished.
    pub succeeded: Vec<Vmid>,
    /// Guests whose backup failed, was interrupted or has no verdict.
    pub failed: Vec<Vmid>,
}

/// `task.finished`: another task that matters ended, such as a restore, a migration or a stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaskFinished {
    /// The task.
    pub upid: String,
    /// What it did, such as `qmrestore`.
    pub kind: String,
    /// The guest that it did it to, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmid: Option<Vmid>,
    /// Who asked for it, such as `root@pam`.
    pub user: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What its last line says of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it began, to the second.
    pub started: Timestamp,
    /// Of a restore: the guest whose backup it took, if the log tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<Vmid>,
}
