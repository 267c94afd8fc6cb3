//! What became of one unit: turns the states that systemd passes through into changes.
//!
//! Three standings count: active, inactive, failed. What lies between (starting, stopping, an
//! automatic restart) is no change, so a oneshot that ends well says nothing, and `systemctl
//! restart` neither. A signal about a state that is already known says nothing: the time of the
//! change is what tells two states apart, since systemd gives a failed unit the invocation of
//! its next start while it still shows the old failure.
//!
//! systemd 254 and later name a failure that restarts (`failed-before-auto-restart`); 252 shows
//! `failed` and, within the same turn of its loop, `activating/auto-restart`. There a failure is
//! held until systemd has answered a ping sent after it, which cannot overtake that signal:
//! half a millisecond. If it comes later after all, the failure is told again, corrected.

mod listing;

use std::time::{Duration, Instant};

use super::phase::{Phase, Restart, Rules, Standing};
use crate::systemd::{Ending, UnitProperties, UnitType, word};
use crate::units::state::Snapshot;

pub use listing::Compared;

/// How long a verdict waits for systemd's answer before it is taken without.
const VERDICT_WAIT: Duration = Duration::from_millis(250);

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Inactive to active.
    Started,
    /// Active to inactive.
    Stopped,
    /// It failed.
    Failed,
    /// It was said to have failed for good, but systemd restarts it.
    Corrected,
    /// Failed to active, or to inactive (a reset, or a oneshot that went well this time).
    Recovered,
}

/// A change, and the unit after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What became of it.
    pub turn: Turn,
    /// The unit after the change.
    pub snapshot: Snapshot,
}

/// What is known of one unit.
#[derive(Debug)]
pub struct Unit {
    unit_type: UnitType,
    told: Option<Told>,
    ending: Option<Box<Ending>>,
    /// Whether `ending` came after the latest state: systemd sends it first.
    ending_is_fresh: bool,
    pending: Option<Box<Pending>>,
    start_failed: bool,
}

/// The standing that the facts told so far amount to.
#[derive(Debug)]
struct Told {
    standing: Standing,
    snapshot: Snapshot,
}

/// A verdict that waits.
#[derive(Debug)]
struct Pending {
    verdict: Verdict,
    snapshot: Snapshot,
    until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It failed; unknown is whether it will restart, or how it ended.
    Failed { restart: Restart },
    /// It is inactive; unknown is whether it will restart.
    Inactive,
}

impl Unit {
    /// A unit of which nothing is known.
    pub fn unknown(unit_type: UnitType) -> Self {
        Self {
            unit_type,
            told: None,
            ending: None,
            ending_is_fresh: false,
            pending: None,
            start_failed: false,
        }
    }

    /// A unit that was not loaded until now, and so was inactive.
    pub fn newly_loaded(unit_type: UnitType) -> Self {
        let snapshot = Snapshot::bare(word("loaded"), word("inactive"), word("dead"));
        let told = Some(Told { standing: Standing::Inactive, snapshot });
        Self { told, ..Self::unknown(unit_type) }
    }

    /// Where it stands; none if nothing is known.
    pub fn standing(&self) -> Option<Standing> {
        self.told.as_ref().map(|told| told.standing)
    }

