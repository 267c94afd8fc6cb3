//! Asks filesystems how full they are. One that hangs holds up nothing, and is told as such.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pvewatch_protocol::sample::Filesystem;
use rustix::fs::statvfs;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout_at;

use crate::clock::instant;
use crate::host::mounts::{Mount, mounts};

/// How long all filesystems together may take for an answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks that may hang at once, each with a thread of its own. Overflow: what is mounted from
/// elsewhere is not asked any more, and is told as hanging.
const HANGING_MAX: usize = 8;

/// What filesystems said: those of one look.
type Answers = Vec<(String, Option<Usage>)>;

/// What a filesystem says of itself (statvfs(3)).
#[derive(Debug, Clone, Copy)]
struct Usage {
    total: u64,
    free: u64,
    available: u64,
    inodes: u64,
    inodes_free: u64,
}

/// Whoever asks.
#[derive(Debug)]
pub struct Filesystems {
    mountinfo: PathBuf,
    /// Looks that are not over. What is on this host is asked in one, under an empty name; each
    /// that is elsewhere in one of its own, under its place.
    looking: BTreeMap<String, JoinHandle<Answers>>,
}

impl Filesystems {
    /// Has asked nobody yet.
    pub fn new(mountinfo: PathBuf) -> Self {
        Self { mountinfo, looking: BTreeMap::new() }
    }

    /// All filesystems, as they are now.
    pub async fn read(&mut self) -> Vec<Filesystem> {
        let mounts = mounts(&fs::read_to_string(&self.mountinfo).unwrap_or_default());
        let hanging = self.looking.len();
        let of_host = mounts.iter().filter(|mount| !mount.is_remote());
        self.begin("", of_host.map(|mount| mount.place.clone()).collect());
        if hanging < HANGING_MAX {
            for remote in mounts.iter().filter(|mount| mount.is_remote()) {
                self.begin(&remote.place, vec![remote.place.clone()]);
            }
        }
        let deadline = instant() + PATIENCE;
        let mut answers: BTreeMap<String, Option<Usage>> = BTreeMap::new();
        let mut looking = BTreeMap::new();
        for (name, mut look) in std::mem::take(&mut self.looking) {
            match timeout_at(deadline, &mut look).await {
                Ok(answered) => answers.extend(answered.unwrap_or_default()),
                Err(_) => {
                    looking.insert(name, look);
                }
            }
        }
        self.looking = looking;
        mounts.into_iter().filter_map(|mount| describe(mount, &answers)).collect()
    }

    /// Begins to ask, unless the question before is not answered.
    fn begin(&mut self, name: &str, places: Vec<String>) {
        if places.is_empty() || self.looking.contains_key(name) {
            return;
        }
        let look = spawn_blocking(move || {
            let answer = |place: String| {
                let usage = usage(Path::new(&place));
                (place, usage)
            };
            places.into_iter().map(answer).collect()
        });
        self.looking.insert(name.to_owned(), look);
    }
}

/// What a filesystem says; none if it refuses.
fn usage(place: &Path) -> Option<Usage> {
    let found = statvfs(place).ok()?;
    Some(Usage {
        total: found.f_blocks.saturating_mul(found.f_frsize),
        free: found.f_bfree.saturating_mul(found.f_frsize),
        available: found.f_bavail.saturating_mul(found.f_frsize),
        inodes: found.f_files,
        inodes_free: found.f_ffree,
    })
}

/// A filesystem as it is told; none if it does not say how large it is, as one that has no size.
fn describe(mount: Mount, answers: &BTreeMap<String, Option<Usage>>) -> Option<Filesystem> {
    let answer = answers.get(&mount.place).copied();
    let usage = answer.flatten();
    if usage.is_some_and(|usage| usage.total == 0) {
        return None;
    }
    let inodes = usage.filter(|usage| usage.inodes > 0);
    Some(Filesystem {
        mount: mount.place,
        device: mount.source,
        kind: mount.kind,
        read_only: mount.is_read_only,
        hanging: answer.is_none(),
        total_bytes: usage.map(|usage| usage.total),
        used_bytes: usage.map(|usage| usage.total.saturating_sub(usage.free)),
        available_bytes: usage.map(|usage| usage.available),
        inodes: inodes.map(|usage| usage.inodes),
        inodes_free: inodes.map(|usage| usage.inodes_free),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_root_of_this_machine_is_neither_empty_nor_hanging() {
        let folder = tempfile::tempdir().unwrap();
        let mountinfo = folder.path().join("mountinfo");
        let lines = "25 1 8:2 / / rw - ext4 /dev/sda2 rw\n\
                     26 1 8:3 / /not-there rw - ext4 /dev/sda3 ro\n";
        fs::write(&mountinfo, lines).unwrap();
        let told = Filesystems::new(mountinfo).read().await;
        let [root, absent] = &*told else { panic!("{told:?}") };
        assert!(root.total_bytes >= root.used_bytes && root.used_bytes > Some(0), "{root:?}");
        assert!(!root.hanging && !root.read_only);
        assert_eq!((absent.total_bytes, absent.hanging, absent.read_only), (None, false, true));
    }

    #[tokio::test]
    async fn one_that_hangs_holds_up_nothing_and_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mountinfo = folder.path().join("mountinfo");
        let lines = "25 1 8:2 / / rw - ext4 /dev/sda2 rw\n\
                     26 1 0:9 / /mnt/nas rw - nfs4 192.0.2.1:/srv rw\n";
        fs::write(&mountinfo, lines).unwrap();
        let mut filesystems = Filesystems::new(mountinfo);
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let hanging = spawn_blocking(move || {
            let _ = hold.recv();
            vec![("/mnt/nas".to_owned(), None)]
        });
        filesystems.looking.insert("/mnt/nas".to_owned(), hanging);
        for _ in 0..2 {
            let told = filesystems.read().await;
            let [root, nas] = &*told else { panic!("{told:?}") };
            assert_eq!((root.hanging, nas.hanging), (false, true));
        }
        drop(release);
        while filesystems.read().await[1].hanging {}
    }
}
