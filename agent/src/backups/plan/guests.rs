//! A guest's configuration, as far as it says what a backup of it includes.
//!
//! Lines before the first `[section]` are the guest as it is; sections are snapshots, which have a
//! `snaptime`, and changes to come. Of a virtual machine all disks are included unless `backup=0`,
//! of a container its root and those mount points that say `backup=1`.

use jiff::Timestamp;
use pvewatch_protocol::event::GuestKind;
use pvewatch_protocol::{Guest, Snapshot, Vmid};

use super::sections::{is_true, items};

/// Snapshots that are told of a guest. Overflow: the newest are left out.
const SNAPSHOTS_MAX: usize = 50;

/// Reads a configuration.
pub fn guest(vmid: Vmid, kind: GuestKind, text: &str) -> Guest {
    let lines = text.lines().take_while(|line| !line.starts_with('['));
    let pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(':'));
    let pairs: Vec<(&str, &str)> = pairs.map(|(key, value)| (key, value.trim())).collect();
    let get = |key| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
    let has_efi = get("bios") == Some("ovmf");
    let is_excluded = |(key, value): &&(&str, &str)| match kind {
        GuestKind::Qemu => is_disk(key, value) && !is_disk_included(key, value, has_efi),
        GuestKind::Lxc => is_numbered(key, "mp") && !is_mount_point_included(value),
    };
    let name = get(match kind {
        GuestKind::Qemu => "name",
        GuestKind::Lxc => "hostname",
    });
    Guest {
        vmid,
        kind,
        name: name.map(str::to_owned),
        template: get("template") == Some("1"),
        onboot: get("onboot") == Some("1"),
        lock: get("lock").map(str::to_owned),
        tags: items(get("tags").unwrap_or_default()).map(str::to_owned).collect(),
        pool: None,
        snapshots: snapshots(text),
        replications: Vec::new(),
        excluded: pairs.iter().filter(is_excluded).map(|(key, _)| (*key).to_owned()).collect(),
    }
}

/// The sections that say when they were made.
fn snapshots(text: &str) -> Vec<Snapshot> {
    let mut section = None;
    let mut snapshots = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = Some(name);
        }
        let made = line.strip_prefix("snaptime:").and_then(|time| time.trim().parse().ok());
        let at = made.and_then(|second| Timestamp::from_second(second).ok());
        if let (Some(name), Some(at)) = (section, at) {
            snapshots.push(Snapshot { name: name.to_owned(), at });
        }
    }
    snapshots.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    snapshots.truncate(SNAPSHOTS_MAX);
    snapshots
}

/// `scsi0` and the like; a drive for discs is none.
fn is_disk(key: &str, value: &str) -> bool {
    let is_drive = ["scsi", "virtio", "sata", "ide"].iter().any(|bus| is_numbered(key, bus));
    let is_drive = is_drive || matches!(key, "efidisk0" | "tpmstate0");
    is_drive && option(value, "media") != Some("cdrom")
}

fn is_disk_included(key: &str, value: &str, has_efi: bool) -> bool {
    let is_used = key != "efidisk0" || has_efi;
    is_used && option(value, "backup").is_none_or(is_true)
}

/// A volume, not a folder or device of the host, that asks to be included.
fn is_mount_point_included(value: &str) -> bool {
    !value.starts_with('/') && option(value, "backup").is_some_and(is_true)
}

fn is_numbered(key: &str, name: &str) -> bool {
    let number = key.strip_prefix(name).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn option<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    let options = value.split(',').filter_map(|option| option.split_once('='));
    options.rev().find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: GuestKind, text: &str) -> Guest {
        guest(Vmid::try_from(100).unwrap(), kind, text)
    }

    #[test]
    fn a_virtual_machine_has_disks_that_are_excluded_by_themselves() {
        let text = "\
#notes: of somebody
agent: 1
bios: seabios
efidisk0: local-lvm:vm-100-disk-1,size=4M
ide2: local:iso/debian.iso,media=cdrom,backup=0
name: web
scsi0: local-lvm:vm-100-disk-0,size=32G
scsi1: local-lvm:vm-100-disk-2,backup=0,size=500G
scsihw: virtio-scsi-single
tags: prod;web
unused0: local-lvm:vm-100-disk-9
virtio3: local-lvm:vm-100-disk-3,backup=1

[before]
name: old
snaptime: 1795230420
template: 1
scsi2: local-lvm:vm-100-disk-4,backup=0
";
        let web = read(GuestKind::Qemu, text);
        assert_eq!(web.name.as_deref(), Some("web"));
        assert_eq!(web.tags, ["prod", "web"]);
        assert_eq!(web.excluded, ["efidisk0", "scsi1"]);
        assert!(!web.template);
        assert_eq!(web.snapshots.len(), 1);
        assert_eq!(web.snapshots[0].name, "before");
        assert_eq!(web.snapshots[0].at.to_string(), "2026-11-21T03:07:00Z");
        let with_efi = text.replace("seabios", "ovmf");
        assert_eq!(read(GuestKind::Qemu, &with_efi).excluded, ["scsi1"]);
    }

    #[test]
    fn a_container_has_mount_points_that_must_ask_to_be_included() {
        let text = "\
hostname: db
mp0: local-lvm:vm-100-disk-1,mp=/data,backup=1
mp1: local-lvm:vm-100-disk-2,mp=/cache
mp2: /mnt/bulk,mp=/bulk,backup=1
rootfs: local-lvm:vm-100-disk-0,size=8G
template: 1
";
        let db = read(GuestKind::Lxc, text);
        assert_eq!(db.name.as_deref(), Some("db"));
        assert_eq!(db.excluded, ["mp1", "mp2"]);
        assert!(db.template);
    }

    #[test]
    fn a_file_that_says_nothing_is_a_guest_without_a_name() {
        for text in ["", "\0\u{fffd}", "[only]\nname: x\n", "name"] {
            assert_eq!(read(GuestKind::Qemu, text).name, None, "{text:?}");
        }
    }
}
