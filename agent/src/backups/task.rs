//! One task and its log, as it grows: what there is to tell, each thing once.
//!
//! A guest's backup is told as soon as its last line is there, not when the whole job is over. A
//! log is over when nobody writes it any more; its last line alone is not believed, because a
//! hook can print anything.
//! Absent: files, and what was told before the agent started.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use pvewatch_protocol::event::{
    BackupFinished, BackupJobFinished, BackupStarted, Outcome, TaskFinished,
};
use pvewatch_protocol::{EventData, Vmid};

use super::log::{GuestBackup, Reader, TaskEnd};
use crate::proxmox::Upid;

/// Most of a log's beginning that is looked at for the archive that is restored, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Most of a log's end that is looked at for its last line, in bytes.
const TAIL_BYTES_MAX: usize = 64 * 1024;

/// Tasks that are told of beside backups: what proves a backup, and what stops, starts or moves a
/// guest.
const KINDS: [&str; 23] = [
    "qmrestore",
    "vzrestore",
    "qmstart",
    "qmstop",
    "qmshutdown",
    "qmreboot",
    "qmreset",
    "qmsuspend",
    "qmresume",
    "qmdestroy",
    "qmigrate",
    "qmrollback",
    "vzstart",
    "vzstop",
    "vzshutdown",
    "vzreboot",
    "vzdestroy",
    "vzmigrate",
    "vzrollback",
    "hamigrate",
    "startall",
    "stopall",
    "migrateall",
];

/// Something to tell, and the name under which it is remembered that it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Tidings {
    /// The task, and what of it.
    pub key: String,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub data: EventData,
}

/// What the log does not say itself.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The zone of the times in it.
    pub zone: &'a TimeZone,
    /// Finds the job that asked for the run.
    pub job: &'a (dyn Fn() -> Option<String> + Sync),
}

/// A task that matters.
#[derive(Debug)]
pub struct Task {
    upid: Upid,
    log: Log,
    /// The guest that was told to have been begun last.
    begun: Option<Vmid>,
}

#[derive(Debug)]
enum Log {
    Backup(Box<Reader>),
    Other(Ends),
}

/// The two ends of a log: of a restore the first lines say what it takes, the last line of any
/// task how it ended.
#[derive(Debug, Default)]
struct Ends {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Ends {
    fn feed(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES_MAX.saturating_sub(self.head.len());
        self.head.extend_from_slice(&bytes[..room.min(bytes.len())]);
        self.tail.extend_from_slice(bytes);
        let excess = self.tail.len().saturating_sub(TAIL_BYTES_MAX);
        self.tail.drain(..excess);
    }
}

impl Task {
    /// A task of which nothing was read yet; none if there is nothing to tell of its kind.
    pub fn new(upid: Upid) -> Option<Self> {
        let log = match &*upid.kind {
            "vzdump" => Log::Backup(Box::default()),
            kind if KINDS.contains(&kind) => Log::Other(Ends::default()),
            _ => return None,
        };
        Some(Self { upid, log, begun: None })
    }

    /// Its name.
    pub fn upid(&self) -> &Upid {
        &self.upid
    }

    /// Whether it is a run of vzdump, or a restore: these are told however old they are.
    pub fn is_about_backups(&self) -> bool {
        matches!(&*self.upid.kind, "vzdump" | "qmrestore" | "vzrestore")
    }

    /// The next piece of its log.
    pub fn feed(&mut self, bytes: &[u8]) {
        match &mut self.log {
            Log::Backup(reader) => reader.feed(bytes),
            Log::Other(ends) => ends.feed(bytes),
        }
    }

    /// Whether its last line is one that ends a task.
    pub fn has_end(&self) -> bool {
        match &self.log {
            Log::Backup(reader) => reader.has_end(),
            Log::Other(ends) => end_of(&ends.tail).is_some(),
        }
    }

    /// What there is to tell of what was read.
    pub fn news(&mut self, context: Context<'_>) -> Vec<Tidings> {
        let Log::Backup(reader) = &mut self.log else { return Vec::new() };
        let finished = reader.take_settled().to_vec();
        let running = reader
            .running()
            .map(|(vmid, details)| (vmid, details.kind, details.started, details.storage.clone()));
        let mut news: Vec<Tidings> =
            finished.into_iter().map(|guest| self.guest(guest, None, context)).collect();
        let Some((vmid, kind, started, storage)) = running else { return news };
        if self.begun.replace(vmid) != Some(vmid) {
            let started = started.and_then(|at| self.instant(at, context.zone));
            news.push(Tidings {
                key: format!("{} {vmid} started", self.upid),
                time: started.unwrap_or(self.upid.started),
                data: EventData::BackupStarted(BackupStarted {
                    vmid,
                    kind,
                    upid: self.upid.to_string(),
                    job: (context.job)(),
                    storage,
                }),
            });
        }
        news
    }

