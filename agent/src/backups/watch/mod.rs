//! The source `backups`: follows the logs of tasks, and tells what ended in them.
//!
//! Folders are watched and files are read when they grow (`inotify`); a scan at the start and every
//! few minutes finds what nobody told, and what happened while the agent was down, also in guests'
//! own logs (`own_logs`). Each thing is told once, also across starts (`teller`, `told`).
//! Absent: what a log means (`task`, `log`), and what is due.

mod inotify;
mod own_logs;
mod runs;
mod teller;
mod told;
mod worker;

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep_until};

use super::task::{Context, Task};
use crate::clock::{self, instant};
use crate::proxmox::Upid;
use crate::source::{Closed, PictureWanted, Reporter, StatusTeller};
use inotify::{Happening, Inotify};
use own_logs::OwnLog;
use runs::Runs;
use teller::Teller;
use worker::{Workers, written_at};

/// From one scan to the next.
const SCAN_EVERY: Duration = Duration::from_mins(5);

/// How soon a log is looked at again of which nobody said both that it is closed and how it ended:
/// its worker can still be on its way out. Later looks take twice as long each.
const RECHECK_AFTER: Duration = Duration::from_secs(2);

/// Logs that are followed at once. Overflow: what is beyond is found by a later scan.
const FOLLOWED_MAX: usize = 1_000;

/// How old a task may be that is told by an agent that never ran here, unless it is about backups.
const OLD_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Bytes that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Where the source reads from, and what it must know of the host.
#[derive(Debug, Clone)]
pub struct BackupsPaths {
    /// The logs of tasks, in folders `0` to `F`.
    pub tasks: PathBuf,
    /// The log of each guest's last run.
    pub guests: PathBuf,
    /// What the scheduler notes of each job's last run.
    pub jobs: PathBuf,
    /// Where it is noted what was told; none if nothing can be kept.
    pub state: Option<PathBuf>,
    /// When the kernel started.
    pub booted_at: Timestamp,
}

/// Follows the tasks of this node until the outbox closes.
///
/// # Errors
/// When the outbox is closed: the agent stops.
pub async fn run(
    paths: BackupsPaths,
    reporter: Reporter,
    picture_wanted: PictureWanted,
) -> Result<(), Closed> {
    let mut source = Source {
        status: StatusTeller::new("backups", reporter.clone()),
        teller: Teller::new(reporter, paths.state.as_deref()),
        paths,
        zone: TimeZone::system(),
        watch: None,
        followed: BTreeMap::new(),
    };
    let ended = follow(&mut source, picture_wanted).await;
    source.teller.note_last();
    ended
}

async fn follow(source: &mut Source, mut picture_wanted: PictureWanted) -> Result<(), Closed> {
    let mut next_scan = instant();
    loop {
        let due = source.next_check().map_or(next_scan, |check| check.min(next_scan));
        tokio::select! {
            happenings = next(&mut source.watch) => {
                if source.take(happenings).await? {
                    next_scan = instant();
                }
            }
            () = sleep_until(due) => {
                if due == next_scan {
                    source.scan().await?;
                    next_scan = instant() + SCAN_EVERY;
                } else {
                    source.check().await?;
                }
            }
            kept = source.teller.answered() => source.teller.note(kept?),
            // There is no picture of what happened, but this is how the outbox says that it ends.
            changed = picture_wanted.changed() => changed.map_err(|_| Closed)?,
        }
        source.teller.ask_whether_kept().await?;
    }
}

/// What happens next; never, if nothing is watched.
async fn next(watch: &mut Option<Inotify>) -> io::Result<Vec<Happening>> {
    match watch {
        Some(inotify) => inotify.next().await,
        None => std::future::pending().await,
    }
}

/// A log whose task is not over, as far as is known.
struct Followed {
    file: File,
    task: Task,
    /// When to look whether its worker is gone.
    check: Option<Check>,
}

/// A look at a worker that is on its way out.
#[derive(Clone, Copy)]
struct Check {
    due: Instant,
    delay: Duration,
}

impl Check {
    fn after(delay: Duration) -> Self {
        Self { due: instant() + delay, delay }
    }
}

struct Source {
    paths: BackupsPaths,
    teller: Teller,
    zone: TimeZone,
    watch: Option<Inotify>,
    followed: BTreeMap<PathBuf, Followed>,
    status: StatusTeller,
}

