//! Who this host is: names and ids that stay the same while the agent runs.

use std::path::Path;

use jiff::Timestamp;
use sysinfo::System;
use uuid::Uuid;

use super::interfaces::{is_own, rank};
use crate::config::Paths;
use crate::proxmox::cluster;

/// The boot id as systemd sees it, set by the shipped unit. In a container the private `/proc`
/// of a sandboxed service shows the boot id of the container's host (systemd 252).
const BOOT_ID_VARIABLE: &str = "PVEWATCH_BOOT_ID";

/// Addresses that are told. Overflow: the last are left out; a guest has a few.
const MACS_MAX: usize = 8;

/// What does not change from boot to shutdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// The kernel's boot id; empty where the kernel does not say.
    pub boot_id: String,
    /// When the kernel started, in a container its host's; the epoch where the kernel does not say.
    pub booted_at: Timestamp,
    /// The machine id, if the host has one.
    pub machine_id: Option<String>,
    /// The id of the firmware; none of a container, which sees its host's.
    pub product_uuid: Option<String>,
    /// The addresses of its own network interfaces.
    pub macs: Vec<String>,
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
            product_uuid: read_line(&paths.sys.join("class/dmi/id/product_uuid"))
                .filter(|_| !paths.container.exists())
                .map(|uuid| uuid.to_lowercase()),
            macs: macs(&paths.sys.join("class/net")),
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

/// The addresses of the interfaces that are its own, and not a guest's or a program's.
fn macs(interfaces: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(interfaces).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_own(name)).collect();
    // Bridges of programs can be many, and have addresses of their own.
    names.sort_by(|a, b| rank(a).cmp(&rank(b)));
    let mut macs: Vec<String> = Vec::new();
    for name in names {
        let address = read_line(&interfaces.join(name).join("address"));
        let is_news = |address: &String| is_unique(address) && !macs.contains(address);
        macs.extend(address.filter(is_news));
    }
    macs.truncate(MACS_MAX);
    macs
}

/// Whether an address is more than a placeholder, as that of the loopback is.
fn is_unique(address: &str) -> bool {
    address.len() == 17 && address.bytes().any(|byte| !matches!(byte, b'0' | b':'))
}

fn read_line(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn addresses_are_those_of_its_own_interfaces() {
        let net = tempfile::tempdir().unwrap();
        for (name, address) in [
            ("lo", "00:00:00:00:00:00"),
            ("eth0", "bc:24:11:0a:0b:0c"),
            ("vmbr0", "bc:24:11:0a:0b:0c"),
            ("br-1", "02:42:00:00:00:01"),
            ("tap100i0", "aa:00:00:00:00:01"),
            ("wg0", ""),
            ("tun0", "00:00:00:00:00:00"),
        ] {
            fs::create_dir(net.path().join(name)).unwrap();
            fs::write(net.path().join(name).join("address"), format!("{address}\n")).unwrap();
        }
        assert_eq!(macs(net.path()), ["bc:24:11:0a:0b:0c", "02:42:00:00:00:01"]);
        assert_eq!(macs(Path::new("/nonexistent")), [""; 0]);
    }

    #[test]
    fn the_id_of_the_firmware_is_no_containers() {
        let sys = tempfile::tempdir().unwrap();
        let dmi = sys.path().join("class/dmi/id");
        fs::create_dir_all(&dmi).unwrap();
        fs::write(dmi.join("product_uuid"), "5D6F8A2E-8C4B-4E0B-9B6A-0A1B2C3D4E5F\n").unwrap();
        let paths =
            Paths { sys: sys.path().into(), container: "/nonexistent".into(), ..Paths::default() };
        let inside = Paths { container: sys.path().into(), ..paths.clone() };
        let uuid = HostIdentity::read(&paths).product_uuid;
        assert_eq!(uuid.as_deref(), Some("5d6f8a2e-8c4b-4e0b-9b6a-0a1b2c3d4e5f"));
        assert_eq!(HostIdentity::read(&inside).product_uuid, None);
    }

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
