//! A guest's configuration: what a backup of it includes, and what policies can ask for.
//!
//! Lines before the first `[section]` are the guest as it is; sections are snapshots, which have a
//! `snaptime`, and changes to come. Of a virtual machine all disks are included unless `backup=0`,
//! of a container its root and those mount points that say `backup=1`.

use jiff::Timestamp;
use pvewatch_protocol::event::GuestKind;
use pvewatch_protocol::{Guest, GuestDisk, GuestSettings, Snapshot, Vmid};

use super::sections::{is_true, items};

/// Snapshots that are told of a guest. Overflow: the newest are left out.
const SNAPSHOTS_MAX: usize = 50;

/// Disks and mount points that are told of a guest. Overflow: the last are left out. Proxmox allows a
/// container 256 mount points and a virtual machine 55 disks; nobody has as many.
const DISKS_MAX: usize = 64;

/// Network interfaces that are told of a guest. Overflow: the last are left out. One is enough to
/// know the guest by, and Proxmox allows 32.
const MACS_MAX: usize = 4;

/// The memory of a guest that does not say how much it has.
const MEMORY_MIB: u64 = 512;

/// What Proxmox sets while it backs a guest up, and takes back after it: not worth telling the guest
/// anew twice a night.
const LOCK_OF_A_BACKUP: &str = "backup";

/// Reads a configuration.
pub fn guest(vmid: Vmid, kind: GuestKind, text: &str) -> Guest {
    let lines = text.lines().take_while(|line| !line.starts_with('['));
    let is_comment = |line: &&str| line.starts_with('#');
    let described = lines.clone().filter(is_comment).any(|line| !line[1..].trim().is_empty());
    let lines = lines.filter(|line| !is_comment(line));
    let pairs = lines.filter_map(|line| line.split_once(':'));
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
        lock: get("lock").filter(|lock| *lock != LOCK_OF_A_BACKUP).map(str::to_owned),
        tags: items(get("tags").unwrap_or_default()).map(str::to_owned).collect(),
        pool: None,
        snapshots: snapshots(text),
        replications: Vec::new(),
        ha: None,
        excluded: pairs.iter().filter(is_excluded).map(|(key, _)| (*key).to_owned()).collect(),
        settings: Some(Box::new(GuestSettings {
            described,
            protection: get("protection").is_some_and(is_true),
            agent: get("agent").is_some_and(is_enabled),
            cpus: cpus(kind, get),
            memory_bytes: Some(memory_bytes(get("memory"))),
            uuid: get("smbios1").and_then(|value| option(value, "uuid")).map(str::to_lowercase),
            macs: macs(&pairs),
            scsihw: get("scsihw").map(str::to_owned),
            disks: disks(kind, &pairs),
        })),
    }
}

/// How many processors it may use. A container has all of its node unless it says otherwise, a
/// virtual machine has one.
fn cpus<'a>(kind: GuestKind, get: impl Fn(&'static str) -> Option<&'a str>) -> Option<f64> {
    let number = |key| get(key)?.parse().ok().filter(|number: &f64| *number > 0.0);
    let cores = match kind {
        GuestKind::Qemu => {
            let all = number("sockets").unwrap_or(1.0) * number("cores").unwrap_or(1.0);
            Some(number("vcpus").map_or(all, |plugged| plugged.min(all)))
        }
        GuestKind::Lxc => number("cores"),
    };
    [cores, number("cpulimit")].into_iter().flatten().reduce(f64::min)
}

/// How much memory it may use: `2048` or `current=2048`, in MiB.
fn memory_bytes(memory: Option<&str>) -> u64 {
    let told = memory.map(|memory| option(memory, "current").unwrap_or(memory));
    let mebibytes = told.and_then(|told| told.parse::<u64>().ok()).unwrap_or(MEMORY_MIB);
    mebibytes.saturating_mul(1 << 20)
}

/// The addresses of its network interfaces: `virtio=BC:24:11:00:00:01` of a virtual machine,
/// `hwaddr=BC:24:11:00:00:01` of a container.
fn macs(pairs: &[(&str, &str)]) -> Vec<String> {
    let cards = pairs.iter().filter(|(key, _)| is_numbered(key, "net"));
    let values = cards.flat_map(|(_, value)| value.split(',').filter_map(|it| it.split_once('=')));
    let is_address = |text: &str| {
        let mut parts = text.split(':');
        let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
        text.len() == 17 && parts.all(is_byte)
    };
    let found = values.map(|(_, value)| value).filter(|value| is_address(value));
    found.take(MACS_MAX).map(str::to_lowercase).collect()
}

/// `1`, `1,fstrim_cloned_disks=1` or `enabled=1`.
fn is_enabled(value: &str) -> bool {
    let first = value.split(',').next().is_some_and(is_true);
    first || option(value, "enabled").is_some_and(is_true)
}

