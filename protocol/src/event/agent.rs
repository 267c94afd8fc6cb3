//! Events of the agent itself: its streams begin, end and lose things.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::Sequence;
use crate::presence::StopReason;

/// What an agent says of itself and its host; also the content of the checkpoint `agent`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentFacts {
    /// The agent's version.
    pub version: String,
    /// The kernel's boot id (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// When the kernel started, by the node's clock.
    pub booted_at: Timestamp,
    /// `/etc/machine-id`, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// The id that the firmware gives the machine (SMBIOS), in lower case; of a virtual machine the
    /// one of its configuration. None of a container, which sees its host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_uuid: Option<String>,
    /// The addresses of its own network interfaces, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// The Proxmox cluster that the node belongs to, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Labels from the agent's configuration, such as `environment`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Which sources are active, and why the others are not.
    #[serde(default)]
    pub sources: Vec<SourceStatus>,
    /// The time from one sample to the next, in seconds.
    pub sample_interval_seconds: f64,
}

/// Whether a source of an agent works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SourceStatus {
    /// `units`, `load`, ...
    pub name: String,
    /// Whether it watches at this moment.
    pub active: bool,
    /// What it watches, or why it does not, in words for people.
    #[serde(default)]
    pub detail: String,
}

/// `agent.started`: the first event of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentStarted {
    /// The agent and its host.
    #[serde(flatten)]
    pub facts: AgentFacts,
}

/// `agent.stopping`: the last event of a stream that ends on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentStopping {
    /// Whether the agent alone stops, or its host with it.
    pub reason: StopReason,
    /// The boot that ends or goes on.
    pub boot_id: String,
}

/// `outbox.dropped`: a range of this stream that the agent no longer holds.
///
/// Its own sequence is `through`, so that it fills the gap that it declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct OutboxDropped {
    /// The first event that is lost.
    pub from: Sequence,
    /// The last event that is lost.
    pub through: Sequence,
    /// Why, in words for people: `outbox full`, ...
    pub reason: String,
}

impl OutboxDropped {
    /// Its kind.
    pub const KIND: &'static str = "outbox.dropped";
}
