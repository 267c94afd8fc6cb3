//! `/api/v1/backups`: every guest that is or was backed up, and how; and every job.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{BackupFinished, GuestKind, Outcome};
use pvewatch_protocol::{NodeName, Site, Vmid};
use serde::{Deserialize, Serialize};

use super::checked_limit;
use super::storages::{ArchivesAnswer, LocalStorages, StorageAnswer};
use crate::fleet::{Backup, BackupJob, NodeView, Run, Running, is_unwanted};
use crate::output::http::error::ApiError;
use crate::output::http::picture::Picture;

/// Guests in one answer, unless a limit is given.
pub const BACKUPS_DEFAULT: usize = 1000;

/// Guests in one answer at most.
pub const BACKUPS_MAX: usize = 10_000;

/// A guest that was due for longer, and was not backed up since, is a bad one: a run that takes
/// its time, or one that failed once, is not. The rule BackupJobMissing counts as long.
pub const OVERDUE_AFTER: SignedDuration = SignedDuration::from_hours(48);

/// A job that was due for longer and has not begun was missed. The rule BackupRunMissed counts as
/// long.
pub const MISSED_AFTER: SignedDuration = SignedDuration::from_mins(15);

/// The parameters of `/api/v1/backups`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupsQuery {
    /// Of this node only.
    pub node: Option<NodeName>,
    /// Of this guest only; a number can be that of several guests, of nodes without a cluster.
    pub vmid: Option<Vmid>,
    /// At most so many.
    pub limit: Option<usize>,
}

/// The answer of `/api/v1/backups`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupsAnswer {
    /// The site.
    pub site: Site,
    /// When the answer was made, by the collector's clock.
    pub at: Timestamp,
    /// Guests that the question is about; more than are listed if there is a limit.
    pub total: usize,
    /// The guests: the bad ones first, then by number.
    pub backups: Vec<BackupAnswer>,
    /// The jobs of these nodes, each on each node.
    #[serde(default)]
    pub jobs: Vec<JobAnswer>,
    /// The storages of these nodes, as each of them sees them.
    #[serde(default)]
    pub storages: Vec<StorageAnswer>,
}

/// The backups of one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupAnswer {
    /// The guest.
    pub vmid: Vmid,
    /// `qemu` or `lxc`.
    pub kind: Option<GuestKind>,
    /// Its name, as the last run told it.
    pub name: Option<String>,
    /// The node on which its last run was.
    pub node: NodeName,
    /// How the last run ended; none if none has.
    pub outcome: Option<Outcome>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// All that it told.
    pub last: Option<BackupFinished>,
    /// When a run succeeded last.
    pub last_success_at: Option<Timestamp>,
    /// Runs up to the last one that did not succeed.
    pub failures_in_a_row: usize,
    /// The run that is under way.
    pub running: Option<Running>,
    /// When the guest was last restored.
    pub restored_at: Option<Timestamp>,
    /// Median size of the 7 successful runs before the last one, in bytes.
    pub usual_size_bytes: Option<u64>,
    /// The last 30 runs, the oldest first.
    pub runs: Vec<Run>,
    /// The jobs that cover it, are on, and are due at some time; none if nothing is known of jobs.
    #[serde(default)]
    pub jobs: Option<Vec<String>>,
    /// When it is due next.
    #[serde(default)]
    pub next_due_at: Option<Timestamp>,
    /// Since when it is due without a run that succeeded, or one that is under way; none if it is
    /// not.
    #[serde(default)]
    pub overdue_since: Option<Timestamp>,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether it is a template.
    #[serde(default)]
    pub template: bool,
    /// Disks and mount points that no backup includes.
    #[serde(default)]
    pub excluded: Vec<String>,
    /// Its archives, by storage, as far as they are known.
    #[serde(default)]
    pub archives: Vec<ArchivesAnswer>,
    /// Since when the archive of the newest run that succeeded is known not to be there.
    #[serde(default)]
    pub archive_gone_since: Option<Timestamp>,
}

/// A backup job on one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobAnswer {
    /// Its name in `jobs.cfg`; of a line in `vzdump.cron`, its place.
    pub job: String,
    /// The node.
    pub node: NodeName,
    /// What somebody wrote of it.
    pub comment: Option<String>,
    /// Whether it is on, and runs on this node.
    pub enabled: bool,
    /// When it is due, in Proxmox' words.
    pub schedule: String,
    /// The zone of these times.
    pub zone: String,
    /// Why nobody can say when it is due; none if that is known.
    pub problem: Option<String>,
    /// Where its archives go.
    pub storage: Option<String>,
    /// The node's guests that it covers.
    pub guests: Vec<Vmid>,
    /// When it is due next.
    pub next_due_at: Option<Timestamp>,
    /// When a run was due that has not begun; none if there is none.
    pub missed_since: Option<Timestamp>,
    /// When its last run began.
    pub began_at: Option<Timestamp>,
    /// Whether it goes on.
    pub running: bool,
    /// When its last run ended.
    pub finished_at: Option<Timestamp>,
    /// How.
    pub outcome: Option<Outcome>,
    /// Why it failed, as vzdump says it.
    pub error: Option<String>,
    /// Guests of which that run made no backup.
    pub failed: Vec<Vmid>,
}

