//! Who this host is: names and ids that stay the same while the agent runs.

use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;
use sysinfo::System;

use crate::config::Paths;

/// What does not change from boot to shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The kernel's boot id; empty where the kernel does not say.
    pub boot_id: String,
    /// When the kernel started; the epoch where the kernel does not say.
    pub booted_at: Timestamp,
    /// The machine id, if the host has one.
    pub machine_id: Option<String>,
    /// The Proxmox cluster, if the host belongs to one.
    pub cluster: Option<String>,
}

impl HostIdentity {
    /// Reads everything once; what is not there is left out.
    pub fn read(paths: &Paths) -> Self {
        let boot_seconds = System::boot_time().ok().and_then(|seconds| i64::try_from(seconds).ok());
        Self {
            boot_id: read_line(&paths.boot_id).unwrap_or_default(),
            booted_at: boot_seconds
                .and_then(|seconds| Timestamp::from_second(seconds).ok())
                .unwrap_or_default(),
            machine_id: read_line(&paths.machine_id),
            cluster: std::fs::read_to_string(paths.pve.join(".members"))
                .ok()
                .and_then(|members| cluster_name(&members)),
        }
    }
}

/// The host name up to its first dot, as Proxmox names its nodes.
pub fn host_name() -> Option<String> {
    let full = System::host_name().ok()?;
    full.split('.').next().map(str::to_owned)
}

fn read_line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The cluster's name in pmxcfs' `.members`; a node that stands alone has none.
fn cluster_name(members: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Members {
        cluster: Option<Cluster>,
    }
    #[derive(Deserialize)]
    struct Cluster {
        name: String,
    }
    let members: Members = serde_json::from_str(members).ok()?;
    members.cluster.map(|cluster| cluster.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_named_in_members_and_a_lone_node_has_none() {
        let cluster = r#"{"nodename":"pve1","version":4,
            "cluster":{"name":"berlin","version":2,"nodes":2,"quorate":1},
            "nodelist":{"pve1":{"id":1,"online":1,"ip":"192.0.2.1"}}}"#;
        for (members, expected) in
            [(cluster, Some("berlin")), (r#"{"nodename":"pve1","version":4}"#, None), ("", None)]
        {
            assert_eq!(cluster_name(members).as_deref(), expected);
        }
    }
}
