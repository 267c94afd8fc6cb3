//! What is known of one unit at one moment.

use jiff::Timestamp;
use pvewatch_protocol::event::{CrashLoop as CrashLoopSummary, UnitState};

use crate::systemd::{Ending, InvocationId, UnitName, Word};

/// A unit at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `LoadState`.
    pub load_state: Word,
    /// `ActiveState`.
    pub active_state: Word,
    /// `SubState`.
    pub sub_state: Word,
    /// How the latest run ended; none for units that were only seen in a listing.
    pub ending: Option<Box<Ending>>,
    /// Whether systemd is about to start it again by itself.
    pub will_restart: bool,
    /// The run that this is about.
    pub invocation: Option<InvocationId>,
    /// `StateChangeTimestamp`; none if it never changed or was only seen in a listing.
    pub changed_at: Option<Timestamp>,
}

impl Snapshot {
    /// A unit of which only its states are known.
    pub fn bare(load_state: Word, active_state: Word, sub_state: Word) -> Self {
        Self {
            load_state,
            active_state,
            sub_state,
            ending: None,
            will_restart: false,
            invocation: None,
            changed_at: None,
        }
    }

    /// As it goes over the wire.
    pub fn to_state(&self, unit: &UnitName, crash_loop: Option<CrashLoopSummary>) -> UnitState {
        let ending = self.ending.as_deref();
        UnitState {
            unit: unit.as_str().to_owned(),
            load_state: self.load_state.to_string(),
            active_state: self.active_state.to_string(),
            sub_state: self.sub_state.to_string(),
            result: ending.and_then(|ending| ending.result.as_ref()).map(ToString::to_string),
            exit: ending.and_then(|ending| ending.exit.clone()),
            restarts: ending.map_or(0, |ending| ending.restarts),
            will_restart: self.will_restart,
            invocation_id: self.invocation.map(|invocation| invocation.to_string()),
            changed_at: self.changed_at,
            crash_loop,
        }
    }
}
