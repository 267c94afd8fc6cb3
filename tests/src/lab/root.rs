//! A node's own root file system: an overlay over the cached one, or a copy where overlays do
//! not work.
//!
//! The overlay is mounted in the mount namespace of the node alone (see `boot.sh`), so it is
//! gone with the node's last process and never needs to be unmounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a node's files lie.
#[derive(Debug)]
pub enum Root {
    /// Changes go to `upper`; the mount exists only while the node runs.
    Overlay {
        /// The cached root, never written.
        lower: PathBuf,
        /// The folder of `upper`, `work` and `root`.
        directory: PathBuf,
    },
    /// A whole copy.
    Copy {
        /// The copy.
        directory: PathBuf,
    },
}

impl Root {
    /// Prepares the files of a node below `directory`.
    ///
    /// # Panics
    /// When the directory cannot be written.
    pub fn prepare(lower: &Path, directory: &Path) -> Self {
        for name in ["upper", "work", "root"] {
            fs::create_dir_all(directory.join(name)).expect("the lab's folder can be written");
        }
        if overlay_works(lower, directory) {
            return Self::Overlay { lower: lower.to_owned(), directory: directory.to_owned() };
        }
        let copied = Command::new("cp")
            .args(["-a", "--reflink=auto", "-T"])
            .args([lower, &directory.join("root")])
            .status()
            .expect("cp");
        assert!(copied.success(), "cp of {}: {copied}", lower.display());
        Self::Copy { directory: directory.to_owned() }
    }

    /// The options of the overlay's mount; empty for a copy.
    pub fn mount_options(&self) -> String {
        match self {
            Self::Overlay { lower, directory } => overlay_options(lower, directory),
            Self::Copy { .. } => String::new(),
        }
    }

    /// The node's `/` as the node's mount namespace has it before it boots.
    pub fn mount_point(&self) -> PathBuf {
        match self {
            Self::Overlay { directory, .. } | Self::Copy { directory } => directory.join("root"),
        }
    }

    /// Where a file is written while the node does not run.
    pub fn writable(&self) -> PathBuf {
        match self {
            Self::Overlay { directory, .. } => directory.join("upper"),
            Self::Copy { directory } => directory.join("root"),
        }
    }
}

fn overlay_options(lower: &Path, directory: &Path) -> String {
    format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        directory.join("upper").display(),
        directory.join("work").display()
    )
}

/// Tries it, in a mount namespace that is gone with the attempt.
fn overlay_works(lower: &Path, directory: &Path) -> bool {
    Command::new("unshare")
        .args(["--mount", "mount", "-t", "overlay", "overlay", "-o"])
        .arg(overlay_options(lower, directory))
        .arg(directory.join("root"))
        .output()
        .is_ok_and(|output| output.status.success())
}