impl BackupsAnswer {
    /// Answers.
    ///
    /// # Errors
    /// When the limit is not possible.
    pub fn of(picture: &Picture, query: &BackupsQuery) -> Result<Self, ApiError> {
        let limit = checked_limit(query.limit, BACKUPS_DEFAULT, BACKUPS_MAX)?;
        let is_asked =
            |view: &&Arc<NodeView>| query.node.as_ref().is_none_or(|node| view.node.name == *node);
        let at = picture.now;
        let nodes = picture.snapshot.nodes.iter().filter(is_asked);
        let plans: Vec<JobsOfNode<'_>> = nodes.map(|view| JobsOfNode::of(view, at)).collect();
        let (mut guests, mut jobs, mut storages) = (Vec::new(), Vec::new(), Vec::new());
        for plan in &plans {
            let is_asked = |backup: &&Arc<Backup>| query.vmid.is_none_or(|it| backup.vmid == it);
            guests.extend(plan.view.backups.iter().filter(is_asked).map(|backup| (backup, plan)));
            let covers = |job: &&Arc<BackupJob>| {
                query.vmid.is_none_or(|vmid| job.plan.guests.contains(&vmid))
            };
            jobs.extend(plan.view.jobs.iter().filter(covers).map(|job| JobAnswer::of(job, plan)));
            let for_backups = plan.view.storages.iter().filter(|it| it.seen.takes_backups());
            storages.extend(for_backups.map(|storage| StorageAnswer::of(storage)));
        }
        guests.sort_by_cached_key(|(backup, plan)| {
            (!plan.is_bad(backup), backup.vmid, backup.node.clone())
        });
        let total = guests.len();
        let listed = guests.into_iter().take(limit);
        let local = LocalStorages::of(&picture.snapshot);
        let answer = |(backup, plan): (&Arc<Backup>, &JobsOfNode<'_>)| {
            BackupAnswer::of(backup, plan, &local)
        };
        let backups = listed.map(answer).collect();
        Ok(Self { site: picture.snapshot.site.clone(), at, total, backups, jobs, storages })
    }

    /// The jobs of a guest, by what somebody wrote of them, or by name.
    pub fn titles_of_jobs(&self, guest: &BackupAnswer) -> String {
        let title = |name: &String| {
            let is_it = |job: &&JobAnswer| job.job == *name && job.node == guest.node;
            self.jobs.iter().find(is_it).map_or(name.as_str(), JobAnswer::title).to_owned()
        };
        guest.jobs.iter().flatten().map(title).collect::<Vec<_>>().join(", ")
    }

    /// Whether a guest's backup is bad, or a job did not run.
    pub fn is_anything_wrong(&self) -> bool {
        self.backups.iter().any(|backup| backup.is_bad(self.at))
            || self.jobs.iter().any(|job| job.is_missed(self.at))
    }
}

impl BackupAnswer {
    /// Whether the last run did not succeed, none has for long since it was due, or what it made is
    /// not there.
    pub fn is_bad(&self, now: Timestamp) -> bool {
        self.has_failed() || self.is_overdue(now) || self.archive_gone_since.is_some()
    }

    /// Whether the last run did not succeed.
    pub fn has_failed(&self) -> bool {
        self.outcome.is_some_and(|outcome| !outcome.is_success())
    }

    /// Why the last run did not succeed; none if it did, or nobody knows.
    pub fn why(&self) -> Option<&str> {
        self.last.as_ref().filter(|_| self.has_failed())?.why()
    }

