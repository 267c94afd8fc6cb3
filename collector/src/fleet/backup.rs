//! The backups of one guest: what is due, how the last run ended, and how the ones before did.
//!
//! A guest of a cluster has one such entity, on the node that has the guest by the newest picture
//! or run: guests move, and their past moves with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::{BackupFinished, GuestKind, Outcome};
use pvewatch_protocol::{Guest, NodeName, Position, Vmid};
use serde::{Deserialize, Serialize};

use super::archives::Archives;
use super::backup_job::{BackupJob, Jobs};
use super::entity::Version;
use super::moment::{Moment, shift};

/// Runs that are remembered of a guest: a month of one a day. The oldest is forgotten.
pub const RUNS_KEPT: usize = 30;

/// Runs before the last one with which its size is compared.
const SIZES_COMPARED: usize = 7;

/// The tag that says that nobody wants a guest to be backed up.
const NO_BACKUP_TAG: &str = "nobackup";

/// The backups of one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// The node that has it, or on which its last run was.
    pub node: NodeName,
    /// The guest's number as text.
    pub id: Arc<str>,
    /// The guest.
    pub vmid: Vmid,
    /// The last run that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<BackupFinished>,
    /// When it ended; when the entity was first heard of, if no run has.
    pub since: Moment,
    /// The last runs in short, this one among them, the oldest first; at most [`RUNS_KEPT`].
    #[serde(default)]
    pub runs: Vec<Run>,
    /// When the last one that succeeded ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_success: Option<Moment>,
    /// The task that is at it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// When it was first heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_since: Option<Moment>,
    /// When it was last restored, as itself or under another number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
    /// The guest, as its configuration says; none if no picture of its node has named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<Guest>,
    /// The environment of the guest, by its tags and pool; none if that of its node counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Since when it is on this node, as far as pictures tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub here_since: Option<Moment>,
    /// Since when it is not on this node any more. Its past is kept, for when it is back or turns up
    /// on another; rules and outputs do not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Moment>,
    /// The jobs that cover it and can run, and since when they do so as they do now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub jobs: BTreeMap<Arc<str>, Moment>,
    /// When the newest run that succeeded began: what was due before is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_until: Option<Timestamp>,
    /// When the first run was due after that; can lie ahead. None if no job covers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Moment>,
    /// Which archives of it exist.
    #[serde(default)]
    pub archives: Archives,
    /// How new this description is.
    pub version: Version,
    /// The last event that this description includes.
    pub position: Position,
}

/// A run in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The task.
    pub upid: String,
    /// When it ended, by the node's clock.
    pub finished: Timestamp,
    /// How.
    pub outcome: Outcome,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u64>,
    /// Size of the archive; what was read from the guest's disks, if that is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// A run that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The task.
    pub upid: String,
    /// Since when.
    pub since: Timestamp,
}

impl Backup {
    /// A guest of which no run has ended yet.
    pub fn new(node: NodeName, vmid: Vmid, since: Moment, at: (Version, Position)) -> Self {
        Self {
            node,
            id: vmid.to_string().into(),
            vmid,
            last: None,
            since,
            runs: Vec::new(),
            last_success: None,
            running: None,
            known_since: Some(since),
            restored_at: None,
            guest: None,
            environment: None,
            here_since: None,
            gone_since: None,
            jobs: BTreeMap::new(),
            done_until: None,
            due: None,
            archives: Archives::default(),
            version: at.0,
            position: at.1,
        }
    }

    /// Takes in a run that ended at `moment`. One that ended before the last one changes only
    /// what is remembered; one that was told before is told better now. It was on the node that has
    /// the guest, if it `is_here`. Returns whether it is the last one.
    pub fn end(&mut self, finished: BackupFinished, moment: Moment, is_here: bool) -> bool {
        self.running.take_if(|running| running.upid == finished.upid);
        let run = Run {
            upid: finished.upid.clone(),
            finished: moment.fact,
            outcome: finished.outcome,
            duration_seconds: finished.duration_seconds,
            size_bytes: finished.size_bytes.or(finished.transferred_bytes),
        };
        self.runs.retain(|known| known.upid != run.upid);
        let place = self.runs.partition_point(|known| known.finished <= run.finished);
        self.runs.insert(place, run);
        let excess = self.runs.len().saturating_sub(RUNS_KEPT);
        self.runs.drain(..excess);
        let is_success = finished.outcome.is_success();
        if is_success && self.last_success.is_none_or(|known| known.fact <= moment.fact) {
            self.last_success = Some(moment);
            match is_here {
                true => self.archives.write(&finished, moment.fact),
                false => self.archives.write_elsewhere(),
            }
        }
        if is_success {
            self.done_until = self.done_until.max(Some(began(&finished, moment)));
        }
        let is_same = self.last.as_ref().is_some_and(|last| last.upid == finished.upid);
        let is_last = self.last.is_none() || is_same || self.since.fact <= moment.fact;
        if is_last {
            self.last = Some(finished);
            self.since = moment;
        }
        is_last
    }

