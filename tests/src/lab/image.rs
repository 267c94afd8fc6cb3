//! Root file systems: made once by mmdebstrap, kept in the cache outside the checkout.
//!
//! The cache's key is the recipe, so a changed recipe makes a new one. A folder with the final
//! name is complete: it is made under another name and renamed. Test processes wait for each
//! other by a file lock.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pvewatch_protocol::Fingerprint;
use rustix::fs::{FlockOperation, flock};

use super::leftovers;
use crate::places;
use crate::process::tail;

/// What the nodes need beside Debian's essential packages: the service manager and its bus, and
/// what the packages of pvewatch depend on.
const PACKAGES: &str = "adduser,ca-certificates,dbus,procps,systemd,systemd-sysv";

/// Runs in the new root: the journal survives a reboot, and nothing starts by itself that would
/// fail or fetch something during a test.
const CUSTOMIZE: &str = "mkdir -p \"$1/var/log/journal\"; rm -f \"$1/etc/hostname\"; \
     chroot \"$1\" systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
     e2scrub_all.timer fstrim.timer console-getty.service >/dev/null 2>&1";

/// A release of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12, the base of Proxmox VE 8: systemd 252.
    Bookworm,
    /// Debian 13, the base of Proxmox VE 9: systemd 257.
    Trixie,
}

impl Suite {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// Debian's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }
}

/// The folder of the lab in the cache.
///
/// # Panics
/// When it cannot be made.
pub fn lab_folder() -> PathBuf {
    let folder = places::cache().join("lab");
    fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}: set PVEWATCH_CACHE", folder.display()));
    folder
}

/// The root file system of a suite; makes it if it is not cached.
///
/// # Panics
/// When it cannot be made; shows the end of mmdebstrap's log.
#[track_caller]
pub fn of(suite: Suite) -> PathBuf {
    let folder = lab_folder();
    let recipe = [("suite", suite.name()), ("packages", PACKAGES), ("customize", CUSTOMIZE)];
    let ready = folder.join(format!("{}-{}", suite.name(), Fingerprint::of(recipe)));
    let _lock = lock(&folder.join(format!("{}.lock", suite.name())));
    if !ready.exists() {
        make(suite, &ready);
    }
    ready
}

/// Removes what interrupted runs left, once for each test process.
pub(crate) fn tidy_up() {
    use std::sync::Once;
    static TIDY: Once = Once::new();
    TIDY.call_once(|| {
        let folder = lab_folder();
        let _lock = lock(&folder.join("leftovers.lock"));
        leftovers::remove(&folder);
    });
}

/// Holds until it is dropped.
fn lock(path: &Path) -> File {
    let file = File::options().create(true).append(true).open(path);
    let file = file.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flock(&file, FlockOperation::LockExclusive).expect("a local file can be locked");
    file
}

fn make(suite: Suite, ready: &Path) {
    let unfinished = ready.with_extension("unfinished");
    let log = ready.with_extension("log");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).expect("an unfinished root can be removed");
    }
    let log_file = File::create(&log).expect("the lab's folder can be written");
    let done = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--mode=root", "--format=directory"])
        .arg(format!("--include={PACKAGES}"))
        .arg(format!("--customize-hook={CUSTOMIZE}"))
        .arg(suite.name())
        .arg(&unfinished)
        .stdin(Stdio::null())
        .stdout(log_file.try_clone().expect("a file handle can be copied"))
        .stderr(log_file)
        .status();
    match done {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("mmdebstrap {}: {status}\n{}", suite.name(), tail(&log)),
        Err(error) => panic!("mmdebstrap cannot be started: {error}: ./tests/run installs it"),
    }
    fs::rename(&unfinished, ready).expect("the root was made beside its final place");
}
