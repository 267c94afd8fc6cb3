//! What is mounted, by `/proc/self/mountinfo`, and what should be, by `/etc/fstab`.
//!
//! The folder of a disk that is not mounted is an empty one on the disk of the system, or holds
//! what was written there by mistake. Both are not what the storage has.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::octal::unescaped;

/// The mount points of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    mounted: BTreeSet<PathBuf>,
    expected: BTreeSet<PathBuf>,
}

impl Mounts {
    /// Reads both files' texts (proc(5), fstab(5)).
    pub fn parse(mountinfo: &str, fstab: &str) -> Self {
        let mounted = mountinfo.lines().filter_map(|line| line.split(' ').nth(4));
        let entries = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let expected = entries.filter_map(|line| line.split_ascii_whitespace().nth(1));
        let expected = expected.filter(|place| place.starts_with('/'));
        Self { mounted: mounted.map(path).collect(), expected: expected.map(path).collect() }
    }

    /// Whether something is mounted at exactly this place.
    pub fn is_mounted(&self, place: &Path) -> bool {
        self.mounted.contains(place)
    }

    /// The place at or above this one where something should be mounted and is not.
    pub fn missing(&self, place: &Path) -> Option<&Path> {
        let is_missing = |expected: &&PathBuf| {
            place.starts_with(expected) && expected.as_os_str() != "/" && !self.is_mounted(expected)
        };
        self.expected.iter().find(is_missing).map(PathBuf::as_path)
    }
}

/// A path, in which no trailing slash counts.
fn path(field: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescaped(field))).components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
25 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
36 25 0:33 / /mnt/pve/nas rw,relatime shared:20 - nfs4 192.0.2.1:/srv/nas rw
37 25 8:17 / /mnt/my\\040disk rw,relatime shared:21 master:1 - ext4 /dev/sdb1 rw
";

    const FSTAB: &str = "\
# <file system> <mount point> <type> <options> <dump> <pass>
/dev/sda2 / ext4 errors=remount-ro 0 1
/dev/sda3 none swap sw 0 0
UUID=1234\t/mnt/usb/\text4\tnofail\t0\t2
/dev/sdb1 /mnt/my\\040disk ext4 defaults 0 2

#/dev/sdc1 /mnt/old ext4 defaults 0 2
";

    #[test]
    fn what_is_mounted_and_what_is_not() {
        let mounts = Mounts::parse(MOUNTINFO, FSTAB);
        assert!(mounts.is_mounted(Path::new("/mnt/pve/nas")));
        assert!(mounts.is_mounted(Path::new("/mnt/my disk")));
        assert!(!mounts.is_mounted(Path::new("/mnt/pve")));
        let missing = |place: &str| mounts.missing(Path::new(place));
        assert_eq!(missing("/mnt/usb/pve/dump"), Some(Path::new("/mnt/usb")));
        assert_eq!(missing("/mnt/usb"), Some(Path::new("/mnt/usb")));
        for place in ["/mnt/usb2", "/mnt/my disk/pve", "/mnt/old", "/var/lib/vz", "/"] {
            assert_eq!(missing(place), None, "{place}");
        }
    }

    #[test]
    fn a_torn_line_is_no_mount() {
        let mounts = Mounts::parse("25 1 8:2 /\n\n\\\n", "UUID=1\n\\0");
        assert!(!mounts.is_mounted(Path::new("/")));
        assert_eq!(mounts.missing(Path::new("/mnt")), None);
    }
}
