//! A periodic reading of a node; also its heartbeat. The newest wins, and one may be lost.
//!
//! Bytes and seconds throughout, ratios from 0 to 1, as Prometheus asks.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::{Epoch, Position, Vmid};

/// Payload of `node/{node}/sample` (QoS 0).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Sample {
    /// When it was sent, by the node's own clock.
    pub at: Timestamp,
    /// The connection that sent it.
    pub epoch: Epoch,
    /// The last event that the agent had when it was taken.
    pub as_of: Position,
    /// The time from one sample to the next, in seconds.
    pub interval_seconds: f64,
    /// Time since boot, in seconds.
    pub uptime_seconds: f64,
    /// Load averages.
    pub load: Load,
    /// Processors.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Swap.
    pub swap: Swap,
    /// Pressure stall information; none where the kernel has it switched off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
    /// Filesystems that can fill up, by place; each once, however often it is mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filesystems: Vec<Filesystem>,
    /// Pools of disks: ZFS, and arrays of md.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<Pool>,
    /// Network interfaces that have carried something; those of guests are folded into one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interfaces: Vec<Interface>,
    /// Chips that say how hot they are, each by the hottest of its sensors.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<Temperature>,
    /// What the kernel says of its clock; none of a container, whose clock is its host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<Clock>,
    /// The certificate that the node's web interface shows; none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Box<Certificate>>,
    /// The Proxmox cluster as the node sees it; none if it stands alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Box<Cluster>>,
    /// Processes that the kernel killed since it started, because memory ran out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Whether something that was installed waits for a reboot (`/run/reboot-required`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reboot_required: Option<bool>,
    /// What the guests that run have used, by number; only in about one sample a minute, and none in
    /// those between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guests: Option<Vec<GuestUsage>>,
    /// The agent's own health.
    pub agent: AgentHealth,
}

/// What a guest has used, as the kernel counts it for its control group (cgroup v2).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct GuestUsage {
    /// The guest.
    pub vmid: Vmid,
    /// Processor time since it was started, in seconds, to the thousandth (`usage_usec`). Of a
    /// virtual machine that is what QEMU used, its disks and network included.
    pub cpu_seconds: f64,
    /// Memory that it holds and that could not be had back at once: `memory.current` without
    /// caches. A virtual machine holds on to what it ever touched, however much of it is free
    /// inside. None if the kernel does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// A filesystem (statvfs(3)), in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Filesystem {
    /// Where it is mounted.
    pub mount: String,
    /// What is: a device, a dataset, a share.
    pub device: String,
    /// Its type, such as `ext4` or `nfs4`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether nothing can be written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Whether it does not answer; then nothing of the rest is known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hanging: bool,
    /// Its size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// What is in use. With what is available, less than all of it: some is kept for root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// What can still be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    /// How many files it can have; none if there is no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// How many more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_free: Option<u64>,
}

/// A Proxmox cluster, as one of its nodes sees it (pmxcfs' `.members`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Whether enough of its nodes see each other for anything to be changed.
    pub quorate: bool,
    /// Its nodes, by name.
    pub members: Vec<Member>,
    /// The manager of high availability; none while nobody leads, as where nothing is kept by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ha: Option<HaManager>,
}

/// Proxmox' manager of high availability, as its leader notes it (`/etc/pve/ha/manager_status`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HaManager {
    /// The node that leads.
    pub master: String,
    /// How it has this node: `online`, `maintenance`, `unknown`, `fence` or `gone`; empty if it does
    /// not know it.
    pub node_state: String,
    /// When it noted that.
    pub at: Timestamp,
}

/// A node of a cluster, as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Member {
    /// Its name.
    pub node: String,
    /// Whether it is seen.
    pub online: bool,
}

/// A pool of disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pool {
    /// Its name, such as `rpool` or `md0`.
    pub name: String,
    /// What keeps it.
    pub kind: PoolKind,
    /// Its state in the words of what keeps it, in small letters: `online`, `degraded`, `active`.
    pub state: String,
    /// Whether it has all its disks, and can be used.
    pub healthy: bool,
    /// More of it, for people: `1 of 2 devices, recovery 12.6%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What keeps a pool of disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PoolKind {
    /// ZFS.
    Zfs,
    /// The kernel's software RAID.
    Md,
    /// Something of a later version.
    #[serde(other)]
    Unknown,
}

impl PoolKind {
    /// The kind as labels and fields carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zfs => "zfs",
            Self::Md => "md",
            Self::Unknown => "unknown",
        }
    }
}

