//! Why a guest was started or stopped, by what Proxmox and systemd note at that moment.
//!
//! The guest's lock comes before tasks: a backup that stops a guest does so by a task of its own. A
//! node that goes down comes before all, since it stops its guests by tasks as well.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{GuestCause, GuestKind, GuestRun, GuestState};

use super::tasks::{Deed, Task};
use super::tracker::Turn;
use crate::systemd::Ending;

/// For how long after a boot a task that starts all guests is the node's own.
const BOOT_LASTS: SignedDuration = SignedDuration::from_mins(30);

/// The guest's configuration on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Config {
    /// It is there, and holds this lock.
    Here(Option<String>),
    /// It is another node's, or no one's.
    Absent,
    /// It cannot be read.
    #[default]
    Unknown,
}

impl Config {
    /// Whether it is locked for this purpose.
    pub fn is_locked_for(&self, purpose: &str) -> bool {
        matches!(self, Self::Here(Some(lock)) if lock == purpose)
    }
}

/// What there is to go by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clues {
    /// The guest's configuration.
    pub config: Config,
    /// The tasks that start or stop guests, the newest first.
    pub tasks: Vec<Task>,
    /// Of these, the one that the manager of high availability asked for, by its name.
    pub asked_by_ha: Vec<String>,
    /// Those of them that have explained a turn of the guest to the same state: they explain no
    /// other.
    pub spent: BTreeSet<String>,
    /// Whether the node goes down.
    pub is_host_stopping: bool,
    /// When the node was booted.
    pub booted_at: Timestamp,
}

impl Clues {
    /// The tasks that can have done something at a moment.
    fn at(&self, at: Timestamp) -> impl Iterator<Item = &Task> {
        let is_spent = |task: &Task| self.spent.contains(task.upid.as_str());
        self.tasks.iter().filter(move |task| task.ran_at(at) && !is_spent(task))
    }
}

/// Describes a guest that was started or stopped at a moment. `before` is what was known of it;
/// of a turn that nobody saw `since` is when it was known to be so last.
pub fn explain(
    turn: &Turn,
    (since, at): (Timestamp, Timestamp),
    clues: &Clues,
    before: Option<&GuestRun>,
) -> GuestRun {
    let mut run = GuestRun {
        vmid: turn.vmid,
        kind: turn.kind,
        state: turn.state,
        since: Some(at),
        cause: None,
        expected: false,
        awaited: false,
        upid: None,
        user: None,
        detail: None,
    };
    let (cause, task) = match turn.state {
        GuestState::Running => start(turn, since, clues),
        _ => stop(turn, since, clues),
    };
    // What is for a while changes back to what it was.
    let was_for_a_while = before.is_some_and(|before| before.awaited);
    run.awaited = match (turn.state, cause) {
        (_, GuestCause::Backup) | (GuestState::Stopped, GuestCause::NodeShutdown) => {
            !was_for_a_while
        }
        (GuestState::Stopped, _) => task.is_some_and(|it| it.deed() == Some(Deed::Restart)),
        _ => false,
    };
    if turn.state == GuestState::Stopped && task.is_none() {
        run.detail = turn.ending.as_ref().and_then(words);
    }
    run.upid = task.map(|task| task.upid.to_string());
    run.user = task.map(|task| task.upid.user.clone());
    run.expected = cause.is_meant();
    run.cause = Some(cause);
    run
}

type Found<'a> = (GuestCause, Option<&'a Task>);

fn start<'a>(turn: &Turn, at: Timestamp, clues: &'a Clues) -> Found<'a> {
    if let Some(backup) = backup(turn, at, clues) {
        return (GuestCause::Backup, Some(backup));
    }
    if clues.config == Config::Absent || clues.config.is_locked_for("migrate") {
        return (GuestCause::Migration, None);
    }
    if let Some(all) = of_all(Deed::StartAll, at, clues) {
        let is_boot = all.upid.started.duration_since(clues.booted_at) <= BOOT_LASTS;
        let cause = if is_boot { GuestCause::NodeBoot } else { GuestCause::Requested };
        return (cause, Some(all));
    }
    let task = own(turn, at, clues, &[Deed::Start, Deed::Restart, Deed::PutBack]);
    (task.map_or(GuestCause::Unexplained, |task| asked(task, clues)), task)
}

