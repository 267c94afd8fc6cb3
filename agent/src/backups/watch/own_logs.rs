//! The guests' own logs: runs of which no task's log is left.
//!
//! Proxmox removes the logs of tasks when there are many, soon on a node where much is started and
//! stopped. The log of each guest's last run stays. While both are there they say the same, so that
//! nothing is read here but what no task's log covers.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::Outcome;

use super::worker::written_at;
use super::{BackupsPaths, PIECE_BYTES};
use crate::backups::log::{GuestBackup, Reader};
use crate::backups::task::{Context, Origin, Tidings};
use crate::clock;

/// How old a run may be: one that is due every month is found. The number of an older one may have
/// been given to another guest.
const OLD_AFTER: SignedDuration = SignedDuration::from_hours(35 * 24);

/// By how much a run may have begun before its end and its duration say so.
const ROUNDED: SignedDuration = SignedDuration::from_secs(60);

/// The log of a guest's last run.
pub struct OwnLog {
    pub path: PathBuf,
    /// When it was written last: that is when the run ended.
    ended_at: Timestamp,
    /// The run's name, which stays the same until the guest is backed up again.
    pub run: String,
}

/// When the task of a run began, and when its log was written last.
pub type Span = (Timestamp, Timestamp);

/// Every guest's own log that may still be of interest. Nothing is no error: the folder comes with
/// the first backup.
pub fn list(paths: &BackupsPaths) -> Vec<OwnLog> {
    let Ok(files) = fs::read_dir(&paths.guests) else { return Vec::new() };
    let oldest = clock::today() - OLD_AFTER;
    let log = |file: io::Result<fs::DirEntry>| {
        let path = file.ok()?.path();
        let name = path.file_name()?.to_str().filter(|name| is_log(name))?;
        let ended_at = Timestamp::try_from(path.metadata().ok()?.modified().ok()?).ok()?;
        let run = format!("{name}@{ended_at:.0}");
        (ended_at >= oldest).then_some(OwnLog { path, ended_at, run })
    };
    files.filter_map(log).collect()
}

/// `qemu-100.log`.
fn is_log(name: &str) -> bool {
    let number = name
        .strip_suffix(".log")
        .and_then(|name| name.split_once('-'))
        .and_then(|(kind, number)| ["qemu", "lxc", "openvz"].contains(&kind).then_some(number));
    number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// From when to when the log of a task was written.
pub fn span(path: &Path, started: Timestamp) -> Option<Span> {
    Some((started, written_at(&File::open(path).ok()?)?))
}

impl OwnLog {
    /// Whether the log of one of these tasks tells of the run: a worker writes to it after it has
    /// closed the guest's own.
    pub fn is_covered(&self, tasks: &[Span]) -> bool {
        tasks.iter().any(|(begun, ended)| (*begun..=*ended).contains(&self.ended_at))
    }

    /// What it says of the run. One that broke off says nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read(&self, context: Context<'_>) -> io::Result<Option<Tidings>> {
        let mut file = File::open(&self.path)?;
        let mut reader = Reader::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => reader.feed(&piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // A long log must not keep the rest of the agent waiting.
            tokio::task::yield_now().await;
        }
        let guest = reader.finish().guests.pop();
        Ok(guest.filter(|guest| guest.outcome != Outcome::Unknown).map(|guest| {
            let begun = self.ended_at - lasted(&guest) - ROUNDED;
            let origin = Origin { run: &self.run, begun };
            origin.told(guest, Some(self.ended_at), context)
        }))
    }
}

fn lasted(guest: &GuestBackup) -> SignedDuration {
    let seconds = guest.duration_seconds.and_then(|seconds| i64::try_from(seconds).ok());
    SignedDuration::from_secs(seconds.unwrap_or_default())
}