    /// The unit as the facts told so far describe it.
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.told.as_ref().map(|told| &told.snapshot)
    }

    /// When a verdict is taken without systemd's answer; none if none waits.
    pub fn pending_until(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.until)
    }

    /// Whether nobody has to hear of it when systemd forgets it.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.standing(), None | Some(Standing::Inactive))
            && self.pending.is_none()
            && !self.start_failed
    }

    /// A job ended with `failed` or `timeout`.
    pub fn job_failed(&mut self) {
        self.start_failed = true;
    }

    /// The interface of its type said how the latest run ended.
    pub fn ended(&mut self, ending: Ending) -> Option<Change> {
        let completes = match self.pending.as_deref_mut() {
            Some(Pending { verdict: Verdict::Failed { restart }, snapshot, .. })
                if snapshot.ending.is_none() && ending.is_failure() =>
            {
                snapshot.ending = Some(Box::new(ending.clone()));
                *restart != Restart::Unknown
            }
            _ => false,
        };
        match self.ending.as_deref_mut() {
            Some(known) => *known = ending,
            None => self.ending = Some(Box::new(ending)),
        }
        self.ending_is_fresh = true;
        if completes { self.decide() } else { None }
    }

    /// systemd said in which state it is.
    pub fn observed(&mut self, now: Instant, seen: UnitProperties, rules: Rules) -> Vec<Change> {
        let phase = Phase::of(&seen, self.unit_type, rules);
        let fresh = std::mem::replace(&mut self.ending_is_fresh, false);
        let mut changes = Vec::new();
        match phase {
            Phase::Failed(restart) => changes = self.failing(now, seen, restart, fresh, rules),
            Phase::Restarting => changes.extend(self.restarting(seen, fresh)),
            Phase::OnTheWay => changes.extend(self.decide_failure()),
            Phase::Active => {
                changes.extend(self.decide_failure());
                changes.extend(self.settle(Standing::Active, seen, fresh));
            }
            Phase::Inactive => {
                changes.extend(self.decide());
                changes.extend(self.settle(Standing::Inactive, seen, fresh));
            }
            Phase::MaybeInactive => {
                if self.awaits() == Some(Verdict::Inactive)
                    || self.knows(Standing::Inactive, &seen, fresh)
                {
                    return changes;
                }
                changes.extend(self.decide());
                if matches!(self.standing(), Some(Standing::Active | Standing::Failed)) {
                    let snapshot = self.snapshot_of(seen, false);
                    self.wait(now, Verdict::Inactive, snapshot);
                } else {
                    self.adopt(Standing::Inactive, seen, false);
                }
            }
        }
        changes
    }

    /// systemd has said all that it had to say when the verdict began to wait, or will not.
    pub fn decide(&mut self) -> Option<Change> {
        let Pending { verdict, snapshot, .. } = *self.pending.take()?;
        match verdict {
            Verdict::Failed { .. } => Some(self.tell(Turn::Failed, Standing::Failed, snapshot)),
            Verdict::Inactive => match self.standing() {
                Some(Standing::Failed) => {
                    Some(self.tell(Turn::Recovered, Standing::Inactive, snapshot))
                }
                _ => Some(self.tell(Turn::Stopped, Standing::Inactive, snapshot)),
            },
        }
    }

    /// It is on the way again: what waited was a failure, or nothing after all.
    fn decide_failure(&mut self) -> Option<Change> {
        if self.awaits() == Some(Verdict::Inactive) {
            self.pending = None;
        }
        self.decide()
    }

    fn awaits(&self) -> Option<Verdict> {
        self.pending.as_deref().map(|pending| pending.verdict)
    }

    /// The unit shows `failed`.
    fn failing(
        &mut self,
        now: Instant,
        seen: UnitProperties,
        restart: Restart,
        fresh: bool,
        rules: Rules,
    ) -> Vec<Change> {
        let waits = matches!(self.awaits(), Some(Verdict::Failed { .. }));
        let same = |pending: &Pending| pending.snapshot.changed_at == seen.changed_at;
        if (waits && self.pending.as_deref().is_some_and(same))
            || self.knows(Standing::Failed, &seen, fresh)
        {
            return Vec::new();
        }
        let mut changes: Vec<Change> = self.decide().into_iter().collect();
        if self.told.is_none() && seen.changed_at < Some(rules.watching_since) {
            self.adopt(Standing::Failed, seen, restart == Restart::Comes);
            return changes;
        }
        // A failure with the result of a success is one whose ending is yet to come.
        let explained = fresh && self.ending.as_deref().is_some_and(Ending::is_failure);
        let has_ending = explained || !self.unit_type.has_result();
        let mut snapshot = self.snapshot_of(seen, restart == Restart::Comes);
        if has_ending && restart != Restart::Unknown {
            changes.push(self.tell(Turn::Failed, Standing::Failed, snapshot));
        } else {
            if !has_ending {
                snapshot.ending = None;
            }
            self.wait(now, Verdict::Failed { restart }, snapshot);
        }
        changes
    }

    /// The unit shows `activating/auto-restart`.
    fn restarting(&mut self, seen: UnitProperties, fresh: bool) -> Option<Change> {
        if let Some(pending) = self.pending.as_deref_mut() {
            if let Verdict::Failed { .. } = pending.verdict {
                pending.snapshot.will_restart = true;
                if pending.snapshot.ending.is_none() {
                    pending.snapshot.ending.clone_from(&self.ending);
                }
                return self.decide();
            }
            // It ended well and is started again: nothing that anybody wants to hear of.
            self.pending = None;
            return None;
        }
        let failed = self.ending.as_deref().is_some_and(Ending::is_failure);
        match &self.told {
            Some(told)
                if told.standing == Standing::Failed && told.snapshot.changed_at.is_none() =>
            {
                // A listing showed it on its way from one run to the next; now it is known how
                // the run ended.
                let standing = if failed { Standing::Failed } else { Standing::Inactive };
                self.adopt(standing, seen, failed);
                None
            }
            Some(told)
                if told.standing == Standing::Failed
                    && told.snapshot.invocation == seen.invocation =>
            {
                if told.snapshot.will_restart {
                    return None;
                }
                let snapshot = Snapshot { will_restart: true, ..told.snapshot.clone() };
                Some(self.tell(Turn::Corrected, Standing::Failed, snapshot))
            }
            // With RestartMode=direct a failure does not pass through `failed`.
            Some(_) if failed && fresh && seen.sub_state == "auto-restart" => {
                let snapshot = self.snapshot_of(seen, true);
                Some(self.tell(Turn::Failed, Standing::Failed, snapshot))
            }
            _ => None,
        }
    }

    fn settle(&mut self, standing: Standing, seen: UnitProperties, fresh: bool) -> Option<Change> {
        if self.knows(standing, &seen, fresh) {
            return None;
        }
        let turn = match (self.standing(), standing) {
            (Some(Standing::Failed), _) => Turn::Recovered,
            (Some(Standing::Active), Standing::Inactive) => Turn::Stopped,
            (Some(Standing::Inactive), Standing::Active) => Turn::Started,
            _ => {
                self.adopt(standing, seen, false);
                return None;
            }
        };
        let snapshot = self.snapshot_of(seen, false);
        Some(self.tell(turn, standing, snapshot))
    }

    /// Whether this state is the one that was told. One that a listing gave is completed.
    fn knows(&mut self, standing: Standing, seen: &UnitProperties, fresh: bool) -> bool {
        let ending = if fresh { self.ending.clone() } else { None };
        let Some(told) = &mut self.told else { return false };
        if told.standing != standing {
            return false;
        }
        if told.snapshot.changed_at.is_none() {
            told.snapshot.changed_at = seen.changed_at;
            told.snapshot.invocation = seen.invocation;
            told.snapshot.active_state = seen.active_state.clone();
            told.snapshot.sub_state = seen.sub_state.clone();
            told.snapshot.ending = ending;
            return true;
        }
        told.snapshot.changed_at == seen.changed_at
    }

    fn snapshot_of(&self, seen: UnitProperties, will_restart: bool) -> Snapshot {
        let load_state = seen
            .load_state
            .or_else(|| self.snapshot().map(|told| told.load_state.clone()))
            .unwrap_or(word("loaded"));
        Snapshot {
            load_state,
            active_state: seen.active_state,
            sub_state: seen.sub_state,
            ending: self.ending.clone(),
            will_restart,
            invocation: seen.invocation,
            changed_at: seen.changed_at,
        }
    }

    fn adopt(&mut self, standing: Standing, seen: UnitProperties, will_restart: bool) {
        let snapshot = self.snapshot_of(seen, will_restart);
        self.told = Some(Told { standing, snapshot });
    }

    fn tell(&mut self, turn: Turn, standing: Standing, snapshot: Snapshot) -> Change {
        self.pending = None;
        self.start_failed = false;
        self.told = Some(Told { standing, snapshot: snapshot.clone() });
        Change { turn, snapshot }
    }

    fn wait(&mut self, now: Instant, verdict: Verdict, snapshot: Snapshot) {
        self.pending = Some(Box::new(Pending { verdict, snapshot, until: now + VERDICT_WAIT }));
    }
}