fn stop<'a>(turn: &Turn, at: Timestamp, clues: &'a Clues) -> Found<'a> {
    if clues.is_host_stopping {
        return (GuestCause::NodeShutdown, of_all(Deed::StopAll, at, clues));
    }
    let result = turn.ending.as_ref().and_then(|ending| ending.result.as_deref());
    if result == Some("oom-kill") {
        return (GuestCause::OutOfMemory, None);
    }
    if let Some(backup) = backup(turn, at, clues) {
        return (GuestCause::Backup, Some(backup));
    }
    if let Some(task) = own(turn, at, clues, &[Deed::Migrate]) {
        return (GuestCause::Migration, Some(task));
    }
    let task = own(turn, at, clues, &[Deed::Stop, Deed::Restart, Deed::PutBack])
        .or_else(|| of_all(Deed::StopAll, at, clues));
    if let Some(task) = task {
        return (asked(task, clues), Some(task));
    }
    let cause = match (result, turn.kind) {
        (Some(result), _) if result != "success" => GuestCause::Crash,
        _ if clues.config == Config::Absent => GuestCause::Migration,
        (Some("success"), GuestKind::Lxc) => GuestCause::Guest,
        _ => GuestCause::Unexplained,
    };
    (cause, None)
}

/// The newest task about the guest itself that does one of these.
fn own<'a>(turn: &Turn, at: Timestamp, clues: &'a Clues, deeds: &[Deed]) -> Option<&'a Task> {
    let does = |task: &&Task| task.deed().is_some_and(|deed| deeds.contains(&deed));
    clues.at(at).find(|task| task.is_about(turn.vmid) && does(task))
}

fn of_all(deed: Deed, at: Timestamp, clues: &Clues) -> Option<&Task> {
    clues.at(at).find(|task| task.deed() == Some(deed))
}

/// The backup that holds the guest; one of several guests does not name them. A lock that one left
/// that broke off explains nothing.
fn backup<'a>(turn: &Turn, at: Timestamp, clues: &'a Clues) -> Option<&'a Task> {
    if !clues.config.is_locked_for("backup") {
        return None;
    }
    let mut backups = clues.tasks.iter().filter(|task| task.deed() == Some(Deed::Backup));
    backups.find(|task| (task.is_about(turn.vmid) || task.upid.id.is_empty()) && task.ran_at(at))
}

fn asked(task: &Task, clues: &Clues) -> GuestCause {
    let by_ha = clues.asked_by_ha.iter().any(|upid| upid == task.upid.as_str());
    if by_ha { GuestCause::Ha } else { GuestCause::Requested }
}

