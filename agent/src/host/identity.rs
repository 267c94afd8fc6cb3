//! Who this host is: names and ids that stay the same while the agent runs.

use std::path::Path;

use jiff::Timestamp;
use sysinfo::System;
use uuid::Uuid;

use super::members::cluster;
use crate::config::Paths;

/// The boot id as systemd sees it, set by the shipped unit. In a container the private `/proc`
/// of a sandboxed service shows the boot id of the container's host (systemd 252).
const BOOT_ID_VARIABLE: &str = "PVEWATCH_BOOT_ID";

/// What does not change from boot to shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The kernel's boot id; empty where the kernel does not say.
    pub boot_id: String,
    /// When the kernel started, in a container its host's; the epoch where the kernel does not say.
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
            boot_id: boot_id(std::env::var(BOOT_ID_VARIABLE).ok(), read_line(&paths.boot_id)),
            booted_at: boot_seconds
                .and_then(|seconds| Timestamp::from_second(seconds).ok())
                .unwrap_or_default(),
            machine_id: read_line(&paths.machine_id),
            cluster: std::fs::read_to_string(paths.pve.join(".members"))
                .ok()
                .and_then(|members| Some(cluster(&members)?.name)),
        }
    }
}

/// The host name up to its first dot, as Proxmox names its nodes.
pub fn host_name() -> Option<String> {
    let full = System::host_name().ok()?;
    full.split('.').next().map(str::to_owned)
}

/// systemd writes a boot id without hyphens, the kernel with them.
fn boot_id(from_systemd: Option<String>, from_kernel: Option<String>) -> String {
    let from_systemd = from_systemd.and_then(|text| Uuid::try_parse(&text).ok());
    from_systemd.map(|id| id.to_string()).or(from_kernel).unwrap_or_default()
}

fn read_line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_boot_id_comes_before_the_kernels_and_is_written_like_it() {
        let kernel = "8f0e7c52-5a57-4a0e-9b7c-0c4f3a2d1e6b";
        for (from_systemd, expected) in [
            (Some("34ee6b612d594d99ad5ff786764e101f"), "34ee6b61-2d59-4d99-ad5f-f786764e101f"),
            (Some("%b"), kernel),
            (None, kernel),
        ] {
            let found = boot_id(from_systemd.map(str::to_owned), Some(kernel.to_owned()));
            assert_eq!(found, expected);
        }
        assert_eq!(boot_id(None, None), "");
    }
}
