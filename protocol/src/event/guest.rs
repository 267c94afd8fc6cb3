//! Guests: which run, which do not, and why.
//!
//! The same description is an event when it changes (`guest.changed`) and an element of the
//! checkpoint `guest_runs`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backup::GuestKind;
use crate::identity::Vmid;

/// `guest.changed`: a guest runs now, or does no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GuestRun {
    /// The guest.
    pub vmid: Vmid,
    /// What it is.
    pub kind: GuestKind,
    /// Whether it runs.
    pub state: GuestState,
    /// Since when, by the node's clock; none if nobody saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why; none if nobody saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<GuestCause>,
    /// Whether it was meant: somebody or something asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub expected: bool,
    /// Whether it is to change back by itself: a stopped one runs again after the backup that
    /// stopped it, or when its node is back; a running one was stopped before, and runs for its
    /// backup alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaited: bool,
    /// The task that did it, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upid: Option<String>,
    /// Who asked for it, such as `root@pam`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// More of why, for people, such as `killed by signal 11`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GuestState {
    /// It does.
    Running,
    /// It does not.
    Stopped,
    /// A state of a later version.
    #[serde(other)]
    Unknown,
}

impl GuestState {
    /// The state as labels and fields carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a guest was started or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum GuestCause {
    /// Somebody asked Proxmox for it.
    Requested,
    /// A backup stops it, or runs a stopped machine to read its disks.
    Backup,
    /// It moves to another node, or comes from there.
    Migration,
    /// The manager of high availability asked for it.
    Ha,
    /// The node goes down.
    NodeShutdown,
    /// The node starts its guests after a boot.
    NodeBoot,
    /// A container ended by itself and without an error: it was shut down from inside.
    Guest,
    /// The kernel killed it for its memory.
    OutOfMemory,
    /// It ended with an error, or was killed.
    Crash,
    /// Nothing explains it. A virtual machine that is shut down from inside looks like this, and
    /// one that crashes.
    Unexplained,
    /// A cause of a later version.
    #[serde(other)]
    Unknown,
}

impl GuestCause {
    /// The cause as labels and fields carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Backup => "backup",
            Self::Migration => "migration",
            Self::Ha => "ha",
            Self::NodeShutdown => "node_shutdown",
            Self::NodeBoot => "node_boot",
            Self::Guest => "guest",
            Self::OutOfMemory => "out_of_memory",
            Self::Crash => "crash",
            Self::Unexplained => "unexplained",
            Self::Unknown => "unknown",
        }
    }

    /// Whether something asked for it.
    pub fn is_meant(self) -> bool {
        match self {
            Self::Requested
            | Self::Backup
            | Self::Migration
            | Self::Ha
            | Self::NodeShutdown
            | Self::NodeBoot => true,
            Self::Guest | Self::OutOfMemory | Self::Crash | Self::Unexplained | Self::Unknown => {
                false
            }
        }
    }
}