/// How the guest's processes ended, for people.
fn words(ending: &Ending) -> Option<String> {
    let exit = ending.exit.as_ref().filter(|exit| exit.status != 0);
    match (exit, ending.result.as_deref()?) {
        (Some(exit), _) if exit.code == "exited" => Some(format!("exit status {}", exit.status)),
        (Some(exit), _) => Some(format!("{} by signal {}", exit.code, exit.status)),
        (None, "success") => None,
        (None, result) => Some(result.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use pvewatch_protocol::event::Exit;

    use super::*;
    use crate::systemd::word;

    const NOW: i64 = 0x6AC0_5400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn turn(state: GuestState, kind: GuestKind) -> Turn {
        Turn { vmid: "100".parse().unwrap(), kind, state, at: None, ending: None, is_unseen: false }
    }

    /// Tasks that run, by kind and what they are about.
    fn running(tasks: &[(&str, &str)]) -> Clues {
        let task = |(kind, id): &(&str, &str)| {
            let upid = format!("UPID:pve1:00000001:00000001:6AC05390:{kind}:{id}:eve@pve:");
            Task { upid: upid.parse().unwrap(), ended: None, has_failed: false }
        };
        let config = Config::Here(None);
        Clues { config, tasks: tasks.iter().map(task).collect(), ..Clues::default() }
    }

    fn locked(lock: &str, tasks: &[(&str, &str)]) -> Clues {
        Clues { config: Config::Here(Some(lock.to_owned())), ..running(tasks) }
    }

    /// The cause, who asked, and whether it is to run again.
    fn why(turn: &Turn, clues: &Clues) -> (GuestCause, String, bool) {
        let run = explain(turn, (at(NOW), at(NOW)), clues, None);
        assert_eq!(run.expected, run.cause.unwrap().is_meant());
        (run.cause.unwrap(), run.user.unwrap_or_default(), run.awaited)
    }

    #[test]
    fn a_stop_is_explained_by_what_goes_on() {
        let absent = Clues { config: Config::Absent, ..running(&[]) };
        let going_down = Clues { is_host_stopping: true, ..running(&[("stopall", "")]) };
        let by_ha = {
            let clues = running(&[("qmshutdown", "100")]);
            Clues { asked_by_ha: vec![clues.tasks[0].upid.to_string()], ..clues }
        };
        use GuestCause::*;
        for (clues, expected) in [
            (running(&[("qmshutdown", "100")]), (Requested, "eve@pve", false)),
            (running(&[("qmreboot", "100")]), (Requested, "eve@pve", true)),
            (running(&[("qmshutdown", "101")]), (Unexplained, "", false)),
            (running(&[("qmstart", "100")]), (Unexplained, "", false)),
            (running(&[("stopall", "")]), (Requested, "eve@pve", false)),
            (running(&[("qmigrate", "100")]), (Migration, "eve@pve", false)),
            (absent, (Migration, "", false)),
            (by_ha, (Ha, "eve@pve", false)),
            (going_down, (NodeShutdown, "eve@pve", true)),
            // The backup's own task that stops the guest.
            (locked("backup", &[("qmshutdown", "100"), ("vzdump", "")]), (Backup, "eve@pve", true)),
            (locked("backup", &[("qmshutdown", "100")]), (Requested, "eve@pve", false)),
            (locked("backup", &[]), (Unexplained, "", false)),
            (running(&[("qmrollback", "100")]), (Requested, "eve@pve", false)),
            // A lock that a crash left behind explains all the same that it is not there.
            (locked("snapshot", &[]), (Unexplained, "", false)),
        ] {
            let (cause, user, awaited) = why(&turn(GuestState::Stopped, GuestKind::Qemu), &clues);
            assert_eq!((cause, &*user, awaited), expected, "{clues:?}");
        }
    }

    #[test]
    fn without_a_task_the_end_of_its_processes_tells() {
        use GuestCause::*;
        let ended = |kind, result: &'static str, exit: Option<(&str, i32)>| {
            let exit = exit.map(|(code, status)| Exit { code: code.to_owned(), status });
            let ending = Ending { result: Some(word(result)), exit, restarts: 0 };
            let turn = Turn { ending: Some(ending), ..turn(GuestState::Stopped, kind) };
            let run = explain(&turn, (at(NOW), at(NOW)), &running(&[]), None);
            (run.cause.unwrap(), run.detail.unwrap_or_default())
        };
        let (qemu, lxc) = (GuestKind::Qemu, GuestKind::Lxc);
        for (kind, result, exit, expected) in [
            (qemu, "success", None, (Unexplained, "")),
            (qemu, "oom-kill", None, (OutOfMemory, "oom-kill")),
            (lxc, "success", Some(("exited", 0)), (Guest, "")),
            (lxc, "exit-code", Some(("exited", 1)), (Crash, "exit status 1")),
            (lxc, "signal", Some(("killed", 9)), (Crash, "killed by signal 9")),
            (lxc, "oom-kill", Some(("killed", 9)), (OutOfMemory, "killed by signal 9")),
            (qemu, "oom-kill", None, (OutOfMemory, "oom-kill")),
        ] {
            let (cause, detail) = ended(kind, result, exit);
            assert_eq!((cause, &*detail), expected, "{kind:?} {result}");
        }
    }

    #[test]
    fn a_start_is_explained_by_what_goes_on() {
        let start = turn(GuestState::Running, GuestKind::Qemu);
        let absent = Clues { config: Config::Absent, ..running(&[]) };
        let boot = Clues {
            booted_at: at(0x6AC0_5300),
            ..running(&[("startall", ""), ("qmstart", "100")])
        };
        let bulk = Clues { booted_at: at(0x6AB0_0000), ..boot.clone() };
        use GuestCause::*;
        for (clues, expected) in [
            (running(&[("qmstart", "100")]), Requested),
            (running(&[("vzrollback", "100")]), Requested),
            (running(&[("qmstop", "100")]), Unexplained),
            (locked("migrate", &[("qmstart", "100")]), Migration),
            (absent, Migration),
            (boot, NodeBoot),
            (bulk, Requested),
            (locked("backup", &[("vzdump", "100")]), Backup),
        ] {
            assert_eq!(why(&start, &clues).0, expected, "{clues:?}");
        }
    }

    #[test]
    fn a_machine_that_only_runs_for_its_backup_is_not_awaited_when_it_stops() {
        let clues = locked("backup", &[("vzdump", "100")]);
        let [stop, start] =
            [GuestState::Stopped, GuestState::Running].map(|state| turn(state, GuestKind::Qemu));
        // It was stopped before.
        let now = (at(NOW), at(NOW));
        let begun = explain(&start, now, &clues, None);
        assert!(begun.awaited, "it is to stop again");
        let ended = explain(&stop, now, &clues, Some(&begun));
        assert_eq!((ended.cause, ended.awaited), (Some(GuestCause::Backup), false));
        let gone_down = Clues { is_host_stopping: true, ..clues.clone() };
        assert!(!explain(&stop, now, &gone_down, Some(&begun)).awaited);
        // It ran before: the backup stops it, and starts it again.
        let stopped = explain(&stop, now, &clues, None);
        let back = explain(&start, now, &clues, Some(&stopped));
        assert!(stopped.awaited && !back.awaited);
        // If it is stopped again before the backup ends, it is awaited again.
        assert!(explain(&stop, now, &clues, Some(&back)).awaited);
    }

    #[test]
    fn a_task_explains_one_stop() {
        let stop = turn(GuestState::Stopped, GuestKind::Qemu);
        let clues = running(&[("qmstop", "100")]);
        let spent = [clues.tasks[0].upid.to_string()].into();
        assert_eq!(why(&stop, &clues).0, GuestCause::Requested);
        assert_eq!(why(&stop, &Clues { spent, ..clues }).0, GuestCause::Unexplained);
    }

    #[test]
    fn a_task_that_ended_long_ago_explains_nothing() {
        let stop = turn(GuestState::Stopped, GuestKind::Qemu);
        let mut clues = running(&[("qmstop", "100")]);
        clues.tasks[0].ended = Some(at(NOW - 2));
        assert_eq!(why(&stop, &clues).0, GuestCause::Requested);
        clues.tasks[0].ended = Some(at(NOW - 60));
        assert_eq!(why(&stop, &clues).0, GuestCause::Unexplained);
        // It gave up, and the guest obeyed.
        clues.tasks[0].has_failed = true;
        assert_eq!(why(&stop, &clues).0, GuestCause::Requested);
        // Nobody looked for two minutes.
        clues.tasks[0].has_failed = false;
        let late = explain(&stop, (at(NOW - 120), at(NOW)), &clues, None);
        assert_eq!(late.cause, Some(GuestCause::Requested));
    }
}
