//! Reads what guests use, about once a minute: their control groups are many, and each file of one
//! makes the kernel sum up.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_protocol::Vmid;
use pvewatch_protocol::sample::GuestUsage;

use crate::host::groups::{container, cpu_seconds, machine, memory_bytes};
use crate::patience::SeldomLook;

/// From one look to the next. Before the sixth sample of ten seconds each, which can be a bit early.
const LOOK_EVERY: Duration = Duration::from_secs(58);

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Guests that are told, which keeps a sample below what any broker takes. Overflow: the last by
/// number are left out.
const GUESTS_MAX: usize = 2000;

/// Whoever looks.
#[derive(Debug)]
pub struct Groups {
    root: PathBuf,
    eye: SeldomLook<Vec<GuestUsage>>,
}

impl Groups {
    /// Has not looked yet. `sys` is where the kernel shows devices and control groups.
    pub fn new(sys: &Path) -> Self {
        Self { root: sys.join("fs/cgroup"), eye: SeldomLook::new(LOOK_EVERY) }
    }

    /// What guests have used until now; none if it is not time to tell, or nobody can.
    pub async fn read(&mut self) -> Option<Vec<GuestUsage>> {
        let root = self.root.clone();
        let looked = self.eye.look_if_due(PATIENCE, move || guests(&root)).await;
        looked.flatten().filter(|guests| !guests.is_empty())
    }
}

fn guests(root: &Path) -> Vec<GuestUsage> {
    // Where version 1 is still in use, systemd keeps the groups of version 2 beside it.
    let is_unified = root.join("cgroup.controllers").exists();
    let root = if is_unified { root.to_owned() } else { root.join("unified") };
    let mut guests = Vec::new();
    for (folder, guest_of) in
        [("qemu.slice", machine as fn(&str) -> Option<Vmid>), ("lxc", container)]
    {
        for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
            let vmid = entry.file_name().to_str().and_then(guest_of);
            guests.extend(vmid.and_then(|vmid| usage(vmid, &entry.path())));
        }
    }
    guests.sort_by_key(|guest| guest.vmid);
    guests.dedup_by_key(|guest| guest.vmid);
    guests.truncate(GUESTS_MAX);
    guests
}

/// What a guest has used; none if it was stopped meanwhile.
fn usage(vmid: Vmid, group: &Path) -> Option<GuestUsage> {
    let text = |name: &str| fs::read_to_string(group.join(name)).ok();
    let cpu_seconds = cpu_seconds(&text("cpu.stat")?)?;
    let memory = text("memory.current").zip(text("memory.stat"));
    let memory_bytes = memory.and_then(|(current, stat)| memory_bytes(&current, &stat));
    Some(GuestUsage { vmid, cpu_seconds, memory_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A control group with these files.
    fn group(sys: &Path, name: &str, files: &[(&str, &str)]) {
        let group = sys.join("fs/cgroup").join(name);
        fs::create_dir_all(&group).unwrap();
        for (file, text) in files {
            fs::write(group.join(file), text).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn guests_are_told_about_once_a_minute() {
        let sys = tempfile::tempdir().unwrap();
        let mut groups = Groups::new(sys.path());
        assert_eq!(groups.read().await, None, "there are no groups");
        group(sys.path(), "", &[("cgroup.controllers", "cpu memory\n")]);
        let stat = "usage_usec 61234567\n";
        let memory =
            [("cpu.stat", stat), ("memory.current", "900\n"), ("memory.stat", "active_file 100\n")];
        group(sys.path(), "lxc/101", &memory);
        group(sys.path(), "lxc/101/ns", &memory);
        group(sys.path(), "qemu.slice/100.scope", &[("cpu.stat", stat)]);
        group(sys.path(), "qemu.slice/102.scope", &[("memory.current", "1\n")]);
        group(sys.path(), "qemu.slice", &[("cpu.stat", stat)]);
        assert_eq!(groups.read().await, None, "it is not time");
        tokio::time::advance(LOOK_EVERY).await;
        let vmid = |vmid: u32| Vmid::try_from(vmid).unwrap();
        let told = |number, memory_bytes| GuestUsage {
            vmid: vmid(number),
            cpu_seconds: 61.234,
            memory_bytes,
        };
        assert_eq!(groups.read().await, Some(vec![told(100, None), told(101, Some(800))]));
    }

    #[tokio::test]
    async fn beside_groups_of_version_1_those_of_version_2_are_read() {
        let sys = tempfile::tempdir().unwrap();
        group(sys.path(), "unified/qemu.slice/100.scope", &[("cpu.stat", "usage_usec 1000\n")]);
        let guests = Groups::new(sys.path()).read().await.unwrap();
        assert_eq!((guests.len(), guests[0].cpu_seconds), (1, 0.001));
    }
}