/// The volumes that it keeps data on. The EFI variables and the TPM's state have sizes of their own
/// that nobody chooses, and are left out; so are devices and folders of the host.
fn disks(kind: GuestKind, pairs: &[(&str, &str)]) -> Vec<GuestDisk> {
    let disk = |(key, value): &(&str, &str)| {
        let is_volume = match kind {
            GuestKind::Qemu => is_drive(key) && option(value, "media") != Some("cdrom"),
            GuestKind::Lxc => *key == "rootfs" || is_numbered(key, "mp"),
        };
        let volume = value.split(',').next().filter(|_| is_volume)?;
        let (_, volume) = volume.split_once('=').unwrap_or(("", volume));
        let (storage, _) = volume.split_once(':').filter(|(storage, _)| !storage.contains('/'))?;
        Some(GuestDisk {
            key: (*key).to_owned(),
            storage: storage.to_owned(),
            size_bytes: option(value, "size").and_then(bytes),
        })
    };
    let mut disks: Vec<GuestDisk> = pairs.iter().filter_map(disk).collect();
    disks.truncate(DISKS_MAX);
    disks
}

/// A size as Proxmox writes it: `32G`, `512M`, `4096K`, `8T`, or in bytes.
fn bytes(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &size[digits.len()..] {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
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

/// What a backup can include; a drive for discs is none of it.
fn is_disk(key: &str, value: &str) -> bool {
    let is_drive = is_drive(key) || matches!(key, "efidisk0" | "tpmstate0");
    is_drive && option(value, "media") != Some("cdrom")
}

/// `scsi0` and the like.
fn is_drive(key: &str) -> bool {
    ["scsi", "virtio", "sata", "ide"].iter().any(|bus| is_numbered(key, bus))
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

    fn disks_of(kind: GuestKind, text: &str) -> Vec<(String, String, Option<u64>)> {
        let settings = read(kind, text).settings.unwrap();
        settings.disks.into_iter().map(|it| (it.key, it.storage, it.size_bytes)).collect()
    }

    #[test]
    fn what_policies_ask_for_is_read() {
        let text = "\
#The shop%3A front end
#
boot: order=scsi0
protection: 1
scsihw: virtio-scsi-single

[before]
#another description
protection: 0
scsihw: lsi
";
        let shop = read(GuestKind::Qemu, text).settings.unwrap();
        assert!(shop.described && shop.protection);
        assert_eq!(shop.scsihw.as_deref(), Some("virtio-scsi-single"));
        let bare = read(GuestKind::Lxc, "hostname: db\nprotection: 0\n").settings.unwrap();
        let memory_bytes = Some(512 << 20);
        assert_eq!(*bare, GuestSettings { memory_bytes, ..GuestSettings::default() });
    }

    #[test]
    fn what_it_may_use_is_the_least_that_limits_it() {
        use GuestKind::{Lxc, Qemu};
        for (kind, text, cpus, mebibytes) in [
            (Qemu, "", Some(1.0), 512),
            (Qemu, "cores: 4\nsockets: 2\nmemory: 8192\n", Some(8.0), 8192),
            (Qemu, "cores: 4\nvcpus: 2\nmemory: current=2048\n", Some(2.0), 2048),
            (Qemu, "cores: 4\ncpulimit: 1.5\nballoon: 0\n", Some(1.5), 512),
            (Qemu, "cores: 2\ncpulimit: 0\n", Some(2.0), 512),
            (Lxc, "memory: 1024\n", None, 1024),
            (Lxc, "cores: 2\n", Some(2.0), 512),
            (Lxc, "cpulimit: 0.5\n", Some(0.5), 512),
            (Lxc, "cores: 2\ncpulimit: 3\nmemory: much\n[snap]\ncores: 1\n", Some(2.0), 512),
        ] {
            let settings = read(kind, text).settings.unwrap();
            let told = (settings.cpus, settings.memory_bytes);
            assert_eq!(told, (cpus, Some(mebibytes << 20)), "{text}");
        }
    }

    #[test]
    fn a_description_is_one_only_if_something_stands_in_it() {
        for (text, described) in [
            ("#web\n", true),
            ("#\n#%C3%BCber\n", true),
            ("name: web\n#after a key\n", true),
            ("#\n# \n", false),
            ("name: web # no comment\n", false),
            ("name: web\n[snap]\n#of the snapshot\n", false),
            ("", false),
        ] {
            assert_eq!(
                read(GuestKind::Qemu, text).settings.unwrap().described,
                described,
                "{text}"
            );
        }
    }

    #[test]
    fn disks_are_told_with_their_sizes_and_discs_and_devices_of_the_host_are_not() {
        let text = "\
efidisk0: local-lvm:vm-100-disk-1,efitype=4m,size=4M
ide2: local:iso/debian.iso,media=cdrom,size=631M
ide3: local-lvm:vm-100-cloudinit,media=cdrom
sata0: /dev/disk/by-id/ata-WD_1,size=1953514584K
sata1: file=local-lvm:vm-100-disk-9,size=512M
scsi0: local-lvm:vm-100-disk-0,discard=on,iothread=1,size=32G
scsi1: nas:100/vm-100-disk-2.qcow2,size=2252M
scsi2: none
scsihw: lsi
tpmstate0: local-lvm:vm-100-disk-4,size=4M,version=v2.0
unused0: local-lvm:vm-100-disk-7
virtio0: local-lvm:vm-100-disk-5,size=8T
virtio1: local-lvm:vm-100-disk-6
";
        let told = |key: &str, storage: &str, size| (key.to_owned(), storage.to_owned(), size);
        let expected = [
            told("sata1", "local-lvm", Some(512 << 20)),
            told("scsi0", "local-lvm", Some(32 << 30)),
            told("scsi1", "nas", Some(2252 << 20)),
            told("virtio0", "local-lvm", Some(8 << 40)),
            told("virtio1", "local-lvm", None),
        ];
        assert_eq!(disks_of(GuestKind::Qemu, text), expected);
        let text = "\
mp0: local-lvm:vm-100-disk-1,mp=/data,size=4096K
mp1: volume=nas:subvol-100-disk-2,mp=/cache,size=64G
mp2: /mnt/bulk,mp=/bulk
net0: name=eth0,bridge=vmbr0
rootfs: local-lvm:vm-100-disk-0,size=8G
";
        let expected = [
            told("mp0", "local-lvm", Some(4096 << 10)),
            told("mp1", "nas", Some(64 << 30)),
            told("rootfs", "local-lvm", Some(8 << 30)),
        ];
        assert_eq!(disks_of(GuestKind::Lxc, text), expected);
    }

    #[test]
    fn a_size_is_read_as_proxmox_writes_it_or_not_at_all() {
        for (text, size) in [
            ("32G", Some(32 << 30)),
            ("1024", Some(1024)),
            ("8T", Some(8 << 40)),
            ("", None),
            ("G", None),
            ("3.5G", None),
            ("99999999999T", None),
            ("7X", None),
            ("-1G", None),
        ] {
            assert_eq!(bytes(text), size, "{text:?}");
        }
    }

    #[test]
    fn a_backup_that_runs_makes_no_other_guest_of_it() {
        let quiet = read(GuestKind::Qemu, "name: web\n");
        assert_eq!(read(GuestKind::Qemu, "lock: backup\nname: web\n"), quiet);
        assert_eq!(read(GuestKind::Qemu, "lock: migrate\n").lock.as_deref(), Some("migrate"));
    }

    #[test]
    fn a_file_that_says_nothing_is_a_guest_without_a_name() {
        for text in ["", "\0\u{fffd}", "[only]\nname: x\n", "name"] {
            assert_eq!(read(GuestKind::Qemu, text).name, None, "{text:?}");
        }
    }

    #[test]
    fn a_guest_can_be_known_from_inside() {
        let settings = |kind, text: &str| *read(kind, text).settings.unwrap();
        let vm = settings(
            GuestKind::Qemu,
            "agent: enabled=1,fstrim_cloned_disks=1\n\
             net0: virtio=BC:24:11:0A:0B:0C,bridge=vmbr0,firewall=1\n\
             net1: model=e1000,macaddr=BC:24:11:00:00:02\nnetwork: no=AA:AA:AA:AA:AA:AA\n\
             smbios1: uuid=5D6F8A2E-8C4B-4E0B-9B6A-0A1B2C3D4E5F,serial=x\n",
        );
        assert!(vm.agent);
        assert_eq!(vm.uuid.as_deref(), Some("5d6f8a2e-8c4b-4e0b-9b6a-0a1b2c3d4e5f"));
        assert_eq!(vm.macs, ["bc:24:11:0a:0b:0c", "bc:24:11:00:00:02"]);
        let ct = settings(GuestKind::Lxc, "net0: name=eth0,hwaddr=BC:24:11:00:00:03,ip=dhcp\n");
        assert_eq!(
            (ct.agent, ct.uuid, &*ct.macs),
            (false, None, &["bc:24:11:00:00:03".to_owned()][..])
        );
        for (value, enabled) in
            [("1", true), ("0", false), ("1,type=isa", true), ("enabled=0", false)]
        {
            let vm = settings(GuestKind::Qemu, &format!("agent: {value}\n"));
            assert_eq!(vm.agent, enabled, "{value}");
        }
    }
}
