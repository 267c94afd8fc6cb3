//! What a listing says of a unit, beside what its signals said.

use std::time::Instant;

use super::{Change, Told, Turn, Unit};
use crate::systemd::{ListedUnit, UnitProperties, word};
use crate::units::phase::{Rules, Standing, listed_standing};
use crate::units::state::Snapshot;

/// Whether a listing agrees with what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// Nothing to do.
    Agrees,
    /// Its details are wanted.
    DetailsWanted,
}

impl Unit {
    /// Compares with a listing, which is newer than every signal seen so far.
    ///
    /// What was not known is taken over without a change. `doubt` asks for the details of what
    /// looks the same too: something may have happened unseen.
    pub fn compare(&mut self, listed: &ListedUnit, doubt: bool) -> Compared {
        let (standing, will_restart) = listed_standing(listed);
        let Some(told) = &mut self.told else {
            let standing = standing.unwrap_or(Standing::Inactive);
            let (load_state, active_state) = (&listed.load_state, &listed.active_state);
            let sub_state = listed.sub_state.clone();
            let bare = Snapshot::bare(load_state.clone(), active_state.clone(), sub_state);
            let snapshot = Snapshot { will_restart, ..bare };
            self.told = Some(Told { standing, snapshot });
            return match standing {
                Standing::Failed => Compared::DetailsWanted,
                _ => Compared::Agrees,
            };
        };
        told.snapshot.load_state = listed.load_state.clone();
        let differs = standing.is_some_and(|standing| standing != told.standing);
        let failed = standing == Some(Standing::Failed);
        let incomplete = failed && (doubt || told.snapshot.changed_at.is_none());
        if self.pending.is_none() && (differs || incomplete) {
            Compared::DetailsWanted
        } else {
            Compared::Agrees
        }
    }

    /// A verdict was not waited for: the state that a listing gave is all there is.
    pub fn observed_in_listing(
        &mut self,
        now: Instant,
        listed: &ListedUnit,
        rules: Rules,
    ) -> Vec<Change> {
        let (standing, _) = listed_standing(listed);
        if standing.is_none() || standing == self.standing() {
            return Vec::new();
        }
        let seen = UnitProperties {
            load_state: Some(listed.load_state.clone()),
            active_state: listed.active_state.clone(),
            sub_state: listed.sub_state.clone(),
            changed_at: None,
            invocation: None,
            has_job: false,
        };
        let mut changes = self.observed(now, seen, rules);
        changes.extend(self.decide());
        changes
    }

    /// systemd forgot the unit: if its latest job failed, it failed without being seen so.
    pub fn failed_unseen(&mut self) -> Option<Change> {
        if !self.start_failed || self.standing() == Some(Standing::Failed) {
            return None;
        }
        let failed = Snapshot {
            active_state: word("failed"),
            sub_state: word("failed"),
            ending: self.ending.clone(),
            changed_at: None,
            ..self.snapshot()?.clone()
        };
        Some(self.tell(Turn::Failed, Standing::Failed, failed))
    }
}
