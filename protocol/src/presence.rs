//! Birth messages and last wills: who is there, and since which connection.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::Epoch;

/// Online or offline, as the birth message or the last will says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum PresenceState {
    /// Connected to the broker.
    Online,
    /// Not connected, by its own word or by its last will.
    Offline,
}

/// Why an agent went offline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum StopReason {
    /// The agent was stopped or restarted while its host kept running.
    Stopped,
    /// The host is powering off.
    Shutdown,
    /// The host is rebooting.
    Reboot,
    /// Nobody said goodbye: the last will speaks.
    Lost,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}

impl StopReason {
    /// The reason as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Shutdown => "shutdown",
            Self::Reboot => "reboot",
            Self::Lost => "lost",
            Self::Unknown => "unknown",
        }
    }
}

/// Payload of `node/{node}/presence`: retained, and the agent's last will.
///
/// An offline of an older `epoch` than the last online is the will of a connection that was
/// taken over, and says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct NodePresence {
    /// Online or offline.
    pub state: PresenceState,
    /// The connection that speaks.
    pub epoch: Epoch,
    /// Why it went offline; none when online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<StopReason>,
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The Proxmox cluster that the node belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// When this was written; for a will, when its connection began.
    pub at: Timestamp,
}

/// Payload of `collector/{collector}/presence`: retained, and the collector's last will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CollectorPresence {
    /// Online or offline.
    pub state: PresenceState,
    /// The store behind this collector.
    pub epoch: Epoch,
    /// Whether it has caught up and speaks for the site's alerts.
    pub ready: bool,
    /// The collector's version.
    pub version: String,
    /// When this was written; for a will, when its connection began.
    pub at: Timestamp,
}