/// A network interface, or several that are folded into one: what it counted since it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interface {
    /// Its name, such as `eno1` or `vmbr0`; `guests` for those of guests.
    pub name: String,
    /// How many interfaces of guests it is the sum of; 0 for one that is the node's own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub folded: u64,
    /// Bytes received.
    pub receive_bytes: u64,
    /// Bytes transmitted.
    pub transmit_bytes: u64,
    /// Packets that arrived damaged.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub receive_errors: u64,
    /// Packets that could not be transmitted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub transmit_errors: u64,
    /// Packets that arrived and were thrown away, as for want of room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub receive_dropped: u64,
    /// Packets that were thrown away instead of being transmitted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub transmit_dropped: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How hot a chip is (`/sys/class/hwmon`), in degrees Celsius.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Temperature {
    /// The chip, such as `coretemp` or `nvme`; with its device if there are several of that name.
    pub chip: String,
    /// Which of its sensors is the hottest, if that has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensor: Option<String>,
    /// How hot that is.
    pub celsius: f64,
    /// What it should stay below, if the chip says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_celsius: Option<f64>,
    /// Where the chip takes harm, or protects itself, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical_celsius: Option<f64>,
}

/// What the kernel says of its clock (adjtimex(2)).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Clock {
    /// Whether something keeps it right, such as chrony.
    pub synchronised: bool,
    /// By how much it is wrong, by an estimate, in seconds.
    pub estimated_error_seconds: f64,
    /// By how much it is wrong at most, in seconds.
    pub maximum_error_seconds: f64,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Certificate {
    /// Its file in the node's folder: `pve-ssl.pem` is Proxmox' own, `pveproxy-ssl.pem` one that
    /// was given to it.
    pub file: String,
    /// When it ends.
    pub ends_at: Timestamp,
}

/// Load averages (`/proc/loadavg`): tasks that run or wait uninterruptibly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Load {
    /// Over 1 minute.
    pub one: f64,
    /// Over 5 minutes.
    pub five: f64,
    /// Over 15 minutes.
    pub fifteen: f64,
}

/// Processors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cpu {
    /// Logical processors.
    pub count: u32,
    /// Share of time that they were busy since the sample before, 0 to 1; none in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_ratio: Option<f64>,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Memory {
    /// Installed.
    pub total_bytes: u64,
    /// What programs could still get: `MemAvailable`, and what ZFS would give up of its cache.
    pub available_bytes: u64,
}

/// Swap, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Swap {
    /// Configured; 0 without swap.
    pub total_bytes: u64,
    /// Free.
    pub free_bytes: u64,
}

/// Pressure stall information (`/proc/pressure`, kernel documentation `accounting/psi`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pressure {
    /// Waiting for a processor.
    pub cpu: Stall,
    /// Waiting for input or output.
    pub io: Stall,
    /// Waiting for memory.
    pub memory: Stall,
}

/// Share of time, 0 to 1, in which tasks waited for one resource.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stall {
    /// At least one task waited, over the last 10 s.
    pub some_10s_ratio: f64,
    /// At least one task waited, over the last 300 s.
    pub some_300s_ratio: f64,
    /// All tasks waited, over the last 10 s; 0 where the kernel does not say.
    #[serde(default)]
    pub full_10s_ratio: f64,
    /// All tasks waited, over the last 300 s; 0 where the kernel does not say.
    #[serde(default)]
    pub full_300s_ratio: f64,
}

/// The agent's own health. What an older agent does not say is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AgentHealth {
    /// Resident memory of the agent, in bytes.
    pub rss_bytes: u64,
    /// Events in the outbox that not every collector has acked.
    pub outbox_events: u64,
    /// Size of what the outbox holds in bytes.
    pub outbox_bytes: u64,
    /// Events dropped since the agent started, because the outbox was full.
    pub dropped_events: u64,
    /// Events sent again since the agent started.
    pub resent_events: u64,
    /// Events that the outbox holds, those among them that are acked and kept for a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_events: Option<u64>,
    /// Events that would be lost with the agent's process, because its spool cannot be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved_events: Option<u64>,
    /// Age of the oldest event that not every collector has acked, in seconds; 0 without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_unacked_seconds: Option<f64>,
    /// The whole way and back, in seconds: from the sending of a sample to the ack that names it
    /// (`heard_at`), by the newest that came; none before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_round_trip_seconds: Option<f64>,
}
