//! What the files of a storage take, by what they are.
//!
//! While as much of the file system is in use as when they were summed up, nothing was written, and
//! no folder is opened: a disk that sleeps is not woken for it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

/// How old a sum may be of a file system whose use changes: disks of guests grow without any folder
/// telling.
const AGE_MAX: SignedDuration = SignedDuration::from_mins(15);

/// Files that are looked at. A storage with more is not summed up: it would take too long.
const FILES_MAX: usize = 20_000;

/// A block, in bytes (stat(2)).
const BLOCK_BYTES: u64 = 512;

/// Sums of a storage, as of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    summed_at: Timestamp,
    /// What was in use of the whole file system then, in bytes.
    in_use: u64,
    /// What the files of each kind take on the disk, in bytes.
    pub bytes: BTreeMap<String, u64>,
}

/// What lies in the folders of a storage as of `now`, of whose file system so much is in use;
/// `known` is what was found before.
///
/// What cannot be looked at is left out.
pub fn contents(
    folders: &[(String, PathBuf)],
    known: Option<Contents>,
    (in_use, now): (u64, Timestamp),
) -> Contents {
    if let Some(known) = known {
        let age = now.duration_since(known.summed_at);
        if known.in_use == in_use || (!age.is_negative() && age < AGE_MAX) {
            return known;
        }
    }
    let mut files = 0;
    let sums = folders.iter().filter_map(|(kind, folder)| {
        // The disks of a guest lie in a folder of its own.
        let depth = usize::from(kind == "images");
        Some((kind.clone(), sum(folder, depth, &mut files).ok()?))
    });
    Contents { bytes: sums.collect(), in_use, summed_at: now }
}

/// What the files of a folder take, and of those in it down to a depth. No link is followed.
fn sum(folder: &Path, depth: usize, files: &mut usize) -> io::Result<u64> {
    let entries = match fs::read_dir(folder) {
        // Proxmox makes a folder when something is to lie in it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut bytes = 0_u64;
    for entry in entries {
        *files += 1;
        if *files > FILES_MAX {
            return Err(io::Error::from(ErrorKind::QuotaExceeded));
        }
        let entry = entry?;
        let taken = match entry.metadata() {
            Ok(found) if found.is_dir() && depth > 0 => sum(&entry.path(), depth - 1, files)?,
            Ok(found) if found.is_file() => found.blocks().saturating_mul(BLOCK_BYTES),
            // One that was removed meanwhile is none.
            _ => 0,
        };
        bytes = bytes.saturating_add(taken);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn files_are_summed_up_by_what_they_are() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["images/100/deeper", "template/iso"] {
            fs::create_dir_all(path(folder)).unwrap();
        }
        let write =
            |name: &str, pages: usize| fs::write(path(name), vec![1; pages * 4096]).unwrap();
        write("images/100/vm-100-disk-0.raw", 2);
        write("images/100/deeper/no-disk", 64);
        write("template/iso/debian.iso", 4);
        std::os::unix::fs::symlink("/bin/sh", path("template/iso/link")).unwrap();
        let folders: Vec<(String, PathBuf)> =
            [("images", "images"), ("iso", "template/iso"), ("backup", "dump")]
                .map(|(kind, folder)| (kind.to_owned(), path(folder)))
                .to_vec();
        let first = contents(&folders, None, (1, at(0)));
        let of = |contents: &Contents, kind: &str| contents.bytes[kind] / 4096;
        assert_eq!((of(&first, "images"), of(&first, "iso"), of(&first, "backup")), (2, 4, 0));

        write("images/100/vm-100-disk-1.raw", 8);
        let again =
            |in_use, minutes| contents(&folders, Some(first.clone()), (in_use, at(minutes)));
        assert_eq!(again(2, 14), first, "it is new enough");
        assert_eq!(again(1, 600), first, "nothing was written, as far as the file system says");
        assert_eq!(of(&again(2, 15), "images"), 10);
        assert_eq!(of(&again(2, -60), "images"), 10);
    }

    #[test]
    fn what_cannot_be_looked_at_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("iso"), "no folder").unwrap();
        let folders = [("iso".to_owned(), root.path().join("iso"))];
        assert!(contents(&folders, None, (1, at(0))).bytes.is_empty());
    }
}
