//! A backup job on one node: when it is due there, and when it ran.
//!
//! A job of a cluster runs on each node by itself, for the guests of that node, so each node has
//! its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use pvewatch_protocol::event::BackupJobFinished;
use pvewatch_protocol::{BackupJob as Plan, NodeName, Vmid};
use serde::{Deserialize, Serialize};

use super::calendar::CalendarEvent;
use super::moment::Moment;

/// The jobs of a node, by name.
pub type Jobs = BTreeMap<Arc<str>, Arc<BackupJob>>;

/// A backup job on one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupJob {
    /// The node.
    pub node: NodeName,
    /// Its name in `jobs.cfg`.
    pub id: Arc<str>,
    /// What the node says of it.
    pub plan: Plan,
    /// Since when it is due as it is: since it was made, switched on, or given another schedule,
    /// as far as that was seen.
    pub since: Moment,
    /// Whether it is on, and due at some time.
    #[serde(default)]
    pub can_run: bool,
    /// When its last run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
    /// When the first run was due after that; can lie ahead. None if none is to be expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_due: Option<Moment>,
    /// How the last run that has ended did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<BackupJobFinished>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
    /// Guests that it did not come to, of those that the job covered then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<Vmid>,
}

impl BackupJob {
    /// A job that was not known before.
    pub fn new(node: NodeName, plan: Plan, since: Moment) -> Self {
        let id = plan.job.as_str().into();
        let began_at = plan.last_run;
        Self {
            node,
            id,
            plan,
            since,
            can_run: false,
            began_at,
            run_due: None,
            last: None,
            ended: None,
            unreached: Vec::new(),
        }
    }

    /// Takes in what its node says now. Returns whether it is due at other times than before.
    pub fn learn(&mut self, plan: Plan, moment: Moment) -> bool {
        let known = (self.plan.enabled, &self.plan.schedule, &self.plan.zone);
        let is_other = known != (plan.enabled, &plan.schedule, &plan.zone);
        if is_other {
            self.since = moment;
        }
        self.began_at = self.began_at.max(plan.last_run);
        self.plan = plan;
        is_other
    }

    /// A run began.
    pub fn begin(&mut self, at: Timestamp) {
        self.began_at = self.began_at.max(Some(at));
    }

    /// A run ended.
    pub fn end(&mut self, finished: BackupJobFinished, moment: Moment) {
        self.begin(finished.started);
        if self.ended.is_none_or(|ended| ended.fact <= moment.fact) {
            let is_reached =
                |vmid: &Vmid| finished.succeeded.contains(vmid) || finished.failed.contains(vmid);
            let covered = self.plan.guests.iter().copied();
            self.unreached = covered.filter(|vmid| !is_reached(vmid)).collect();
            self.last = Some(finished);
            self.ended = Some(moment);
        }
    }

    /// Whether it covers a guest, and can run.
    pub fn covers(&self, vmid: Vmid) -> bool {
        self.can_run && self.plan.guests.contains(&vmid)
    }

    /// Since when a run goes on; none if none does.
    pub fn running_since(&self) -> Option<Timestamp> {
        let is_over = |began: &Timestamp| self.ended.is_some_and(|ended| ended.fact >= *began);
        self.plan.last_run.filter(|began| self.plan.running && !is_over(began))
    }

    /// When it is due next after a moment; none if it is off, is never due, or nobody can say.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let (event, zone) = (self.plan.enabled.then(|| self.times())?).ok()?;
        event.next_after(after, &zone)
    }

    /// Why nobody can say when it is due; none if that is known.
    pub fn problem(&self) -> Option<String> {
        self.times().err()
    }

    fn times(&self) -> Result<(CalendarEvent, TimeZone), String> {
        let event = CalendarEvent::parse(&self.plan.schedule).map_err(|error| error.to_string())?;
        let zone = &self.plan.zone;
        // A rule of POSIX' form is no name, and the other way round.
        let found = TimeZone::get(zone).or_else(|_| TimeZone::posix(zone));
        let zone = found.map_err(|_| {
            format!("the zone {zone:?} is not known to this collector: is tzdata installed there?")
        })?;
        Ok((event, zone))
    }

    /// Works out when the run after the last one is due. `booted_at` is when its node started: a
    /// run that was missed is made up for then, if the job says so.
    pub fn plan_run(&mut self, booted_at: Option<Timestamp>, skew: SignedDuration) {
        self.can_run = self.next_after(self.since.fact).is_some();
        let has_runs = self.plan.notes_runs && !self.plan.guests.is_empty();
        let after = self.since.fact.max(self.began_at.unwrap_or(Timestamp::MIN));
        let due = has_runs.then(|| self.next_after(after)).flatten();
        let earliest = booted_at.filter(|_| self.plan.repeat_missed).unwrap_or(Timestamp::MIN);
        self.run_due = due.map(|due| Moment::expect(due.max(earliest), skew));
    }
}