impl Source {
    /// Takes in what happened. Returns whether everything must be looked at.
    async fn take(&mut self, happenings: io::Result<Vec<Happening>>) -> Result<bool, Closed> {
        let happenings = match happenings {
            Ok(happenings) => happenings,
            Err(error) => {
                log::warn!("backups: what happens in folders is not told any more: {error}");
                self.watch = None;
                return Ok(true);
            }
        };
        let runs = Runs::of(&self.paths.jobs);
        let mut is_in_doubt = false;
        for happening in happenings {
            match happening {
                Happening::Grew(path) => self.look_at(&path, false, &runs).await?,
                Happening::Closed(path) => self.look_at(&path, true, &runs).await?,
                // Its first file can be older than the watch that a scan puts on it.
                Happening::Folder(_) | Happening::Doubt => is_in_doubt = true,
            }
        }
        Ok(is_in_doubt)
    }

    /// Looks at every log there is, and watches every folder.
    async fn scan(&mut self) -> Result<(), Closed> {
        self.zone = TimeZone::system();
        // First, so that none is the work of a task that begins meanwhile.
        let own_logs = own_logs::list(&self.paths);
        let logs = match self.logs() {
            Ok(logs) => logs,
            Err(error) => return self.say_inactive(&error).await,
        };
        let runs = Runs::of(&self.paths.jobs);
        let workers = Workers::read(&self.paths.tasks, self.paths.booted_at);
        for (path, upid) in &logs {
            self.follow(path, upid, &runs).await?;
            let Some(followed) = self.followed.get_mut(path) else { continue };
            if workers.is_gone(upid, &followed.file) {
                self.finish(path, &runs).await?;
            } else {
                // It can have been closed before its folder was watched, and its worker be on its
                // way out.
                followed.check.get_or_insert(Check::after(RECHECK_AFTER));
            }
        }
        // A log that was deleted tells nothing more.
        self.followed.retain(|path, _| path.exists());
        self.read_own(&own_logs, &logs).await?;
        let runs = own_logs.iter().map(|log| &*log.run);
        let known = logs.iter().map(|(_, upid)| upid.as_str()).chain(runs);
        self.teller.keep_only(&known.collect::<HashSet<_>>());
        self.status.say(true, format!("tasks in {}", self.paths.tasks.display())).await
    }

    /// Tells of runs that stand in guests' own logs alone.
    async fn read_own(&mut self, own: &[OwnLog], tasks: &[(PathBuf, Upid)]) -> Result<(), Closed> {
        if own.iter().all(|log| self.teller.has_told(&log.run)) {
            return Ok(());
        }
        let of_vzdump = tasks.iter().filter(|(_, upid)| upid.kind == "vzdump");
        let span = |(path, upid): &(PathBuf, Upid)| match self.followed.contains_key(path) {
            true => Some((upid.started, Timestamp::MAX)),
            false => own_logs::span(path, upid.started),
        };
        let spans: Vec<_> = of_vzdump.filter_map(span).collect();
        for log in own {
            if self.teller.has_told(&log.run) {
                continue;
            }
            if !log.is_covered(&spans) {
                let context = Context { zone: &self.zone, job: &|| None };
                match log.read(context).await {
                    Ok(news) => self.teller.tell(news.into_iter().collect()).await?,
                    Err(error) => {
                        log::warn!("backups: {} cannot be read: {error}", log.path.display())
                    }
                }
            }
            // Also what a task tells: the task's log can be gone after the next start.
            self.teller.pass_over(log.run.clone());
        }
        Ok(())
    }

