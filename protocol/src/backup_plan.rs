//! What a node has to back up, and when: the elements of the checkpoints `guests` and
//! `backup_jobs`.
//!
//! Each node tells of its own guests alone, and of the jobs as they concern it. When a job is due
//! next is not told: that follows from its schedule and the zone.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::GuestKind;
use crate::identity::Vmid;

/// A guest of the node, as its configuration says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Guest {
    /// Its number.
    pub vmid: Vmid,
    /// What it is.
    pub kind: GuestKind,
    /// Its name; a container's host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it is a template, from which others are made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
    /// Whether the node starts it when it boots.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub onboot: bool,
    /// What holds it, such as `migrate` or `snapshot`, if something but a backup does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Its tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Its snapshots, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<Snapshot>,
    /// Where its disks are copied to again and again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replications: Vec<Replication>,
    /// How the manager of high availability has it, such as `started` or `error`; none if that does
    /// not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha: Option<String>,
    /// Disks and mount points that no backup of it includes, such as `scsi1` or `mp0`, because its
    /// configuration says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<String>,
    /// What else its configuration says; none from an agent that does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Box<GuestSettings>>,
}

/// What a guest's configuration says beside what its backups need. What is not there is not set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GuestSettings {
    /// Whether somebody wrote a description of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub described: bool,
    /// Whether Proxmox refuses to remove it and its disks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protection: bool,
    /// Whether Proxmox talks to an agent (QEMU's) in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub agent: bool,
    /// How many processors it may use, by their number or by a limit of their time, whichever is
    /// less; none if all of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// How much memory it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The id that its firmware gives a virtual machine (SMBIOS), in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The addresses of its network interfaces, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// The controller of its SCSI disks, of a virtual machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scsihw: Option<String>,
    /// The volumes that it keeps data on, in order; not discs, nor what is the host's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<GuestDisk>,
}

/// A volume that a guest keeps data on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GuestDisk {
    /// Its name in the configuration, such as `scsi0` or `rootfs`.
    pub key: String,
    /// The storage that it lies on.
    pub storage: String,
    /// Its size as configured; none if that is not said, or cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

impl Guest {
    /// Of its replications the one that failed most often.
    pub fn worst_replication(&self) -> Option<&Replication> {
        self.replications.iter().max_by_key(|replication| replication.fail_count)
    }
}

/// A replication of a guest to another node (`pvesr`), which is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Replication {
    /// The other node.
    pub target: String,
    /// How often it failed since it last went well.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fail_count: u32,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Of one that fails, when it last went well; none if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sync: Option<Timestamp>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A snapshot of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub at: Timestamp,
}

/// A backup job, as it concerns the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BackupJob {
    /// Its name in `jobs.cfg`; of a line in `vzdump.cron`, its place.
    pub job: String,
    /// Whether it runs on this node at all: it is on, and is not kept to another node.
    pub enabled: bool,
    /// When it is due, as a calendar event in Proxmox's words.
    pub schedule: String,
    /// The zone of these times: a name of the IANA database, or of another form that POSIX knows.
    pub zone: String,
    /// The node's guests that it covers, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<Vmid>,
    /// Where the archives go; none if it names a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// `snapshot`, `suspend` or `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Which archives are kept, such as `keep-daily=7`, if the job itself says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune: Option<String>,
    /// Whether a run that was missed, because the node was off, is made up for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeat_missed: bool,
    /// What somebody wrote of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether the scheduler notes when it ran; for a line in `vzdump.cron` nobody does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notes_runs: bool,
    /// When the scheduler of the node began its last run; none if it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Timestamp>,
    /// Whether that run goes on, as far as the scheduler has noted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub running: bool,
}
