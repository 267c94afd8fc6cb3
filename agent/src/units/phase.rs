//! What one state of systemd's means, without what came before it.

use jiff::Timestamp;

use crate::systemd::{ListedUnit, UnitProperties, UnitType};

/// Where a unit stands when it is not on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs, or did what it does (`exited`), or waits for its time.
    Active,
    /// It does not run.
    Inactive,
    /// It failed, or is between a failure and its automatic restart.
    Failed,
}

/// What decides how signals are read.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Whether systemd names a failure that restarts (254 and later).
    pub restarts_named: bool,
    /// A failure of a unit that was never seen is a change if it is not older than this.
    pub watching_since: Timestamp,
}

/// Whether systemd starts a failed unit again by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// It does.
    Comes,
    /// It does not.
    No,
    /// This state does not tell: what comes next does.
    Unknown,
}

/// What one state means, without what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It runs.
    Active,
    /// It does not.
    Inactive,
    /// Inactive, unless it restarts.
    MaybeInactive,
    /// It failed.
    Failed(Restart),
    /// Between the end of one run and the next, which systemd starts by itself.
    Restarting,
    /// Between two of the others.
    OnTheWay,
}

impl Phase {
    /// What a state means for a unit of this type.
    pub fn of(seen: &UnitProperties, unit_type: UnitType, rules: Rules) -> Self {
        let restart_is_named = rules.restarts_named || !unit_type.can_restart();
        match (&*seen.active_state, &*seen.sub_state) {
            ("active" | "reloading" | "refreshing", _) => Self::Active,
            ("failed", "failed-before-auto-restart") => Self::Failed(Restart::Comes),
            ("failed", _) if restart_is_named => Self::Failed(Restart::No),
            ("failed", _) => Self::Failed(Restart::Unknown),
            ("inactive", "dead-before-auto-restart") => Self::OnTheWay,
            // A start or restart waits for its turn, or a stop is about to be done.
            ("inactive", _) if seen.has_job => Self::OnTheWay,
            ("inactive", _) if restart_is_named => Self::Inactive,
            ("inactive", _) => Self::MaybeInactive,
            ("activating", "auto-restart" | "auto-restart-queued") => Self::Restarting,
            _ => Self::OnTheWay,
        }
    }
}

/// Where a unit of a listing stands, if it is not on the way, and whether it will restart.
pub fn listed_standing(listed: &ListedUnit) -> (Option<Standing>, bool) {
    match (&*listed.active_state, &*listed.sub_state) {
        ("active" | "reloading" | "refreshing", _) => (Some(Standing::Active), false),
        ("failed", sub_state) => {
            (Some(Standing::Failed), sub_state == "failed-before-auto-restart")
        }
        ("inactive", "dead-before-auto-restart") => (None, false),
        ("inactive", _) => (Some(Standing::Inactive), false),
        ("activating", "auto-restart" | "auto-restart-queued") => (Some(Standing::Failed), true),
        _ => (None, false),
    }
}