    /// Every log of a task, the oldest first; their folders are watched from now on.
    fn logs(&mut self) -> io::Result<Vec<(PathBuf, Upid)>> {
        let folders = fs::read_dir(&self.paths.tasks)?;
        let watch = match &mut self.watch {
            Some(watch) => watch,
            none => none.insert(Inotify::new()?),
        };
        watch.watch(&self.paths.tasks)?;
        let mut logs = Vec::new();
        for folder in folders {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            watch.watch(&folder.path())?;
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                if let Some(upid) = file.file_name().to_str().and_then(|name| name.parse().ok()) {
                    logs.push((file.path(), upid));
                }
            }
        }
        logs.sort_by_key(|(_, upid): &(PathBuf, Upid)| upid.started);
        Ok(logs)
    }

    /// A file grew, or nobody writes it any more.
    async fn look_at(&mut self, path: &Path, is_closed: bool, runs: &Runs) -> Result<(), Closed> {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(upid) = name.and_then(|name| name.parse().ok()) else { return Ok(()) };
        self.follow(path, &upid, runs).await?;
        match self.followed.get_mut(path).filter(|_| is_closed) {
            Some(followed) if followed.task.has_end() => self.finish(path, runs).await,
            Some(followed) => {
                followed.check.get_or_insert(Check::after(RECHECK_AFTER));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// When to look whether a worker is gone.
    fn next_check(&self) -> Option<Instant> {
        self.followed.values().filter_map(|followed| Some(followed.check?.due)).min()
    }

    /// Looks whether workers are gone that are on their way out.
    async fn check(&mut self) -> Result<(), Closed> {
        let workers = Workers::read(&self.paths.tasks, self.paths.booted_at);
        let now = instant();
        let mut gone = Vec::new();
        for (path, followed) in &mut self.followed {
            let Some(check) = followed.check.filter(|check| check.due <= now) else { continue };
            followed.check = Some(Check::after((check.delay * 2).min(SCAN_EVERY)));
            if workers.is_gone(followed.task.upid(), &followed.file) {
                gone.push(path.clone());
            }
        }
        let runs = Runs::of(&self.paths.jobs);
        for path in gone {
            self.finish(&path, &runs).await?;
        }
        Ok(())
    }

    /// Reads on in a log, from its beginning if it was not followed, and tells what is new.
    async fn follow(&mut self, path: &Path, upid: &Upid, runs: &Runs) -> Result<(), Closed> {
        if !self.followed.contains_key(path) && !self.begin(path, upid) {
            return Ok(());
        }
        let job = || runs.job_of(upid);
        let mut piece = vec![0; PIECE_BYTES];
        while let Some(followed) = self.followed.get_mut(path) {
            let length = match followed.file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::warn!("backups: {} cannot be read: {error}", path.display());
                    break;
                }
            };
            followed.task.feed(&piece[..length]);
            let news = followed.task.news(Context { zone: &self.zone, job: &job });
            self.teller.tell(news).await?;
            // A long log must not keep the rest of the agent waiting.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Begins to follow a log, if there is anything to tell of it.
    fn begin(&mut self, path: &Path, upid: &Upid) -> bool {
        if self.teller.has_told(upid.as_str()) {
            return false;
        }
        let Some(task) = Task::new(upid.clone()) else { return false };
        let is_old = upid.started + OLD_AFTER < clock::today();
        if is_old && !self.teller.has_a_past() && !task.is_about_backups() {
            self.teller.pass_over(upid.to_string());
            return false;
        }
        if self.followed.len() >= FOLLOWED_MAX {
            return false;
        }
        match File::open(path) {
            Ok(file) => {
                self.followed.insert(path.to_owned(), Followed { file, task, check: None });
                true
            }
            Err(error) => {
                // One that was deleted meanwhile is none of ours.
                if error.kind() != io::ErrorKind::NotFound {
                    log::warn!("backups: {} cannot be read: {error}", path.display());
                }
                false
            }
        }
    }

    /// A task is over: tells the rest of it.
    async fn finish(&mut self, path: &Path, runs: &Runs) -> Result<(), Closed> {
        let Some(Followed { file, task, .. }) = self.followed.remove(path) else { return Ok(()) };
        let ended_at = written_at(&file).unwrap_or_else(clock::today);
        let upid = task.upid().clone();
        let context = Context { zone: &self.zone, job: &|| runs.job_of(&upid) };
        let news = task.end(ended_at, context);
        self.teller.tell(news).await
    }

    async fn say_inactive(&mut self, error: &io::Error) -> Result<(), Closed> {
        let has_logs = self.paths.tasks.parent().is_some_and(Path::exists);
        if !has_logs && !self.status.has_spoken() {
            // A host that never was a Proxmox node lacks nothing.
            return Ok(());
        }
        let tasks = self.paths.tasks.display();
        let detail = match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{tasks} is not there: this is no Proxmox VE node")
            }
            _ => format!("{tasks} cannot be watched: {error}"),
        };
        self.status.say(false, detail).await
    }
}
