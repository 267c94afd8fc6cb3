//! Which mounts are filesystems worth a look, by `/proc/self/mountinfo` (proc(5)).
//!
//! What lives in memory, and what the kernel shows as files, cannot fill up in a way that anybody
//! can do something about. A filesystem that is mounted at several places counts once, and a ZFS
//! pool counts once for all its datasets, which share what is left of it. How much of a pool the
//! disks of guests take, no filesystem tells: it counts as full when hardly anything is left.

use std::collections::{BTreeMap, BTreeSet};

use crate::octal::unescaped;

/// Filesystems of one host. Overflow: those with the longest paths are left out.
pub const FILESYSTEMS_MAX: usize = 64;

/// A filesystem that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where; of several places the shortest.
    pub place: String,
    /// What: a device, a dataset, or a share.
    pub source: String,
    /// Its type.
    pub kind: String,
    /// Whether nothing can be written, by the filesystem's own options: those of the place can be
    /// the agent's sandbox.
    pub is_read_only: bool,
}

impl Mount {
    /// Whether it is somewhere else, so that a look at it can hang for ever.
    pub fn is_remote(&self) -> bool {
        !self.source.starts_with('/') && self.kind != "zfs"
    }
}

/// The filesystems of a host, by place.
pub fn mounts(mountinfo: &str) -> Vec<Mount> {
    let mut by_identity: BTreeMap<String, ((bool, usize), Mount)> = BTreeMap::new();
    let covered: BTreeSet<_> = mountinfo.lines().filter_map(covered).collect();
    let is_seen = |line: &&str| number_and_place(line).is_some_and(|it| !covered.contains(&it));
    for (identity, is_part, mount) in mountinfo.lines().filter(is_seen).filter_map(mount) {
        let rank = (is_part, mount.place.len());
        let known = by_identity.get(&identity);
        if known.is_none_or(|(known, _)| rank < *known) {
            by_identity.insert(identity, (rank, mount));
        }
    }
    let mut mounts: Vec<Mount> = by_identity.into_values().map(|(_, mount)| mount).collect();
    mounts.sort_by(|a, b| (a.place.len(), &a.place).cmp(&(b.place.len(), &b.place)));
    mounts.truncate(FILESYSTEMS_MAX);
    mounts
}

/// The number of a mount and its place.
fn number_and_place(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split(' ');
    Some((fields.next()?, fields.nth(3)?))
}

/// What a mount covers, if that is another one at the same place, as the agent's sandbox does: whoever
/// asks there is answered by the upper one.
fn covered(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split(' ').skip(1);
    Some((fields.next()?, fields.nth(2)?))
}

/// `25 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw`: what identifies the filesystem, whether
/// only a part of it is mounted here, and the mount; none if it is not worth a look.
fn mount(line: &str) -> Option<(String, bool, Mount)> {
    let (place, filesystem) = line.split_once(" - ")?;
    let mut place = place.split(' ').skip(2);
    let (device, root, place) = (place.next()?, place.next()?, place.next()?);
    let mut filesystem = filesystem.split(' ');
    let (kind, source, options) = (filesystem.next()?, filesystem.next()?, filesystem.next()?);
    if !is_worth_a_look(kind, source) {
        return None;
    }
    let identity = match kind {
        "zfs" => source.split('/').next().unwrap_or(source),
        _ => device,
    };
    let mount = Mount {
        place: text(place),
        source: text(source),
        kind: kind.to_owned(),
        is_read_only: options.split(',').any(|option| option == "ro"),
    };
    // Datasets have no parts; the one that is the system's root stands for its pool.
    Some((identity.to_owned(), kind != "zfs" && root != "/", mount))
}

fn is_worth_a_look(kind: &str, source: &str) -> bool {
    let is_of_a_guest = source.contains("/subvol-") || source.contains("/basevol-");
    let is_device = source.starts_with("/dev/") && source != "/dev/fuse";
    let is_remote = matches!(kind, "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "virtiofs" | "9p")
        || kind.starts_with("fuse.") && kind != "fuse.lxcfs" && kind != "fuse.portal";
    match kind {
        // Always full, by what they are.
        "squashfs" | "iso9660" | "udf" => false,
        "zfs" => !is_of_a_guest,
        _ => is_device || is_remote,
    }
}

fn text(field: &str) -> String {
    String::from_utf8_lossy(&unescaped(field)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
24 28 0:5 / /dev rw,nosuid shared:2 - devtmpfs udev rw,size=8124
25 28 0:23 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
28 1 253:1 / / ro,relatime shared:1 - ext4 /dev/mapper/pve-root rw,errors=remount-ro
29 28 8:2 / /boot/efi rw,relatime shared:29 - vfat /dev/sda2 rw,fmask=0022
30 28 253:1 /var/tmp/x /var/tmp rw,relatime shared:1 - ext4 /dev/mapper/pve-root rw
31 28 0:45 / /etc/pve rw,nosuid shared:30 - fuse /dev/fuse rw,user_id=0
32 28 0:46 / /var/lib/lxcfs rw,nosuid shared:31 - fuse.lxcfs lxcfs rw
33 28 0:33 / /mnt/pve/nas rw,relatime shared:20 - nfs4 192.0.2.1:/srv/nas rw,vers=4.2
34 28 8:17 / /mnt/my\\040disk ro,relatime shared:21 master:1 - xfs /dev/sdb1 ro
35 28 0:50 / /rpool rw shared:22 - zfs rpool rw
36 28 0:51 / /rpool/data rw shared:23 - zfs rpool/data rw
37 28 0:52 / /tank/subvol-101-disk-0 rw shared:24 - zfs tank/subvol-101-disk-0 rw
38 28 7:0 / /snap/x ro shared:25 - squashfs /dev/loop0 ro
39 28 0:60 / /mnt/ssh rw shared:26 - fuse.sshfs me@192.0.2.2:/ rw
40 28 253:2 / /home rw shared:27 - ext4 /dev/mapper/pve-home rw
41 40 0:23 /systemd/inaccessible/dir /home ro shared:28 - tmpfs tmpfs rw
";

    #[test]
    fn each_filesystem_is_there_once_and_nothing_else() {
        let told: Vec<_> = mounts(MOUNTINFO)
            .into_iter()
            .map(|it| {
                let remote = if it.is_remote() { " remote" } else { "" };
                let read_only = if it.is_read_only { " ro" } else { "" };
                format!("{} {} {}{remote}{read_only}", it.place, it.kind, it.source)
            })
            .collect();
        assert_eq!(
            told,
            [
                "/ ext4 /dev/mapper/pve-root",
                "/rpool zfs rpool",
                "/mnt/ssh fuse.sshfs me@192.0.2.2:/ remote",
                "/boot/efi vfat /dev/sda2",
                "/mnt/my disk xfs /dev/sdb1 ro",
                "/mnt/pve/nas nfs4 192.0.2.1:/srv/nas remote",
            ]
        );
    }

    #[test]
    fn what_is_mounted_in_part_alone_counts_where_it_is() {
        let container = "700 1 8:1 /machines/x / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(mounts(container)[0].place, "/");
    }

    #[test]
    fn torn_lines_are_no_mounts() {
        for text in ["", "25 1 8:2 /\n", "25 1 8:2 / / rw - ext4\n", " - \n", "\\"] {
            assert_eq!(mounts(text), [], "{text:?}");
        }
    }
}
