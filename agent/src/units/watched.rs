//! One watched unit as others hear of it: its changes, with crash loops folded.

use std::time::Instant;

use jiff::Timestamp;
use pvewatch_protocol::event::{UnitChange, UnitChanged, UnitState};

use super::crash_loop::{CrashLoop, CrashLoopSettings, OnFailure, OnQuiet};
use super::phase::Standing;
use super::unit::{Change, Turn, Unit};
use crate::systemd::{UnitName, UnitType};
use crate::units::state::Snapshot;

/// A change that is told, and whether the journal has something to say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// What is told.
    pub changed: UnitChanged,
    /// When it happened; none if systemd did not say.
    pub at: Option<Timestamp>,
    /// Whether the journal lines of the invocation should follow.
    pub with_log: bool,
}

/// A unit and its crash loop.
#[derive(Debug)]
pub struct Watched {
    /// What became of it.
    pub unit: Unit,
    crashes: Option<Box<Crashes>>,
}

#[derive(Debug)]
struct Crashes {
    crash_loop: CrashLoop,
    last: Snapshot,
}

impl Watched {
    /// A unit of which nothing is known.
    pub fn unknown(unit_type: UnitType) -> Self {
        Self { unit: Unit::unknown(unit_type), crashes: None }
    }

    /// A unit that was inactive until now.
    pub fn newly_loaded(unit_type: UnitType) -> Self {
        Self { unit: Unit::newly_loaded(unit_type), crashes: None }
    }

    /// Decides what is told of a change.
    pub fn tell(
        &mut self,
        name: &UnitName,
        now: Instant,
        recorded: Timestamp,
        change: Change,
        settings: &CrashLoopSettings,
    ) -> Option<Telling> {
        let Change { turn, snapshot } = change;
        match turn {
            Turn::Failed => {
                let at = snapshot.changed_at.unwrap_or(recorded);
                self.failed(name, now, at, snapshot, settings)
            }
            Turn::Corrected => self.telling(name, UnitChange::Failed, snapshot, false),
            Turn::Started => self.telling(name, UnitChange::Started, snapshot, false),
            Turn::Stopped => {
                let change = match self.crashes.as_deref_mut().map(|c| c.crash_loop.stopped()) {
                    // The last that was told is that it crashes.
                    Some(OnQuiet::LoopEnds) => UnitChange::Recovered,
                    _ => UnitChange::Stopped,
                };
                self.telling(name, change, snapshot, false)
            }
            Turn::Recovered => {
                let verdict = match (&mut self.crashes, self.unit.standing()) {
                    (None, _) => OnQuiet::Tell,
                    (Some(crashes), Some(Standing::Active)) => crashes.crash_loop.up(now),
                    (Some(crashes), _) => crashes.crash_loop.stopped(),
                };
                match verdict {
                    OnQuiet::Tell | OnQuiet::LoopEnds => {
                        self.telling(name, UnitChange::Recovered, snapshot, false)
                    }
                    OnQuiet::Fold | OnQuiet::LoopGoesOn => None,
                }
            }
        }
    }

    /// What is due at `now` without a change.
    pub fn due(
        &mut self,
        name: &UnitName,
        now: Instant,
        settings: &CrashLoopSettings,
    ) -> Option<Telling> {
        let crashes = self.crashes.as_deref_mut()?;
        match crashes.crash_loop.due(now, settings) {
            OnQuiet::LoopGoesOn => {
                let last = crashes.last.clone();
                self.telling(name, UnitChange::CrashLooping, last, false)
            }
            OnQuiet::LoopEnds => {
                let snapshot = self.unit.snapshot()?.clone();
                self.crashes = None;
                self.telling(name, UnitChange::Recovered, snapshot, false)
            }
            OnQuiet::Tell | OnQuiet::Fold => None,
        }
    }

    /// When [`Watched::due`] should be asked.
    pub fn deadline(&self, settings: &CrashLoopSettings) -> Option<Instant> {
        self.crashes.as_ref()?.crash_loop.deadline(settings)
    }

    /// The unit as the facts told so far describe it; none if nothing is known, or if systemd
    /// only knows it by hearsay.
    pub fn state(&self, name: &UnitName) -> Option<UnitState> {
        if let Some(crashes) = &self.crashes
            && let Some(summary) = crashes.crash_loop.summary()
        {
            return Some(crashes.last.to_state(name, Some(summary)));
        }
        let snapshot = self.unit.snapshot()?;
        let hearsay =
            snapshot.load_state == "not-found" && self.unit.standing() == Some(Standing::Inactive);
        (!hearsay).then(|| snapshot.to_state(name, None))
    }

    /// Lets go of failures that are too old to make a loop.
    pub fn forget_old_failures(&mut self, now: Instant, settings: &CrashLoopSettings) {
        if self
            .crashes
            .as_ref()
            .is_some_and(|crashes| crashes.crash_loop.is_forgotten(now, settings))
        {
            self.crashes = None;
        }
    }

    fn failed(
        &mut self,
        name: &UnitName,
        now: Instant,
        at: Timestamp,
        snapshot: Snapshot,
        settings: &CrashLoopSettings,
    ) -> Option<Telling> {
        if self.crashes.is_none() && !snapshot.will_restart {
            return self.telling(name, UnitChange::Failed, snapshot, true);
        }
        let crashes = self.crashes.get_or_insert_with(|| {
            Box::new(Crashes { crash_loop: CrashLoop::default(), last: snapshot.clone() })
        });
        crashes.last = snapshot.clone();
        let verdict = crashes.crash_loop.failed(now, at, snapshot.will_restart, settings);
        match verdict {
            OnFailure::Tell | OnFailure::LoopEnds => {
                self.telling(name, UnitChange::Failed, snapshot, true)
            }
            OnFailure::LoopBegins => self.telling(name, UnitChange::CrashLooping, snapshot, true),
            OnFailure::LoopGoesOn => self.telling(name, UnitChange::CrashLooping, snapshot, false),
            OnFailure::Fold => None,
        }
    }

    fn telling(
        &self,
        name: &UnitName,
        change: UnitChange,
        snapshot: Snapshot,
        with_log: bool,
    ) -> Option<Telling> {
        let summary = self.crashes.as_ref().and_then(|crashes| crashes.crash_loop.summary());
        let at = snapshot.changed_at;
        let state = snapshot.to_state(name, summary);
        Some(Telling { changed: UnitChanged { change, state }, at, with_log })
    }
}
