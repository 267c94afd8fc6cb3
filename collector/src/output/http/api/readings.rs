//! A node's newest reading, as `/api/v1/nodes` has it.

use jiff::Timestamp;
use pvewatch_protocol::sample::{
    AgentHealth, Certificate, Clock, Cluster, Cpu, Filesystem, Interface, Load, Memory, Pool,
    Pressure, Swap, Temperature,
};
use serde::{Deserialize, Serialize};

use crate::fleet::Reading;

/// A node's newest reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadingAnswer {
    /// When it was taken, by the node's clock.
    pub at: Timestamp,
    /// Time since boot.
    pub uptime_seconds: f64,
    /// Load averages.
    pub load: Load,
    /// Processors.
    pub cpu: Cpu,
    /// Memory.
    pub memory: Memory,
    /// Swap.
    pub swap: Swap,
    /// Pressure stall information.
    pub pressure: Option<Pressure>,
    /// Filesystems, by place.
    #[serde(default)]
    pub filesystems: Vec<Filesystem>,
    /// Pools of disks.
    #[serde(default)]
    pub pools: Vec<Pool>,
    /// Network interfaces, by name.
    #[serde(default)]
    pub interfaces: Vec<InterfaceAnswer>,
    /// Chips that say how hot they are.
    #[serde(default)]
    pub temperatures: Vec<Temperature>,
    /// What its kernel says of its clock.
    #[serde(default)]
    pub clock: Option<Clock>,
    /// The certificate of its web interface.
    #[serde(default)]
    pub certificate: Option<Certificate>,
    /// Its Proxmox cluster, as it sees it.
    #[serde(default)]
    pub cluster: Option<Cluster>,
    /// Processes that the kernel killed for want of memory since it started.
    #[serde(default)]
    pub oom_kills: Option<u64>,
    /// Whether something that was installed waits for a reboot.
    #[serde(default)]
    pub reboot_required: Option<bool>,
    /// The agent's own health.
    pub agent: AgentHealth,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterfaceAnswer {
    /// What it counted since it is there.
    #[serde(flatten)]
    pub counted: Interface,
    /// Bytes received each second, since the reading before.
    pub receive_bytes_per_second: Option<f64>,
    /// Bytes transmitted each second, since the reading before.
    pub transmit_bytes_per_second: Option<f64>,
    /// Errors each second over the last five minutes.
    pub errors_per_second: Option<f64>,
}

impl ReadingAnswer {
    /// What a reading says.
    pub fn of(reading: &Reading) -> Self {
        let sample = &reading.sample;
        let interfaces = sample.interfaces.iter();
        Self {
            at: sample.at,
            uptime_seconds: sample.uptime_seconds,
            load: sample.load,
            cpu: sample.cpu,
            memory: sample.memory,
            swap: sample.swap,
            pressure: sample.pressure,
            filesystems: sample.filesystems.clone(),
            pools: sample.pools.clone(),
            interfaces: interfaces.map(|it| InterfaceAnswer::of(it, reading)).collect(),
            temperatures: sample.temperatures.clone(),
            clock: sample.clock,
            certificate: sample.certificate.as_deref().cloned(),
            cluster: sample.cluster.as_deref().cloned(),
            oom_kills: sample.oom_kills,
            reboot_required: sample.reboot_required,
            agent: sample.agent,
        }
    }
}

impl InterfaceAnswer {
    /// What an interface counted, beside how it fares by the same reading.
    fn of(counted: &Interface, reading: &Reading) -> Self {
        let traffic = reading.interface(&counted.name).and_then(|seen| seen.traffic);
        Self {
            counted: counted.clone(),
            receive_bytes_per_second: traffic.and_then(|it| it.receive_bytes_per_second),
            transmit_bytes_per_second: traffic.and_then(|it| it.transmit_bytes_per_second),
            errors_per_second: traffic.and_then(|it| it.errors_per_second),
        }
    }
}