    /// Takes over what was known of the guest elsewhere; what is under way there is not.
    pub fn inherit(&mut self, other: &Self) {
        let own = std::mem::replace(self, other.clone());
        (self.node, self.version, self.position) = (own.node, own.version, own.position);
        (self.guest, self.here_since, self.running) = (own.guest, own.here_since, own.running);
        // A storage of the same name can be another one there.
        self.archives = own.archives;
        self.gone_since = None;
    }

    /// What is kept of a guest that its node does not have any more.
    pub fn departed(&self, since: Moment) -> Self {
        Self { gone_since: Some(since), here_since: None, running: None, ..self.clone() }
    }

    /// Whether its node does not have it any more.
    pub fn has_departed(&self) -> bool {
        self.gone_since.is_some()
    }

    /// When it was on its node for all that is known: by a picture, or because a run ended there.
    pub fn known_there_at(&self) -> Timestamp {
        self.here_since.map_or(self.since.fact, |here| here.fact.max(self.since.fact))
    }

    /// Takes in which jobs of its node cover it, as of `moment`. Returns whether that is news.
    pub fn cover(&mut self, jobs: &Jobs, moment: Moment) -> bool {
        let since = |job: &BackupJob| {
            let known = self.jobs.get(&job.id).copied();
            known.unwrap_or(moment).max(job.since)
        };
        let covering = jobs.values().filter(|job| job.covers(self.vmid));
        let jobs: BTreeMap<_, _> = covering.map(|job| (job.id.clone(), since(job))).collect();
        let is_news = jobs != self.jobs;
        self.jobs = jobs;
        is_news
    }

    /// Works out when it is due by the node's jobs, as of `moment`.
    ///
    /// What is overdue stays so, whatever becomes of the jobs, until a run succeeds or no job
    /// covers the guest any more.
    pub fn plan_due(&mut self, jobs: &Jobs, (moment, skew): (Moment, SignedDuration)) {
        let done_until = self.done_until.unwrap_or(Timestamp::MIN);
        let next = |(id, since): (&Arc<str>, &Moment)| {
            jobs.get(id)?.next_after(since.fact.max(done_until))
        };
        let next = self.jobs.iter().filter_map(next).min();
        let is_overdue = |due: &Moment| due.fact <= moment.fact && due.fact > done_until;
        let overdue = self.due.filter(is_overdue);
        let due = next.map(|next| Moment::expect(next, skew));
        self.due = due.map(|due| overdue.map_or(due, |overdue| overdue.min(due)));
    }

    /// Since when no restore has proved its backups: since the last one, or since the guest is known.
    pub fn unproven_since(&self) -> Option<Moment> {
        self.restored_at.map(Moment::both).or(self.known_since)
    }

    /// What it is.
    pub fn kind(&self) -> Option<GuestKind> {
        let configured = self.guest.as_ref().map(|guest| guest.kind);
        configured.or_else(|| self.last.as_ref()?.kind)
    }

    /// The guest's name, as its configuration or its last run tells it.
    pub fn name(&self) -> Option<&str> {
        let configured = self.guest.as_ref().and_then(|guest| guest.name.as_deref());
        configured.or_else(|| self.last.as_ref()?.name.as_deref())
    }

    /// How the last run ended.
    pub fn outcome(&self) -> Option<Outcome> {
        Some(self.last.as_ref()?.outcome)
    }

    /// Whether the last run did not succeed.
    pub fn is_bad(&self) -> bool {
        self.outcome().is_some_and(|outcome| !outcome.is_success())
    }

    /// The size of the last run, if it is known.
    pub fn size_bytes(&self) -> Option<u64> {
        self.runs.last()?.size_bytes
    }

    /// The median size of the successful runs before the last one; none without any.
    pub fn usual_size_bytes(&self) -> Option<u64> {
        let before = self.runs.iter().rev().skip(1).filter(|run| run.outcome.is_success());
        let mut sizes: Vec<u64> =
            before.filter_map(|run| run.size_bytes).take(SIZES_COMPARED).collect();
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).copied()
    }

    /// How many runs in a row did not succeed, up to now.
    pub fn failures_in_a_row(&self) -> usize {
        self.runs.iter().rev().take_while(|run| !run.outcome.is_success()).count()
    }
}

/// Whether a guest with these tags is not to be backed up.
pub fn is_unwanted(tags: &[String]) -> bool {
    tags.iter().any(|tag| tag == NO_BACKUP_TAG)
}

/// When a run began, as well as it tells.
fn began(finished: &BackupFinished, ended: Moment) -> Timestamp {
    let took = finished.duration_seconds.and_then(|seconds| i64::try_from(seconds).ok());
    let reckoned = took.map(|seconds| shift(ended.fact, SignedDuration::from_secs(-seconds)));
    finished.started.or(reckoned).unwrap_or(ended.fact)
}