    /// Nobody writes the log any more: what is left to tell. `ended_at` is when it was written
    /// last.
    pub fn end(mut self, ended_at: Timestamp, context: Context<'_>) -> Vec<Tidings> {
        let log = std::mem::replace(&mut self.log, Log::Other(Ends::default()));
        match log {
            Log::Backup(reader) => self.end_of_job(*reader, ended_at, context),
            Log::Other(ends) => vec![self.end_of_task(&ends, ended_at)],
        }
    }

    fn end_of_job(
        self,
        mut reader: Reader,
        ended_at: Timestamp,
        context: Context<'_>,
    ) -> Vec<Tidings> {
        reader.take_settled();
        let (taken, storage) = (reader.taken(), reader.storage().map(str::to_owned));
        let log = reader.finish();
        let is_silent = log.end.is_none();
        let (outcome, mut error) = TaskEnd::verdict(log.end);
        if is_silent && log.job_error.is_some() {
            // One that waited for the other runs for too long ends so, and has said it.
            error = log.job_error;
        }
        let mut guests = log.guests;
        if guests.is_empty()
            && outcome != Outcome::Ok
            && let Ok(vmid) = self.upid.id.parse()
        {
            // It failed before it began with its only guest.
            let error = error.clone().unwrap_or_default();
            guests.push(GuestBackup::unseen(vmid, outcome, error, storage.clone()));
        }
        let vmids = |is_meant: fn(Outcome) -> bool| {
            let meant = guests.iter().filter(move |guest| is_meant(guest.outcome));
            meant.map(|guest| guest.vmid).collect()
        };
        let job = BackupJobFinished {
            upid: self.upid.to_string(),
            job: (context.job)(),
            user: self.upid.user.clone(),
            outcome,
            error,
            started: self.upid.started,
            storage,
            succeeded: vmids(Outcome::is_success),
            failed: vmids(|outcome| !outcome.is_success()),
        };
        let rest = guests.into_iter().skip(taken);
        let mut tidings: Vec<Tidings> =
            rest.map(|guest| self.guest(guest, Some(ended_at), context)).collect();
        let data = EventData::BackupJobFinished(job);
        tidings.push(Tidings { key: self.upid.to_string(), time: ended_at, data });
        tidings
    }

    fn end_of_task(self, ends: &Ends, ended_at: Timestamp) -> Tidings {
        let (outcome, error) = TaskEnd::verdict(end_of(&ends.tail));
        let is_restore = self.is_about_backups();
        let data = EventData::TaskFinished(TaskFinished {
            upid: self.upid.to_string(),
            vmid: self.upid.id.parse().ok(),
            outcome,
            error,
            started: self.upid.started,
            kind: self.upid.kind.clone(),
            user: self.upid.user.clone(),
            restored_from: is_restore.then(|| source_of(&ends.head)).flatten(),
        });
        Tidings { key: self.upid.to_string(), time: ended_at, data }
    }

    fn guest(
        &self,
        guest: GuestBackup,
        ended_at: Option<Timestamp>,
        context: Context<'_>,
    ) -> Tidings {
        Origin { run: self.upid.as_str(), begun: self.upid.started }.told(guest, ended_at, context)
    }

    /// A time in the log.
    fn instant(&self, at: DateTime, zone: &TimeZone) -> Option<Timestamp> {
        instant(at, self.upid.started, zone)
    }
}

/// Where a guest's run is told.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The task; or the guest's own log, if no task's log is left.
    pub run: &'a str,
    /// The run did not begin before.
    pub begun: Timestamp,
}

impl Origin<'_> {
    /// A guest's backup. `ended_at` counts if the log does not say when that was.
    pub fn told(
        self,
        guest: GuestBackup,
        ended_at: Option<Timestamp>,
        context: Context<'_>,
    ) -> Tidings {
        let GuestBackup { vmid, outcome, error, root_cause, duration_seconds, finished, details } =
            guest;
        let instant =
            |at: Option<DateTime>| at.and_then(|at| instant(at, self.begun, context.zone));
        let started = instant(details.started);
        let time = instant(finished).or(ended_at).or(started).unwrap_or(self.begun);
        let data = BackupFinished {
            vmid,
            kind: details.kind,
            name: details.name,
            upid: self.run.to_owned(),
            job: (context.job)(),
            outcome,
            error,
            root_cause,
            started,
            duration_seconds,
            size_bytes: details.size_bytes,
            transferred_bytes: details.transferred_bytes,
            reused_bytes: details.reused_bytes,
            archive: details.archive,
            storage: details.storage,
            mode: details.mode,
            warnings: details.warnings,
        };
        // A guest of which something else is said later is told of again.
        let key = format!("{} {vmid} {}", self.run, outcome.as_str());
        Tidings { key, time, data: EventData::BackupFinished(Box::new(data)) }
    }
}

/// A time in a log. One that comes twice, because clocks were set back, is the first that does not
/// lie before what it belongs to.
fn instant(at: DateTime, begun: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(at);
    let first = ambiguous.earlier().ok()?;
    if first >= begun { Some(first) } else { ambiguous.later().ok() }
}