    /// Whether no run has succeeded for long since it was due.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        is_overdue(self.overdue_since, now)
    }

    /// Whether no job covers it, though one should.
    pub fn is_uncovered(&self) -> bool {
        let is_wanted = !self.template && !is_unwanted(&self.tags);
        is_wanted && self.jobs.as_ref().is_some_and(Vec::is_empty)
    }

    /// How many archives should have been removed.
    pub fn surplus(&self) -> u32 {
        self.archives.iter().filter_map(|on| on.archives.surplus).sum()
    }

    fn of(backup: &Backup, plan: &JobsOfNode<'_>, local: &LocalStorages<'_>) -> Self {
        let guest = backup.guest.as_ref();
        let next = |id: &Arc<str>| plan.jobs.get(&**id).and_then(|(_, next)| *next);
        let is_known = plan.view.node.has_plan() && guest.is_some();
        Self {
            vmid: backup.vmid,
            kind: backup.kind(),
            name: backup.name().map(str::to_owned),
            node: backup.node.clone(),
            outcome: backup.outcome(),
            finished_at: backup.last.as_ref().map(|_| backup.since.fact),
            last: backup.last.clone(),
            last_success_at: backup.last_success.map(|at| at.fact),
            failures_in_a_row: backup.failures_in_a_row(),
            running: backup.running.clone(),
            restored_at: backup.restored_at,
            usual_size_bytes: backup.usual_size_bytes(),
            runs: backup.runs.clone(),
            jobs: is_known.then(|| backup.jobs.keys().map(|id| id.to_string()).collect()),
            next_due_at: backup.jobs.keys().filter_map(next).min(),
            overdue_since: plan.overdue_since(backup),
            tags: guest.map(|guest| guest.tags.clone()).unwrap_or_default(),
            template: guest.is_some_and(|guest| guest.template),
            excluded: guest.map(|guest| guest.excluded.clone()).unwrap_or_default(),
            archives: local.archives_of(backup.vmid, plan.view),
            archive_gone_since: backup.archives.gone_since.map(|since| since.fact),
        }
    }
}

impl JobAnswer {
    /// What somebody wrote of it, or its name.
    pub fn title(&self) -> &str {
        self.comment.as_deref().filter(|comment| !comment.is_empty()).unwrap_or(&self.job)
    }

    /// Whether a run that was due has not begun for long.
    pub fn is_missed(&self, now: Timestamp) -> bool {
        self.missed_since.is_some_and(|due| now.duration_since(due) >= MISSED_AFTER)
    }

    fn of(job: &BackupJob, plan: &JobsOfNode<'_>) -> Self {
        let last = job.last.as_ref();
        Self {
            job: job.id.to_string(),
            node: job.node.clone(),
            comment: job.plan.comment.clone(),
            enabled: job.plan.enabled,
            schedule: job.plan.schedule.clone(),
            zone: job.plan.zone.clone(),
            problem: job.problem().filter(|_| job.plan.enabled),
            storage: job.plan.storage.clone(),
            guests: job.plan.guests.clone(),
            next_due_at: plan.jobs.get(&*job.id).and_then(|(_, next)| *next),
            missed_since: job.run_due.map(|due| due.fact).filter(|due| *due <= plan.now),
            began_at: job.began_at,
            running: job.running_since().is_some(),
            finished_at: job.ended.map(|at| at.fact),
            outcome: last.map(|last| last.outcome),
            error: last.and_then(|last| last.error.clone()),
            failed: last.map(|last| last.failed.clone()).unwrap_or_default(),
        }
    }
}

/// The jobs of a node, and when each is due next.
struct JobsOfNode<'a> {
    view: &'a NodeView,
    now: Timestamp,
    jobs: BTreeMap<&'a str, (&'a BackupJob, Option<Timestamp>)>,
}

impl<'a> JobsOfNode<'a> {
    fn of(view: &'a NodeView, now: Timestamp) -> Self {
        let entry = |job: &'a Arc<BackupJob>| (&*job.id, (&**job, job.next_after(now)));
        Self { view, now, jobs: view.jobs.iter().map(entry).collect() }
    }

    /// See [`BackupAnswer::is_bad`].
    fn is_bad(&self, backup: &Backup) -> bool {
        backup.is_bad()
            || is_overdue(self.overdue_since(backup), self.now)
            || backup.archives.gone_since.is_some()
    }

    /// Since when a guest is due without a run that succeeded, or one that is under way.
    fn overdue_since(&self, backup: &Backup) -> Option<Timestamp> {
        let due = backup.due.map(|due| due.fact).filter(|due| *due <= self.now);
        due.filter(|due| !self.is_at_it(backup, *due))
    }

    /// Whether a run that began when the guest was due is still under way: its turn may come.
    fn is_at_it(&self, backup: &Backup, due: Timestamp) -> bool {
        let jobs = backup.jobs.keys().filter_map(|id| self.jobs.get(&**id));
        jobs.into_iter().any(|(job, _)| job.running_since().is_some_and(|since| since >= due))
    }
}

fn is_overdue(since: Option<Timestamp>, now: Timestamp) -> bool {
    since.is_some_and(|due| now.duration_since(due) >= OVERDUE_AFTER)
}
