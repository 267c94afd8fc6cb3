//! Whether the worker of a task is gone, of whose log nobody said that it was closed.

use std::fs::{self, File};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::proxmox::Upid;
use crate::proxmox::is_running;

/// How much newer than a log the list of running tasks must be to know whether its task runs.
const LISTED_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// What is known of the node's workers.
pub struct Workers {
    booted_at: Timestamp,
    /// Proxmox' own list of tasks, and when it was written.
    active: String,
    listed_at: Option<Timestamp>,
}

impl Workers {
    /// Reads Proxmox' list below the folder of the tasks. No worker from before `booted_at` runs.
    pub fn read(tasks: &Path, booted_at: Timestamp) -> Self {
        let path = tasks.join("active");
        let listed_at = File::open(&path).ok().as_ref().and_then(written_at);
        Self { booted_at, active: fs::read_to_string(path).unwrap_or_default(), listed_at }
    }

    /// Whether the worker of a task is gone for sure.
    pub fn is_gone(&self, upid: &Upid, log: &File) -> bool {
        if upid.started < self.booted_at {
            return true;
        }
        let pid = i32::try_from(upid.pid).ok().and_then(Pid::from_raw);
        // Other users' processes are hidden from the agent, but not from this call: it may not
        // signal them, and that is a yes.
        if pid.is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH)) {
            return true;
        }
        // Its number may have been given to another process.
        let is_listed_later = self
            .listed_at
            .zip(written_at(log))
            .is_some_and(|(listed, written)| listed.duration_since(written) > LISTED_AFTER);
        is_listed_later && !is_running(&self.active, upid.as_str())
    }
}

/// When a file was written last.
pub fn written_at(file: &File) -> Option<Timestamp> {
    Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok()
}