/// The guest whose archive the first lines of a restore name: by the name of a file, or by a
/// snapshot on a backup server.
fn source_of(head: &[u8]) -> Option<Vmid> {
    const BEFORE_THE_NUMBER: [(&str, char); 5] = [
        ("vzdump-qemu-", '-'),
        ("vzdump-lxc-", '-'),
        ("vzdump-openvz-", '-'),
        ("vm/", '/'),
        ("ct/", '/'),
    ];
    let text = String::from_utf8_lossy(head);
    let number = |(before, after): (&str, char)| {
        let (_, rest) = text.split_once(before)?;
        rest.split_once(after)?.0.parse().ok()
    };
    BEFORE_THE_NUMBER.into_iter().find_map(number)
}

fn end_of(tail: &[u8]) -> Option<TaskEnd> {
    let text = String::from_utf8_lossy(tail);
    text.lines().rev().find(|line| !line.is_empty()).and_then(TaskEnd::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(kind: &str, started: &str) -> Task {
        let started: Timestamp = started.parse().unwrap();
        let started = started.as_second();
        let upid = format!("UPID:pve1:00000001:00000001:{started:08X}:{kind}:100:root@pam:");
        Task::new(upid.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_time_that_comes_twice_is_not_before_the_task() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let line = b"INFO: Starting Backup of VM 100 (qemu)\nINFO: Backup started at 2026-10-25 02:30:00\n";
        for (begun, expected) in [
            ("2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"),
        ] {
            let mut task = task("vzdump", begun);
            task.feed(line);
            let news = task.news(Context { zone: &zone, job: &|| None });
            assert_eq!(news[0].time.to_string(), expected);
        }
    }

    #[test]
    fn a_worker_that_gives_up_without_a_verdict_has_said_why() {
        let context = Context { zone: &TimeZone::UTC, job: &|| None };
        let lock = "can't acquire lock '/var/run/vzdump.lock' - got timeout";
        let waiting = format!("INFO: trying to get global lock - waiting...\nERROR: {lock}\n");
        for (log, expected) in [
            (&*waiting, lock),
            ("INFO: starting new backup job: vzdump 100\n", "the worker ended without a word"),
        ] {
            let mut task = task("vzdump", "2026-11-26T01:00:00Z");
            task.feed(log.as_bytes());
            let told = task.end(Timestamp::UNIX_EPOCH, context);
            let [guest, run] = &*told else { panic!("a guest and the run: {told:?}") };
            let EventData::BackupFinished(guest) = &guest.data else { panic!("{guest:?}") };
            let EventData::BackupJobFinished(run) = &run.data else { panic!("{run:?}") };
            assert_eq!((guest.outcome, guest.error.as_deref()), (Outcome::Unknown, Some(expected)));
            assert_eq!((run.outcome, run.error.as_deref()), (Outcome::Unknown, Some(expected)));
        }
    }

    #[test]
    fn a_restore_says_whose_backup_it_takes() {
        for (lines, source) in [
            (
                "restore vma archive: zstd -q -d -c /mnt/pve/nas/dump/\
                 vzdump-qemu-100-2026_11_02-21_00_04.vma.zst | vma extract -v -r /var/tmp/x -\n",
                Some(100),
            ),
            (
                "recovering backed-up configuration from \
                 'nas:backup/vzdump-lxc-7-2026_11_02-21_00_04.tar.zst'\n",
                Some(7),
            ),
            (
                "restore proxmox backup image: /usr/bin/pbs-restore --repository r \
                 vm/101/2026-11-02T20:00:04Z drive-scsi0.img.fidx /dev/x\n",
                Some(101),
            ),
            (
                "recovering backed-up configuration from 'pbs:backup/ct/102/2026-11-02T20:00Z'\n",
                Some(102),
            ),
            ("progress 1%\n", None),
            ("vm/x/2026\n", None),
        ] {
            let source = source.map(|number: u32| Vmid::try_from(number).unwrap());
            assert_eq!(source_of(lines.as_bytes()), source, "{lines}");
        }
    }

    #[test]
    fn a_long_log_of_another_task_is_known_by_its_last_line() {
        let context = Context { zone: &TimeZone::UTC, job: &|| None };
        for (last, expected) in [
            ("TASK OK\n", Outcome::Ok),
            ("TASK WARNINGS: 2\n", Outcome::Warnings),
            ("\nTASK ERROR: received interrupt\n", Outcome::Interrupted),
            ("TASK ERROR: VM 100 not running\n", Outcome::Failed),
            ("TASK O", Outcome::Unknown),
        ] {
            let mut task = task("qmrestore", "2026-11-26T01:00:00Z");
            task.feed("progress 1% (read 1 byte)\n".repeat(TAIL_BYTES_MAX / 8).as_bytes());
            task.feed(last.as_bytes());
            let told = task.end(Timestamp::UNIX_EPOCH, context);
            let [Tidings { data: EventData::TaskFinished(told), .. }] = &*told else {
                panic!("one task has one end: {told:?}");
            };
            assert_eq!((told.outcome, told.vmid), (expected, "100".parse().ok()), "{last}");
        }
    }
}
