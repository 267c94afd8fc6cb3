//! Proxmox' tasks, as far as they start and stop guests.

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::Vmid;

use crate::proxmox::Upid;

/// By how much a task may have ended before its effect was seen.
const JUST_ENDED: SignedDuration = SignedDuration::from_secs(30);

/// The same of one that starts or stops all guests: what follows is somebody's own doing.
const JUST_ENDED_FOR_ALL: SignedDuration = SignedDuration::from_secs(2);

/// The same of one that gave up: a guest can obey later than Proxmox waits.
const GAVE_UP: SignedDuration = SignedDuration::from_mins(10);

/// What a task does to guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It starts one.
    Start,
    /// It stops one, for good or to do something to it.
    Stop,
    /// It stops one and starts it again.
    Restart,
    /// It puts one back as it was: it stops it, and starts it only perhaps.
    PutBack,
    /// It moves one to another node.
    Migrate,
    /// It backs up one, or several.
    Backup,
    /// It starts all.
    StartAll,
    /// It stops all.
    StopAll,
}

/// A task that runs, or ran just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub upid: Upid,
    /// When it ended; none if it runs.
    pub ended: Option<Timestamp>,
    /// Whether it ended in vain.
    pub has_failed: bool,
}

impl Task {
    /// What it does; none if it starts and stops no guest.
    pub fn deed(&self) -> Option<Deed> {
        deed(&self.upid.kind)
    }

    /// Whether it is about a guest: its own number is in its name.
    pub fn is_about(&self, vmid: Vmid) -> bool {
        self.upid.id.parse() == Ok(vmid)
    }

    /// Whether it ran at a moment, or had just ended.
    pub fn ran_at(&self, at: Timestamp) -> bool {
        let patience = match self.deed() {
            Some(Deed::StartAll | Deed::StopAll) => JUST_ENDED_FOR_ALL,
            Some(Deed::Stop) if self.has_failed => GAVE_UP,
            _ => JUST_ENDED,
        };
        self.ended.is_none_or(|ended| at.duration_since(ended) <= patience)
    }
}

fn deed(kind: &str) -> Option<Deed> {
    Some(match kind {
        "qmstart" | "qmresume" | "vzstart" | "hastart" => Deed::Start,
        "qmstop" | "qmshutdown" | "qmsuspend" | "qmdestroy" | "vzstop" | "vzshutdown"
        | "vzsuspend" | "vzdestroy" | "hastop" | "hashutdown" => Deed::Stop,
        "qmreboot" | "vzreboot" => Deed::Restart,
        "qmrollback" | "vzrollback" | "qmrestore" | "vzrestore" => Deed::PutBack,
        "qmigrate" | "vzmigrate" | "hamigrate" => Deed::Migrate,
        "vzdump" => Deed::Backup,
        "startall" => Deed::StartAll,
        "stopall" | "suspendall" => Deed::StopAll,
        _ => return None,
    })
}

/// The tasks of Proxmox' list `active` that start or stop guests:
/// `<UPID> <0|1>[ <endtime>[ <status>]]`, the time in hexadecimal digits. The newest come first.
pub fn active(list: &str) -> Vec<Task> {
    let task = |line: &str| {
        let mut words = line.split(' ');
        let upid: Upid = words.next()?.parse().ok()?;
        let ended = words.nth(1).map(|end| {
            let seconds = i64::from_str_radix(end, 16).ok();
            seconds.and_then(|seconds| Timestamp::from_second(seconds).ok())
        });
        let has_failed = words.next().is_some_and(|status| !matches!(status, "OK" | "WARNINGS:"));
        // An end that cannot be read is an end, long ago.
        let task = Task { upid, ended: ended.map(Option::unwrap_or_default), has_failed };
        task.deed().is_some().then_some(task)
    };
    let mut tasks: Vec<Task> = list.lines().filter_map(task).collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.upid.started));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_tells_what_runs_and_what_has_ended() {
        let list = "UPID:pve1:00000001:00000001:6AC05390:qmstop:100:root@pam: 0\n\
                    UPID:pve1:00000001:00000001:6AC05391:vzdump::root@pam: 1 6AC05399 OK\n\
                    UPID:pve1:00000001:00000001:6AC05392:qmstart:101:eve@pve!key: 0 torn\n\
                    UPID:pve1:00000001:00000001:6AC05393:aptupdate::root@pam: 0\n\
                    torn";
        let tasks = active(list);
        let at = Timestamp::from_second(0x6AC0_53A0).unwrap();
        let short: Vec<_> = tasks
            .iter()
            .map(|task| {
                (task.deed().unwrap(), task.is_about("100".parse().unwrap()), task.ran_at(at))
            })
            .collect();
        assert_eq!(
            short,
            [(Deed::Start, false, false), (Deed::Backup, false, true), (Deed::Stop, true, true)]
        );
    }
}
