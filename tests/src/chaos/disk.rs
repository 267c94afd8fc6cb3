//! A file system of its own for a spool or a store, which can be filled up and freed again.
//!
//! ext4 in a sparse file: what is full is really full, and a sync goes to the disk below. It is
//! mounted where only this run sees it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, ftruncate};

/// The largest and the smallest piece that is taken when a disk is filled, in bytes.
const PIECES: (u64, u64) = (1 << 40, 1 << 12);

/// A mounted file system.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Makes one of so many bytes and mounts it at `folder`.
    ///
    /// # Panics
    /// When that is not possible, as in a container without loop devices.
    #[track_caller]
    pub fn make(folder: &Path, bytes: u64) -> Self {
        let image = folder.with_extension("ext4");
        let file = File::create(&image).expect("the run's folder can be written");
        ftruncate(&file, bytes).expect("a file can be sparse");
        fs::create_dir(folder).expect("the run's folder can be written");
        done(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image));
        done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(folder));
        Self { folder: folder.to_owned() }
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes all the room that is left.
    ///
    /// # Panics
    /// When not even the file for it can be made.
    #[track_caller]
    pub fn fill(&self) {
        let ballast = File::create(self.ballast()).expect("a name takes no room");
        let (mut taken, mut piece) = (0, PIECES.0);
        while piece >= PIECES.1 {
            match fallocate(&ballast, FallocateFlags::empty(), taken, piece) {
                Ok(()) => taken += piece,
                Err(_) => piece /= 2,
            }
        }
    }

    /// Gives the room back.
    pub fn free(&self) {
        // If it is not there, there is nothing to give back.
        let _ = fs::remove_file(self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be unmounted goes with the run's last process.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}

#[track_caller]
fn done(command: &mut Command) {
    let status = command.status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{command:?}: {status:?}");
}
